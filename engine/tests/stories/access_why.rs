//! The operator asks why, and hears what the client heard.

use crate::raw::{Raw, V5};
use crate::shop::{Said, Shop};
use serde_json::Value;

fn why(shop: &Shop, arguments: &[&str]) -> Said {
    shop.run(&[&["access", "why"], arguments].concat())
}

fn json(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|it| panic!("{it}: {said:?}"))
}

#[test]
fn the_operator_is_told_what_the_gate_says_to_the_client() {
    let (shop, ana, _plug) = Shop::open();
    let mut client = Raw::enter(shop.port(), V5, Some(("ana", &ana)));

    let ask = |action: &str, topic: &str| {
        why(&shop, &["--user=ana", "--topic", topic, "--action", action])
    };
    for topic in ["sensor/1m", "$SYS/broker/uptime", "a/b"] {
        let said = ask("write", topic);
        let reason = said.out.trim().strip_prefix("no: ").expect("no");
        assert_eq!(said.code, Some(1));
        assert!(client.publish(topic, "x").says(reason), "{topic}: {reason}");
    }
    for filter in ["sensor/live", "sensor/+/x", "$SYS/broker/#"] {
        let said = ask("subscribe", filter);
        let reason = said.out.trim().strip_prefix("no: ").expect("no");
        assert!(client.subscribe(filter).says(reason), "{filter}: {reason}");
    }
    let said = ask("read", "sensor/live");
    assert_eq!(
        said.out,
        "no: no right to read sensor/live; offer plug-hour sells it\n"
    );

    // What is free is free for everybody, and a rule is named.
    let rules = shop.rows(&["rule", "list"]);
    let free = rules.iter().find(|it| it["filter"] == "sensor/1m").unwrap();
    let said = why(&shop, &["--anonymous", "--topic=sensor/1m", "--json"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(json(&said)["right"]["rule"], free["rule"]);
    assert!(json(&said)["right"]["until"].is_null());
    assert!(ask("subscribe", "#").out.starts_with("yes: rule "));
    assert!(ask("read", "$SYS/access/me/lease").out.starts_with("yes: "));

    shop.buy("ana", 3_600);
    let end = shop.lease_end("ana");
    let said = why(&shop, &["--user=ana", "--topic=sensor/live", "--json"]);
    let right = &json(&said)["right"];
    assert_eq!((said.code, &right["offer"]), (Some(0), &"plug-hour".into()));
    assert_eq!(right["until_ms"], end);

    shop.say(&["lease", "revoke", "--username=ana", "--filter=sensor/live"]);
    let said = ask("read", "sensor/live");
    let reason = said
        .out
        .trim()
        .strip_prefix("no: lease on sensor/live ended ");
    assert!(reason.is_some(), "{said:?}");
    assert!(client.subscribe("sensor/live").says(&said.out.trim()[4..]));

    shop.say(&["subscriber", "suspend", "ana"]);
    let said = why(&shop, &["--user=ana", "--action=connect"]);
    let (_, refused) = Raw::connect(shop.port(), V5, Some(("ana", &ana)));
    assert!(refused.says(said.out.trim().strip_prefix("no: ").unwrap()));
    assert_eq!(
        why(&shop, &["--anonymous", "--action=connect"]).code,
        Some(0)
    );
}

#[test]
fn a_question_without_an_answer_has_an_exit_code_of_its_own() {
    let mut shop = Shop::bare();
    let said = why(&shop, &["--user=nobody", "--topic=a"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("wrong") && said.out.contains("no login has this name"));
    for (arguments, remedy) in [
        (&["--topic=a"][..], "--anonymous"),
        (&["--anonymous"], "--topic"),
        (&["--anonymous", "--topic=a/#"], "subscribe"),
        (&["--anonymous", "--topic=a#", "--action=subscribe"], "#"),
        (
            &["--anonymous", "--user=ana", "--topic=a"],
            "cannot be used",
        ),
    ] {
        let said = why(&shop, arguments);
        assert_eq!(said.code, Some(2), "{arguments:?}: {said:?}");
        assert!(said.err.contains(remedy), "{arguments:?}: {}", said.err);
    }
    shop.stop();
    let said = why(&shop, &["--anonymous", "--topic=a"]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("tanglegate serve"), "{}", said.err);
}
