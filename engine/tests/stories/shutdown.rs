//! How an engine ends, by a signal or by force, and how the next one begins.

use std::time::Instant;

use rustix::process::{Signal, kill_process};

use crate::client::{Heart, Reader};
use crate::process::{PATIENCE, eventually};
use crate::raw::{DISCONNECT, Raw, V5, V311};
use crate::shop::Shop;

#[test]
fn an_engine_that_is_asked_to_stop_says_goodbye_and_leaves_nothing_behind() {
    let (mut shop, ana, _) = Shop::open();
    let port = shop.port();
    let login = Some(("ana", ana.as_str()));
    let mut new = [Raw::enter(port, V5, login), Raw::enter(port, V5, None)];
    let mut old = Raw::enter(port, V311, login);
    // Connected, and never said who it is.
    let mut silent = Raw::dial(port, V5);
    let asked = Instant::now();
    assert_eq!(shop.stop(), Some(0));
    assert!(asked.elapsed() < PATIENCE / 3, "{:?}", asked.elapsed());
    for client in &mut new {
        let goodbye = client.packet().expect("a DISCONNECT");
        assert_eq!((goodbye.first, goodbye.body[0]), (DISCONNECT, 0x8B));
        assert!(goodbye.says("shutting down"), "{goodbye:?}");
        assert_eq!(client.packet(), None);
    }
    assert_eq!((old.packet(), silent.packet()), (None, None));
    assert!(shop.log().trim_end().ends_with("stopped"), "{}", shop.log());
    assert_eq!(shop.database_processes(), []);
    assert!(!shop.data().join("run/control.sock").exists());
    let said = shop.run(&["status"]);
    assert!(
        !said.success && said.err.contains("tanglegate serve"),
        "{}",
        said.err
    );
}

#[test]
fn an_engine_that_is_killed_or_asked_to_stop_while_it_starts_can_be_started_again() {
    let mut shop = Shop::closed();
    // Killed while the database is made, then asked to stop, then asked after it was made.
    shop.launch();
    eventually("the making begins", || {
        shop.log()
            .contains("creating a private PostgreSQL")
            .then_some(())
    });
    shop.kill();
    for word in ["creating a private PostgreSQL", "a private PostgreSQL runs"] {
        let before = shop.log().len();
        shop.launch();
        eventually(word, || shop.log()[before..].contains(word).then_some(()));
        assert_eq!(shop.stop(), Some(0), "{}", shop.log());
    }
    shop.start();
    shop.register("ana");
    assert_eq!(shop.stop(), Some(0));
}

#[test]
fn after_a_kill_the_next_engine_starts_at_once_and_leases_run_on() {
    let (mut shop, ana, plug) = Shop::open();
    shop.buy("ana", 3_600);
    let until = shop.lease_end("ana");
    for _ in 0..3 {
        let port = shop.port();
        let _heart = Heart::start(port, "311", Some(("plug", &plug)), "sensor/live");
        let reader = Reader::start(port, "311", Some(("ana", &ana)), &["sensor/live"]);
        reader.goes_on("sensor/live", 5);
        shop.kill();
        let killed = Instant::now();
        shop.start();
        assert!(killed.elapsed() < PATIENCE / 2, "{:?}", killed.elapsed());
        assert_eq!(shop.lease_end("ana"), until);
    }
    assert_eq!(shop.payments().len(), 1);
}

#[test]
fn an_engine_whose_database_dies_says_so_and_ends_with_a_failure() {
    let (mut shop, _, _) = Shop::open();
    let processes = shop.database_processes();
    let lock = std::fs::read_to_string(shop.data().join("postgres/data/postmaster.pid")).unwrap();
    let server = processes
        .iter()
        .find(|it| lock.lines().next() == Some(it.as_raw_nonzero().to_string().as_str()));
    kill_process(*server.unwrap(), Signal::KILL).unwrap();
    let ended = shop.engine().wait(PATIENCE).expect("it cannot go on");
    assert_eq!(ended.code(), Some(1));
    let log = shop.log();
    assert!(
        log.contains("the engine stopped: ") && log.contains("signal: 9"),
        "{log}"
    );
    shop.gone();
    shop.start();
    assert_eq!(
        shop.rows(&["subscriber", "list"]).len(),
        2,
        "what was recorded is there"
    );
}
