//! The examples for buyers, which were written from the specification alone, buy from the running
//! engine: nothing of ours is in them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use tanglegate::wallet::Key;

use crate::client::{Beat, Heart, unbroken};
use crate::listeners::{certify, ports};
use crate::process::{PATIENCE, Process, eventually};
use crate::shop::{SECOND, Said, Shop, finish, path};
use crate::{npm, pip};

#[derive(Clone, Copy)]
enum Language {
    JavaScript,
    Python,
}

impl Language {
    /// The example, with the packages that it needs.
    fn example(self) -> Command {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples"));
        let (program, script) = match self {
            Self::JavaScript => {
                let installed = npm::installed("../../docs/examples");
                (PathBuf::from("node"), installed.join("buyer.mjs"))
            }
            Self::Python => {
                let python = pip::installed(&folder.join("requirements.txt"));
                (python, folder.join("buyer.py"))
            }
        };
        let mut command = Command::new(program);
        command.arg(script).env_remove("BUYER_PASSWORD");
        command
    }
}

/// Somebody with a wallet, and with an example.
struct Buyer<'a> {
    shop: &'a Shop,
    /// The second listener's, which speaks TLS.
    port: u16,
    language: Language,
    username: &'a str,
    password: Option<&'a str>,
    wallet: PathBuf,
}

impl<'a> Buyer<'a> {
    fn new(shop: &'a Shop, language: Language, username: &'a str, wallet: &str) -> Self {
        let wallet = shop.folder.path().join(wallet);
        if !wallet.exists() {
            shop.say(&["wallet", "new", path(&wallet)]);
            shop.fund(Key::load(&wallet).unwrap().address());
        }
        Self {
            shop,
            port: ports(shop)[1],
            language,
            username,
            password: None,
            wallet,
        }
    }

    fn order(&self) -> PathBuf {
        let kind = self.wallet.file_stem().unwrap().to_str().unwrap();
        let name = format!("{kind}-for-{}.order", self.username);
        self.shop.folder.path().join(name)
    }

    /// Buys a quarter of an hour, and reads three messages.
    fn command(&self, identity: Option<&str>) -> Command {
        let mut command = self.language.example();
        command
            .arg(format!("--broker=mqtts://127.0.0.1:{}", self.port))
            .arg(format!("--node={}", self.shop.devnet.url()))
            .arg(format!("--key={}", path(&self.wallet)))
            .args(["--offer=plug-hour", "--messages=3"])
            .arg(format!("--amount={}", 900 * SECOND))
            .arg(format!("--username={}", self.username))
            .arg(format!("--order={}", path(&self.order())))
            .args(identity.map(|it| format!("--identity={it}")));
        command.envs(self.password.map(|it| ("BUYER_PASSWORD", it)));
        // Each language has its own word for an authority to trust.
        for variable in ["NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"] {
            command.env(variable, self.shop.folder.path().join("server.pem"));
        }
        command
    }

    fn run(&self, identity: Option<&str>) -> Said {
        finish(&mut self.command(identity), "")
    }

    /// Pays while no checkpoint comes, and is killed while it waits.
    fn killed_behind_the_payment(&self, identity: &str) {
        self.shop.devnet.faults(|it| it.hold_checkpoints = true);
        let log = self.shop.folder.path().join("buyer.log");
        let mut command = self.command(Some(identity));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut process = Process::spawn(command.stderr(File::create(&log).unwrap()));
        eventually("the payment is sent", || {
            let said = fs::read_to_string(&log).unwrap();
            assert!(process.ended().is_none(), "{said}");
            said.contains("waiting for the answer").then_some(())
        });
        process.signal(Signal::KILL);
        process.wait(PATIENCE).expect("nobody survives that");
        self.shop.devnet.faults(|it| it.hold_checkpoints = false);
    }
}

/// A shop with a plain listener for the plug, and one with TLS for those who buy.
fn secure_shop() -> Shop {
    let mut shop = Shop::closed();
    let folder = shop.folder.path();
    certify(folder, "server");
    let config = fs::read_to_string(shop.config()).unwrap();
    let listeners = format!(
        "\n[[gate.listener]]\nlisten = \"127.0.0.1:0\"\n\
         [[gate.listener]]\nlisten = \"127.0.0.1:0\"\n\
         [gate.listener.tls]\ncertificates = \"{0}/server.pem\"\nkey = \"{0}/server.key\"\n",
        folder.display()
    );
    let config = config.replace("gate.listen = \"127.0.0.1:0\"\n", "");
    fs::write(shop.config(), config + &listeners).unwrap();
    shop.start();
    shop
}

