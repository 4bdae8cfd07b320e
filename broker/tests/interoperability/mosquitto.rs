//! Mosquitto's command-line clients, which speak TCP and TLS.

use std::process::Stdio;
use std::time::Duration;
use tanglegate_broker::{Limits, ListenerSettings};
use tanglegate_core::{Access, Audience};
use tanglegate_stage::Stage;
use tanglegate_stage::authority::Authority;
use tokio::process::Command;

/// How long one command may take, on a busy machine too.
const COMMAND: Duration = Duration::from_secs(30);

/// A listener and a version of the protocol.
struct Way<'a> {
    port: u16,
    version: &'a str,
    /// The file that a client with TLS trusts.
    trusted: Option<String>,
}

impl Way<'_> {
    /// Runs `mosquitto_pub` or `mosquitto_sub` to its end; returns what it printed, line by line.
    async fn run(&self, program: &str, arguments: &[&str]) -> Vec<String> {
        let mut command = Command::new(program);
        command
            .args(["-h", "localhost", "-p", &self.port.to_string()])
            .args(["-V", self.version, "-u", "ana", "-P", "ana"])
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        if let Some(file) = &self.trusted {
            command.args(["--cafile", file]);
        }
        let outcome = tokio::time::timeout(COMMAND, command.output())
            .await
            .unwrap_or_else(|_| panic!("{command:?} does not end"))
            .unwrap_or_else(|error| panic!("{command:?}: {error}; run ./test, which installs it"));
        let words = String::from_utf8_lossy(&outcome.stderr);
        assert!(outcome.status.success(), "{command:?}: {words}");
        let printed = String::from_utf8_lossy(&outcome.stdout);
        printed.lines().map(str::to_owned).collect()
    }

    async fn publish(&self, topic: &str, payload: &str, more: &[&str]) {
        let arguments = [&["-t", topic, "-m", payload][..], more].concat();
        self.run("mosquitto_pub", &arguments).await;
    }
}

/// Leaves a session, is written to with each QoS, comes back and gets it; then a group, what is
/// kept, and a refusal.
async fn tell(way: &Way<'_>) {
    let five = way.version == "mqttv5";
    let expiry: &[&str] = if five { &["-x", "60"] } else { &[] };
    let kept = [
        &["-i", "away", "-c", "-q", "2", "-t", "own/away"][..],
        expiry,
    ]
    .concat();
    way.run("mosquitto_sub", &[&kept[..], &["-E"]].concat())
        .await;
    for (qos, payload) in [("1", "one"), ("2", "two"), ("2", "three")] {
        way.publish("own/away", payload, &["-q", qos]).await;
    }
    let back = [&kept[..], &["-C", "3", "-F", "%q %r %t %p"]].concat();
    let heard = way.run("mosquitto_sub", &back).await;
    let all = ["1 0 own/away one", "2 0 own/away two", "2 0 own/away three"];
    assert_eq!(heard, all, "{}", way.version);
    // One new message, and none of the old ones again.
    way.publish("own/away", "four", &["-q", "2"]).await;
    let back = [&kept[..], &["-C", "1", "-F", "%p"]].concat();
    assert_eq!(way.run("mosquitto_sub", &back).await, ["four"]);

    // A member that is away gets its share.
    let member = [&["-i", "member", "-c", "-q", "1"][..], expiry].concat();
    let member = [&member[..], &["-t", "$share/group/own/shared"]].concat();
    way.run("mosquitto_sub", &[&member[..], &["-E"]].concat())
        .await;
    way.publish("own/shared", "its share", &["-q", "1"]).await;
    let back = [&member[..], &["-C", "1"]].concat();
    assert_eq!(way.run("mosquitto_sub", &back).await, ["its share"]);

    way.publish("own/kept", "kept", &["-r", "-q", "1"]).await;
    let reading = ["-t", "own/kept", "-C", "1", "-F", "%r %p"];
    assert_eq!(way.run("mosquitto_sub", &reading).await, ["1 kept"]);
    if five {
        let identified = [
            &reading[..],
            &["-D", "subscribe", "subscription-identifier", "7"],
        ];
        assert_eq!(
            way.run("mosquitto_sub", &identified.concat()).await,
            ["1 kept"]
        );
    }
    way.publish("own/kept", "", &["-r", "-q", "1"]).await;
    for session in ["away", "member"] {
        let nothing = ["-i", session, "-t", "own/nothing", "-E"];
        way.run("mosquitto_sub", &nothing).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquittos_clients_are_served_with_and_without_tls_in_both_versions() {
    let authority = Authority::new();
    let listeners = [false, true].map(|tls| ListenerSettings {
        tls: tls.then(|| authority.tls(None)),
        ..ListenerSettings::new(([127, 0, 0, 1], 0).into())
    });
    let mut stage = Stage::listening(Limits::default(), listeners.to_vec()).await;
    let ana = stage.register("ana");
    stage.give(Audience::Subscriber(ana), "own/#", Access::ReadWrite);
    let addresses = stage.gate.local_addrs().to_vec();
    for (tls, address) in [false, true].into_iter().zip(addresses) {
        for version in ["mqttv311", "mqttv5"] {
            tell(&Way {
                port: address.port(),
                version,
                trusted: tls.then(|| authority.path("authority.pem").display().to_string()),
            })
            .await;
        }
    }
    assert_eq!(stage.statistics().panicked_sessions, 0);
}
