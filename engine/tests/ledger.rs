//! Following a seller's payments on a real development ledger, with everything that can go
//! wrong between a node and us.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::time::Duration;

use tanglegate::ledger::{
    Backoff, FollowError, FollowSettings, FollowState, Follower, Node, NodeError, NodeLimits, memo,
};
use tanglegate::wallet::{Key, Wallet, WalletSettings};
use tanglegate_core::{Address, ChainId, Confirmation, MemoReading, Nanos, OfferId, Username};
use tanglegate_devnet::{Answer, Devnet, Misbehaviour, RawInput, Settings};
use tokio::time::timeout;

const SELLER: Address = Address([0x5e; 32]);
const OTHER: Address = Address([0x01; 32]);
const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);

fn quick() -> Settings {
    Settings {
        checkpoint_interval: Duration::from_millis(5),
        ..Settings::default()
    }
}

fn eager(devnet: &Devnet) -> FollowSettings {
    FollowSettings {
        chain: Some(ChainId(devnet.chain_identifier().into())),
        poll: Duration::from_millis(5),
        backoff: Backoff {
            first: Duration::from_millis(5),
            longest: Duration::from_millis(50),
        },
        ..FollowSettings::new(SELLER, 0)
    }
}

fn node(devnet: &Devnet) -> Node {
    let limits = NodeLimits {
        call: Duration::from_secs(2),
        ..NodeLimits::default()
    };
    Node::new(&devnet.url(), limits).unwrap()
}

fn follower(devnet: &Devnet) -> Follower {
    Follower::new(node(devnet), eager(devnet))
}

/// Pays `amount` to the seller out of the faucet.
async fn grant(devnet: &Devnet, amount: u64) {
    devnet
        .faucet(iota_sdk_types::Address::new(SELLER.0), amount)
        .await
        .unwrap();
}

/// The next payments, acknowledged.
async fn take(follower: &mut Follower) -> Vec<Confirmation> {
    let payments = timeout(LONG, follower.next())
        .await
        .expect("payments in time")
        .unwrap();
    follower.recorded();
    payments
}

/// So many payments, in as many hand-overs as it takes.
async fn take_many(follower: &mut Follower, count: usize) -> Vec<Confirmation> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(take(follower).await);
    }
    all
}

fn amounts(payments: &[Confirmation]) -> Vec<u64> {
    payments.iter().map(|payment| payment.amount.0).collect()
}

fn sorted(mut amounts: Vec<u64>) -> Vec<u64> {
    amounts.sort_unstable();
    amounts
}

async fn assert_quiet(follower: &mut Follower) {
    let more = timeout(SHORT, follower.next()).await;
    assert!(more.is_err(), "nothing new was paid, but {more:?}");
}

/// A wallet with some money, on `devnet`.
async fn wallet(devnet: &Devnet, seed: u8) -> Wallet {
    let key = Key::from_seed(&[seed; 32]);
    let address = iota_sdk_types::Address::new(key.address().0);
    devnet.faucet(address, 1_000_000_000).await.unwrap();
    Wallet::new(key, node(devnet), WalletSettings::default())
}

#[tokio::test]
async fn a_payment_with_a_memo_is_handed_over_with_all_that_it_says() {
    let devnet = Devnet::start(quick()).await.unwrap();
    let wallet = wallet(&devnet, 3).await;
    let (offer, username) = (
        OfferId::parse("plug-hour").unwrap(),
        Username::parse("alice").unwrap(),
    );
    let memo = memo::encode(&offer, &username);
    let receipt = wallet.pay(SELLER, Nanos(500), &memo, |_| {}).await.unwrap();

    let mut follower = follower(&devnet);
    let payments = take(&mut follower).await;
    let [payment] = &payments[..] else {
        panic!("one payment, not {payments:?}")
    };
    assert_eq!(payment.amount, Nanos(500));
    assert_eq!(payment.seller, SELLER);
    assert_eq!(payment.payer, wallet.address());
    assert_eq!(payment.checkpoint, receipt.checkpoint);
    let digest = iota_sdk_types::Digest::from_base58(&receipt.digest).unwrap();
    assert_eq!(payment.payment.digest.0, digest.into_bytes());
    assert_eq!(payment.payment.index, 0);
    assert_eq!(payment.memo, memo);
    assert_eq!(payment.reading, MemoReading::Purchase { offer, username });
    assert!(payment.confirmed_at.0 > 1_700_000_000_000);
    assert_quiet(&mut follower).await;
    devnet.shutdown().await;
}

