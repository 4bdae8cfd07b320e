//! A shop with everything that belongs to it: a ledger, the engine as its own process, and the
//! command line.

use std::fs::{self, File};
use std::future::Future;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tanglegate::ledger::{Backoff, Node, NodeLimits};
use tanglegate::postgres::testing::TestFolder;
use tanglegate::wallet::{Key, Receipt, Wallet, WalletSettings};
use tanglegate_core::{Address, Nanos};
use tanglegate_devnet::Devnet;
use tokio::runtime::Runtime;

use crate::process::{PATIENCE, Process, eventually};

/// What the shop takes for a second of `sensor/live`, in NANOS: 0.36 IOTA per hour.
pub(crate) const SECOND: u64 = 100_000;

const PROGRAM: &str = env!("CARGO_BIN_EXE_tanglegate");

/// Dropped in this order: the engine goes before the ledger, and the folder last.
pub(crate) struct Shop {
    engine: Option<Process>,
    /// The length of its log then.
    launched_at: usize,
    pub(crate) devnet: Devnet,
    pub(crate) seller: Address,
    pub(crate) folder: TestFolder,
    /// Variables of the engine's environment.
    pub(crate) environment: Vec<(&'static str, String)>,
    runtime: Runtime,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) success: bool,
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Shop {
    /// An engine that follows a fresh ledger, with nothing to sell yet.
    pub(crate) fn bare() -> Self {
        let mut shop = Self::closed();
        shop.start();
        shop
    }

    /// The engine is not started yet.
    pub(crate) fn closed() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let settings = tanglegate_devnet::Settings {
            checkpoint_interval: Duration::from_millis(20),
            ..tanglegate_devnet::Settings::default()
        };
        let devnet = runtime.block_on(Devnet::start(settings)).unwrap();
        let seller = Key::generate().unwrap().address();
        let folder = TestFolder::create().unwrap();
        let shop = Self {
            engine: None,
            launched_at: 0,
            devnet,
            seller,
            folder,
            environment: Vec::new(),
            runtime,
        };
        let config = format!(
            "node = \"shop\"\ngate.listen = \"127.0.0.1:0\"\n[ledger]\nnode_url = \"{}\"\n\
             seller = \"{seller}\"\npoll_ms = 20\n",
            shop.devnet.url()
        );
        fs::write(shop.config(), config).unwrap();
        shop
    }

    /// A shop that sells `sensor/live` to ana, to which the plug publishes; `sensor/1m` is free.
    /// Returns the passwords of ana and the plug.
    pub(crate) fn open() -> (Self, String, String) {
        let shop = Self::bare();
        let ana = shop.register("ana");
        let plug = shop.open_for_business();
        (shop, ana, plug)
    }

    /// Publishes the offer and the rules; returns the plug's password.
    pub(crate) fn open_for_business(&self) -> String {
        let plug = self.register("plug");
        for right in [
            ["--filter=sensor/+", "--access=write", "--username=plug"].as_slice(),
            &["--filter=sensor/1m"],
        ] {
            self.say(&[&["rule", "give"], right].concat());
        }
        let offer = ["offer", "publish", "plug-hour", "--filter=sensor/live"];
        self.say(&[&offer[..], &["--price=0.36IOTA", "--period=1h"]].concat());
        plug
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("tanglegate.toml")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn log_file(&self) -> PathBuf {
        self.folder.path().join("engine.log")
    }

    /// What the engine has written since it was started for the first time.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// The program with this shop's configuration.
    pub(crate) fn program(&self) -> Command {
        let mut command = program();
        command.arg("--config").arg(self.config());
        command.arg("--data-dir").arg(self.data());
        command
    }

    /// Starts the engine without waiting until it is ready.
    pub(crate) fn launch(&mut self) {
        assert!(self.engine.is_none(), "one engine at a time");
        self.launched_at = self.log().len();
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_file());
        let mut command = self.program();
        command
            .arg("serve")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command.stderr(log.unwrap()).envs(self.environment.clone());
        self.engine = Some(Process::spawn(&mut command));
    }

    /// Starts the engine and waits until it is ready.
    pub(crate) fn start(&mut self) {
        self.launch();
        eventually("the engine is ready", || {
            let ended = self.engine.as_mut().and_then(Process::ended);
            assert!(ended.is_none(), "it ended ({ended:?}): {}", self.log());
            self.is_ready().then_some(())
        });
    }

    /// Whether the engine says that it is ready, since it was launched.
    pub(crate) fn is_ready(&self) -> bool {
        self.log()[self.launched_at..].contains(" ready ")
    }

    pub(crate) fn engine(&mut self) -> &mut Process {
        self.engine.as_mut().expect("the engine was started")
    }

