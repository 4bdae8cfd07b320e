//! IOTA's official TypeScript SDK buys from the running engine: no wallet of ours is involved.

use std::process::Command;

use serde_json::{Value, json};
use tanglegate::ledger::memo;
use tanglegate_core::{OfferId, Username};

use crate::client::{Heart, Reader};
use crate::npm;
use crate::shop::{SECOND, Shop, finish};

#[test]
fn the_official_typescript_sdk_pays_and_the_engine_grants_the_time() {
    let shop = Shop::bare();
    let plug = shop.open_for_business();
    let zoe = shop.register("zoë");
    let memo = memo::encode(
        &OfferId::parse("plug-hour").unwrap(),
        &Username::parse("zoë").unwrap(),
    );
    // The script pays twice, and then more than is there: a transaction that fails.
    let (first, second) = (900 * SECOND, 1_800 * SECOND);
    let wanted = json!({
        "url": shop.devnet.url(),
        "seed": "2a".repeat(32),
        "seller": shop.seller.to_string(),
        "memo": memo.iter().map(|it| format!("{it:02x}")).collect::<String>(),
        "amounts": {"unused": first, "used": second},
    });
    let mut command = Command::new("node");
    command
        .arg("pay.mjs")
        .current_dir(npm::installed("typescript"));
    let said = finish(&mut command, &wanted.to_string());
    assert!(said.success, "the SDK failed: {}", said.err);
    let saw: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(saw["tooMuch"]["status"], "failure");

    let payments = shop.recorded(2);
    for (payment, (way, amount)) in payments
        .iter()
        .rev()
        .zip([("unused", first), ("used", second)])
    {
        assert_eq!(payment["digest"], saw[way]["digest"]);
        assert_eq!(payment["payer"], saw["address"]);
        assert_eq!(
            (&payment["state"], &payment["username"]),
            (&"applied".into(), &"zoë".into())
        );
        assert_eq!(
            (&payment["amount"], &payment["spent"]),
            (&amount.into(), &amount.into())
        );
    }
    let leases = shop.rows(&["lease", "list"]);
    let [lease] = &leases[..] else {
        panic!("one lease, not {leases:?}")
    };
    let until = lease["ends_at_ms"].as_u64().unwrap();
    let granted = shop.say(&["log", "tail", "--json"]);
    let granted = granted
        .lines()
        .map(|it| serde_json::from_str::<Value>(it).unwrap());
    let granted = granted
        .filter(|it| it["kind"] == "lease_granted")
        .collect::<Vec<_>>();
    let [granted] = &granted[..] else {
        panic!("granted once, then extended: {granted:?}")
    };
    let from = granted["recorded_at"].as_u64().unwrap();
    assert_eq!(
        until - from,
        2_700_000,
        "three quarters of an hour, to the millisecond"
    );

    let port = shop.port();
    let _heart = Heart::start(port, "5", Some(("plug", &plug)), "sensor/live");
    let reader = Reader::start(port, "5", Some(("zoë", &zoe)), &["sensor/live"]);
    reader.goes_on("sensor/live", 10);
    assert_eq!(
        shop.payments().len(),
        2,
        "the failed transaction paid nothing"
    );
}
