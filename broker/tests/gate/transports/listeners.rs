//! What each listener is told of those who come: whom it lets in, and for whom a load balancer speaks.

use super::{ANYWHERE, listener};
use crate::authority::Authority;
use crate::client::connect;
use crate::stage::Stage;
use crate::wire::{Way, millis, tcp};
use std::io::{Read, Write};
use std::time::Instant;
use tanglegate_broker::{
    AccessView, CertificateName, Clock, Gate, Limits, ListenerSettings, Settings, Transport,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_cannot_listen_says_what_is_wrong() {
    let start = async |listeners| {
        let settings = Settings {
            listeners,
            ..Settings::new(ANYWHERE)
        };
        let gate = Gate::start(settings, AccessView::new(), Clock::wall()).await;
        gate.err().expect("it cannot start").to_string()
    };
    assert!(start(vec![]).await.contains("127.0.0.1:1883"));
    let authority = Authority::new();
    authority.write("authority.pem", "");
    let mut settings = listener(Transport::Tcp, Some(&authority));
    settings.tls = Some(authority.tls(Some((true, CertificateName::Dns))));
    let why = start(vec![settings]).await;
    assert!(why.contains("authority.pem holds no certificate"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_without_a_login_are_let_in_only_where_they_may_be() {
    let quiet = ListenerSettings {
        anonymous: false,
        ..ListenerSettings::new(ANYWHERE)
    };
    let listeners = vec![listener(Transport::Tcp, None), quiet];
    let mut stage = Stage::listening(Limits::default(), listeners).await;
    stage.register("ana");
    for (kind, connect, code) in [
        (0, connect(5, "c"), 0),
        (1, connect(5, "c"), 0x87),
        (1, connect(4, "c"), 5),
        (1, connect(5, "c").login("ana"), 0),
    ] {
        let way = Way {
            name: "TCP",
            address: stage.gate.local_addrs()[kind],
            tls: None,
            websocket: false,
        };
        assert_eq!(way.greet(&connect).await.1, code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_a_load_balancer_speaks_for_is_counted() {
    let proxied = |trusted: &str| ListenerSettings {
        trusted_proxies: vec![trusted.parse().unwrap()],
        ..ListenerSettings::new(ANYWHERE)
    };
    let limits = Limits {
        connections_per_address: 1,
        connect_within: millis(400),
        ..Limits::default()
    };
    let listeners = vec![proxied("127.0.0.0/8"), proxied("192.0.2.0/24")];
    let stage = Stage::listening(limits, listeners).await;
    let said = async |kind: usize, header: &str| {
        let mut stream = tcp(stage.gate.local_addrs()[kind]).await;
        let connect = connect(5, "").packet();
        stream
            .write_all(&[header.as_bytes(), &connect].concat())
            .unwrap();
        let mut answer = [0; 4];
        (stream.read_exact(&mut answer).is_ok(), stream)
    };
    let from = |address: &str| format!("PROXY TCP4 {address} 10.0.0.1 4711 1883\r\n");
    let (first, _one) = said(0, &from("192.0.2.1")).await;
    let (same, _) = said(0, &from("192.0.2.1")).await;
    let (other, _two) = said(0, &from("192.0.2.2")).await;
    let (local, _three) = said(0, "PROXY UNKNOWN\r\n").await;
    assert_eq!((first, same, other, local), (true, false, true, true));
    let (missing, _) = said(0, "").await;
    let (untrusted, _) = said(1, &from("192.0.2.3")).await;
    assert_eq!((missing, untrusted), (false, false));

    // Nobody waits for a header for ever.
    let mut slow = tcp(stage.address()).await;
    slow.write_all(b"PROXY TCP4").unwrap();
    let began = Instant::now();
    assert_eq!(slow.read(&mut [0; 10]).unwrap_or(0), 0);
    assert!((300..5_000).contains(&began.elapsed().as_millis()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_has_its_own_bound() {
    let narrow = ListenerSettings {
        connections: 1,
        ..ListenerSettings::new(ANYWHERE)
    };
    let listeners = vec![narrow, listener(Transport::Tcp, None)];
    let stage = Stage::listening(Limits::default(), listeners).await;
    let mut open = vec![];
    for (kind, lets_in) in [(0, true), (0, false), (1, true), (1, true)] {
        let mut stream = tcp(stage.gate.local_addrs()[kind]).await;
        let _ = stream.write_all(&connect(5, "").packet());
        assert_eq!(stream.read_exact(&mut [0; 2]).is_ok(), lets_in, "{kind}");
        open.push(stream);
    }
}
