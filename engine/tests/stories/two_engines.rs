//! A second engine where one runs: it is told who holds what, and the first does not notice.

use std::process::Command;

use sqlx::{Connection, Executor, PgConnection};

use crate::client::{Heart, Reader, unbroken};
use crate::shop::{Said, Shop, finish, program};

/// Tries to run an engine that cannot come up.
fn second(command: &mut Command) -> Said {
    let said = finish(command.arg("serve"), "");
    assert!(!said.success, "it ran: {}", said.err);
    said
}

/// The last thing that it says.
fn complaint(said: &Said) -> &str {
    let line = said.err.lines().rfind(|it| it.starts_with("tanglegate: "));
    line.unwrap_or_else(|| panic!("no complaint: {}", said.err))
}

#[test]
fn a_second_engine_is_told_who_holds_the_folder_or_the_database() {
    let (mut shop, ana, plug) = Shop::open();
    shop.buy("ana", 3_600);
    shop.lease_end("ana");
    let port = shop.port();
    let mut heart = Heart::start(port, "5", Some(("plug", &plug)), "sensor/live");
    let reader = Reader::start(port, "5", Some(("ana", &ana)), &["sensor/live"]);
    reader.goes_on("sensor/live", 5);
    let before = shop.log().len();
    let url = shop.database_url();

    // The same folder.
    let said = second(&mut shop.program());
    let holder = format!("process {}", shop.engine().pid().as_raw_nonzero());
    let said = complaint(&said);
    assert!(
        said.contains(&holder) && said.contains("data folder"),
        "{said}"
    );

    // The same database, from another folder.
    let elsewhere = shop.folder.path().join("elsewhere");
    let mut other = program();
    other
        .arg("--config")
        .arg(shop.config())
        .arg("--data-dir")
        .arg(&elsewhere);
    let said = second(other.env("DATABASE_URL", &url));
    let said = complaint(&said);
    assert!(said.contains("'shop' (database process "), "{said}");

    // The same folder with another database.
    let mut owner = shop.block_on(PgConnection::connect(&url)).unwrap();
    shop.block_on(owner.execute("create database other"))
        .unwrap();
    let (server, _) = url.split_once('?').unwrap_or((&url, ""));
    let name = server.rsplit('/').next().unwrap();
    let other = url.replacen(&format!("/{name}"), "/other", 1);
    let said = second(shop.program().env("DATABASE_URL", other));
    let said = complaint(&said);
    assert!(
        said.contains("in use by another process") && said.contains("data/sessions"),
        "{said}"
    );

    reader.goes_on("sensor/live", 10);
    assert!(
        heart.beats() && unbroken(&reader.beats("sensor/live")),
        "the first is undisturbed"
    );
    assert_eq!(
        shop.status()["mqtt"].as_str().unwrap(),
        format!("127.0.0.1:{port}")
    );
    let log = shop.log();
    let news = log[before..]
        .lines()
        .filter(|it| it.contains("WARN") || it.contains("ERROR"));
    assert_eq!(news.collect::<Vec<_>>(), [""; 0]);
    drop(owner);
    assert_eq!(shop.stop(), Some(0));
}
