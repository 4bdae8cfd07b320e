//! A username is any text that one can type and see.

use crate::client::{Heart, Reader};
use crate::process::eventually;
use crate::raw::{Raw, V5, V311};
use crate::shop::{Shop, shown_password};

const NAMES: [&str; 7] = [
    "o/'hara \"zoë\" %2F?#&",
    "..",
    "--help",
    "用户 名/../x",
    "$(id) `id` \\n",
    "null",
    "abcdefghijklmnopqrstuvwxyz-0123456789-ABCDEFGHIJKLMNOPQRSTUVWXYZ",
];

#[test]
fn names_with_slashes_spaces_quotes_and_any_letters_work_in_every_command() {
    let shop = Shop::bare();
    let plug = shop.open_for_business();
    let port = shop.port();
    let _heart = Heart::start(port, "5", Some(("plug", &plug)), "sensor/live");
    for name in NAMES {
        let password = shop.register(name);
        let whose = format!("--username={name}");
        shop.say(&[
            "rule",
            "give",
            "--filter=own/#",
            "--access=readwrite",
            &whose,
        ]);
        let rules = shop.rows(&["rule", "list"]);
        let rule = rules
            .iter()
            .find(|it| it["who"] == name)
            .expect("listed by name");
        let mut client = Raw::enter(port, V5, Some((name, &password)));
        assert_eq!(client.publish("own/thing", "x").body, [0, 9], "accepted");

        shop.say(&["subscriber", "suspend", "--", name]);
        let (_, refused) = Raw::connect(port, V311, Some((name, &password)));
        assert_eq!(refused.body[1], 5, "{name}");
        shop.say(&["subscriber", "reinstate", "--", name]);
        let changed = shop.say(&["subscriber", "password", "--", name]);
        let password = shown_password(&changed);

        shop.buy(name, 3_600);
        shop.lease_end(name);
        let reader = Reader::start(port, "5", Some((name, &password)), &["sensor/live"]);
        reader.goes_on("sensor/live", 3);
        shop.say(&["lease", "revoke", "--filter=sensor/live", &whose]);
        let lease = shop
            .rows(&["lease", "list"])
            .into_iter()
            .find(|it| it["who"] == name);
        assert_eq!(lease.unwrap()["running"], false);
        shop.say(&["rule", "remove", rule["rule"].as_str().unwrap()]);
    }
    let listed = shop.rows(&["subscriber", "list"]);
    assert!(
        NAMES
            .iter()
            .all(|name| listed.iter().any(|it| it["username"] == *name))
    );
    let payments = shop.payments();
    assert!(
        payments.iter().all(|it| it["state"] == "applied"),
        "{payments:?}"
    );
    assert!(
        !shop.say(&["rule", "list"]).contains("own/#"),
        "all rules are gone"
    );
    eventually("cut sessions end", || {
        (shop.status()["gate"]["panicked_sessions"] == 0).then_some(())
    });
}

#[test]
fn names_that_nobody_could_type_are_refused_with_the_rule() {
    let shop = Shop::bare();
    let long = "x".repeat(65);
    for name in ["", " ana", "a\nb", "\u{7}", &long] {
        let said = shop.run(&["subscriber", "add", "--", name]);
        assert!(
            !said.success && said.err.contains("a username"),
            "{name:?}: {}",
            said.err
        );
    }
    assert_eq!(shop.status()["position"], 2, "nothing was recorded");
    let unknown = shop.run(&["subscriber", "suspend", "nobody"]);
    assert!(
        !unknown.success && unknown.err.contains("nobody"),
        "{}",
        unknown.err
    );
}
