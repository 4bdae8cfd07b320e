//! "I paid and got nothing": the payer says what it was for, and proves that he paid.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tanglegate::wallet::Key;

use crate::client::{Heart, Reader};
use crate::shop::{SECOND, Said, Shop, path};

fn claim(shop: &Shop, wallet: &Path, digest: &str, more: &[&str]) -> Said {
    let broker = format!("127.0.0.1:{}", shop.port());
    let words = [
        "claim",
        digest,
        "--broker",
        &broker,
        "--wallet",
        path(wallet),
    ];
    shop.run(&[&words[..], more].concat())
}

#[test]
fn who_proves_that_he_paid_gets_his_time_and_nobody_else_does() {
    let shop = Shop::bare();
    let plug = shop.open_for_business();
    let [payer, thief] = ["payer.key", "thief.key"].map(|it| shop.folder.path().join(it));
    for wallet in [&payer, &thief] {
        shop.say(&["wallet", "new", path(wallet)]);
    }
    shop.fund(Key::load(&payer).unwrap().address());
    let (seller, node) = (shop.seller.to_string(), shop.devnet.url());
    let amount = format!("{}NANOS", 600 * SECOND);
    shop.say(&[
        "pay",
        "--key",
        path(&payer),
        "--node",
        &node,
        "--to",
        &seller,
        "--amount",
        &amount,
        "--offer",
        "plug-day",
        "--username",
        "zoe",
    ]);
    let payment = &shop.recorded(1)[0];
    assert_eq!(payment["reason"], "unknown-offer", "{payment}");
    let digest = payment["digest"].as_str().unwrap();

    let wanted = ["--offer", "plug-hour", "--username", "zoe", "--json"];
    let stolen = claim(&shop, &thief, digest, &wanted);
    assert_eq!(stolen.code, Some(1), "{stolen:?}");
    assert!(stolen.err.contains("another one made it"), "{}", stolen.err);
    // No refusal is signed, so no refusal takes a password away.
    let proposed = |wallet: &str| -> Value {
        let file = shop
            .folder
            .path()
            .join(format!("{wallet}.key.purchases.zoe.json"));
        serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
    };
    assert_eq!(proposed("thief")["outcome"], "claimed");
    assert!(
        stolen.err.contains("keeps the password that was proposed"),
        "{}",
        stolen.err
    );

    let wrong = claim(
        &shop,
        &payer,
        digest,
        &["--offer", "plug-day", "--username", "zoe"],
    );
    assert!(wrong.err.contains("does not exist"), "{}", wrong.err);
    let first = proposed("payer")["password"].clone();
    let claimed = claim(&shop, &payer, digest, &wanted);
    assert!(claimed.success, "{}{}", claimed.out, claimed.err);
    let claimed: Value = serde_json::from_str(&claimed.out).unwrap();
    assert_eq!(claimed["amount"], 600 * SECOND);
    let file = claimed["login_file"].as_str().unwrap();
    let login: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let password = login["password"].as_str().unwrap();
    assert_eq!(first, password, "what was proposed is proposed again");

    // The receipt names the claim; what is proved is the payment itself, before it.
    let proved = shop.run(&["receipt", "prove", file, "--json"]);
    assert!(proved.success, "{}{}", proved.out, proved.err);
    let proved: Value = serde_json::from_str(&proved.out).unwrap();
    assert_eq!(proved["proved"]["claimed"], true, "{proved}");

    let port = shop.port();
    let _heart = Heart::start(port, "5", Some(("plug", &plug)), "sensor/live");
    let reader = Reader::start(port, "5", Some(("zoe", password)), &["sensor/live"]);
    reader.goes_on("sensor/live", 5);

    let again = claim(
        &shop,
        &payer,
        digest,
        &["--offer", "plug-hour", "--username", "zoe"],
    );
    assert!(
        again.err.contains("does not wait to be claimed"),
        "{}",
        again.err
    );
    let kept: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    assert_eq!(
        kept["password"], login["password"],
        "what works is not taken away"
    );
    let life = shop.run(&["audit", "payment", digest]);
    assert!(life.out.contains("[buyer]") && life.success, "{}", life.out);
}

#[test]
fn a_buyer_moves_his_time_to_another_name_and_password() {
    let shop = Shop::bare();
    let plug = shop.open_for_business();
    let wallet = shop.folder.path().join("zoe.key");
    shop.say(&["wallet", "new", path(&wallet)]);
    shop.fund(Key::load(&wallet).unwrap().address());
    let (broker, node) = (format!("127.0.0.1:{}", shop.port()), shop.devnet.url());
    let amount = format!("{}NANOS", 600 * SECOND);
    shop.say(&[
        "buy",
        "plug-hour",
        "--broker",
        &broker,
        "--node",
        &node,
        "--wallet",
        path(&wallet),
        "--username",
        "zoe",
        "--amount",
        &amount,
    ]);
    let change = |more: &[&str]| {
        let words = [
            "change-login",
            "--broker",
            &broker,
            "--wallet",
            path(&wallet),
        ];
        shop.run_with(&[&words[..], more].concat(), "a password of her own\n")
    };
    let file = |name: &str| -> Value {
        let name = format!("zoe.key.purchases.{name}.json");
        serde_json::from_slice(&fs::read(shop.folder.path().join(name)).unwrap()).unwrap()
    };
    let bought = file("zoe");
    let nobody = change(&["ana", "--rename", "zoë"]);
    assert!(
        nobody.err.contains("has bought no login of that name"),
        "{}",
        nobody.err
    );
    let changed = change(&["zoe", "--rename", "zoë", "--password-file", "-"]);
    assert!(changed.success, "{}{}", changed.out, changed.err);
    // All but name and password is as it was bought.
    let mut expected = bought.clone();
    expected["username"] = "zoë".into();
    expected["password"] = "a password of her own".into();
    assert!(bought["receipt"].as_str().is_some_and(|it| !it.is_empty()));
    assert_eq!(file("zo%c3%ab"), expected);
    // Each change is an event for ever and costs nothing: ten of them an hour, refused ones too.
    for _ in 2..10 {
        let again = change(&["zoë", "--password-file", "-"]);
        assert!(again.success, "{}{}", again.out, again.err);
    }
    let eleventh = change(&["zoë", "--password-file", "-"]);
    assert!(
        eleventh.err.contains("asked 10 times within an hour"),
        "{}",
        eleventh.err
    );
    let port = shop.port();
    let _heart = Heart::start(port, "5", Some(("plug", &plug)), "sensor/live");
    let login = Some(("zoë", "a password of her own"));
    Reader::start(port, "5", login, &["sensor/live"]).goes_on("sensor/live", 5);
    // Paying again for the login finds it under its new name.
    let more = shop.say(&[
        "buy",
        "plug-hour",
        "--broker",
        &broker,
        "--node",
        &node,
        "--wallet",
        path(&wallet),
        "--amount",
        &amount,
        "--json",
    ]);
    let more: Value = serde_json::from_str(&more).unwrap();
    assert_eq!(more["username"], "zoë");
}
