//! Several listeners of one engine, and certificates that change while it runs.

use std::fs;
use std::path::Path;

use rustix::process::Signal;

use crate::client::{Heart, Reader, told, unbroken};
use crate::process::eventually;
use crate::shop::{Shop, path};

/// A certificate for this machine that vouches for itself, and its key, in PEM files.
pub(crate) fn certify(folder: &Path, name: &str) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    fs::write(folder.join(format!("{name}.pem")), made.cert.pem()).unwrap();
    fs::write(
        folder.join(format!("{name}.key")),
        made.signing_key.serialize_pem(),
    )
    .unwrap();
}

fn install(folder: &Path, name: &str) {
    for kind in ["pem", "key"] {
        let (from, to) = (format!("{name}.{kind}"), format!("server.{kind}"));
        fs::copy(folder.join(from), folder.join(to)).unwrap();
    }
}

/// The ports of all listeners.
pub(crate) fn ports(shop: &Shop) -> Vec<u16> {
    let status = shop.status();
    let listeners = status["listeners"].as_array().unwrap().iter();
    listeners
        .map(|it| {
            it.as_str()
                .unwrap()
                .rsplit(':')
                .next()
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect()
}

#[test]
fn each_listener_has_its_own_rules_and_certificates_are_replaced_without_a_stop() {
    let mut shop = Shop::closed();
    let folder = shop.folder.path().to_owned();
    certify(&folder, "old");
    certify(&folder, "new");
    install(&folder, "old");
    let config = fs::read_to_string(shop.config()).unwrap();
    let listeners = format!(
        "\n[[gate.listener]]\nlisten = \"127.0.0.1:0\"\n\
         [[gate.listener]]\nlisten = \"127.0.0.1:0\"\nanonymous = false\n\
         [gate.listener.tls]\ncertificates = \"{0}/server.pem\"\nkey = \"{0}/server.key\"\n",
        folder.display()
    );
    let config = config.replace("gate.listen = \"127.0.0.1:0\"\n", "");
    fs::write(shop.config(), config + &listeners).unwrap();
    shop.start();
    let plug = shop.open_for_business();
    let [plain, secure] = ports(&shop)[..] else {
        panic!("two listeners");
    };

    let publish = |port, login, trusting: Option<&str>| {
        let file = trusting.map(|it| folder.join(format!("{it}.pem")));
        let mut arguments = vec!["-t", "sensor/knock", "-m", "x"];
        if let Some(file) = &file {
            arguments.extend(["--cafile", path(file)]);
        }
        told("mosquitto_pub", port, "5", login, &arguments)
    };
    let login = Some(("plug", plug.as_str()));
    let well = "exit status: 0";
    assert!(
        publish(plain, None, None).contains(well),
        "anonymous clients come in here"
    );
    assert!(
        !publish(secure, None, Some("old")).contains(well),
        "and not there"
    );
    assert!(publish(secure, login, Some("old")).contains(well));
    assert!(!publish(secure, login, Some("new")).contains(well));

    let _heart = Heart::start(plain, "5", login, "sensor/1m");
    let reader = Reader::start(plain, "5", None, &["sensor/1m"]);
    reader.goes_on("sensor/1m", 5);

    // Files that are of no use are told, and change nothing.
    fs::write(folder.join("server.pem"), "no certificate").unwrap();
    shop.engine().signal(Signal::HUP);
    eventually("it is told", || {
        shop.log()
            .contains("the certificates stay as they were")
            .then_some(())
    });
    assert!(shop.log().contains("server.pem"), "{}", shop.log());
    assert!(publish(secure, login, Some("old")).contains(well));

    install(&folder, "new");
    shop.engine().signal(Signal::HUP);
    eventually("it is told", || {
        shop.log()
            .contains("the certificates are read again")
            .then_some(())
    });
    assert!(publish(secure, login, Some("new")).contains(well));
    assert!(!publish(secure, login, Some("old")).contains(well));
    reader.goes_on("sensor/1m", 5);
    assert!(
        unbroken(&reader.beats("sensor/1m")),
        "whoever was connected goes on"
    );
}
