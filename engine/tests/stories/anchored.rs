//! A tree head on the ledger, and a buyer's life as a picture, with the program itself.

use std::fs;

use tanglegate::wallet::Key;

use crate::process::eventually;
use crate::shop::Shop;

#[test]
fn whoever_doubts_the_log_finds_its_head_on_the_ledger() {
    let (shop, _, _) = Shop::open();
    shop.buy("ana", 3_600);
    let bought = shop.recorded(1)[0]["digest"].as_str().unwrap().to_owned();
    let file = shop.folder.path().join("auditor.key");
    let (key, node) = (file.to_str().unwrap(), shop.devnet.url());
    shop.say(&["wallet", "new", key]);
    shop.fund(Key::load(&file).unwrap().address());
    eventually("a head is signed", || {
        Some(shop.rows(&["audit", "heads"])).filter(|it| !it.is_empty())
    });

    let said = shop.say(&["audit", "anchor", "--key", key, "--node", &node]);
    assert!(said.contains("anchored the tree head of "), "{said}");
    let anchors = shop.rows(&["audit", "anchors"]);
    assert_eq!(anchors.len(), 1);
    let digest = anchors[0]["transaction"].as_str().unwrap();
    shop.say(&["audit", "anchor", "--transaction", digest, "--node", &node]);
    assert_eq!(
        shop.rows(&["audit", "anchors"]),
        anchors,
        "told twice, noted once"
    );
    assert_eq!(shop.payments().len(), 1, "an anchor is no payment");

    let whole = shop.say(&["audit", "verify", "--node", &node, "--anchor", digest]);
    assert!(
        whole.contains("2 anchored tree heads fit, as they"),
        "{whole}"
    );
    let copy = shop.folder.path().join("log.jsonl");
    let copy = copy.to_str().unwrap();
    shop.say(&["audit", "export", copy]);
    let whole = shop.say(&["audit", "verify", copy, "--node", &node]);
    assert!(
        whole.contains("1 anchored tree head fits, as they"),
        "{whole}"
    );
    let doubt = shop.run(&["audit", "verify", "--node", &node, "--anchor", &bought]);
    assert_eq!(doubt.code, Some(1), "{doubt:?}");
    assert!(doubt.out.contains("should carry a tree head"), "{doubt:?}");
    let purchase = ["audit", "anchor", "--transaction", &bought, "--node", &node];
    assert_eq!(shop.run(&purchase).code, Some(2), "a purchase is no anchor");

    let page = shop.folder.path().join("ana.html");
    let drawn = [
        "audit",
        "timeline",
        "--user=ana",
        "--html",
        page.to_str().unwrap(),
    ];
    shop.say(&drawn);
    let page = fs::read_to_string(page).unwrap();
    assert!(
        page.contains(&bought) && page.contains("sensor/live"),
        "{page}"
    );
}
