//! The operator's door: who may come in, and what happens once.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::shop::{Shop, finish, path};

fn socket(shop: &Shop) -> PathBuf {
    shop.data().join("run/control.sock")
}

const KNOCK: &str = "require('net').connect(process.argv[1])
    .on('connect', () => { console.log('open'); process.exit() })
    .on('error', (error) => console.log(error.code))";

#[test]
fn nobody_but_the_engines_account_can_open_the_door() {
    let shop = Shop::bare();
    let socket = socket(&shop);
    for (path, mode) in [(socket.parent().unwrap(), 0o700), (socket.as_path(), 0o600)] {
        let permissions = fs::metadata(path).unwrap().permissions();
        assert_eq!(permissions.mode() & 0o777, mode, "{}", path.display());
    }
    let knock = |uid: Option<u32>| {
        let mut command = Command::new("node");
        command.args(["-e", KNOCK, path(&socket)]).current_dir("/");
        if let Some(uid) = uid {
            command.uid(uid).gid(uid);
        }
        finish(&mut command, "").out
    };
    assert_eq!(knock(None), "open\n");
    // Only root can knock as somebody else; elsewhere the modes above have to do.
    if rustix::process::geteuid().is_root() {
        assert_eq!(knock(Some(65_534)), "EACCES\n");
    }
}

/// Says something to the engine under an idempotency key.
async fn ask(socket: PathBuf, route: &str, key: &str, body: String) -> (StatusCode, Value) {
    let http = tanglegate::http::client()
        .unix_socket(socket)
        .build()
        .unwrap();
    let request = http.post(format!("http://engine/v1/{route}"));
    let request = request
        .header("idempotency-key", key)
        .header("content-type", "application/json");
    let response = request.body(body).send().await.unwrap();
    (response.status(), response.json().await.unwrap_or_default())
}

fn offer(price: u64) -> String {
    json!({"id": "plug-hour", "filter": "sensor/live", "access": "read", "price": price,
           "period_ms": 3_600_000, "least": 0})
    .to_string()
}

#[test]
fn what_is_repeated_under_the_same_idempotency_key_happens_once() {
    let mut shop = Shop::bare();
    let key = "6f2d1c9e-0000-4000-8000-000000000001";
    let asks = (0..8)
        .map(|_| shop.spawn(ask(socket(&shop), "offers", key, offer(5))))
        .collect::<Vec<_>>();
    let answers = asks
        .into_iter()
        .map(|it| shop.block_on(it).unwrap())
        .collect::<Vec<_>>();
    assert!(
        answers
            .iter()
            .all(|(status, body)| *status == 200 && body["position"] == 3)
    );
    assert_eq!(
        answers
            .iter()
            .filter(|(_, body)| body["before"] == false)
            .count(),
        1
    );
    assert_eq!(shop.status()["position"], 3);

    // Also after a crash, and whatever it asks for now.
    shop.kill();
    shop.start();
    let (status, body) = shop.block_on(ask(socket(&shop), "offers", key, offer(6)));
    assert_eq!((status, &body["position"]), (StatusCode::OK, &3.into()));
    assert_eq!(body["before"], true);
    assert_eq!(shop.rows(&["offer", "list"])[0]["price"], 5);

    // A password that was made by the first try cannot be shown again.
    let key = "6f2d1c9e-0000-4000-8000-000000000002";
    let register = || {
        ask(
            socket(&shop),
            "subscribers",
            key,
            json!({"username": "ana"}).to_string(),
        )
    };
    let (status, first) = shop.block_on(register());
    assert!(status == 200 && first["password"].is_string(), "{first}");
    let (status, again) = shop.block_on(register());
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(
        again["error"]
            .as_str()
            .unwrap()
            .contains("subscriber password"),
        "{again}"
    );
    assert_eq!(shop.rows(&["subscriber", "list"]).len(), 1);

    let rule = json!({"filter": "sensor/1m", "access": "read"}).to_string();
    let key = "6f2d1c9e-0000-4000-8000-000000000003";
    let give = || ask(socket(&shop), "rules", key, rule.clone());
    let ((_, first), (_, again)) = (shop.block_on(give()), shop.block_on(give()));
    assert!(
        first["id"].is_string() && again["id"].is_null(),
        "the second made no rule"
    );
    assert_eq!(
        (&first["position"], shop.rows(&["rule", "list"]).len()),
        (&again["position"], 2)
    );
}

#[test]
fn requests_that_make_no_sense_are_refused_and_change_nothing() {
    let shop = Shop::bare();
    let key = "6f2d1c9e-0000-4000-8000-000000000001";
    let huge = json!({"username": "x".repeat(20_000)}).to_string();
    let free = offer(0);
    let cases = [
        ("offers", "7", offer(5), 400, "not a UUID"),
        ("offers", key, "{".to_owned(), 400, "JSON"),
        ("offers", key, "{}".to_owned(), 422, "missing field"),
        ("offers", key, free, 400, "price"),
        (
            "offers",
            key,
            offer(5).replace("sensor/live", "sensor/#/live"),
            400,
            "#",
        ),
        (
            "offers",
            key,
            offer(5).replace("sensor/live", "$SYS/x"),
            409,
            "$SYS",
        ),
        (
            "rules",
            key,
            r##"{"filter": "#", "access": "all"}"##.to_owned(),
            400,
            "read, write",
        ),
        (
            "rules",
            key,
            r#"{"filter": "a", "access": "read", "who": "x"}"#.to_owned(),
            422,
            "who",
        ),
        (
            "subscribers",
            key,
            r#"{"username": "a", "password": ""}"#.to_owned(),
            400,
            "empty",
        ),
        (
            "subscribers/password",
            key,
            r#"{"username": "nobody"}"#.to_owned(),
            409,
            "nobody",
        ),
    ];
    for (route, key, body, status, words) in cases {
        let (answered, said) = shop.block_on(ask(socket(&shop), route, key, body.clone()));
        assert_eq!(answered.as_u16(), status, "{route} {body}: {said}");
        let error = said["error"].as_str().expect("a reason");
        assert!(error.contains(words), "{route} {body}: {error}");
    }
    let (answered, _) = shop.block_on(ask(socket(&shop), "subscribers", key, huge));
    assert_eq!(answered, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(shop.status()["position"], 2);
}
