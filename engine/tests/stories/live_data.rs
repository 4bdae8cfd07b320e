//! Mosquitto's clients as buyer and device.

use std::thread::sleep;
use std::time::Duration;

use crate::client::{Heart, Reader, told, unbroken};
use crate::process::{eventually, now_ms};
use crate::shop::Shop;

const LIVE: &str = "sensor/live";
const LEASE: &str = "$SYS/access/me/lease";

#[test]
fn mosquitto_clients_read_what_was_paid_for_and_nothing_after_its_end() {
    let (shop, ana, plug) = Shop::open();
    let (port, login) = (shop.port(), Some(("ana", ana.as_str())));
    let _heart = Heart::start(port, "311", Some(("plug", &plug)), LIVE);

    for (version, code) in [("5", "135"), ("311", "128")] {
        let said = told(
            "mosquitto_sub",
            port,
            version,
            login,
            &["-t", LIVE, "-d", "-W", "5"],
        );
        assert!(
            said.contains(&format!("Subscribed (mid: 1): {code}")),
            "{said}"
        );
        assert!(
            said.contains("All subscription requests were denied"),
            "{said}"
        );
    }

    let readers = ["5", "311"].map(|version| {
        let reader = Reader::start(port, version, login, &["sensor/+", LEASE]);
        // With the notice about the lease the client shows that it has subscribed.
        eventually("the client is connected", || {
            (!reader.lines().is_empty()).then_some(())
        });
        reader
    });
    for reader in &readers {
        assert_eq!(reader.beats(LIVE), [], "nothing is paid yet");
    }

    shop.buy("ana", 4);
    let until = shop.lease_end("ana");
    eventually("the lease is over", || (now_ms() > until).then_some(()));
    // The device goes on: a hundred messages that nobody has paid for.
    sleep(Duration::from_secs(1));
    for reader in &readers {
        let beats = reader.beats(LIVE);
        let (first, last) = (beats.first().unwrap(), beats.last().unwrap());
        assert!(unbroken(&beats), "all that was sent while it was paid");
        assert!(last.sent_at < until, "{last:?} after {until}");
        assert!(last.sent_at + 500 > until, "{last:?} long before {until}");
        assert!(beats.len() > 200, "{} in 4 s, at 100 a second", beats.len());
        assert!(first.sent_at + 4_500 > until, "no more than was paid");
        let lines = reader.lines();
        let ended = lines.iter().rfind(|it| it.starts_with(LEASE)).unwrap();
        assert!(
            ended.contains("\"ended\"") && ended.contains("plug-hour"),
            "{ended}"
        );
    }

    // The connections are still there: new money is enough.
    shop.buy("ana", 3_600);
    for mut reader in readers {
        reader.goes_on(LIVE, 10);
        let beats = reader.beats(LIVE);
        let gap = beats.iter().position(|it| it.sent_at >= until).unwrap();
        let (unpaid, paid) = (beats[gap - 1].number, beats[gap].number);
        assert!(
            paid > unpaid + 80,
            "nothing of the second without money is made up for"
        );
        assert!(unbroken(&beats[..gap]) && unbroken(&beats[gap..]) && reader.runs());
    }
}
