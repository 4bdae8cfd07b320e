//! A ledger node that answers nonsense, or nothing, and recovers: every payment arrives.

use std::time::{Duration, Instant};

use serde_json::Value;
use tanglegate::ledger::memo;
use tanglegate_core::{OfferId, Username};
use tanglegate_devnet::{Answer, Misbehaviour};

use crate::client::{Heart, Reader, unbroken};
use crate::process::eventually;
use crate::raw::{Raw, V5};
use crate::shop::{SECOND, Shop};

const QUERY: &str = "iotax_queryTransactionBlocks";

/// So many of the engine's questions for payments are answered like this.
fn trouble(shop: &Shop, answer: Answer, calls: u32) {
    let misbehaviour = Misbehaviour {
        answer,
        method: Some(QUERY),
        after: 0,
        calls,
    };
    shop.devnet
        .faults(|faults| faults.misbehaviour = Some(misbehaviour));
}

fn waiting(shop: &Shop) -> Value {
    eventually("the engine says that the node is in trouble", || {
        let ledger = shop.status()["ledger"].clone();
        (ledger["state"] == "waiting").then_some(ledger)
    })
}

#[test]
fn a_node_that_fails_for_a_while_delays_payments_and_loses_none() {
    let (shop, _, _) = Shop::open();
    let wallet = shop.wallet(1);
    let memo = memo::encode(
        &OfferId::parse("plug-hour").unwrap(),
        &Username::parse("ana").unwrap(),
    );
    let troubles = [
        (Answer::NotJson, "nonsense"),
        (Answer::Truncated, "nonsense"),
        (Answer::ServerError, "HTTP 500"),
        (Answer::RateLimited { retry_after: None }, "HTTP 429"),
    ];
    let number = troubles.len();
    for (paid, (answer, word)) in troubles.into_iter().enumerate() {
        trouble(&shop, answer, u32::MAX);
        shop.pay(&wallet, SECOND, &memo);
        let ledger = waiting(&shop);
        let said = ledger["last_error"].as_str().unwrap();
        assert!(said.contains(word) && said.contains("127.0.0.1"), "{said}");
        assert_eq!(shop.payments().len(), paid, "nothing is known yet");
        assert!(
            shop.log().contains("the ledger node failed"),
            "the log says so too"
        );
        shop.devnet.faults(|faults| faults.misbehaviour = None);
        shop.recorded(paid + 1);
        let ledger = &shop.status()["ledger"];
        assert_eq!(
            (&ledger["state"], &ledger["last_error"]),
            (&"following".into(), &Value::Null)
        );
    }
    let payments = shop.payments();
    assert_eq!(payments.len(), number);
    assert!(
        payments.iter().all(|it| it["state"] == "applied"),
        "{payments:?}"
    );
}

#[test]
fn a_node_that_does_not_answer_holds_up_nobody_but_the_payments() {
    let (shop, ana, plug) = Shop::open();
    shop.buy("ana", 3_600);
    shop.lease_end("ana");
    let port = shop.port();
    let _heart = Heart::start(port, "5", Some(("plug", &plug)), "sensor/live");
    let reader = Reader::start(port, "5", Some(("ana", &ana)), &["sensor/live"]);
    reader.goes_on("sensor/live", 5);

    trouble(&shop, Answer::Hang, 1);
    let hung = Instant::now();
    shop.buy("ana", 3_600);
    shop.say(&["rule", "give", "--filter=elsewhere"]);
    let mut other = Raw::enter(port, V5, Some(("ana", &ana)));
    assert_eq!(other.subscribe("elsewhere").body.last(), Some(&0));
    reader.goes_on("sensor/live", 50);
    assert_eq!(shop.payments().len(), 1, "the node has said nothing yet");

    // The call is given up after its limit, and the next one is answered.
    shop.recorded(2);
    assert!(
        hung.elapsed() > Duration::from_secs(10),
        "the node was really silent"
    );
    assert!(unbroken(&reader.beats("sensor/live")));
}
