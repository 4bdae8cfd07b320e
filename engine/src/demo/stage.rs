//! Everything that the demo plays with.

use super::{LEAST, PERIOD_MS, PRICE, say};
use crate::config::{Config, LedgerConfig};
use crate::control::{
    Control, EventLine, OfferRequest, Outcome, PasswordAnswer, RuleRequest, Secret,
    SubscriberRequest,
};
use crate::ledger::{Node, NodeLimits, memo};
use crate::plug::{self, Login};
use crate::serve::Engine;
use crate::wallet::{Key, Progress, Receipt, Wallet, WalletSettings};
use anyhow::Context;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tanglegate_broker::ListenerSettings;
use tanglegate_core::{Address, Nanos, OfferId, Timestamp, Username};
use tanglegate_devnet::Devnet;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

pub(super) struct Stage {
    folder: Folder,
    devnet: Devnet,
    engine: Engine,
    control: Control,
    plug: JoinHandle<()>,
    unplug: oneshot::Sender<()>,
    seller: Address,
    wallet: Wallet,
    passwords: HashMap<&'static str, Secret>,
}

/// A folder of the demo's own, removed at the end: it never touches an engine that is in use.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn new() -> anyhow::Result<Self> {
        // The database's account must be able to pass through; what is inside is closed.
        let path = std::env::temp_dir().join(format!("tanglegate-demo-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.path));
    }
}

impl Stage {
    /// Starts the ledger, the engine and the plug, and opens the shop.
    pub(super) async fn set() -> anyhow::Result<Self> {
        let folder = Folder::new()?;
        let devnet = Devnet::start(tanglegate_devnet::Settings::default()).await?;
        say(&format!(
            "   ledger    a development ledger at {}",
            devnet.url()
        ));
        let (seller, buyer) = (Key::generate()?, Key::generate()?);
        let config = Config {
            node: "demo".to_owned(),
            data_dir: Some(folder.path.clone()),
            gate: crate::config::GateConfig {
                listeners: vec![ListenerSettings::new(([127, 0, 0, 1], 0).into())],
                ..Default::default()
            },
            ledger: Some(LedgerConfig {
                node_url: devnet.url(),
                seller: seller.address(),
                poll_ms: 100,
            }),
            ..Config::default()
        };
        let engine = Engine::start(&config, |what| say(&format!("   database  {what}"))).await?;
        say(&format!("   engine    MQTT at {}", engine.mqtt_address()));
        let control = Control::new(engine.control_socket())?;
        let passwords = open_shop(&control).await?;
        let address = iota_sdk_types::Address::new(buyer.address().0);
        devnet.faucet(address, 10 * Nanos::IOTA.0).await?;
        let node = Node::new(&devnet.url(), NodeLimits::default())?;
        let settings = WalletSettings {
            poll: Duration::from_millis(50),
            ..WalletSettings::default()
        };
        let wallet = Wallet::new(buyer, node, settings);
        let (plug, unplug) = plug_in(engine.mqtt_address(), &passwords["plug"]);
        say("   plug      publishes a household's power twice a second");
        let seller = seller.address();
        Ok(Self {
            folder,
            devnet,
            engine,
            control,
            plug,
            unplug,
            seller,
            wallet,
            passwords,
        })
    }

    pub(super) fn gate(&self) -> SocketAddr {
        self.engine.mqtt_address()
    }

    pub(super) fn password(&self, name: &str) -> anyhow::Result<Zeroizing<String>> {
        let password = self.passwords.get(name).context("a registered login")?;
        Ok(Zeroizing::new(password.expose().to_owned()))
    }

    pub(super) async fn pay(&self, amount: Nanos, tell: impl Fn(&str)) -> anyhow::Result<Receipt> {
        let memo = memo::encode(&OfferId::parse("plug-hour")?, &Username::parse("ana")?);
        let receipt = self
            .wallet
            .pay(self.seller, amount, &memo, |progress| match progress {
                Progress::Signed { digest } => tell(&format!("signed {digest}")),
                Progress::Retrying { reason } => tell(&format!("tries again: {reason}")),
                Progress::Executed => tell("executed; not final before a checkpoint holds it"),
                Progress::Final { checkpoint } => {
                    tell(&format!("final in checkpoint {checkpoint}"));
                }
            })
            .await?;
        Ok(receipt)
    }

