//! Strangers buy: a wallet and the gate's address are all they have.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tanglegate::wallet::Key;
use tanglegate_core::Address;

use crate::client::{Heart, Reader, told};
use crate::shop::{SECOND, Said, Shop, path};

/// A stranger's wallet file, his book beside it, and what he says on the command line.
struct Stranger {
    wallet: PathBuf,
}

impl Stranger {
    fn new(shop: &Shop, name: &str) -> Self {
        let wallet = shop.folder.path().join(format!("{name}.key"));
        shop.say(&["wallet", "new", path(&wallet)]);
        let this = Self { wallet };
        shop.fund(this.address());
        this
    }

    fn address(&self) -> Address {
        Key::load(&self.wallet).unwrap().address()
    }

    /// Buys `plug-hour`.
    fn buy(&self, shop: &Shop, more: &[&str]) -> Said {
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
    fn bought(&self, shop: &Shop, seconds: u64, more: &[&str]) -> Value {
        let amount = format!("{}NANOS", seconds * SECOND);
        let said = self.buy(shop, &[&["--json", "--amount", &amount], more].concat());
        assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
        serde_json::from_str(&said.out).unwrap()
    }
}

/// The login file that a purchase names.
fn login(bought: &Value) -> Value {
    let file = bought["login_file"].as_str().unwrap();
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
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
