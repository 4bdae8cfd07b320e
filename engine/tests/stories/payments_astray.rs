//! Money that comes with a wrong word, or too little of it: recorded, explained, never lost.

use std::collections::HashMap;

use serde_json::Value;
use tanglegate::ledger::memo;
use tanglegate::wallet::Receipt;
use tanglegate_core::{Address, Nanos, OfferId, Username};

use crate::client::{Heart, Reader};
use crate::process::eventually;
use crate::shop::{SECOND, Shop};

fn purchase(offer: &str, username: &str) -> Vec<u8> {
    memo::encode(
        &OfferId::parse(offer).unwrap(),
        &Username::parse(username).unwrap(),
    )
}

#[test]
fn payments_that_cannot_be_honoured_wait_with_their_reason() {
    let (shop, _, _) = Shop::open();
    shop.register("barred");
    shop.say(&["subscriber", "suspend", "barred"]);
    let stranger = Address([0xAB; 32]);
    for (offer, seller) in [("gone", shop.seller), ("theirs", stranger)] {
        let seller = seller.to_string();
        let terms = ["--filter=sensor/live", "--price=1IOTA", "--seller", &seller];
        shop.say(&[&["offer", "publish", offer], &terms[..]].concat());
    }
    shop.say(&["offer", "withdraw", "gone"]);

    let good = purchase("plug-hour", "ana");
    let long = [b"TGLM".as_slice(), &[0; 300]].concat();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("no-memo", Vec::new()),
        ("no-memo", b"an hour of live data, please".to_vec()),
        ("unreadable-memo", b"TGLM".to_vec()),
        ("unreadable-memo", b"TGLM\x07garbage".to_vec()),
        ("unreadable-memo", [&good[..], b"?"].concat()),
        ("unreadable-memo", good[..good.len() - 1].to_vec()),
        (
            "unreadable-memo",
            b"TGLM\x00\x09plug-hour\x02\xC3\x28".to_vec(),
        ),
        ("unreadable-memo", long),
        ("unknown-offer", purchase("no-such", "ana")),
        ("offer-ended", purchase("gone", "ana")),
        ("wrong-seller", purchase("theirs", "ana")),
        ("unknown-subscriber", purchase("plug-hour", "nobody")),
        ("suspended", purchase("plug-hour", "barred")),
    ];
    let wallet = shop.wallet(1);
    let mut expected: HashMap<String, (&str, u64)> = HashMap::new();
    for (amount, (reason, memo)) in (1_001..).zip(&cases) {
        let receipt = shop.pay(&wallet, amount, memo);
        expected.insert(receipt.digest, (reason, amount));
    }
    // Somebody else's money, with a memo of ours.
    let foreign = wallet.pay(stranger, Nanos(5_000), &good, |_| {});
    let foreign: Receipt = shop.block_on(foreign).unwrap();
    // The one that is right, and the last.
    let paid = shop.pay(&wallet, 3_600 * SECOND, &good);

    let payments = shop.recorded(cases.len() + 1);
    assert_eq!(payments[0]["digest"], paid.digest);
    assert_eq!(payments[0]["state"], "applied");
    assert_eq!(payments.len(), cases.len() + 1);
    assert!(
        payments.iter().all(|it| it["digest"] != foreign.digest),
        "not the seller's"
    );
    for payment in &payments[1..] {
        let (reason, amount) = expected[payment["digest"].as_str().unwrap()];
        assert_eq!(
            (&payment["state"], &payment["reason"]),
            (&"unmatched".into(), &reason.into())
        );
        assert_eq!(payment["amount"], amount);
        assert_eq!(
            (&payment["spent"], &payment["username"]),
            (&Value::Null, &Value::Null)
        );
    }
    let words = shop.say(&["log", "tail", "-n", "100"]);
    for reason in [
        "carries no memo",
        "not of a known form",
        "does not exist",
        "is suspended",
    ] {
        assert!(words.contains(reason), "{reason} is explained: {words}");
    }
}

#[test]
fn money_below_the_least_purchase_stays_on_account_until_more_comes() {
    let shop = Shop::bare();
    let ana = shop.register("ana");
    let terms = [
        "--filter=sensor/live",
        "--price=0.36IOTA",
        "--least=300000NANOS",
    ];
    shop.say(&[&["offer", "publish", "plug-hour"], &terms[..]].concat());
    let wallet = shop.wallet(1);
    let memo = purchase("plug-hour", "ana");

    shop.pay(&wallet, 200_000, &memo);
    let first = &shop.recorded(1)[0];
    assert_eq!(
        (&first["state"], &first["spent"]),
        (&"applied".into(), &0.into())
    );
    assert_eq!(first["credit"], 200_000);
    assert_eq!(shop.rows(&["subscriber", "list"])[0]["credit"], 200_000);
    assert_eq!(
        shop.rows(&["lease", "list"]),
        [Value::Null; 0],
        "too little for any time"
    );

    let plug = shop.register("plug");
    shop.say(&[
        "rule",
        "give",
        "--filter=sensor/live",
        "--access=write",
        "--username=plug",
    ]);
    let port = shop.port();
    let _heart = Heart::start(port, "5", Some(("plug", &plug)), "sensor/live");

    shop.pay(&wallet, 359_800_050, &memo);
    let second = &shop.recorded(2)[0];
    assert_eq!(
        (&second["spent"], &second["credit"]),
        (&360_000_000.into(), &50.into())
    );
    assert_eq!(
        shop.rows(&["subscriber", "list"])[0]["credit"],
        50,
        "half a millisecond"
    );
    let lease = &shop.rows(&["lease", "list"])[0];
    assert_eq!(lease["who"], "ana");
    assert_eq!(lease["running"], true);
    let reader = Reader::start(port, "311", Some(("ana", &ana)), &["sensor/live"]);
    eventually("an hour of live data begins", || {
        (reader.beats("sensor/live").len() > 5).then_some(())
    });
}
