//! The database is silent for ten seconds.

use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::client::{Heart, Reader, unbroken};
use crate::process::{eventually, now_ms};
use crate::raw::{Raw, V5};
use crate::shop::{SECOND, Shop};

const SILENCE: Duration = Duration::from_secs(10);

/// Processes that are stopped until this is dropped.
struct Frozen(Vec<Pid>);

impl Frozen {
    fn freeze(shop: &Shop) -> Self {
        let processes = Self(shop.database_processes());
        assert!(processes.0.len() > 3, "a server has more processes");
        processes.signal(Signal::STOP);
        processes
    }

    fn signal(&self, signal: Signal) {
        for process in &self.0 {
            // One of them may just have ended by itself.
            let _ = kill_process(*process, signal);
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.signal(Signal::CONT);
    }
}

#[test]
fn readers_read_on_while_the_database_is_away_and_nothing_is_lost_or_granted() {
    let (shop, ana, plug) = Shop::open();
    let bob = shop.register("bob");
    let port = shop.port();
    let mut heart = Heart::start(port, "5", Some(("plug", &plug)), "sensor/live");
    shop.buy("ana", 3_600);
    let until = shop.lease_end("ana");
    let anas = Reader::start(port, "5", Some(("ana", &ana)), &["sensor/live"]);
    anas.goes_on("sensor/live", 5);
    let mut idle = Raw::enter(port, V5, Some(("ana", &ana)));
    shop.buy("bob", 4);
    let bobs_end = shop.lease_end("bob");
    let bobs = Reader::start(port, "5", Some(("bob", &bob)), &["sensor/live"]);
    bobs.goes_on("sensor/live", 5);
    let wallet = shop.wallet(9);
    let memo = tanglegate::ledger::memo::encode(
        &tanglegate_core::OfferId::parse("plug-hour").unwrap(),
        &tanglegate_core::Username::parse("ana").unwrap(),
    );

    let frozen = Frozen::freeze(&shop);
    let began = Instant::now();
    shop.pay(&wallet, 3_600 * SECOND, &memo);
    // An operator's wish waits with the database.
    let mut wish = shop.program();
    wish.args(["rule", "give", "--filter=elsewhere"]);
    let wish = std::thread::spawn(move || crate::shop::finish(&mut wish, ""));
    eventually("nothing new is granted", || {
        let (_, answer) = Raw::connect(port, V5, Some(("ana", &ana)));
        (answer.body[1] == 0x88).then_some(())
    });
    assert!(began.elapsed() < SILENCE, "the engine noticed in time");
    let refused = idle.subscribe("sensor/1m");
    assert_eq!(
        refused.body.last(),
        Some(&0x83),
        "no new permit: {refused:?}"
    );
    assert!(
        shop.log()
            .contains("nothing new is granted until it is back")
    );
    anas.goes_on("sensor/live", 50);
    sleep(SILENCE.saturating_sub(began.elapsed()));
    assert!(now_ms() > bobs_end, "bob's lease ended meanwhile");
    drop(frozen);

    let said = wish.join().unwrap();
    assert!(
        said.success && said.out.contains("recorded as event"),
        "{said:?}"
    );
    let payments = shop.recorded(3);
    assert_eq!(
        (payments.len(), &payments[0]["state"]),
        (3, &"applied".into())
    );
    assert_eq!(
        shop.lease_end("ana"),
        until + 3_600_000,
        "the payment counts once"
    );
    eventually("new permits are given again", || {
        let (_, answer) = Raw::connect(port, V5, Some(("ana", &ana)));
        (answer.body[1] == 0).then_some(())
    });
    assert_eq!(
        idle.subscribe("elsewhere").body.last(),
        Some(&0),
        "the wish came true"
    );

    anas.goes_on("sensor/live", 20);
    assert!(
        heart.beats() && unbroken(&anas.beats("sensor/live")),
        "ana noticed nothing"
    );
    let last = bobs.beats("sensor/live").last().unwrap().sent_at;
    assert!(
        last < bobs_end && last + 500 > bobs_end,
        "{last} and {bobs_end}"
    );
}
