//! A small market to record: one offer, one buyer, and payments.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tanglegate::event_log::{self, Entropy, EventLog, Head, Origin};
use tanglegate::postgres::testing::TestDatabase;
use tanglegate::writer::{self, News, Recording, Settings, StartError, Started, SubmitError};
use tanglegate_core::{
    Access, Acl, Address, Command, Confirmation, Digest, IdempotencyKey, MemoReading, Nanos, Offer,
    OfferId, PasswordVerifier, PaymentId, Position, SubscriberId, Tariff, Timestamp, TopicFilter,
    Username,
};
use tanglegate_crypto::Frontier;

pub(crate) const SELLER: Address = Address([9; 32]);

/// A database and what its writers told.
pub(crate) struct Market {
    pub(crate) database: TestDatabase,
    pub(crate) told: Arc<Mutex<Vec<String>>>,
    pub(crate) acl: Arc<Mutex<Acl>>,
    /// How long its writers wait for the database.
    pub(crate) patience: Duration,
}

impl Market {
    /// An empty log.
    pub(crate) async fn new() -> Self {
        let database = TestDatabase::create().await.expect("PostgreSQL runs");
        event_log::migrate(&database.connect_options())
            .await
            .expect("the schema is ours");
        Self {
            database,
            told: Arc::default(),
            acl: Arc::default(),
            patience: Duration::from_millis(500),
        }
    }

    /// An empty log whose writers give the database all the time of a busy machine.
    pub(crate) async fn patient() -> Self {
        Self {
            patience: Duration::from_secs(60),
            ..Self::new().await
        }
    }

    /// Starts a writer that may work beside others.
    pub(crate) async fn writer(&self, node: &str, exclusive: bool) -> Result<Started, StartError> {
        self.start(node, exclusive, None).await
    }

    /// Starts the only writer, for a log that is known to have had this head.
    pub(crate) async fn writer_after(
        &self,
        node: &str,
        past: Option<Head>,
    ) -> Result<Started, StartError> {
        self.start(node, true, past).await
    }

    async fn start(
        &self,
        node: &str,
        exclusive: bool,
        past: Option<Head>,
    ) -> Result<Started, StartError> {
        let settings = Settings {
            node: node.to_owned(),
            exclusive,
            past,
            stale_after: self.patience,
            heartbeat: Duration::from_millis(100),
            ..Settings::default()
        };
        let (installed, acl) = (Arc::clone(&self.acl), Arc::clone(&self.acl));
        let told = Arc::clone(&self.told);
        writer::start(
            &self.database.connect_options(),
            settings,
            Entropy::system(),
            now,
            move |table| *installed.lock().expect("not poisoned") = table,
            move |news| match news {
                News::Recorded(events) => {
                    let mut acl = acl.lock().expect("not poisoned");
                    for event in events {
                        // Two writers in one test tell the same events twice.
                        if event.position == acl.as_of().next() {
                            acl.apply(*event);
                        }
                    }
                }
                News::Stale => told.lock().expect("not poisoned").push("stale".to_owned()),
                News::Fresh => told.lock().expect("not poisoned").push("fresh".to_owned()),
            },
        )
        .await
    }

    /// A writer with the offer and the buyer in place.
    pub(crate) async fn open(&self) -> Started {
        let writer = self.writer("one", true).await.expect("the log is free");
        submit(&writer, None, Command::PublishOffer(plug_hour()))
            .await
            .expect("accepted");
        submit(&writer, None, register("ana", 1))
            .await
            .expect("accepted");
        writer
    }

    /// The whole access table as of a position, folded event by event.
    pub(crate) async fn table_at(&self, position: Position) -> Acl {
        let options = self.database.connect_options();
        let mut log = EventLog::open(&options).await.expect("opens");
        let vault = log.vault().await.expect("readable");
        let (mut acl, mut frontier) = (Acl::default(), Frontier::default());
        let each = log.replay(&mut frontier, &vault, |it| {
            if it.recorded().position <= position {
                acl.apply(it.recorded());
            }
            Ok(())
        });
        each.await.expect("whole");
        acl
    }

    pub(crate) async fn connect(&self) -> sqlx::PgConnection {
        use sqlx::Connection;
        let options = self.database.connect_options();
        sqlx::PgConnection::connect_with(&options)
            .await
            .expect("PostgreSQL runs")
    }

    pub(crate) async fn count(&self, what: &str) -> i64 {
        let mut connection = self.connect().await;
        let statement = sqlx::AssertSqlSafe(format!("select count(*) from {what}"));
        sqlx::query_scalar(statement)
            .fetch_one(&mut connection)
            .await
            .expect("it counts")
    }
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    Timestamp(u64::try_from(since.as_millis()).expect("before the year 584 million"))
}

pub(crate) async fn submit(
    writer: &Started,
    key: Option<IdempotencyKey>,
    command: Command,
) -> Result<Recording, SubmitError> {
    writer.handle.submit(Origin::Operator, key, command).await
}

pub(crate) async fn pay(
    writer: &Started,
    number: u32,
    amount: u64,
) -> Result<Recording, SubmitError> {
    let confirmation = confirmation(number, amount);
    let key = Some(IdempotencyKey::Payment(confirmation.payment));
    writer
        .handle
        .submit(Origin::Ledger, key, Command::ConfirmPayment(confirmation))
        .await
}

pub(crate) fn plug_hour() -> Offer {
    Offer {
        id: OfferId::parse("plug-hour").expect("valid"),
        seller: SELLER,
        filter: TopicFilter::parse("sensor/live").expect("valid"),
        access: Access::Read,
        tariff: Tariff::new(Nanos(500_000_000), 3_600_000, Nanos(1_000_000)).expect("valid"),
        valid_until: Timestamp::FOREVER,
    }
}

pub(crate) fn register(name: &str, id: u8) -> Command {
    Command::RegisterSubscriber {
        subscriber: SubscriberId([id; 16]),
        username: Username::parse(name).expect("valid"),
        verifier: PasswordVerifier {
            memory_kib: 8,
            passes: 1,
            lanes: 1,
            salt: [1; 16],
            tag: [2; 32],
        },
    }
}

pub(crate) fn confirmation(number: u32, amount: u64) -> Confirmation {
    let mut digest = [0; 32];
    digest[..4].copy_from_slice(&number.to_be_bytes());
    Confirmation {
        payment: PaymentId {
            digest: Digest(digest),
            index: 0,
        },
        seller: SELLER,
        payer: Address([7; 32]),
        amount: Nanos(amount),
        checkpoint: u64::from(number),
        confirmed_at: Timestamp(1_700_000_000_000),
        memo: b"TGLM: for ana".to_vec(),
        reading: MemoReading::Purchase {
            offer: OfferId::parse("plug-hour").expect("valid"),
            username: Username::parse("ana").expect("valid"),
        },
    }
}