#[tokio::test]
async fn payments_come_once_and_oldest_first() {
    let devnet = Devnet::start(quick()).await.unwrap();
    let mut follower = follower(&devnet);
    let mut expected = Vec::new();
    for amount in 1..=7 {
        grant(&devnet, amount).await;
        devnet.checkpoint().await.unwrap();
        expected.push(amount);
    }
    assert_eq!(amounts(&take_many(&mut follower, 7).await), expected);
    grant(&devnet, 8).await;
    assert_eq!(amounts(&take(&mut follower).await), [8]);
    assert_quiet(&mut follower).await;
    let status = follower.status().borrow().clone();
    assert_eq!(status.state, FollowState::Following);
    assert_eq!(status.recorded, 8);
    assert_eq!(status.watermark, devnet.latest_checkpoint() + 1);
    devnet.shutdown().await;
}

#[tokio::test]
async fn what_is_not_recorded_is_handed_over_again() {
    let devnet = Devnet::start(quick()).await.unwrap();
    grant(&devnet, 500).await;
    devnet.checkpoint().await.unwrap();
    let mut follower = follower(&devnet);
    let first = timeout(LONG, follower.next()).await.unwrap().unwrap();
    assert_eq!(follower.scanned_to(), Some(devnet.latest_checkpoint()));
    let again = timeout(LONG, follower.next()).await.unwrap().unwrap();
    assert_eq!(first, again);
    assert_eq!(
        follower.status().borrow().watermark,
        0,
        "nothing is recorded yet"
    );
    follower.recorded();
    assert_quiet(&mut follower).await;
    devnet.shutdown().await;
}

#[tokio::test]
async fn a_checkpoint_has_the_time_of_the_payments_in_it() {
    let devnet = Devnet::start(quick()).await.unwrap();
    grant(&devnet, 500).await;
    devnet.checkpoint().await.unwrap();
    let payment = take(&mut follower(&devnet)).await.remove(0);
    let time = node(&devnet).checkpoint_time(payment.checkpoint).await;
    assert_eq!(time.unwrap(), payment.confirmed_at);
    let unknown = node(&devnet).checkpoint_time(4_711).await;
    let why = unknown.unwrap_err().to_string();
    assert!(why.contains("4711"), "{why}");
}

#[tokio::test]
async fn executed_is_not_final() {
    let devnet = Devnet::start(quick()).await.unwrap();
    devnet.faults(|faults| faults.hold_checkpoints = true);
    let mut follower = follower(&devnet);
    grant(&devnet, 500).await;
    assert_quiet(&mut follower).await;
    devnet.faults(|faults| faults.hold_checkpoints = false);
    assert_eq!(amounts(&take(&mut follower).await), [500]);
    devnet.shutdown().await;
}

#[tokio::test]
async fn the_sellers_own_transactions_and_other_peoples_money_do_not_count() {
    let devnet = Devnet::start(quick()).await.unwrap();
    let seller = wallet(&devnet, 9).await;
    let buyer = wallet(&devnet, 3).await;
    let settings = FollowSettings {
        seller: seller.address(),
        ..eager(&devnet)
    };
    let mut follower = Follower::new(node(&devnet), settings);
    assert_eq!(
        amounts(&take(&mut follower).await),
        [1_000_000_000],
        "the faucet paid him"
    );

    // He pays himself and somebody else: both change his coins, neither is a payment to him.
    seller
        .pay(seller.address(), Nanos(700), b"", |_| {})
        .await
        .unwrap();
    seller.pay(OTHER, Nanos(800), b"", |_| {}).await.unwrap();
    buyer.pay(OTHER, Nanos(900), b"", |_| {}).await.unwrap();
    assert_quiet(&mut follower).await;
    buyer
        .pay(seller.address(), Nanos(500), b"", |_| {})
        .await
        .unwrap();
    assert_eq!(amounts(&take(&mut follower).await), [500]);
    devnet.shutdown().await;
}

