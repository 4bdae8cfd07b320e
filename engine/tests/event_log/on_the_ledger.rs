//! Tree heads on a development ledger, and a picture of somebody's life.

use crate::market::{Market, now, pay, submit};
use std::time::Duration;
use tanglegate::audit::{
    Archive, Finding, KeptAnchor, Span, Verifier, VerifyError, Whole, look_up, timeline,
};
use tanglegate::ledger::{Anchor, Backoff, Node, NodeLimits};
use tanglegate::wallet::{Key, Wallet, WalletSettings};
use tanglegate::writer::Started;
use tanglegate_core::{Command, Digest, Position, SubscriberId, Username, VerifierKey};
use tanglegate_crypto::{HeadKey, Origin};
use tanglegate_devnet::{Devnet, Settings};

const ORIGIN: &str = "log.example.org";

struct Ledger {
    devnet: Devnet,
    node: Node,
    wallet: Wallet,
}

impl Ledger {
    async fn new() -> Self {
        let settings = Settings {
            checkpoint_interval: Duration::from_millis(5),
            ..Settings::default()
        };
        let devnet = Devnet::start(settings).await.expect("starts");
        let key = Key::from_seed(&[3; 32]);
        let payer = iota_sdk_types::Address::new(key.address().0);
        devnet.faucet(payer, 1_000_000_000).await.expect("given");
        let node = Node::new(&devnet.url(), NodeLimits::default()).expect("an address");
        let settings = WalletSettings {
            deadline: Duration::from_secs(10),
            poll: Duration::from_millis(5),
            backoff: Backoff {
                first: Duration::from_millis(5),
                longest: Duration::from_millis(50),
            },
        };
        let wallet = Wallet::new(key, node.clone(), settings);
        Self {
            devnet,
            node,
            wallet,
        }
    }

    async fn anchor(&self, anchor: Anchor) -> Digest {
        let receipt = self.wallet.note(&anchor.encode(), |_| ()).await;
        Digest::parse(&receipt.expect("final").digest).expect("a digest")
    }
}

/// Events 1 and 2 are the market's, 3 to 5 a payment, 6 the log's key.
async fn keyed(market: &Market) -> Started {
    let writer = market.open().await;
    pay(&writer, 1, 500_000_000).await.expect("recorded");
    let origin = Origin::parse(ORIGIN).expect("valid");
    let key = HeadKey::from_seed(origin, &[1; 32]).verifier().to_string();
    let adopt = Command::AdoptHeadKey(VerifierKey(key.into()));
    submit(&writer, None, adopt).await.expect("recorded");
    writer
}

async fn open(market: &Market) -> Archive {
    let opened = Archive::at(market.database.connect_options()).await;
    opened.expect("readable")
}

async fn anchors(market: &Market) -> Vec<KeptAnchor> {
    let mut archive = open(market).await;
    let anchors = archive.anchors().await.expect("readable");
    archive.close().await;
    anchors
}

async fn verify(market: &Market, says: (u64, [u8; 32], Digest)) -> Result<Whole, Finding> {
    let mut archive = open(market).await;
    let verifier = Verifier::new(None, Vec::new()).anchored(says);
    let found = archive.verify(verifier, |_, _| ()).await;
    archive.close().await;
    found.map_err(|it| match it {
        VerifyError::Finding(finding) => finding,
        error => panic!("{error}"),
    })
}

#[tokio::test]
async fn an_anchored_head_is_found_on_the_ledger_and_fits_the_log() {
    let (market, ledger) = (Market::new().await, Ledger::new().await);
    let writer = keyed(&market).await;
    let head = *writer.head.borrow();
    let before = ledger.wallet.balance().await.expect("known");
    let transaction = ledger
        .anchor(Anchor::of(ORIGIN, head.size, head.root))
        .await;
    let after = ledger.wallet.balance().await.expect("known");
    assert!(after < before, "gas is paid");
    let record = Command::RecordAnchor {
        size: head.size,
        root: head.root,
        transaction,
    };
    submit(&writer, None, record).await.expect("recorded");
    writer.stop().await;
    let kept = anchors(&market).await;
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].says(), (head.size, head.root, transaction));
    let found = kept[0].confirm(&ledger.node).await.expect("it is there");
    assert_eq!(found.sender, ledger.wallet.address());
    let whole = verify(&market, kept[0].says()).await.expect("whole");
    assert_eq!(whole.anchors, 1);
    ledger.devnet.shutdown().await;
}

