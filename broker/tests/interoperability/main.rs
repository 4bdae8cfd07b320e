//! Clients that others wrote and many use, unmodified, on every listener and in both versions:
//! MQTT.js and Eclipse Paho tell one story each. What they see is held against what they ought to.
//! Mosquitto's clients do the same from the command line. (rumqttc is in `tests/gate`.)

mod mosquitto;
#[path = "../../../engine/tests/npm/mod.rs"]
#[expect(clippy::unwrap_used, reason = "a test that fails may say where")]
mod npm;

use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tanglegate_broker::{Limits, ListenerSettings, Transport};
use tanglegate_core::{Access, Audience};
use tanglegate_stage::Stage;
use tanglegate_stage::authority::Authority;
use tokio::process::Command;

/// How long one story may take, on a busy machine too.
const STORY: Duration = Duration::from_secs(60);

/// What runs a story, with its argument still to come.
fn javascript(story: &str) -> Command {
    let mut command = Command::new("node");
    command
        .arg(story)
        .current_dir(npm::installed("interoperability/javascript"));
    command
}

/// Debian's own Python, for which Debian has Paho; elsewhere the one there is.
fn python() -> Command {
    let debian = Path::new("/usr/bin/python3");
    let mut command = Command::new(if debian.exists() {
        debian
    } else {
        Path::new("python3")
    });
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interoperability/python");
    command.arg("story.py").current_dir(folder);
    command
}

/// The story on every listener, in these versions.
async fn tell(story: impl Fn() -> Command, versions: &[u8], expected: impl Fn(u8) -> Value) {
    let authority = Authority::new();
    let kinds = [
        ("tcp", Transport::Tcp, false),
        ("tcp", Transport::Tcp, true),
        ("websocket", Transport::WebSocket, false),
        ("websocket", Transport::WebSocket, true),
    ];
    let listeners = kinds.map(|(_, transport, tls)| ListenerSettings {
        transport,
        tls: tls.then(|| authority.tls(None)),
        ..ListenerSettings::new(SocketAddr::from(([127, 0, 0, 1], 0)))
    });
    let mut stage = Stage::listening(Limits::default(), listeners.to_vec()).await;
    let ana = stage.register("ana");
    stage.give(Audience::Subscriber(ana), "own/#", Access::ReadWrite);
    stage.lease(ana, "sensor/live", 1_000_000);
    let addresses = stage.gate.local_addrs().to_vec();
    for ((transport, _, tls), address) in kinds.into_iter().zip(addresses) {
        for version in versions {
            let mut wanted = json!({
                "port": address.port(), "transport": transport, "version": version,
            });
            if tls {
                wanted["authority"] = json!(authority.path("authority.pem"));
            }
            let mut command = story();
            command.arg(wanted.to_string());
            let seen = run(command, &wanted).await;
            assert_eq!(seen, expected(*version), "{wanted}");
        }
    }
    assert_eq!(stage.statistics().panicked_sessions, 0);
}

async fn run(mut command: Command, wanted: &Value) -> Value {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; run ./test, which installs it"));
    let outcome = tokio::time::timeout(STORY, child.wait_with_output())
        .await
        .unwrap_or_else(|_| panic!("{wanted}: the story does not end"))
        .expect("a process");
    let words = String::from_utf8_lossy(&outcome.stderr);
    assert!(
        outcome.status.success(),
        "{wanted}: {words}; if a package is missing, run ./test, which installs it"
    );
    serde_json::from_slice(&outcome.stdout).expect("what was seen")
}

/// What everybody has to see.
fn expected(version: u8) -> Value {
    let message = |topic: &str, payload: &str, qos: u8, retain: bool| json!({"topic": topic, "payload": payload, "qos": qos, "retain": retain});
    // No right to read it: MQTT 5.0 §3.9.3, MQTT 3.1.1 §3.9.3.
    let no_right = if version == 5 { 0x87 } else { 0x80 };
    let bad_login = if version == 5 { 0x86 } else { 4 };
    let numbers = 0..20;
    let texts: Vec<String> = numbers.clone().map(|it: i32| it.to_string()).collect();
    let mut all = json!({
        "codes": [1, 1, no_right],
        "zero": message("own/zero", "0", 0, false),
        "one": message("own/one", "1", 1, false),
        "large": 300_000,
        "kept": message("own/kept", "kept", 1, true),
        "will": message("own/will", "gone", 1, false),
        "fresh": false,
        "present": true,
        "missed": [
            message("own/away", "missed", 1, false),
            message("own/away", "missed too", 2, false),
        ],
        "later": message("own/away", "later", 1, false),
        "forgotten": false,
        "exact": texts,
        "twice": message("own/exact", "twice", 2, false),
        "shared": numbers.collect::<Vec<_>>(),
        "refused": bad_login,
    });
    if version == 5 {
        // Nothing that was kept, nothing of its own, and the flag as it was published.
        all["picky"] = message("own/picky", "another", 1, true);
        all["picky"]["subscriptions"] = json!([7]);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_js_is_served_on_every_listener_in_both_versions() {
    tell(|| javascript("story.mjs"), &[4, 5], expected).await;
}

/// Thousands of messages on three times as many topics as the client allows aliases.
#[tokio::test(flavor = "multi_thread")]
async fn mqtt_js_finds_every_topic_behind_its_alias_on_every_listener() {
    let expected = |_| json!({"heard": 3_000, "wrong": 0, "aliases": 10, "shortened": true});
    tell(|| javascript("aliases.mjs"), &[5], expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paho_is_served_on_every_listener_in_both_versions() {
    tell(python, &[4, 5], expected).await;
}
