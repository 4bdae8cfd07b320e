//! Strangers buy: a wallet and the gate's address are all they have.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tanglegate::wallet::Key;
use tanglegate_core::Address;

use crate::client::{Heart, Reader, told};
use crate::shop::{SECOND, Said, Shop, finish, path};

/// A stranger's wallet file, his book beside it, and what he says on the command line.
pub(crate) struct Stranger {
    wallet: PathBuf,
}

impl Stranger {
    pub(crate) fn new(shop: &Shop, name: &str) -> Self {
        Self::at(shop, shop.folder.path().join(format!("{name}.key")))
    }

    pub(crate) fn at(shop: &Shop, wallet: PathBuf) -> Self {
        shop.say(&["wallet", "new", path(&wallet)]);
        let this = Self { wallet };
        shop.fund(this.address());
        this
    }

    fn address(&self) -> Address {
        Key::load(&self.wallet).unwrap().address()
    }

    /// Buys `plug-hour`.
    pub(crate) fn buy(&self, shop: &Shop, more: &[&str]) -> Said {
        let broker = format!("127.0.0.1:{}", shop.port());
        let node = shop.devnet.url();
        let wallet = path(&self.wallet);
        let words = [
            "buy",
            "plug-hour",
            "--broker",
            &broker,
            "--node",
            &node,
            "--wallet",
            wallet,
        ];
        shop.run(&[&words[..], more].concat())
    }

    /// Buys so many seconds, successfully; what the command says of it as JSON.
    pub(crate) fn bought(&self, shop: &Shop, seconds: u64, more: &[&str]) -> Value {
        let amount = format!("{}NANOS", seconds * SECOND);
        let said = self.buy(shop, &[&["--json", "--amount", &amount], more].concat());
        assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
        serde_json::from_str(&said.out).unwrap()
    }
}

/// The login file that a purchase names.
pub(crate) fn login(bought: &Value) -> Value {
    let file = bought["login_file"].as_str().unwrap();
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

pub(crate) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap()
}