/// The messages that an example printed.
fn beats(said: &Said) -> Vec<Beat> {
    let payload = |line: &str| line.strip_prefix("sensor/live ").map(Beat::read);
    let read: Option<Vec<_>> = said.out.lines().map(payload).collect();
    read.unwrap_or_else(|| panic!("messages, not {said:?}"))
}

/// What the engine's log says it is.
fn identity(shop: &Shop) -> String {
    let log = shop.log();
    let named = log.split("identity=").nth(1).expect("it is told at start");
    named[..64].to_owned()
}

fn mode(file: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(file).unwrap().permissions().mode() & 0o777
}

/// From a stranger to a reader, with a crash at the worst moment.
fn buys_and_reads(language: Language, password: Option<&str>) {
    let shop = secure_shop();
    let plug = shop.open_for_business();
    let _heart = Heart::start(shop.port(), "5", Some(("plug", &plug)), "sensor/live");
    let mut buyer = Buyer::new(&shop, language, "zoë-of-the-hill", "hers.key");
    buyer.password = password;

    let identity = identity(&shop);
    let said = buyer.run(None);
    assert!(!said.success && said.err.contains(&identity), "{said:?}");
    let other = "ab".repeat(32);
    assert!(!buyer.run(Some(&other)).success, "another seller's");
    assert!(!buyer.order().exists(), "nothing was to be paid");

    buyer.killed_behind_the_payment(&identity);
    let said = buyer.run(Some(&identity));
    assert!(said.success, "{}", said.err);
    let first = beats(&said);
    let again = buyer.run(Some(&identity));
    let then = beats(&again);
    for read in [&first, &then] {
        assert!(read.len() == 3 && unbroken(read), "{said:?} {again:?}");
    }

    let payments = shop.payments();
    let [payment] = &payments[..] else {
        panic!("paid once, not {payments:?}")
    };
    let payer = Key::load(&buyer.wallet).unwrap().address();
    assert_eq!(payment["payer"], payer.to_string());
    assert_eq!(payment["state"], "applied");
    assert_eq!(payment["spent"], 900 * SECOND);

    let order = buyer.order();
    let login = PathBuf::from(format!("{}.login", path(&order)));
    assert_eq!((mode(&order), mode(&login)), (0o600, 0o600));
    let login: serde_json::Value = serde_json::from_slice(&fs::read(login).unwrap()).unwrap();
    let made = login["password"].as_str().unwrap();
    assert_eq!(made, password.unwrap_or(made));
    let log = shop.log() + &shop.say(&["log", "tail", "--json"]);
    for secret in [made, buyer.username] {
        assert!(!log.contains(secret), "{secret} stands in the log");
    }
}

#[test]
fn the_example_in_javascript_buys_and_reads_and_a_crash_does_not_make_it_pay_twice() {
    buys_and_reads(Language::JavaScript, Some("correct horse battery staple"));
}

#[test]
fn the_example_in_python_buys_and_reads_and_a_crash_does_not_make_it_pay_twice() {
    buys_and_reads(Language::Python, None);
}

#[test]
fn a_name_that_one_example_bought_is_refused_to_the_other_in_words() {
    let shop = secure_shop();
    let plug = shop.open_for_business();
    let _heart = Heart::start(shop.port(), "5", Some(("plug", &plug)), "sensor/live");
    let identity = identity(&shop);
    let first = Buyer::new(&shop, Language::Python, "ana", "hers.key");
    let said = first.run(Some(&identity));
    assert!(said.success, "{}", said.err);
    for (language, wallet) in [
        (Language::JavaScript, "his.key"),
        (Language::Python, "theirs.key"),
    ] {
        let other = Buyer::new(&shop, language, "ana", wallet);
        let said = other.run(Some(&identity));
        assert!(!said.success && said.out.is_empty(), "{said:?}");
        assert!(said.err.contains("refused; the money is kept"), "{said:?}");
        assert!(said.err.contains("username-taken: "), "{said:?}");
    }
    assert_eq!(shop.payments().len(), 3);
}
