//! IOTA's official TypeScript SDK pays with a memo on the development ledger, and the ledger
//! room reads it: two implementations of the wire formats that know nothing of each other.
//!
//! The SDK comes from npm, pinned by `typescript/package-lock.json`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod npm;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tanglegate::ledger::{FollowSettings, Follower, Node, NodeLimits, memo};
use tanglegate_core::{Address, Confirmation, MemoReading, Nanos, OfferId, Username};
use tanglegate_devnet::{COIN_DEPOSIT, Devnet, Settings};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

const SELLER: Address = Address([0x5e; 32]);

/// Runs the script with `input` and returns what it says.
async fn run(folder: PathBuf, input: Value) -> Value {
    let mut node = tokio::process::Command::new("node")
        .arg("pay.mjs")
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| {
            panic!("node cannot be run ({error}): run ./test, which installs it")
        });
    let mut stdin = node.stdin.take().unwrap();
    stdin.write_all(input.to_string().as_bytes()).await.unwrap();
    drop(stdin);
    let outcome = timeout(Duration::from_secs(60), node.wait_with_output());
    let outcome = outcome.await.expect("the script ends in time").unwrap();
    let words = String::from_utf8_lossy(&outcome.stderr);
    assert!(outcome.status.success(), "the SDK failed: {words}");
    serde_json::from_slice(&outcome.stdout).unwrap()
}

async fn payments(devnet: &Devnet, count: usize) -> Vec<Confirmation> {
    let node = Node::new(&devnet.url(), NodeLimits::default()).unwrap();
    let mut follower = Follower::new(node, FollowSettings::new(SELLER, 0));
    let mut all = Vec::new();
    while all.len() < count {
        let next = timeout(Duration::from_secs(10), follower.next());
        all.extend(next.await.expect("the payments are found").unwrap());
        follower.recorded();
    }
    all
}

#[tokio::test]
async fn the_official_typescript_sdk_pays_with_a_memo_that_we_read() {
    let folder = tokio::task::spawn_blocking(|| npm::installed("typescript"))
        .await
        .unwrap();
    let settings = Settings {
        checkpoint_interval: Duration::from_millis(100),
        ..Settings::default()
    };
    let devnet = Devnet::start(settings).await.unwrap();
    let (offer, username) = (
        OfferId::parse("plug-hour").unwrap(),
        Username::parse("zoë").unwrap(),
    );
    let memo = memo::encode(&offer, &username);
    let saw = run(
        folder,
        json!({
            "url": devnet.url(),
            "seed": "07".repeat(32),
            "seller": SELLER.to_string(),
            "memo": hex::encode(&memo),
            "amounts": {"unused": 500, "used": 700},
        }),
    )
    .await;

    // What the SDK saw of the ledger.
    assert_eq!(
        saw["granted"],
        json!([10_000_000_000u64, 10_000_000_000u64])
    );
    assert_eq!(saw["before"], 20_000_000_000u64);
    // Two coins became one, and the seller got two: one deposit more than before.
    let gas = 2 * 1_000_000 + COIN_DEPOSIT;
    assert_eq!(saw["after"], 20_000_000_000 - 500 - 700 - gas);
    assert_eq!(saw["coins"], 1);
    for (way, amount) in [("unused", "500"), ("used", "700")] {
        assert_eq!(saw[way]["status"], "success", "{way}");
        assert_eq!(saw[way]["received"], amount, "{way}");
        assert_eq!(saw[way]["sender"], saw["address"], "{way}");
        assert_eq!(saw[way]["created"], 1, "{way}");
    }
    let digests = [&saw["unused"]["digest"], &saw["used"]["digest"]];
    assert_eq!(saw["history"], json!(digests));
    assert!(saw["sealed"].as_array().unwrap().contains(digests[1]));
    assert_eq!(saw["chain"], devnet.chain_identifier());
    assert_eq!(saw["maxGas"], "50000000000");
    // Paying everything leaves nothing for gas: it fails, and stands in a checkpoint too.
    assert_eq!(saw["tooMuch"]["status"], "failure");
    assert_eq!(saw["tooMuch"]["received"], Value::Null);

    // What the ledger room reads of the SDK's payments.
    let payments = payments(&devnet, 2).await;
    let payer = Address::parse(saw["address"].as_str().unwrap()).unwrap();
    let reading = MemoReading::Purchase { offer, username };
    for (payment, digest) in payments.iter().zip(digests) {
        assert_eq!(payment.payer, payer);
        assert_eq!(payment.memo, memo);
        assert_eq!(payment.reading, reading);
        let bytes = payment.payment.digest.0;
        assert_eq!(bs58::encode(bytes).into_string(), digest.as_str().unwrap());
    }
    let amounts: Vec<_> = payments.iter().map(|payment| payment.amount).collect();
    assert_eq!(amounts, [Nanos(500), Nanos(700)]);
    devnet.shutdown().await;
}
