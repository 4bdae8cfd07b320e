//! Two hundred payments while the engine is killed at random moments, with its database or
//! without: each counts once.

use std::collections::{BTreeMap, HashSet};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;
use sqlx::{Connection, PgConnection};
use tanglegate::event_log::EventLog;
use tanglegate::ledger::memo;
use tanglegate::postgres::{PrivatePostgres, Settings};
use tanglegate::projections::{self, Columns};
use tanglegate::wallet::Wallet;
use tanglegate_core::{Address, Event, Nanos, OfferId, Username};
use tanglegate_crypto::Frontier;

use crate::process::eventually;
use crate::shop::{SECOND, Shop};

const WALLETS: u8 = 8;
const EACH: u32 = 25;
const BUYERS: u8 = 5;

/// The longest pause of a wallet between two payments.
const PAUSE_MS: u64 = 1_000;

/// How long an engine may live at most, from its launch or from when it was ready.
const LIFE_MS: u64 = 700;

/// The least purchase: of the random amounts, some are too small to buy anything at once.
const LEAST: u64 = SECOND;

/// Random numbers that a seed determines (SplitMix64).
#[derive(Clone, Copy)]
struct Chance(u64);

impl Chance {
    /// The seed of this run; `TANGLEGATE_SEED` repeats another.
    fn new() -> Self {
        let given = std::env::var("TANGLEGATE_SEED").ok();
        let seed = match given {
            Some(seed) => seed.parse().expect("TANGLEGATE_SEED is a number"),
            None => uuid::Uuid::new_v4().as_u64_pair().0,
        };
        println!("TANGLEGATE_SEED={seed} repeats the choices of this run");
        Self(seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// One wallet's payments, for all buyers in turn; their digests and the sum.
async fn spend(wallet: Wallet, seller: Address, mut chance: Chance) -> (Vec<String>, u64) {
    let offer = OfferId::parse("plug-hour").unwrap();
    let (mut digests, mut sum) = (Vec::new(), 0);
    for _ in 0..EACH {
        tokio::time::sleep(Duration::from_millis(chance.below(PAUSE_MS))).await;
        let amount = 1 + chance.below(4 * LEAST);
        let username = Username::parse(&buyer(chance.below(BUYERS.into()))).unwrap();
        let memo = memo::encode(&offer, &username);
        let receipt = wallet
            .pay(seller, Nanos(amount), &memo, |_| {})
            .await
            .unwrap();
        digests.push(receipt.digest);
        sum += amount;
    }
    (digests, sum)
}

fn buyer(number: u64) -> String {
    format!("buyer {number}")
}

fn sum(rows: &[Value], column: &str) -> u64 {
    rows.iter().map(|it| it[column].as_u64().unwrap()).sum()
}

#[test]
fn two_hundred_payments_count_once_each_while_the_engine_is_killed_again_and_again() {
    let mut chance = Chance::new();
    let mut shop = Shop::bare();
    (0..BUYERS).for_each(|it| drop(shop.register(&buyer(it.into()))));
    let terms = [
        "--filter=sensor/live",
        "--price=0.36IOTA",
        "--least=100000NANOS",
    ];
    shop.say(&[&["offer", "publish", "plug-hour"], &terms[..]].concat());

    let spenders: Vec<_> = (0..WALLETS)
        .map(|number| {
            let chance = Chance(chance.0 ^ (u64::from(number) << 32));
            shop.spawn(spend(shop.wallet(number), shop.seller, chance))
        })
        .collect();
    let (mut kills, mut kills_of_ready) = (0, 0);
    while !spenders.iter().all(tokio::task::JoinHandle::is_finished) {
        if chance.below(3) > 0 {
            eventually("the engine is ready", || shop.is_ready().then_some(()));
        }
        sleep(Duration::from_millis(chance.below(LIFE_MS)));
        kills_of_ready += u32::from(shop.is_ready());
        kills += 1;
        match chance.below(3) {
            0 => shop.cut_power(),
            _ => shop.kill(),
        }
        shop.launch();
    }
    let mut paid = (HashSet::new(), 0);
    for spender in spenders {
        let (digests, sum) = shop.block_on(spender).unwrap();
        paid.0.extend(digests);
        paid.1 += sum;
    }
    shop.kill();
    shop.start();
    println!("{kills} kills, {kills_of_ready} of them of an engine that was ready");
    assert!(
        kills_of_ready >= 5,
        "the payments were too quick to be disturbed"
    );

    let number = usize::from(WALLETS) * usize::try_from(EACH).unwrap();
    let payments = shop.recorded(number);
    assert_eq!((payments.len(), paid.0.len()), (number, number));
    for payment in &payments {
        assert_eq!(payment["state"], "applied", "{payment}");
        assert!(
            paid.0.contains(payment["digest"].as_str().unwrap()),
            "{payment}"
        );
    }
    let accounts = shop.rows(&["subscriber", "list"]);
    assert_eq!(sum(&payments, "amount"), paid.1);
    assert_eq!(paid.1, sum(&payments, "spent") + sum(&accounts, "credit"));

    let kinds = kinds(&shop);
    assert_eq!(
        (kinds["payment_confirmed"], kinds["payment_applied"]),
        (number, number)
    );
    let with_time = payments.iter().filter(|it| it["spent"] != 0).count();
    let granted = kinds["lease_granted"] + kinds.get("lease_extended").unwrap_or(&0);
    assert_eq!(granted, with_time, "each purchase bought time once");
    assert_eq!(kinds.get("payment_unmatched"), None);

    // The time that the log granted to each is what he spent, to the millisecond.
    assert_eq!(shop.stop(), Some(0));
    let granted = shop.block_on(replays(&shop));
    assert_eq!(granted.len(), usize::from(BUYERS));
    for account in accounts {
        let his = payments
            .iter()
            .filter(|it| it["username"] == account["username"]);
        let spent: Vec<Value> = his.cloned().collect();
        let time = granted[account["subscriber"].as_str().unwrap()];
        assert_eq!(sum(&spent, "spent"), time * SECOND / 1_000, "{account}");
    }
}

/// How many events there are of each kind.
fn kinds(shop: &Shop) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for line in shop.say(&["log", "tail", "--json", "--after=0"]).lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        *kinds
            .entry(event["kind"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    kinds
}

/// The log verifies from the first event on, and its projections are what a rebuild gives.
/// Returns the milliseconds that each subscriber was granted.
async fn replays(shop: &Shop) -> BTreeMap<String, u64> {
    let settings = Settings {
        folder: shop.data().join("postgres"),
        durable: true,
    };
    let server = PrivatePostgres::start(&settings, |_| ()).await.unwrap();
    let options = server.connect_options();
    let mut log = EventLog::open(&options).await.unwrap();
    let vault = log.vault().await.unwrap();
    let (mut frontier, mut granted) = (Frontier::default(), BTreeMap::new());
    let replay = log.replay(&mut frontier, &vault, |replayed| {
        if let Event::LeaseGranted {
            subscriber,
            from,
            until,
            ..
        }
        | Event::LeaseExtended {
            subscriber,
            from,
            until,
            ..
        } = replayed.event
        {
            *granted.entry(subscriber.to_string()).or_default() += until.0 - from.0;
        }
        Ok(())
    });
    let tally = replay.await.unwrap();
    let head = log.head().await.unwrap();
    assert_eq!((tally.events, frontier.root()), (head.size, head.root));

    let mut connection = PgConnection::connect_with(&options).await.unwrap();
    let live = projections::digests(&mut connection, Columns::All)
        .await
        .unwrap();
    assert!(
        live.iter().all(|it| it.rows > 0),
        "every table has rows: {live:?}"
    );
    projections::rebuild(&mut log, &mut connection)
        .await
        .unwrap();
    assert_eq!(
        projections::digests(&mut connection, Columns::All)
            .await
            .unwrap(),
        live
    );
    log.close().await;
    server.stop().await;
    granted
}
