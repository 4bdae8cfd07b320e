//! What a client has been promised survives the end of the server.

use crate::client::told;
use crate::shop::Shop;

#[test]
fn what_was_acknowledged_arrives_after_a_kill() {
    let (mut shop, ana, plug) = Shop::open();
    let (ana, plug) = (Some(("ana", &*ana)), Some(("plug", &*plug)));
    // How a client asks for a session that is kept.
    for (version, kept) in [("311", &["-c"][..]), ("5", &["-c", "-x", "3600"])] {
        let name = format!("phone-{version}");
        let reading = [
            kept,
            &["-i", &name, "-q", "2", "-t", "sensor/1m", "-R", "-W", "2"],
        ]
        .concat();
        let subscribed = told("mosquitto_sub", shop.port(), version, ana, &reading);
        assert!(!subscribed.contains("rror"), "{subscribed}");
        for (qos, payload) in [("1", "one"), ("2", "two"), ("1", "three")] {
            let message = ["-q", qos, "-t", "sensor/1m", "-m", payload];
            let said = told("mosquitto_pub", shop.port(), version, plug, &message);
            assert!(said.ends_with("exit status: 0]"), "{said}");
        }
        let message = ["-r", "-q", "1", "-t", "sensor/1m", "-m", version];
        told("mosquitto_pub", shop.port(), version, plug, &message);

        shop.kill();
        shop.start();
        let said = told("mosquitto_sub", shop.port(), version, ana, &reading);
        // Only messages of the same QoS come in their order ([MQTT-4.6.0-6]): one of QoS 2 is
        // complete later.
        let mut lines: Vec<&str> = said.lines().take(4).collect();
        lines.sort_unstable();
        assert_eq!(lines, [version, "one", "three", "two"]);
        let fresh = ["-t", "sensor/1m", "-C", "1", "-W", "5"];
        let retained = told("mosquitto_sub", shop.port(), version, ana, &fresh);
        let expected = format!("{version}\n [exit status: 0]");
        assert_eq!(retained, expected, "the retained message is there too");
    }
}
