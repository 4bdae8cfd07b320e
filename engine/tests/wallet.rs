//! The wallet on a real development ledger: it pays once, whatever happens on the way.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::time::Duration;

use tanglegate::ledger::{Backoff, Node, NodeLimits};
use tanglegate::wallet::{Key, PaymentError, Progress, Wallet, WalletError, WalletSettings};
use tanglegate_core::{Address, Nanos};
use tanglegate_devnet::{Answer, COIN_DEPOSIT, Devnet, Misbehaviour, Settings};

const SELLER: Address = Address([0x5e; 32]);
const MONEY: u64 = 1_000_000_000;
const EXECUTE: &str = "iota_executeTransactionBlock";

fn quick() -> Settings {
    Settings {
        checkpoint_interval: Duration::from_millis(5),
        ..Settings::default()
    }
}

fn of(address: Address) -> iota_sdk_types::Address {
    iota_sdk_types::Address::new(address.0)
}

/// A wallet that hurries, with `coins` on `devnet`.
async fn wallet(devnet: &Devnet, coins: &[u64]) -> Wallet {
    let key = Key::from_seed(&[3; 32]);
    for amount in coins {
        devnet.faucet(of(key.address()), *amount).await.unwrap();
    }
    let settings = WalletSettings {
        deadline: Duration::from_secs(3),
        poll: Duration::from_millis(5),
        backoff: Backoff {
            first: Duration::from_millis(5),
            longest: Duration::from_millis(50),
        },
    };
    let limits = NodeLimits {
        call: Duration::from_millis(500),
        ..NodeLimits::default()
    };
    Wallet::new(key, Node::new(&devnet.url(), limits).unwrap(), settings)
}

fn fault(devnet: &Devnet, answer: Answer, method: &'static str, calls: u32) {
    let misbehaviour = Misbehaviour {
        answer,
        method: Some(method),
        after: 0,
        calls,
    };
    devnet.faults(|faults| faults.misbehaviour = Some(misbehaviour));
}

#[tokio::test]
async fn a_payment_becomes_final_and_tells_its_way() {
    let devnet = Devnet::start(quick()).await.unwrap();
    let wallet = wallet(&devnet, &[MONEY]).await;
    assert_eq!(wallet.balance().await.unwrap(), Nanos(MONEY));
    let mut way = Vec::new();
    let receipt = wallet
        .pay(SELLER, Nanos(500), b"TGLM", |step| way.push(step))
        .await
        .unwrap();
    assert_eq!(receipt.gas, Nanos(1_000_000 + COIN_DEPOSIT));
    assert_eq!(
        way,
        [
            Progress::Signed {
                digest: receipt.digest.clone()
            },
            Progress::Executed,
            Progress::Final {
                checkpoint: receipt.checkpoint
            },
        ]
    );
    assert_eq!(devnet.balance(of(SELLER)), 500);
    assert_eq!(
        wallet.balance().await.unwrap(),
        Nanos(MONEY - 500 - receipt.gas.0)
    );
    devnet.shutdown().await;
}

#[tokio::test]
async fn several_small_coins_pay_together() {
    let devnet = Devnet::start(quick()).await.unwrap();
    let wallet = wallet(&devnet, &[20_000_000; 60]).await;
    let amount = 59 * 20_000_000;
    wallet
        .pay(SELLER, Nanos(amount), b"", |_| {})
        .await
        .unwrap();
    assert_eq!(devnet.balance(of(SELLER)), amount);
    devnet.shutdown().await;
}

#[tokio::test]
async fn too_little_money_is_said_before_anything_is_sent() {
    let devnet = Devnet::start(quick()).await.unwrap();
    let wallet = wallet(&devnet, &[MONEY]).await;
    let error = wallet
        .pay(SELLER, Nanos(MONEY), b"", |_| {})
        .await
        .unwrap_err();
    let poor = matches!(error, WalletError::Payment(PaymentError::NotEnough { .. }));
    assert!(poor, "{error}");
    assert_eq!(wallet.balance().await.unwrap(), Nanos(MONEY));
    devnet.shutdown().await;
}

#[tokio::test]
async fn a_lost_answer_never_pays_twice() {
    for answer in [
        Answer::Lost,
        Answer::Truncated,
        Answer::Hang,
        Answer::ServerError,
    ] {
        let devnet = Devnet::start(quick()).await.unwrap();
        let wallet = wallet(&devnet, &[MONEY]).await;
        fault(&devnet, answer.clone(), EXECUTE, 2);
        wallet.pay(SELLER, Nanos(500), b"", |_| {}).await.unwrap();
        assert_eq!(devnet.balance(of(SELLER)), 500, "{answer:?}");
        devnet.shutdown().await;
    }
}

#[tokio::test]
async fn sending_a_payment_again_pays_once() {
    let devnet = Devnet::start(quick()).await.unwrap();
    let wallet = wallet(&devnet, &[MONEY]).await;
    let payment = wallet.prepare(SELLER, Nanos(500), b"").await.unwrap();
    let first = wallet.submit(&payment, |_| {}).await.unwrap();
    let second = wallet.submit(&payment, |_| {}).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(devnet.balance(of(SELLER)), 500);
    devnet.shutdown().await;
}

#[tokio::test]
async fn of_two_prepared_payments_one_is_refused() {
    let devnet = Devnet::start(quick()).await.unwrap();
    let wallet = wallet(&devnet, &[MONEY]).await;
    let one = wallet.prepare(SELLER, Nanos(500), b"").await.unwrap();
    let two = wallet.prepare(SELLER, Nanos(600), b"").await.unwrap();
    wallet.submit(&one, |_| {}).await.unwrap();
    let error = wallet.submit(&two, |_| {}).await.unwrap_err();
    assert!(matches!(error, WalletError::Refused { .. }), "{error}");
    assert_eq!(devnet.balance(of(SELLER)), 500);
    devnet.shutdown().await;
}

#[tokio::test]
async fn a_late_checkpoint_is_told_and_the_same_payment_can_be_waited_for_again() {
    let devnet = Devnet::start(quick()).await.unwrap();
    let wallet = wallet(&devnet, &[MONEY]).await;
    devnet.checkpoint().await.unwrap();
    devnet.faults(|faults| faults.hold_checkpoints = true);
    let payment = wallet.prepare(SELLER, Nanos(500), b"").await.unwrap();
    let error = wallet.submit(&payment, |_| {}).await.unwrap_err();
    assert!(matches!(error, WalletError::Unsettled { .. }), "{error}");
    assert!(error.to_string().contains("do not pay anew"), "{error}");
    devnet.faults(|faults| faults.hold_checkpoints = false);
    wallet.submit(&payment, |_| {}).await.unwrap();
    assert_eq!(devnet.balance(of(SELLER)), 500);
    devnet.shutdown().await;
}

#[tokio::test]
async fn looks_that_fail_are_repeated() {
    let devnet = Devnet::start(quick()).await.unwrap();
    let wallet = wallet(&devnet, &[MONEY]).await;
    fault(
        &devnet,
        Answer::RateLimited { retry_after: None },
        "iota_getTransactionBlock",
        3,
    );
    let mut retries = 0;
    let count = |step| retries += u32::from(matches!(step, Progress::Retrying { .. }));
    wallet.pay(SELLER, Nanos(500), b"", count).await.unwrap();
    assert_eq!(retries, 3);
    devnet.shutdown().await;
}