fn mode(file: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(file).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_stranger_buys_a_login_that_nobody_else_learns_and_reads() {
    let shop = Shop::bare();
    let plug = shop.open_for_business();
    let stranger = Stranger::new(&shop, "stranger");
    let bought = stranger.bought(&shop, 600, &[]);
    assert_eq!(
        (text(&bought, "filter"), text(&bought, "access")),
        ("sensor/live", "read")
    );
    assert_eq!(
        bought["until"].as_u64().unwrap() - bought["from"].as_u64().unwrap(),
        600_000
    );
    let login = login(&bought);
    let (name, password) = (text(&login, "username"), text(&login, "password"));
    assert_eq!(password.len(), 26, "128 random bits");
    let file = Path::new(text(&bought, "login_file"));
    assert_eq!(mode(file), 0o600);
    assert_eq!(
        mode(&stranger.wallet.with_extension("key.purchases")),
        0o600
    );

    let port = shop.port();
    let _heart = Heart::start(port, "5", Some(("plug", &plug)), "sensor/live");
    let reader = Reader::start(port, "5", Some((name, password)), &["sensor/live"]);
    reader.goes_on("sensor/live", 10);
    let guess = told(
        "mosquitto_sub",
        port,
        "5",
        Some((name, "abcdefghijklmnopqrstuvwxyz")),
        &["-t", "sensor/live", "-C", "1", "-W", "5"],
    );
    assert!(guess.contains("Bad User Name or Password"), "{guess}");
}

#[test]
fn a_chosen_password_is_kept_when_the_time_is_extended() {
    let shop = Shop::bare();
    let plug = shop.open_for_business();
    let stranger = Stranger::new(&shop, "stranger");
    let file = shop.folder.path().join("password");
    let chosen = "correct horse: battery #7";
    fs::write(&file, format!("{chosen}\nanother line\n")).unwrap();
    let name = "Zoë of Ängeby";
    let words = ["--username", name, "--password-file", path(&file)];
    let first = stranger.bought(&shop, 60, &words);
    assert_eq!(text(&login(&first), "password"), chosen);

    // Neither name nor password is said again: the book knows them.
    let second = stranger.bought(&shop, 60, &[]);
    let extended = login(&second);
    assert_eq!(first["login_file"], second["login_file"]);
    assert_eq!(
        (text(&extended, "username"), text(&extended, "password")),
        (name, chosen)
    );
    let end = |it: &Value| it["until"].as_u64().unwrap();
    assert_eq!(end(&second) - end(&first), 60_000);

    // The line that is shown reads, and its words hold no password.
    let said = stranger.buy(&shop, &["--for", "1m", "--cap", "0.006IOTA"]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    let line = said.out.lines().find_map(|it| it.strip_prefix("use "));
    let line = line.unwrap().trim();
    assert!(
        !said.out.contains(chosen) && line.contains("mosquitto_sub"),
        "{line}"
    );
    let _heart = Heart::start(shop.port(), "5", Some(("plug", &plug)), "sensor/live");
    let read = finish(
        Command::new("sh").args(["-c", &format!("{line} -C 3 -W 20")]),
        "",
    );
    assert!(read.success && read.out.lines().count() == 3, "{read:?}");
    let run = ["--for", "1m", "--cap", "1IOTA", "--run", "--"];
    let client = [
        "mosquitto_sub",
        "-V",
        "5",
        "-p",
        &shop.port().to_string(),
        "-t",
        "sensor/live",
    ];
    let run = stranger.buy(
        &shop,
        &[&run[..], &client, &["-C", "3", "-W", "20"]].concat(),
    );
    assert!(run.success, "{run:?}");
}

#[test]
fn nothing_is_signed_beyond_a_cap_or_without_one_where_the_seller_names_the_price() {
    let shop = Shop::bare();
    shop.open_for_business();
    let stranger = Stranger::new(&shop, "stranger");
    for (words, remedy) in [
        (&["--for", "1h"][..], "--cap 360000000NANOS"),
        (
            &["--for", "1h", "--cap", "0.35IOTA"],
            "more than --cap 0.35 IOTA",
        ),
        (
            &["--amount", "1IOTA", "--cap-total", "0.9IOTA"],
            "--cap-total 0.9 IOTA",
        ),
        (&["--amount", "0IOTA"], "least purchase"),
        (
            &["--amount", "1IOTA", "--out", "/no/folder/login"],
            "/no/folder/login",
        ),
        (&[], "--amount"),
    ] {
        let refused = stranger.buy(&shop, words);
        assert_eq!(refused.code, Some(2), "{words:?}");
        assert!(refused.err.contains(remedy), "{words:?}: {}", refused.err);
    }
    let total = ["--cap-total", "0.01IOTA"];
    stranger.bought(&shop, 60, &total);
    let beyond = stranger.buy(&shop, &[&["--amount", "0.005IOTA"][..], &total].concat());
    assert!(
        beyond.err.contains("0.006 IOTA were spent before"),
        "{}",
        beyond.err
    );
    assert_eq!(shop.payments().len(), 1);
}

#[test]
fn a_gate_that_becomes_somebody_else_is_not_believed() {
    let shop = Shop::bare();
    shop.open_for_business();
    let broker = format!("127.0.0.1:{}", shop.port());
    let stranger = Stranger::new(&shop, "stranger");
    let offers = shop.say(&["offers", "--broker", &broker, "--json"]);
    let offers: Value = serde_json::from_str(&offers).unwrap();
    let offer = &offers["offers"][0];
    assert_eq!(
        (text(offer, "offer"), offer["price_nanos"].as_u64()),
        ("plug-hour", Some(3_600 * SECOND))
    );
    assert_eq!(text(offer, "seller"), shop.seller.to_string());
    let shown = text(&offers, "identity");
    assert_eq!(
        shop.status()["identity"],
        shown,
        "the operator can publish it"
    );
    let table = shop.say(&["offers", "--broker", &broker]);
    assert!(
        table.contains(shown) && table.contains("0.36 IOTA"),
        "{table}"
    );

    let other = "f1d10b5c75583326797b26a79d10f72d7376b924ac593b87099b063fde95aedf";
    let named = stranger.buy(&shop, &["--amount", "1IOTA", "--identity", other]);
    assert_eq!(named.code, Some(2));
    assert!(
        named.err.contains(shown) && named.err.contains(other),
        "{}",
        named.err
    );
    stranger.bought(&shop, 60, &["--identity", shown]);
    // What the book remembers counts as if it were said.
    let book = stranger.wallet.with_extension("key.purchases");
    let changed = fs::read_to_string(&book).unwrap().replace(shown, other);
    fs::write(&book, changed).unwrap();
    let remembered = stranger.buy(&shop, &["--amount", "1IOTA"]);
    assert!(remembered.err.contains("--identity"), "{}", remembered.err);
    assert_eq!(shop.payments().len(), 1);
}