#[tokio::test]
async fn an_anchor_that_the_ledger_does_not_bear_out_is_named() {
    let (market, ledger) = (Market::new().await, Ledger::new().await);
    let writer = keyed(&market).await;
    let head = *writer.head.borrow();
    let foreign = ledger
        .anchor(Anchor::of("another.log", head.size, head.root))
        .await;
    let other = ledger.anchor(Anchor::of(ORIGIN, head.size, [1; 32])).await;
    let invented = Digest([5; 32]);
    for transaction in [foreign, other, invented] {
        let record = Command::RecordAnchor {
            size: head.size,
            root: head.root,
            transaction,
        };
        submit(&writer, None, record).await.expect("recorded");
    }
    writer.stop().await;
    let kept = anchors(&market).await;
    for (number, anchor) in kept.iter().enumerate() {
        let fault = anchor.confirm(&ledger.node).await.expect_err("not so");
        let VerifyError::Finding(finding) = fault else {
            panic!("{fault}");
        };
        let named = match number {
            0 | 1 => {
                matches!(&finding, Finding::AnchorDiffers { position, .. } if *position == anchor.position)
            }
            _ => matches!(&finding, Finding::AnchorMissing(it, _) if *it == invented),
        };
        assert!(named, "{number}: {finding}");
    }
    // What an auditor knows from the ledger alone holds the log as well.
    let known = look_up(&ledger.node, other).await.expect("there").anchor;
    let found = verify(&market, (known.size, known.root, other)).await;
    assert!(
        matches!(found, Err(Finding::AnchorRoot { size: 6, .. })),
        "{found:?}"
    );
    let beyond = verify(&market, (99, head.root, other)).await;
    assert!(
        matches!(
            beyond,
            Err(Finding::AnchorTruncated {
                size: 99,
                events: 9,
                ..
            })
        ),
        "{beyond:?}"
    );
    ledger.devnet.shutdown().await;
}

#[tokio::test]
async fn a_timeline_is_drawn_from_the_log() {
    let market = Market::new().await;
    let writer = market.open().await;
    pay(&writer, 1, 500_000_000).await.expect("recorded");
    // Below the least purchase: it buys no time yet, and is his all the same.
    pay(&writer, 2, 1).await.expect("recorded");
    let ana = Username::parse("ana").expect("valid");
    submit(&writer, None, Command::Suspend(ana))
        .await
        .expect("recorded");
    writer.stop().await;
    let mut archive = open(&market).await;
    let span = |subject| Span {
        subject,
        called: "ana & <co>".to_owned(),
        from: None,
        to: None,
    };
    let drawn = timeline(&mut archive, &span(SubscriberId([1; 16])), now()).await;
    let drawn = drawn.expect("readable").expect("known");
    let page = drawn.page();
    assert!(page.contains("Timeline of ana &amp; &lt;co&gt;") && page.contains("2 payments"));
    for words in [
        "sensor/live",
        "suspended from",
        "0.5 IOTA",
        "0.000000001 IOTA",
    ] {
        assert!(page.contains(words), "{words}");
    }
    let last = archive.last().await.expect("readable");
    assert!(
        page.contains(&format!("<tr id=\"e{}\">", last.0)),
        "the suspension"
    );
    assert!(
        last > Position(0) && !page.contains("<tr id=\"e1\">"),
        "the offer is not his"
    );
    let nobody = timeline(&mut archive, &span(SubscriberId([9; 16])), now()).await;
    assert!(nobody.expect("readable").is_none());
    archive.close().await;
}
