//! What Prometheus reads.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use crate::process::eventually;
use crate::raw::{PUBLISH, Raw, V5};
use crate::shop::Shop;

/// A shop that tells its metrics.
fn measured() -> Shop {
    let mut shop = Shop::closed();
    let config = fs::read_to_string(shop.config()).unwrap();
    let metrics = "[metrics]\nlisten = \"127.0.0.1:0\"\n";
    fs::write(shop.config(), config + metrics).unwrap();
    shop.start();
    shop
}

fn address(shop: &Shop) -> String {
    shop.status()["metrics"].as_str().unwrap().to_owned()
}

/// Asks as any HTTP client would; the head and the body.
pub(crate) fn ask(address: &str, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// Reads a page as strictly as OpenMetrics 1.0 wants it: every sample belongs to the family that
/// was announced last, its name has the suffix of its type, and nothing stands there twice.
fn parse(page: &str) -> BTreeMap<String, f64> {
    let (mut samples, mut families) = (BTreeMap::new(), BTreeSet::new());
    let (mut name, mut kind) = ("", "");
    let body = page.strip_suffix("# EOF\n").expect("it ends with # EOF");
    for line in body.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            (name, kind) = (help.split_once(' ').unwrap().0, "");
            assert!(families.insert(name), "{name} is announced twice");
        } else if let Some(announced) = line.strip_prefix("# TYPE ") {
            let (family, announced) = announced.split_once(' ').unwrap();
            assert_eq!(family, name, "help comes first");
            kind = announced;
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let (family, labels) = sample.split_once('{').unwrap_or((sample, "}"));
            let suffix = if kind == "counter" { "_total" } else { "" };
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            assert_eq!(family, format!("{name}{suffix}"));
            assert!(family.starts_with("tanglegate_"), "{line}");
            let labels = labels.strip_suffix('}').expect("closed");
            for label in labels.split(',').filter(|it| !it.is_empty()) {
                let (key, value) = label.split_once("=\"").unwrap();
                assert!(key.chars().all(|it| it.is_ascii_lowercase()), "{line}");
                let plain = value.strip_suffix('"').expect("closed");
                assert!(!plain.contains(['"', '\\', '\n']), "{line}");
            }
            let value = value.parse().expect("a number");
            let before = samples.insert(sample.to_owned(), value);
            assert_eq!(before, None, "{sample} stands there twice");
        }
    }
    samples
}

fn scrape(address: &str) -> BTreeMap<String, f64> {
    let (head, body) = ask(address, "GET /metrics");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(
        head.contains("application/openmetrics-text; version=1.0.0"),
        "{head}"
    );
    parse(&body)
}

#[test]
fn prometheus_reads_what_happened() {
    let shop = measured();
    let plug = shop.open_for_business();
    let address = address(&shop);
    let before = scrape(&address);
    assert_eq!(before["tanglegate_database_up"], 1.0);
    assert_eq!(before["tanglegate_access_table_stale"], 0.0);
    assert_eq!(before["tanglegate_messages_sent_total"], 0.0);

    let port = shop.port();
    let mut reader = Raw::enter(port, V5, None);
    reader.subscribe("sensor/1m");
    reader.subscribe("sensor/live");
    reader.subscribe("sensor/+");
    let mut device = Raw::enter(port, V5, Some(("plug", &plug)));
    for topic in ["sensor/1m", "sensor/live", "elsewhere", "$SYS/x"] {
        device.publish(topic, "12345");
    }
    reader.expect(PUBLISH);
    drop(Raw::connect(port, V5, Some(("plug", "guess"))));

    let after = eventually("everything is counted", || {
        let page = scrape(&address);
        (page["tanglegate_denials_total{stage=\"connect\",reason=\"wrong_login\"}"] > 0.0)
            .then_some(page)
    });
    for (sample, value) in [
        ("connections", 2.0),
        ("connections_accepted_total", 3.0),
        ("sessions", 2.0),
        ("subscriptions", 2.0),
        ("messages_received_total", 4.0),
        ("received_payload_bytes_total", 20.0),
        ("messages_sent_total", 1.0),
        ("messages_late_total", 0.0),
        ("largest_lateness_seconds", 0.0),
        ("waiting_messages{clients=\"known\"}", 0.0),
        ("waiting_bytes{clients=\"anonymous\"}", 0.0),
        ("held_limit_bytes{clients=\"anonymous\"}", 67_108_864.0),
        ("held_bytes{clients=\"opening\"}", 0.0),
        ("store_backlog_changes", 0.0),
        ("sessions_ended_total{cause=\"room\"}", 0.0),
        ("permits_total{stage=\"connect\"}", 2.0),
        ("permits_total{stage=\"subscribe\"}", 2.0),
        ("permits_total{stage=\"publish\"}", 2.0),
        ("permits_total{stage=\"deliver\"}", 1.0),
        (
            "denials_total{stage=\"subscribe\",reason=\"no_right\"}",
            1.0,
        ),
        ("denials_total{stage=\"publish\",reason=\"no_right\"}", 1.0),
        ("denials_total{stage=\"publish\",reason=\"reserved\"}", 1.0),
        ("denials_total{stage=\"deliver\",reason=\"no_right\"}", 1.0),
        ("messages_dropped_total{reason=\"slow\"}", 0.0),
        ("ledger_up", 1.0),
    ] {
        let sample = format!("tanglegate_{sample}");
        assert_eq!(after.get(&sample), Some(&value), "{sample}");
    }
    for (sample, before) in before.iter().filter(|it| it.0.contains("_total")) {
        assert!(after[sample] >= *before, "{sample} ran backwards");
    }
}

#[test]
fn the_door_for_metrics_shows_nothing_else_and_is_closed_unless_asked_for() {
    let mut shop = measured();
    let address = address(&shop);
    for request in ["GET /", "GET /v1/status", "POST /metrics", "GET /metrics/x"] {
        let (head, body) = ask(&address, request);
        let refused = head.starts_with("HTTP/1.1 404") || head.starts_with("HTTP/1.1 405");
        assert!(refused && body.is_empty(), "{request}: {head}");
    }
    // Idle visitors by the dozen take no place from a scraper for good: they are closed.
    let _idle: Vec<TcpStream> = (0..8)
        .map(|_| TcpStream::connect(&address).unwrap())
        .collect();
    scrape(&address);
    shop.stop();
    assert!(
        TcpStream::connect(&address).is_err(),
        "it goes with the engine"
    );

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = fs::read_to_string(shop.config()).unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let (before, _) = config.split_once("[metrics]").unwrap();
    let metrics = format!("{before}[metrics]\nlisten = \"{taken}\"\n");
    fs::write(shop.config(), metrics).unwrap();
    let said = shop.run(&["serve"]);
    assert!(
        !said.success && said.err.contains("metrics.listen"),
        "{}",
        said.err
    );

    fs::write(shop.config(), before).unwrap();
    shop.start();
    assert!(shop.status()["metrics"].is_null());
}