#[tokio::test]
async fn deposits_that_the_seller_gets_back_are_no_payment() {
    let devnet = Devnet::start(quick()).await.unwrap();
    let seller = wallet(&devnet, 9).await;
    let address = iota_sdk_types::Address::new(seller.address().0);
    for _ in 0..9 {
        devnet.faucet(address, 1_000_000_000).await.unwrap();
    }
    let settings = FollowSettings {
        seller: seller.address(),
        ..eager(&devnet)
    };
    let mut follower = Follower::new(node(&devnet), settings);
    take_many(&mut follower, 10).await;

    // He merges ten coins into two by paying himself: eight deposits come back.
    let before = devnet.balance(address);
    seller
        .pay(seller.address(), Nanos(9_500_000_000), b"", |_| {})
        .await
        .unwrap();
    assert!(devnet.balance(address) > before, "he gained by it");
    assert_quiet(&mut follower).await;
    devnet.shutdown().await;
}

#[tokio::test]
async fn a_history_of_many_pages_is_read_whole_in_any_local_order() {
    let devnet = Devnet::start(quick()).await.unwrap();
    let count = 180;
    for amount in 1..=count {
        grant(&devnet, amount).await;
    }
    devnet.checkpoint().await.unwrap();
    devnet.faults(|faults| {
        faults.scrambled_order = true;
        faults.page_overlap = 3;
    });
    let mut follower = follower(&devnet);
    let payments = take_many(&mut follower, 180).await;
    assert!(payments.is_sorted_by_key(|p| (p.checkpoint, p.payment)));
    assert_eq!(sorted(amounts(&payments)), (1..=count).collect::<Vec<_>>());
    for amount in 1_001..=1_020 {
        grant(&devnet, amount).await;
    }
    let later = amounts(&take_many(&mut follower, 20).await);
    assert_eq!(sorted(later), (1_001..=1_020).collect::<Vec<_>>());
    assert_quiet(&mut follower).await;
    devnet.shutdown().await;
}

#[tokio::test]
async fn a_follower_that_starts_at_a_mark_leaves_older_payments_alone() {
    let devnet = Devnet::start(quick()).await.unwrap();
    devnet.faults(|faults| faults.hold_checkpoints = true);
    for amount in 1..=120 {
        grant(&devnet, amount).await;
        devnet.checkpoint().await.unwrap();
    }
    let settings = FollowSettings {
        from: 119,
        overlap: 0,
        ..eager(&devnet)
    };
    let mut follower = Follower::new(node(&devnet), settings);
    assert_eq!(amounts(&take(&mut follower).await), [119, 120]);
    devnet.shutdown().await;
}

#[tokio::test]
async fn faults_are_waited_out_and_nothing_is_lost() {
    let faults = [
        Answer::RateLimited { retry_after: None },
        Answer::ServerError,
        Answer::NotJson,
        Answer::Truncated,
        Answer::Lost,
    ];
    for answer in faults {
        let devnet = Devnet::start(quick()).await.unwrap();
        let mut follower = follower(&devnet);
        let mut status = follower.status();
        let name = format!("{answer:?}");
        devnet.faults(|faults| faults.misbehaviour = Some(Misbehaviour::always(answer)));
        grant(&devnet, 500).await;
        assert_quiet(&mut follower).await;
        let seen = status.borrow_and_update().clone();
        assert_eq!(seen.state, FollowState::Waiting, "{name}");
        assert!(
            seen.failures > 1 && seen.last_error.is_some(),
            "{name}: {seen:?}"
        );
        devnet.faults(|faults| faults.misbehaviour = None);
        assert_eq!(amounts(&take(&mut follower).await), [500], "{name}");
        let seen = status.borrow_and_update().clone();
        assert_eq!(
            (seen.state, seen.failures),
            (FollowState::Following, 0),
            "{name}"
        );
        devnet.shutdown().await;
    }
}

#[tokio::test]
async fn a_long_walk_goes_on_where_a_fault_interrupted_it() {
    let devnet = Devnet::start(quick()).await.unwrap();
    for amount in 1..=130 {
        grant(&devnet, amount).await;
    }
    devnet.checkpoint().await.unwrap();
    let mut follower = follower(&devnet);
    devnet.faults(|faults| {
        faults.misbehaviour = Some(Misbehaviour {
            answer: Answer::ServerError,
            method: Some("iotax_queryTransactionBlocks"),
            after: 1,
            calls: 3,
        });
    });
    let payments = timeout(LONG, follower.next()).await.unwrap().unwrap();
    // Chain, latest checkpoint, three pages, three failures, chain: no page is asked for twice.
    assert_eq!(devnet.calls(), 9);
    assert_eq!(payments.len(), 130);
    devnet.shutdown().await;
}

