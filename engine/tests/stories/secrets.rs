//! Where passwords and names do not stand.

use std::fs;
use std::process::{Command, Stdio};

use sqlx::{Connection, PgConnection};

use crate::client::{Heart, Reader, told};
use crate::process::{Process, eventually};
use crate::shop::Shop;

const NAME: &str = "Zoë Ångström";
const PASSWORDS: [&str; 3] = [
    "first-horse-battery-51c2",
    "second-staple-9e07",
    "guess-4411-wrong",
];

/// How many columns of events hold these bytes.
pub(crate) async fn in_events(url: &str, text: &str) -> i64 {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let columns = "body || meta || convert_to(stream || kind, 'UTF8') || \
                   coalesce(idempotency_key, '')";
    let query = format!("select count(*) from event_log.event where position($1 in {columns}) > 0");
    let found = sqlx::query_scalar(sqlx::AssertSqlSafe(query)).bind(text.as_bytes());
    found.fetch_one(&mut connection).await.unwrap()
}

/// Files below the shop's folder that hold this text.
pub(crate) fn files_with(shop: &Shop, text: &str) -> String {
    let search = Command::new("grep")
        .args(["-rlaF", "--", text])
        .arg(shop.folder.path())
        .output();
    String::from_utf8(search.unwrap().stdout).unwrap()
}

/// Arguments and environment of a process.
fn shown(pid: rustix::process::Pid) -> String {
    let file =
        |name| fs::read(format!("/proc/{}/{name}", pid.as_raw_nonzero())).unwrap_or_default();
    String::from_utf8_lossy(&[file("cmdline"), file("environ")].concat()).into_owned()
}

#[test]
fn passwords_stand_nowhere_and_names_in_no_event() {
    let mut shop = Shop::closed();
    shop.environment = vec![("RUST_LOG", "debug".to_owned())];
    shop.start();
    let [first, second, wrong] = PASSWORDS;

    // While the command waits for the password, everybody may look at its arguments.
    let mut add = shop.program();
    add.args(["subscriber", "add", NAME, "--password-file", "-"]);
    let mut add = Process::spawn(add.stdin(Stdio::piped()).stdout(Stdio::null()));
    let mut input = add.stdin();
    eventually("the command runs", || {
        shown(add.pid()).contains("password-file").then_some(())
    });
    let arguments = shown(add.pid());
    std::io::Write::write_all(&mut input, format!("{first}\nignored\n").as_bytes()).unwrap();
    drop(input);
    let ended = add.wait(crate::process::PATIENCE).expect("it ends");
    assert!(ended.success() && !arguments.contains(first));

    let plug = shop.open_for_business();
    let port = shop.port();
    let refused = told(
        "mosquitto_sub",
        port,
        "5",
        Some((NAME, wrong)),
        &["-t", "sensor/1m"],
    );
    assert!(refused.contains("Bad User Name or Password"), "{refused}");
    let change = ["subscriber", "password", NAME, "--password-file", "-"];
    assert!(shop.run_with(&change, &format!("{second}\n")).success);
    shop.buy(NAME, 3_600);
    shop.lease_end(NAME);
    let reader = Reader::start(port, "5", Some((NAME, second)), &["sensor/live"]);
    let heart = Heart::start(port, "5", Some(("plug", &plug)), "sensor/live");
    reader.goes_on("sensor/live", 1);
    drop((heart, reader));

    let words = shop.say(&["log", "tail", "-n", "100"]) + &shop.say(&["log", "tail", "--json"]);
    assert!(
        words.contains("is registered") && words.contains("lease_granted"),
        "{words}"
    );
    let mut everywhere = words + &shop.log() + &shown(shop.engine().pid());
    for process in shop.database_processes() {
        everywhere.push_str(&shown(process));
    }
    let url = shop.database_url();
    for secret in [first, second, wrong, &plug] {
        assert!(!everywhere.contains(secret), "{secret} is shown");
        assert_eq!(shop.block_on(in_events(&url, secret)), 0);
    }
    assert!(!everywhere.contains(NAME), "names are personal data");
    assert_eq!(
        shop.block_on(in_events(&url, NAME)),
        0,
        "names are sealed, the memo's too"
    );
    assert!(
        shop.block_on(in_events(&url, "sensor/live")) > 0,
        "the search would find it"
    );

    // With everything on disk, the database's own log and journal included.
    assert_eq!(shop.stop(), Some(0));
    for secret in [first, second, wrong, &plug] {
        assert_eq!(files_with(&shop, secret), "", "{secret}");
    }
    let with_name = files_with(&shop, NAME);
    assert!(
        with_name.contains("postgres/data/base/"),
        "the search finds the tables: {with_name}"
    );
    assert!(!with_name.contains("engine.log"));
}
