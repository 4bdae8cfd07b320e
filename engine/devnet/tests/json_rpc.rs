//! The node as a client sees it: over HTTP, with its faults, across restarts.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::time::Duration;

use iota_sdk_types::Address;
use serde_json::{Value, json};
use tanglegate_devnet::{
    Answer, COIN_DEPOSIT, Devnet, Error, JournalError, Misbehaviour, NodeError, SUPPLY, Settings,
};

const SOMEBODY: Address = Address::new([0x5e; 32]);

/// Settings whose checkpoints come at once.
fn quick() -> Settings {
    Settings {
        checkpoint_interval: Duration::from_millis(5),
        ..Settings::default()
    }
}

fn client() -> reqwest::Client {
    // An error means that another test installed it before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .timeout(Duration::from_secs(10))
        .build()
        .unwrap()
}

async fn post(url: &str, method: &str, params: Value) -> reqwest::Result<reqwest::Response> {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    client().post(url).body(body.to_string()).send().await
}

/// The whole response object of a call.
async fn respond(devnet: &Devnet, method: &str, params: Value) -> Value {
    let response = post(&devnet.url(), method, params).await.unwrap();
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

async fn call(devnet: &Devnet, method: &str, params: Value) -> Value {
    let mut response = respond(devnet, method, params).await;
    assert_eq!(response["error"], Value::Null, "{method}");
    response["result"].take()
}

/// Payments to an address, newest first, with all parts.
async fn received(devnet: &Devnet, to: Address, cursor: Value, limit: usize) -> Value {
    let options = json!({
        "showInput": true, "showRawInput": true, "showEffects": true, "showEvents": true,
        "showObjectChanges": true, "showBalanceChanges": true, "showRawEffects": true,
    });
    let query = json!({"filter": {"ToAddress": to.to_string()}, "options": options});
    call(
        devnet,
        "iotax_queryTransactionBlocks",
        json!([query, cursor, limit, true]),
    )
    .await
}

async fn until_final(devnet: &Devnet, digest: &str) -> Value {
    for _ in 0..1000 {
        let found = call(devnet, "iota_getTransactionBlock", json!([digest, {}])).await;
        if found["checkpoint"].is_string() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{digest} never became final");
}

fn digests(page: &Value) -> Vec<String> {
    let entries = page["data"].as_array().unwrap();
    entries
        .iter()
        .map(|entry| entry["digest"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn an_executed_transaction_has_no_checkpoint_until_one_is_made() {
    let devnet = Devnet::start(quick()).await.unwrap();
    devnet.faults(|faults| faults.hold_checkpoints = true);
    let digest = devnet.faucet(SOMEBODY, 500).await.unwrap().to_string();

    let page = received(&devnet, SOMEBODY, Value::Null, 50).await;
    let entry = &page["data"][0];
    assert_eq!(entry["digest"], digest);
    assert_eq!(entry["checkpoint"], Value::Null);
    assert_eq!(entry["effects"]["status"]["status"], "success");
    assert_eq!(
        entry["effects"]["gasUsed"]["computationCostBurned"],
        "1000000"
    );
    let changes = entry["balanceChanges"].as_array().unwrap();
    let change = json!({
        "owner": {"AddressOwner": SOMEBODY.to_string()},
        "coinType": "0x2::iota::IOTA",
        "amount": "500",
    });
    assert!(changes.contains(&change), "{changes:?}");

    devnet.faults(|faults| faults.hold_checkpoints = false);
    let sealed = until_final(&devnet, &digest).await;
    assert_eq!(sealed["checkpoint"], "1");
    let checkpoint = call(&devnet, "iota_getCheckpoint", json!(["1"])).await;
    assert_eq!(checkpoint["transactions"], json!([digest]));
    assert_eq!(checkpoint["timestampMs"], sealed["timestampMs"]);
    let latest = call(&devnet, "iota_getLatestCheckpointSequenceNumber", json!([])).await;
    assert_eq!(latest, "1");
    devnet.shutdown().await;
}

#[tokio::test]
async fn coins_balances_and_objects_tell_the_same() {
    let devnet = Devnet::start(quick()).await.unwrap();
    devnet.faucet(SOMEBODY, 500).await.unwrap();
    devnet.faucet(SOMEBODY, 700).await.unwrap();
    let me = SOMEBODY.to_string();
    let first = call(&devnet, "iotax_getCoins", json!([me, null, null, 1])).await;
    assert_eq!(first["hasNextPage"], true);
    let second = call(
        &devnet,
        "iotax_getAllCoins",
        json!([me, first["nextCursor"], 1]),
    )
    .await;
    assert_eq!(second["hasNextPage"], false);
    let (a, b) = (&first["data"][0], &second["data"][0]);
    let sum = |coin: &Value| coin["balance"].as_str().unwrap().parse::<u64>().unwrap();
    assert_eq!(sum(a) + sum(b), 1_200);
    assert_eq!(devnet.balance(SOMEBODY), 1_200);

    let padded = format!("0x{:0>64}::iota::IOTA", 2);
    let balance = call(&devnet, "iotax_getBalance", json!([me, padded])).await;
    assert_eq!(balance["totalBalance"], "1200");
    assert_eq!(balance["coinObjectCount"], 2);

    let ids = json!([a["coinObjectId"], "0x1234"]);
    let options = json!({"showOwner": true, "showContent": true, "showType": true});
    let objects = call(&devnet, "iota_multiGetObjects", json!([ids, options])).await;
    assert_eq!(objects[0]["data"]["digest"], a["digest"]);
    assert_eq!(
        objects[0]["data"]["content"]["fields"]["balance"],
        a["balance"]
    );
    assert_eq!(objects[1]["error"]["code"], "notExists");
    devnet.shutdown().await;
}

#[tokio::test]
async fn the_faucet_answers_in_both_of_its_versions() {
    let devnet = Devnet::start(quick()).await.unwrap();
    let body = json!({"FixedAmountRequest": {"recipient": SOMEBODY.to_string()}}).to_string();
    let post = |path: &str| client().post(devnet.url() + path).body(body.clone()).send();
    let read = async |response: reqwest::Response| -> Value {
        serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
    };
    let first = read(post("/gas").await.unwrap()).await;
    assert_eq!(
        first["transferredGasObjects"][0]["amount"],
        10_000_000_000u64
    );
    let second = read(post("/v1/gas").await.unwrap()).await;
    let task = second["task"].as_str().unwrap();
    let status = client()
        .get(format!("{}/v1/status/{task}", devnet.url()))
        .send()
        .await
        .unwrap();
    let status = read(status).await;
    assert_eq!(status["status"]["status"], "SUCCEEDED");
    let sent = &status["status"]["transferred_gas_objects"]["sent"];
    assert_eq!(sent[0]["amount"], 10_000_000_000u64);
    assert_eq!(devnet.balance(SOMEBODY), 20_000_000_000);
    devnet.shutdown().await;
}

#[tokio::test]
async fn wrong_calls_are_answered_with_what_is_wrong() {
    let devnet = Devnet::start(quick()).await.unwrap();
    for (method, params, code, words) in [
        ("iota_makeCoffee", json!([]), -32601, "iota_makeCoffee"),
        ("iotax_getBalance", json!([]), -32602, "owner"),
        ("iotax_getBalance", json!(["0xzz"]), -32602, "0xzz"),
        (
            "iota_getTransactionBlock",
            json!(["nonsense!"]),
            -32602,
            "nonsense!",
        ),
        ("iota_getCheckpoint", json!(["77"]), -32602, "checkpoint 77"),
        (
            "iota_dryRunTransactionBlock",
            json!(["AAAA"]),
            -32002,
            "BCS",
        ),
    ] {
        let response = respond(&devnet, method, params).await;
        assert_eq!(response["error"]["code"], code, "{method}");
        let message = response["error"]["message"].as_str().unwrap();
        assert!(message.contains(words), "{message}");
    }
    let response = client().post(devnet.url()).body("{").send().await.unwrap();
    assert!(response.text().await.unwrap().contains("-32700"));
    let response = client()
        .post(devnet.url())
        .body(vec![b' '; 300_000])
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 413);
    devnet.shutdown().await;
}

#[tokio::test]
async fn a_restart_keeps_chain_coins_transactions_and_checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        state: Some(folder.path().join("ledger")),
        ..quick()
    };
    let devnet = Devnet::start(settings.clone()).await.unwrap();
    let sealed = devnet.faucet(SOMEBODY, 500).await.unwrap().to_string();
    until_final(&devnet, &sealed).await;
    devnet.faults(|faults| faults.hold_checkpoints = true);
    devnet.faucet(SOMEBODY, 700).await.unwrap();
    let chain = devnet.chain_identifier();
    let before = received(&devnet, SOMEBODY, Value::Null, 50).await;

    let second = Devnet::start(settings.clone()).await;
    let in_use = matches!(
        second,
        Err(Error::Node(NodeError::Journal(JournalError::InUse(_))))
    );
    assert!(in_use, "two processes must not share a ledger");

    devnet.shutdown().await;
    let slow = Settings {
        checkpoint_interval: Duration::from_secs(3600),
        ..settings
    };
    let devnet = Devnet::start(slow).await.unwrap();
    devnet.faults(|faults| faults.hold_checkpoints = true);
    assert_eq!(devnet.chain_identifier(), chain);
    let after = received(&devnet, SOMEBODY, Value::Null, 50).await;
    // The clock's first tick may have sealed the second payment already; nothing else differs.
    assert_eq!(after["data"][1], before["data"][1]);
    assert_eq!(digests(&after), digests(&before));
    assert_eq!(after["data"][0]["effects"], before["data"][0]["effects"]);
    assert_eq!(devnet.balance(SOMEBODY), 1_200);
    let totals = devnet.totals();
    assert_eq!(
        totals.coins + totals.storage_fund + totals.burnt + totals.tips,
        SUPPLY
    );
    assert_eq!(totals.storage_fund, 3 * COIN_DEPOSIT);
    devnet.shutdown().await;
}

#[tokio::test]
async fn two_new_ledgers_are_two_chains() {
    let (one, two) = (
        Devnet::start(quick()).await.unwrap(),
        Devnet::start(quick()).await.unwrap(),
    );
    assert_ne!(one.chain_identifier(), two.chain_identifier());
    let told = call(&one, "iota_getChainIdentifier", json!([])).await;
    assert_eq!(told, one.chain_identifier());
    assert_eq!(told.as_str().unwrap().len(), 8);
    one.shutdown().await;
    two.shutdown().await;
}

#[tokio::test]
async fn pages_follow_each_other_whatever_the_local_order() {
    let devnet = Devnet::start(quick()).await.unwrap();
    for amount in 1..=20 {
        devnet.faucet(SOMEBODY, amount).await.unwrap();
    }
    let in_order = digests(&received(&devnet, SOMEBODY, Value::Null, 50).await);
    let walk = async || {
        let (mut seen, mut cursor) = (Vec::new(), Value::Null);
        loop {
            let page = received(&devnet, SOMEBODY, cursor, 7).await;
            seen.extend(digests(&page));
            if page["hasNextPage"] == false {
                return seen;
            }
            cursor = page["nextCursor"].clone();
        }
    };
    assert_eq!(walk().await, in_order);

    devnet.faults(|faults| faults.scrambled_order = true);
    let mut scrambled = walk().await;
    assert_ne!(scrambled, in_order);
    scrambled.sort();
    let mut sorted = in_order.clone();
    sorted.sort();
    assert_eq!(scrambled, sorted);

    devnet.faults(|faults| faults.page_overlap = 2);
    assert_eq!(
        walk().await.len(),
        20 + 2 * 3,
        "three later pages repeat two each"
    );
    devnet.shutdown().await;
}

#[tokio::test]
async fn faults_break_the_answer_and_pass() {
    let devnet = Devnet::start(quick()).await.unwrap();
    let method = "iota_getChainIdentifier";
    let ask = || post_once(&devnet, method);
    let set = |answer: Answer| {
        let once = Misbehaviour {
            answer,
            method: Some(method),
            after: 0,
            calls: 1,
        };
        devnet.faults(|faults| faults.misbehaviour = Some(once));
    };

    let retry_after = Some(Duration::from_secs(7));
    set(Answer::RateLimited { retry_after });
    let response = ask().await.unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "7");

    set(Answer::ServerError);
    assert_eq!(ask().await.unwrap().status(), 500);
    set(Answer::NotJson);
    assert!(ask().await.unwrap().text().await.unwrap().starts_with('<'));
    set(Answer::Truncated);
    let half = ask().await.unwrap().text().await.unwrap();
    assert!(serde_json::from_str::<Value>(&half).is_err());
    set(Answer::Lost);
    assert_eq!(ask().await.unwrap().status(), 502);

    set(Answer::Hang);
    let hanging = tokio::time::timeout(Duration::from_millis(200), ask()).await;
    assert!(hanging.is_err(), "a hanging call must not be answered");

    let healthy = call(&devnet, method, json!([])).await;
    assert_eq!(healthy, devnet.chain_identifier());
    devnet.faults(|faults| faults.chain_identifier = Some("0badc0de".to_owned()));
    assert_eq!(call(&devnet, method, json!([])).await, "0badc0de");
    devnet.shutdown().await;
}

async fn post_once(devnet: &Devnet, method: &str) -> reqwest::Result<reqwest::Response> {
    post(&devnet.url(), method, json!([])).await
}

#[tokio::test]
async fn shutdown_does_not_wait_for_hanging_calls() {
    let devnet = Devnet::start(quick()).await.unwrap();
    devnet.faults(|faults| faults.misbehaviour = Some(Misbehaviour::always(Answer::Hang)));
    let url = devnet.url();
    let hanging = tokio::spawn(async move { post(&url, "rpc.discover", json!([])).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    tokio::time::timeout(Duration::from_secs(5), devnet.shutdown())
        .await
        .unwrap();
    let _ = hanging.await.unwrap();
}