#[tokio::test]
async fn a_node_that_asks_for_rest_gets_it() {
    let devnet = Devnet::start(quick()).await.unwrap();
    let mut follower = follower(&devnet);
    let retry_after = Some(Duration::from_secs(1));
    devnet.faults(|faults| {
        let answer = Answer::RateLimited { retry_after };
        faults.misbehaviour = Some(Misbehaviour {
            answer,
            method: None,
            after: 0,
            calls: 1,
        });
    });
    grant(&devnet, 500).await;
    let begun = std::time::Instant::now();
    assert_eq!(amounts(&take(&mut follower).await), [500]);
    assert!(
        begun.elapsed() >= Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    devnet.shutdown().await;
}

#[tokio::test]
async fn a_node_that_hangs_is_given_up_and_asked_again() {
    let devnet = Devnet::start(quick()).await.unwrap();
    let limits = NodeLimits {
        call: Duration::from_millis(100),
        ..NodeLimits::default()
    };
    let node = Node::new(&devnet.url(), limits).unwrap();
    let mut follower = Follower::new(node, eager(&devnet));
    devnet.faults(|faults| {
        faults.misbehaviour = Some(Misbehaviour {
            answer: Answer::Hang,
            method: None,
            after: 0,
            calls: 2,
        });
    });
    grant(&devnet, 500).await;
    assert_eq!(amounts(&take(&mut follower).await), [500]);
    devnet.shutdown().await;
}

#[tokio::test]
async fn answers_beyond_the_limit_are_asked_for_in_smaller_pages() {
    let devnet = Devnet::start(quick()).await.unwrap();
    for amount in 1..=60 {
        grant(&devnet, amount).await;
    }
    devnet.checkpoint().await.unwrap();
    // Some five payments fit.
    let limits = NodeLimits {
        answer_bytes: 12_000,
        ..NodeLimits::default()
    };
    let mut follower = Follower::new(Node::new(&devnet.url(), limits).unwrap(), eager(&devnet));
    assert_eq!(take_many(&mut follower, 60).await.len(), 60);
    devnet.shutdown().await;
}

#[tokio::test]
async fn another_chain_ends_following_and_its_payments_never_count() {
    let devnet = Devnet::start(quick()).await.unwrap();
    let mut follower = follower(&devnet);
    grant(&devnet, 500).await;
    take(&mut follower).await;
    devnet.faults(|faults| faults.chain_identifier = Some("0badc0de".to_owned()));
    grant(&devnet, 700).await;
    let error = timeout(LONG, follower.next()).await.unwrap().unwrap_err();
    let FollowError::WrongChain(NodeError::WrongChain {
        expected, found, ..
    }) = &error
    else {
        panic!("{error}")
    };
    assert_eq!(
        (expected, &found[..]),
        (&devnet.chain_identifier(), "0badc0de")
    );
    assert_eq!(follower.status().borrow().state, FollowState::Stopped);

    devnet.faults(|faults| faults.chain_identifier = None);
    assert_eq!(
        timeout(LONG, follower.next()).await.unwrap(),
        Err(error),
        "it stays stopped"
    );
    devnet.shutdown().await;
}

#[tokio::test]
async fn a_new_ledger_behind_the_same_address_is_another_chain() {
    let devnet = Devnet::start(quick()).await.unwrap();
    let listen = devnet.address();
    let mut follower = follower(&devnet);
    grant(&devnet, 500).await;
    take(&mut follower).await;
    devnet.shutdown().await;
    let devnet = Devnet::start(Settings { listen, ..quick() }).await.unwrap();
    grant(&devnet, 600).await;
    grant(&devnet, 700).await;
    assert!(timeout(LONG, follower.next()).await.unwrap().is_err());
    devnet.shutdown().await;
}

#[tokio::test]
async fn a_restart_of_node_or_follower_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        state: Some(folder.path().join("ledger")),
        ..quick()
    };
    let devnet = Devnet::start(settings.clone()).await.unwrap();
    let settings = Settings {
        listen: devnet.address(),
        ..settings
    };
    let mut first = follower(&devnet);
    grant(&devnet, 1).await;
    let payments = take(&mut first).await;
    assert_eq!(amounts(&payments), [1]);
    let mark = payments[0].checkpoint + 1;

    // The node goes away and comes back.
    devnet.shutdown().await;
    assert_quiet(&mut first).await;
    assert_eq!(first.status().borrow().state, FollowState::Waiting);
    let devnet = Devnet::start(settings).await.unwrap();
    grant(&devnet, 2).await;
    assert_eq!(amounts(&take(&mut first).await), [2]);

    // A new follower from the old mark finds what came since, and looks back a little.
    let again = FollowSettings {
        from: mark,
        overlap: 0,
        ..eager(&devnet)
    };
    let mut second = Follower::new(node(&devnet), again);
    assert_eq!(amounts(&take(&mut second).await), [2]);
    let again = FollowSettings {
        from: mark,
        ..eager(&devnet)
    };
    let mut third = Follower::new(node(&devnet), again);
    assert_eq!(amounts(&take(&mut third).await), [1, 2]);
    devnet.shutdown().await;
}

