//! The measurements of the gate and of selling to strangers, in small.

use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tanglegate::bench::buyers;
use tanglegate::bench::mqtt::{Section, Settings, run};

fn small(only: &[Section]) -> Settings {
    Settings {
        program: env!("CARGO_BIN_EXE_tanglegate").into(),
        load: Duration::from_millis(200),
        rounds: 1,
        payload: 20,
        others: 100,
        fan_out: 20,
        topics: 200,
        filters: 100,
        storm: 4,
        idle: 20,
        queued: 100,
        ends: 20,
        leases: 1_000,
        only: only.to_vec(),
    }
}

fn measured(only: &[Section]) -> String {
    let mut text = String::new();
    let measured = run(&small(only), &AtomicBool::new(false), |it| text += it);
    measured.unwrap_or_else(|error| panic!("{text}\n{error:#}"));
    text
}

#[test]
fn every_load_of_the_measurement_comes_through() {
    let text = measured(&[
        Section::Throughput,
        Section::Latency,
        Section::FanOut,
        Section::Topics,
        Section::Filters,
        Section::Wildcards,
    ]);
    for row in [
        "1 -> 100, QoS 1, MQTT 5.0",
        "p99",
        "1 -> 20, QoS 1",
        "200 topics in turn",
        "100 exact filters",
        "1 -> 100, #",
    ] {
        assert!(text.contains(row), "{text}");
    }
}

#[test]
fn crowds_are_let_in_and_held_and_permits_are_given() {
    let text = measured(&[Section::Storm, Section::Memory, Section::Permit]);
    for row in ["each seen once", "idle connections", "ns per permit"] {
        assert!(text.contains(row), "{text}");
    }
}

#[test]
fn kept_sessions_and_leases_that_end_are_measured_with_a_store() {
    let text = measured(&[Section::Sessions, Section::LeaseEnd]);
    for row in [
        "QoS 2, kept session, store: system",
        "who is away, store: disk",
        "shared subscription",
    ] {
        assert!(text.contains(row), "{text}");
    }
    assert!(!text.contains("refused"), "{text}");
}

#[test]
fn a_measurement_stops_when_it_is_asked_to() {
    let settings = small(&[Section::Throughput]);
    let error = run(&settings, &AtomicBool::new(true), |_| {}).unwrap_err();
    assert!(error.to_string().contains("stopped"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_answered_and_forgeries_are_recorded_once() {
    let settings = buyers::Settings {
        alone: 3,
        together: 20,
        rounds: 1,
        crowd: 20,
        flood: Duration::from_millis(300),
        forged: 20,
    };
    let report = buyers::run(settings, std::future::pending()).await;
    let text = report
        .unwrap_or_else(|error| panic!("{error:#}"))
        .to_string();
    for row in [
        "alone, told, p99",
        "a commit of its 8 rows",
        "20 at once, the last one told",
        "a flood from one address",
        "the memo: 256 bytes; 2.0 events",
        "the memo: 256 bytes; 3.0 events",
    ] {
        assert!(text.contains(row), "{row}: {text}");
    }
}
