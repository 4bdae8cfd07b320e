//! The node under the engine changes its chain: nothing of the foreign one is recorded.

use serde_json::Value;

use crate::client::{Heart, Reader, unbroken};
use crate::process::eventually;
use crate::raw::{Raw, V5};
use crate::shop::Shop;

fn stopped(shop: &Shop) -> Value {
    eventually("the ledger is no longer followed", || {
        let ledger = shop.status()["ledger"].clone();
        (ledger["state"] == "stopped").then_some(ledger)
    })
}

#[test]
fn a_foreign_chain_is_named_and_nothing_of_it_is_recorded() {
    let (mut shop, ana, plug) = Shop::open();
    shop.buy("ana", 3_600);
    let until = shop.lease_end("ana");
    let ours = shop.devnet.chain_identifier();
    let port = shop.port();
    let mut heart = Heart::start(port, "5", Some(("plug", &plug)), "sensor/live");
    let reader = Reader::start(port, "5", Some(("ana", &ana)), &["sensor/live"]);
    reader.goes_on("sensor/live", 5);
    let explained = |said: &str| said.contains(&ours) && said.contains("0badcafe");

    shop.devnet
        .faults(|faults| faults.chain_identifier = Some("0badcafe".to_owned()));
    let position = shop.status()["position"].clone();
    shop.buy("ana", 3_600);
    let ledger = stopped(&shop);
    assert!(
        explained(ledger["last_error"].as_str().unwrap()),
        "{ledger}"
    );
    let log = shop.log();
    let line = log
        .lines()
        .find(|it| it.contains("ERROR"))
        .expect("an error is logged");
    assert!(explained(line) && line.contains("empty database"), "{line}");
    assert_eq!(shop.status()["position"], position, "nothing was recorded");

    // The shop goes on with what it has.
    reader.goes_on("sensor/live", 20);
    assert!(heart.beats() && unbroken(&reader.beats("sensor/live")));
    shop.say(&["rule", "give", "--filter=elsewhere"]);
    let mut other = Raw::enter(port, V5, Some(("ana", &ana)));
    assert_eq!(other.subscribe("sensor/live").body.last(), Some(&0));
    drop((heart, reader, other));

    // The same at the next start.
    assert_eq!(shop.stop(), Some(0));
    shop.start();
    assert!(explained(stopped(&shop)["last_error"].as_str().unwrap()));
    Raw::enter(shop.port(), V5, Some(("ana", &ana)));
    assert_eq!((shop.payments().len(), shop.lease_end("ana")), (1, until));
    shop.stop();

    // Back on the right chain the payment arrives, once.
    shop.devnet.faults(|faults| faults.chain_identifier = None);
    shop.start();
    let payments = shop.recorded(2);
    assert_eq!(
        (payments.len(), &payments[0]["state"]),
        (2, &"applied".into())
    );
    assert_eq!(shop.lease_end("ana"), until + 3_600_000);
}
