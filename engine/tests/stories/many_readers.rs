//! MQTT.js as a second implementation of clients: many read at once, and two have not paid.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{sleep, spawn};
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Beat, Heart, unbroken};
use crate::npm;
use crate::process::{Process, eventually, now_ms};
use crate::shop::Shop;

/// A running `readers.mjs`. Its standard input stays open until it is dropped.
struct Readers {
    said: Arc<Mutex<Vec<Value>>>,
    _input: std::process::ChildStdin,
    _process: Process,
}

impl Readers {
    fn start(port: u16, readers: &[Value]) -> Self {
        let mut command = Command::new("node");
        command
            .arg("readers.mjs")
            .current_dir(npm::installed("stories/javascript"));
        let mut process = Process::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let mut input = process.stdin();
        writeln!(input, "{}", json!({"port": port, "readers": readers})).unwrap();
        let output = BufReader::new(process.stdout());
        let said: Arc<Mutex<Vec<Value>>> = Arc::default();
        let shared = Arc::clone(&said);
        spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                shared
                    .lock()
                    .unwrap()
                    .push(serde_json::from_str(&line).unwrap());
            }
        });
        Self {
            said,
            _input: input,
            _process: process,
        }
    }

    /// Everything that a reader said about `key`.
    fn about<T>(&self, reader: usize, read: impl Fn(&Value) -> Option<T>) -> Vec<T> {
        let said = self.said.lock().unwrap();
        said.iter()
            .filter(|it| it["reader"] == reader)
            .filter_map(read)
            .collect()
    }

    fn answers(&self) -> BTreeMap<u64, Value> {
        let said = self.said.lock().unwrap();
        let answers = said.iter().filter(|it| it["answer"].is_object());
        answers
            .map(|it| (it["reader"].as_u64().unwrap(), it.clone()))
            .collect()
    }

    fn beats(&self, reader: usize, topic: &str) -> Vec<Beat> {
        self.about(reader, |it| {
            (it["topic"] == topic).then(|| Beat::read(it["payload"].as_str().unwrap()))
        })
    }
}

#[test]
fn mqtt_js_readers_get_what_each_of_them_paid_for() {
    let (shop, ana, plug) = Shop::open();
    let (bob, eve) = (shop.register("bob"), shop.register("eve"));
    let port = shop.port();
    let _live = Heart::start(port, "5", Some(("plug", &plug)), "sensor/live");
    let _free = Heart::start(port, "5", Some(("plug", &plug)), "sensor/1m");
    shop.buy("ana", 6);
    shop.buy("bob", 3_600);

    let readers = [
        json!({"protocol": 5, "username": "ana", "password": ana, "filters": ["sensor/live"], "qos": 0}),
        json!({"protocol": 4, "username": "ana", "password": ana, "filters": ["sensor/+"], "qos": 1}),
        json!({"protocol": 5, "username": "bob", "password": bob, "filters": ["#"], "qos": 1}),
        json!({"protocol": 4, "username": "bob", "password": bob, "filters": ["+/live"], "qos": 0}),
        json!({"protocol": 5, "username": "eve", "password": eve,
               "filters": ["sensor/live", "sensor/#"], "qos": 0}),
        json!({"protocol": 5, "filters": ["#", "sensor/live"], "qos": 1}),
    ];
    let until = shop.lease_end("ana");
    let clients = Readers::start(port, &readers);
    let answers = eventually("every reader is answered", || {
        Some(clients.answers()).filter(|it| it.len() == readers.len())
    });
    let granted = |reader: u64, filter: &str| answers[&reader]["answer"][filter].as_u64();
    assert_eq!(
        (granted(0, "sensor/live"), granted(3, "+/live")),
        (Some(0), Some(0))
    );
    assert_eq!(
        (granted(4, "sensor/live"), granted(5, "sensor/live")),
        (Some(0x87), Some(0x87))
    );
    let reason = answers[&4]["reason"].as_str().unwrap();
    assert!(reason.contains("offer plug-hour sells it"), "{reason}");

    eventually("ana's lease is over", || (now_ms() > until).then_some(()));
    sleep(Duration::from_millis(800));
    for reader in 0..4 {
        let beats = clients.beats(reader, "sensor/live");
        assert!(
            unbroken(&beats) && beats.len() > 5,
            "reader {reader}: {} beats",
            beats.len()
        );
        let last = beats.last().unwrap().sent_at;
        match reader {
            0 | 1 => assert!(last < until && last + 500 > until, "{last} and {until}"),
            _ => assert!(
                last > until + 500,
                "bob's lease runs on: {last} and {until}"
            ),
        }
    }
    for reader in [1, 2, 4, 5] {
        let beats = clients.beats(reader, "sensor/1m");
        assert!(
            unbroken(&beats) && beats.len() > 5,
            "free data for reader {reader}"
        );
    }
    for reader in [4, 5] {
        assert_eq!(
            clients.beats(reader, "sensor/live"),
            [],
            "reader {reader} has not paid"
        );
    }
}
