//! A buyer proves that the seller's log holds his payment, with nothing of the seller's but what
//! everybody may read.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tanglegate::wallet::Key;

use crate::shop::{SECOND, Said, Shop, finish, path};

/// Buys ten minutes of `plug-hour`; the file with login and receipt.
fn bought(shop: &Shop, name: &str) -> PathBuf {
    let wallet = shop.folder.path().join(format!("{name}.key"));
    shop.say(&["wallet", "new", path(&wallet)]);
    shop.fund(Key::load(&wallet).unwrap().address());
    let broker = format!("127.0.0.1:{}", shop.port());
    let (node, amount) = (shop.devnet.url(), format!("{}NANOS", 600 * SECOND));
    let said = shop.say(&[
        "buy",
        "plug-hour",
        "--json",
        "--broker",
        &broker,
        "--node",
        &node,
        "--wallet",
        path(&wallet),
        "--amount",
        &amount,
    ]);
    let bought: Value = serde_json::from_str(&said).unwrap();
    PathBuf::from(bought["login_file"].as_str().unwrap())
}

fn receipt(shop: &Shop, what: &str, file: &Path, more: &[&str]) -> Said {
    shop.run(&[&["receipt", what, path(file)], more].concat())
}

/// What the example for Python says: it shares nothing with the engine.
fn python(file: &Path, proof: &Path, key: &str) -> Said {
    // Debian's own, for which `./test` installs the package that checks signatures.
    let debian = Path::new("/usr/bin/python3");
    let program = if debian.exists() {
        debian
    } else {
        Path::new("python3")
    };
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../docs/examples/verify_receipt.py"
    );
    let mut command = Command::new(program);
    // It leaves nothing beside itself.
    command.args(["-B", script, path(file), path(proof), "--key", key]);
    finish(&mut command, "")
}

/// Changes a text in a file, which has to be there.
fn change(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    fs::write(file, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn a_buyer_proves_that_the_log_holds_his_payment_and_nobody_can_change_a_word() {
    let mut shop = Shop::bare();
    shop.open_for_business();
    let file = bought(&shop, "zoe");
    // The first head may be some seconds away: the command waits for it.
    let proved = receipt(&shop, "prove", &file, &["--json"]);
    assert_eq!(proved.code, Some(0), "{proved:?}");
    let proved: Value = serde_json::from_str(&proved.out).unwrap();
    let key = shop.say(&["audit", "key"]);
    let key = key.trim();
    assert_eq!(proved["key"], key, "the gate shows the key of the log");
    assert_eq!(proved["amount"], 600 * SECOND);
    let position = proved["proved"]["position"].as_u64().unwrap();
    let login: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let digest = login["digest"].as_str().unwrap();
    let life = shop.run(&["audit", "payment", digest, "--json"]);
    assert!(
        life.success && life.out.contains(&position.to_string()),
        "{}",
        life.out
    );

    // Offline from here on, and with a key from elsewhere.
    shop.stop();
    let kept = PathBuf::from(format!("{}.proof", path(&file)));
    for more in [&[][..], &["--key", key]] {
        let held = receipt(&shop, "check", &file, more);
        assert_eq!(held.code, Some(0), "{held:?}");
        assert!(
            held.out.contains(&format!("event {position} of ")),
            "{}",
            held.out
        );
    }
    let foreign = python(&file, &kept, key);
    assert_eq!(foreign.code, Some(0), "{foreign:?}");
    assert!(
        foreign.out.contains(&format!("are event {position} of ")),
        "{}",
        foreign.out
    );
    let text = fs::read_to_string(&kept).unwrap();
    for secret in ["username", "password", "receipt"] {
        let secret = login[secret].as_str().unwrap();
        assert!(
            !text.contains(secret),
            "whoever is shown the proof learns nothing else"
        );
    }
    let proof: Value = serde_json::from_str(&text).unwrap();
    let answer = proof["answer"].as_str().unwrap();
    let middle = answer.len() / 2;
    let flipped = if answer.as_bytes()[middle] == b'0' {
        "1"
    } else {
        "0"
    };
    let forged = format!("{}{flipped}{}", &answer[..middle], &answer[middle + 1..]);
    change(&kept, answer, &forged);
    let refused = receipt(&shop, "check", &file, &[]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.out.contains("NOT PROVED"), "{}", refused.out);
    assert_ne!(python(&file, &kept, key).code, Some(0));

    // A receipt that was changed is not the seller's; another one is not what was proved.
    fs::write(&kept, &text).unwrap();
    shop.start();
    let other = bought(&shop, "eve");
    let proof = ["--proof", path(&kept)];
    let refused = receipt(&shop, "check", &other, &proof);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert_eq!(python(&other, &kept, key).code, Some(1));
    let broker = format!("127.0.0.1:{}", shop.port());
    let again = receipt(&shop, "prove", &file, &["--broker", &broker, "--key", key]);
    assert_eq!(again.code, Some(0), "after a restart: {again:?}");
    let signed = login["receipt"].as_str().unwrap();
    change(&file, &signed[..16], "0000000000000000");
    let refused = receipt(&shop, "check", &file, &[]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.err.contains("does not hold"), "{}", refused.err);
}
