//! Certificates: of servers, which are replaced while they serve, and of clients, which are logins.

use super::{ANYWHERE, listener};
use crate::authority::Authority;
use crate::client::connect;
use crate::stage::{NEVER, Stage};
use crate::wire::{Way, shown_by};
use std::process::Stdio;
use tanglegate_broker::login::{Cost, make_verifier};
use tanglegate_broker::{CertificateName, Limits, ListenerSettings, Transport};
use tanglegate_core::{Access, Address, Audience, Event, SubscriberId, Username};

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_clients_pass_over_tls_and_log_in_by_certificate() {
    let authority = Authority::new();
    for name in ["ana", "plug"] {
        authority.certify_client(name, &[]);
    }
    let by_certificate = ListenerSettings {
        tls: Some(authority.tls(Some((true, CertificateName::CommonName)))),
        ..ListenerSettings::new(ANYWHERE)
    };
    let listeners = vec![
        listener(Transport::Tcp, None),
        listener(Transport::Tcp, Some(&authority)),
        by_certificate,
    ];
    let mut stage = Stage::listening(Limits::default(), listeners).await;
    let (ana, plug) = (stage.register("ana"), stage.register("plug"));
    stage.lease(ana, "sensor/live", 1_000_000);
    stage.give(Audience::Subscriber(plug), "sensor/#", Access::Write);
    let run = |program: &str, login: &str, kind: usize, version: &str, more: &[&str]| {
        let mut command = tokio::process::Command::new(program);
        let port = stage.gate.local_addrs()[kind].port().to_string();
        command.args([
            "-h",
            "localhost",
            "-p",
            &port,
            "-V",
            version,
            "-t",
            "sensor/live",
        ]);
        if kind > 0 {
            command.arg("--cafile").arg(authority.path("authority.pem"));
        }
        if kind < 2 {
            command.args(["-u", login, "-P", login]);
        } else {
            command
                .arg("--cert")
                .arg(authority.path(&format!("{login}.pem")));
            command
                .arg("--key")
                .arg(authority.path(&format!("{login}.key")));
        }
        command.args(more).stdout(Stdio::piped()).kill_on_drop(true);
        command.spawn().expect("mosquitto's clients are installed")
    };
    for kind in 0..3 {
        for version in ["mqttv311", "mqttv5"] {
            let subscriptions = stage.statistics().sessions;
            let reader = run(
                "mosquitto_sub",
                "ana",
                kind,
                version,
                &["-q", "1", "-C", "1", "-W", "10"],
            );
            stage
                .until("connected", |it| it.sessions > subscriptions)
                .await;
            tokio::time::sleep(NEVER).await;
            let mut writer = run(
                "mosquitto_pub",
                "plug",
                kind,
                version,
                &["-q", "1", "-m", "17250"],
            );
            assert!(writer.wait().await.unwrap().success(), "{kind} {version}");
            let heard = reader.wait_with_output().await.unwrap();
            assert_eq!(heard.stdout, b"17250\n", "{kind} {version}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_a_login_and_nothing_may_contradict_it() {
    let authority = Authority::new();
    authority.certify_client("ana", &["bob", "someone@example.com"]);
    for name in ["nobody", "sue", "buyer"] {
        authority.certify_client(name, &[]);
    }
    let clients = |required, name| ListenerSettings {
        tls: Some(authority.tls(Some((required, name)))),
        ..ListenerSettings::new(ANYWHERE)
    };
    let listeners = vec![
        clients(true, CertificateName::CommonName),
        clients(false, CertificateName::Dns),
        clients(false, CertificateName::Email),
    ];
    let mut stage = Stage::listening(Limits::default(), listeners).await;
    let _ = (stage.register("ana"), stage.register("bob"));
    let sue = stage.register("sue");
    stage.tell(&Event::SubscriberSuspended { subscriber: sue });
    let verifier = || make_verifier(b"buyer", [3; 16], Cost::LEAST).ok();
    let buyer = SubscriberId([9; 16]);
    stage.tell(&Event::SubscriberRegistered {
        subscriber: buyer,
        username: Username::parse("buyer").ok(),
        verifier: verifier(),
        owner: Some(Address([7; 32])),
    });
    // It stays a bought one with a new password.
    stage.tell(&Event::PasswordChanged {
        subscriber: buyer,
        verifier: verifier(),
    });
    let way = |kind: usize, certificate: Option<&str>| Way {
        name: "by certificate",
        address: stage.gate.local_addrs()[kind],
        tls: Some(authority.client(certificate)),
        websocket: false,
    };
    let (anonymous, ana, bob, buyer) = (
        connect(5, "c"),
        connect(5, "c").login("ana"),
        connect(5, "c").login("bob"),
        connect(5, "c").login("buyer"),
    );
    for (kind, certificate, connect, code) in [
        (0, Some("ana"), &anonymous, 0),
        (0, Some("ana"), &ana, 0),
        (0, Some("ana"), &bob, 0x86),
        (0, Some("ana"), &ana.clone().password("ana", "wrong"), 0x86),
        (0, Some("ana"), &ana.clone().password("ana", ""), 0),
        (0, Some("nobody"), &anonymous, 0x86),
        (0, Some("sue"), &anonymous, 0x87),
        // The buyer took the name; whose certificate it is in is somebody else.
        (0, Some("buyer"), &anonymous, 0x86),
        (0, Some("buyer"), &buyer.clone().password("buyer", ""), 0x86),
        (
            0,
            Some("buyer"),
            &buyer.clone().password("buyer", "wrong"),
            0x86,
        ),
        (0, Some("buyer"), &buyer, 0),
        // bob by the name of its choice, where ana's own is not asked for.
        (1, Some("ana"), &anonymous, 0),
        (1, Some("ana"), &bob, 0),
        (1, Some("ana"), &ana, 0x86),
        (1, Some("nobody"), &anonymous, 0x87),
        (1, None, &ana, 0),
        (1, None, &anonymous, 0),
        (2, Some("ana"), &anonymous, 0x86),
    ] {
        let (_wire, answer) = way(kind, certificate).greet(connect).await;
        assert_eq!(answer, code, "{kind} {certificate:?} {connect:?}");
    }
    // Without a certificate where one is required, and with a stranger's.
    let stranger = Authority::new();
    stranger.certify_client("ana", &[]);
    let mut forged = authority.client(None).as_ref().clone();
    forged.client_auth_cert_resolver = stranger
        .client(Some("ana"))
        .client_auth_cert_resolver
        .clone();
    let forged = Way {
        tls: Some(forged.into()),
        ..way(0, None)
    };
    for way in [way(0, None), forged] {
        // In TLS 1.3 a client learns with its first read what became of its certificate.
        if let Ok(mut wire) = way.try_connect().await {
            wire.send(&anonymous.packet());
            assert_eq!(wire.packet(), None);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_certificates_are_shown_without_dropping_anybody() {
    let authority = Authority::new();
    let listeners = vec![listener(Transport::Tcp, Some(&authority))];
    let stage = Stage::listening(Limits::default(), listeners).await;
    let client = authority.client(None);
    let way = Way {
        name: "TLS",
        address: stage.address(),
        tls: Some(client.clone()),
        websocket: false,
    };
    let (mut early, _) = way.greet(&connect(5, "early")).await;
    let first = shown_by(stage.address(), client.clone()).await;
    authority.certify_server();
    assert_eq!(shown_by(stage.address(), client.clone()).await, first);
    assert_eq!(stage.gate.reload_certificates().unwrap(), 1);
    let second = shown_by(stage.address(), client.clone()).await;
    assert_ne!(second, first);

    let key = std::fs::read_to_string(authority.path("server.key")).unwrap();
    authority.certify_client("other", &[]);
    let other = std::fs::read_to_string(authority.path("other.key")).unwrap();
    for (broken, why) in [
        (other.as_str(), "cannot be used with the key in"),
        ("nonsense", "cannot read a private key in"),
    ] {
        authority.write("server.key", broken);
        let error = stage.gate.reload_certificates().unwrap_err().to_string();
        assert!(
            error.contains(why) && error.contains("server.key"),
            "{error}"
        );
    }
    authority.write("server.key", &key);
    authority.write("server.pem", "nonsense");
    let error = stage.gate.reload_certificates().unwrap_err().to_string();
    assert!(error.contains("server.pem holds no certificate"), "{error}");
    std::fs::remove_file(authority.path("server.pem")).unwrap();
    let error = stage.gate.reload_certificates().unwrap_err().to_string();
    assert!(error.contains("cannot read certificates in"), "{error}");

    assert_eq!(shown_by(stage.address(), client).await, second);
    early.send(&[0xC0, 0]);
    assert_eq!(early.packet(), Some((0xD0, vec![])));
}