    /// Waits until the engine has recorded the payment; where, and until when the lease runs.
    pub(super) async fn lease(&self, checkpoint: u64) -> anyhow::Result<(u64, Timestamp)> {
        for _ in 0..1_000 {
            let events = self.events().await?;
            let lease = events.iter().find(|it| it.kind.starts_with("lease_"));
            if let Some(event) = lease {
                let rows: serde_json::Value = self.control.get(&["v1", "leases"]).await?;
                let until = rows[0]["ends_at_ms"]
                    .as_u64()
                    .context("a lease has an end")?;
                return Ok((event.position, Timestamp(until)));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        anyhow::bail!("checkpoint {checkpoint} is final, and the engine did not record it")
    }

    pub(super) async fn events(&self) -> anyhow::Result<Vec<EventLine>> {
        Ok(self.control.events(Some(0), 1_000).await?)
    }

    /// How the audience can go on.
    pub(super) fn invite(&self) {
        let (gate, node) = (self.gate(), self.devnet.url());
        let (host, port) = (gate.ip(), gate.port());
        let ana = self.passwords.get("ana").map_or("", Secret::expose);
        println!("\nEverything keeps running until you press Ctrl-C. In another terminal:");
        println!("   mosquitto_sub -h {host} -p {port} -t sensor/1m");
        println!("   mosquitto_sub -h {host} -p {port} -V 5 -u ana -P {ana} -t sensor/live");
        println!(
            "   tanglegate wallet new buyer.key && tanglegate wallet faucet buyer.key --node {node}"
        );
        println!(
            "   tanglegate pay --node {node} --key buyer.key --to {} --amount 0.005IOTA \
             --offer plug-hour --username ana",
            self.seller
        );
        println!(
            "   tanglegate --data-dir {} log tail -f",
            self.folder.path.display()
        );
    }

    pub(super) async fn strike(self) {
        let _ = self.unplug.send(());
        drop(self.plug.await);
        self.engine.stop().await;
        self.devnet.shutdown().await;
    }
}

async fn open_shop(control: &Control) -> anyhow::Result<HashMap<&'static str, Secret>> {
    let mut passwords = HashMap::new();
    for name in ["plug", "ana"] {
        let request = SubscriberRequest {
            username: name.to_owned(),
            password: None,
        };
        let answer: PasswordAnswer = control.post(&["v1", "subscribers"], &request).await?;
        passwords.insert(
            name,
            answer.password.context("the engine makes a password")?,
        );
    }
    let rule = |username: Option<&str>, filter: &str, access: &str| RuleRequest {
        username: username.map(str::to_owned),
        filter: filter.to_owned(),
        access: access.to_owned(),
    };
    for request in [
        rule(Some("plug"), "sensor/+", "write"),
        rule(None, "sensor/1m", "read"),
    ] {
        control.post::<Outcome>(&["v1", "rules"], &request).await?;
    }
    let offer = OfferRequest {
        id: "plug-hour".to_owned(),
        seller: None,
        filter: "sensor/live".to_owned(),
        access: "read".to_owned(),
        price: PRICE.0,
        period_ms: PERIOD_MS,
        least: LEAST.0,
        valid_until: None,
    };
    control.post::<Outcome>(&["v1", "offers"], &offer).await?;
    say(&format!(
        "   seller    offer plug-hour: sensor/live for {PRICE} per hour"
    ));
    Ok(passwords)
}

fn plug_in(gate: SocketAddr, password: &Secret) -> (JoinHandle<()>, oneshot::Sender<()>) {
    let mut settings = plug::Settings::new(&gate.ip().to_string(), gate.port());
    // The evening, when there is something to see.
    settings.begin = Duration::from_secs(18 * 3_600);
    settings.between = plug::Between::Line;
    let password = Zeroizing::new(password.expose().to_owned());
    settings.login = Some(Login {
        username: "plug".to_owned(),
        password,
    });
    let (unplug, unplugged) = oneshot::channel::<()>();
    let plug = tokio::spawn(async move {
        let end = async {
            let _ = unplugged.await;
        };
        if let Err(error) = plug::run(settings, end).await {
            say(&format!("   plug      stopped: {error}"));
        }
    });
    (plug, unplug)
}