#[tokio::test]
async fn a_node_that_forges_signed_bytes_is_not_believed() {
    let devnet = Devnet::start(quick()).await.unwrap();
    devnet.faults(|faults| faults.raw_input = Some(RawInput::Forged));
    let mut follower = follower(&devnet);
    grant(&devnet, 500).await;
    assert_quiet(&mut follower).await;
    let error = follower.status().borrow().last_error.clone().unwrap();
    assert!(error.contains("the node claims"), "{error}");
    devnet.faults(|faults| faults.raw_input = None);
    assert_eq!(amounts(&take(&mut follower).await), [500]);
    devnet.shutdown().await;
}

#[tokio::test]
async fn a_payment_in_a_form_that_we_cannot_decode_is_handed_over_with_its_payer() {
    let devnet = Devnet::start(quick()).await.unwrap();
    let buyer = wallet(&devnet, 3).await;
    let (offer, username) = (
        OfferId::parse("plug-hour").unwrap(),
        Username::parse("alice").unwrap(),
    );
    let memo = memo::encode(&offer, &username);
    buyer.pay(SELLER, Nanos(500), &memo, |_| {}).await.unwrap();
    devnet.faults(|faults| faults.raw_input = Some(RawInput::Unknown));
    let payments = take(&mut follower(&devnet)).await;
    assert_eq!(amounts(&payments), [500]);
    assert_eq!(payments[0].payer, buyer.address());
    assert_eq!(payments[0].reading, MemoReading::Unreadable);
    devnet.shutdown().await;
}

#[tokio::test]
async fn a_node_far_behind_what_is_recorded_is_waited_for() {
    let devnet = Devnet::start(quick()).await.unwrap();
    grant(&devnet, 500).await;
    let settings = FollowSettings {
        from: 1_000,
        ..eager(&devnet)
    };
    let mut follower = Follower::new(node(&devnet), settings);
    assert_quiet(&mut follower).await;
    let status = follower.status().borrow().clone();
    assert_eq!(
        (status.state, status.watermark),
        (FollowState::Waiting, 1_000)
    );
    assert!(status.last_error.unwrap().contains("lags behind"));
    devnet.shutdown().await;
}

#[tokio::test]
async fn dropping_the_wait_loses_nothing() {
    let devnet = Devnet::start(quick()).await.unwrap();
    for amount in 1..=120 {
        grant(&devnet, amount).await;
    }
    devnet.checkpoint().await.unwrap();
    let mut follower = follower(&devnet);
    let mut impatience = Duration::from_micros(200);
    let payments = loop {
        match timeout(impatience, follower.next()).await {
            Ok(payments) => break payments.unwrap(),
            Err(_) => impatience += Duration::from_millis(1),
        }
    };
    assert_eq!(payments.len(), 120);
    devnet.shutdown().await;
}

#[tokio::test]
async fn a_nodes_address_is_checked_and_its_key_never_shown() {
    for address in ["", "ledger", "ftp://node", "127.0.0.1:9000"] {
        let outcome = Node::new(address, NodeLimits::default());
        assert!(matches!(outcome, Err(NodeError::Address(_))), "{address}");
    }
    let secret = "http://127.0.0.1:1/v1/s3cret-key";
    let node = Node::new(secret, NodeLimits::default()).unwrap();
    let error = node.chain_identifier().await.unwrap_err();
    assert!(matches!(error, NodeError::Unreachable { .. }), "{error}");
    for shown in [
        format!("{node:?}"),
        format!("{error}"),
        format!("{error:?}"),
    ] {
        assert!(
            shown.contains("127.0.0.1:1") && !shown.contains("s3cret"),
            "{shown}"
        );
    }
}