    /// Asks the engine to stop; its exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        let mut engine = self.engine.take().expect("the engine was started");
        engine.signal(Signal::TERM);
        let ended = engine.wait(PATIENCE).expect("the engine stops");
        ended.code()
    }

    /// Kills the engine: it cannot say goodbye to anybody.
    pub(crate) fn kill(&mut self) {
        let mut engine = self.engine.take().expect("the engine was started");
        engine.signal(Signal::KILL);
        engine.wait(PATIENCE).expect("nobody survives that");
    }

    /// Kills the engine and its database at once.
    pub(crate) fn cut_power(&mut self) {
        let database = self.database_processes();
        self.kill();
        for process in database {
            // It may have ended with the engine already.
            let _ = kill_process(process, Signal::KILL);
        }
    }

    /// The engine has ended by itself.
    pub(crate) fn gone(&mut self) {
        let mut engine = self.engine.take().expect("the engine was started");
        assert!(engine.ended().is_some(), "it runs");
    }

    /// The processes of the engine's private PostgreSQL; none where the system has no `/proc`.
    pub(crate) fn database_processes(&self) -> Vec<Pid> {
        let Ok(data) = self.data().join("postgres/data").canonicalize() else {
            return Vec::new();
        };
        let works_there = |entry: fs::DirEntry| {
            let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
            (fs::read_link(entry.path().join("cwd")).ok()? == data).then_some(pid)
        };
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        processes.filter_map(works_there).collect()
    }

    /// The private PostgreSQL, while it runs.
    pub(crate) fn database_url(&self) -> String {
        tanglegate::postgres::running(&self.data().join("postgres")).expect("the database runs")
    }

    /// Runs a command.
    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        finish(self.program().args(arguments), "")
    }

    /// Runs a command that reads standard input.
    pub(crate) fn run_with(&self, arguments: &[&str], input: &str) -> Said {
        finish(self.program().args(arguments), input)
    }

    /// Runs a command that must succeed; what it said.
    pub(crate) fn say(&self, arguments: &[&str]) -> String {
        let said = self.run(arguments);
        assert!(said.success, "{arguments:?}: {}", said.err);
        said.out
    }

    /// Rows of a list.
    pub(crate) fn rows(&self, arguments: &[&str]) -> Vec<Value> {
        let text = self.say(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap()
    }

    pub(crate) fn payments(&self) -> Vec<Value> {
        self.rows(&["lease", "payments"])
    }

    /// Waits until so many payments are recorded; newest first.
    pub(crate) fn recorded(&self, number: usize) -> Vec<Value> {
        eventually(&format!("{number} payments are recorded"), || {
            Some(self.payments()).filter(|it| it.len() >= number)
        })
    }

    /// Waits for a lease; its exclusive end in milliseconds since 1970.
    pub(crate) fn lease_end(&self, username: &str) -> u64 {
        eventually("the lease is granted", || {
            let leases = self.rows(&["lease", "list"]);
            let lease = leases.iter().find(|it| it["who"] == username)?;
            lease["ends_at_ms"].as_u64()
        })
    }

    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.say(&["status"])).unwrap()
    }

    /// The gate's port. It changes from start to start.
    pub(crate) fn port(&self) -> u16 {
        let status = self.status();
        let address = status["mqtt"].as_str().unwrap();
        address.rsplit(':').next().unwrap().parse().unwrap()
    }

    /// Registers a login; the password that the engine made.
    pub(crate) fn register(&self, username: &str) -> String {
        shown_password(&self.say(&["subscriber", "add", "--", username]))
    }

    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.runtime.spawn(future)
    }

    /// Gives `address` money.
    pub(crate) fn fund(&self, address: Address) {
        let address = iota_sdk_types::Address::new(address.0);
        let grant = self.devnet.faucet(address, 100 * Nanos::IOTA.0);
        self.block_on(grant).unwrap();
    }

    /// A wallet with money, in this process.
    pub(crate) fn wallet(&self, seed: u8) -> Wallet {
        let key = Key::from_seed(&[seed; 32]);
        self.fund(key.address());
        let settings = WalletSettings {
            poll: Duration::from_millis(10),
            backoff: Backoff {
                first: Duration::from_millis(20),
                longest: Duration::from_millis(200),
            },
            ..WalletSettings::default()
        };
        let node = Node::new(&self.devnet.url(), NodeLimits::default()).unwrap();
        Wallet::new(key, node, settings)
    }

    /// Pays the seller with any memo.
    pub(crate) fn pay(&self, wallet: &Wallet, amount: u64, memo: &[u8]) -> Receipt {
        let payment = wallet.pay(self.seller, Nanos(amount), memo, |_| {});
        self.block_on(payment).unwrap()
    }

    /// Buys so many seconds of `sensor/live` with `tanglegate pay`, from a key file made for it.
    pub(crate) fn buy(&self, username: &str, seconds: u64) {
        let file = self.folder.path().join("buyer.key");
        if !file.exists() {
            self.say(&["wallet", "new", path(&file)]);
            self.fund(Key::load(&file).unwrap().address());
        }
        let (node, seller) = (self.devnet.url(), self.seller.to_string());
        let amount = format!("{}NANOS", seconds * SECOND);
        self.say(&[
            "pay",
            "--key",
            path(&file),
            "--node",
            &node,
            "--to",
            &seller,
            "--amount",
            &amount,
            "--offer",
            "plug-hour",
            &format!("--username={username}"),
        ]);
    }
}

impl Drop for Shop {
    /// No process of ours survives us, the database's included.
    fn drop(&mut self) {
        drop(self.engine.take());
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while !self.database_processes().is_empty() && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The password that a command shows once.
pub(crate) fn shown_password(said: &str) -> String {
    let shown = said.split("password: ").nth(1);
    let password = shown.and_then(|it| it.split(' ').next());
    password.expect("a password is shown").to_owned()
}

pub(crate) fn path(path: &Path) -> &str {
    path.to_str().expect("test folders have plain names")
}

/// The program, unaware of what this test run's environment says.
pub(crate) fn program() -> Command {
    let mut command = Command::new(PROGRAM);
    for variable in [
        "DATABASE_URL",
        "TANGLEGATE_CONFIG",
        "TANGLEGATE_DATA_DIR",
        "RUST_LOG",
    ] {
        command.env_remove(variable);
    }
    command
}

/// Runs a command to its end.
pub(crate) fn finish(command: &mut Command, input: &str) -> Said {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that reads nothing may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Said {
        success: output.status.success(),
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}
