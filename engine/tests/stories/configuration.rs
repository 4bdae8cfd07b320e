//! A configuration that cannot be used is refused before anything starts, by the key.

use std::fs;

use crate::shop::{Shop, finish, path};

const SELLER: &str = "0x8d2d1c260127c74476b27136c5e38c003b66b889f5c80032fb81ebc3f44f45a3";

#[test]
fn errors_in_the_configuration_name_the_key_and_a_right_value() {
    let shop = Shop::closed();
    let ledger = |more: &str| format!("[ledger]\nseller = \"{SELLER}\"\n{more}");
    let node = "node_url = \"http://127.0.0.1:9000\"\n";
    let cases = [
        (
            "gate.listen = \"everywhere\"".to_owned(),
            "gate.listen",
            "0.0.0.0:1883",
        ),
        ("gate.port = 1883".to_owned(), "port", "listen"),
        ("[gate\n".to_owned(), "line 1", "tanglegate.toml"),
        (
            ledger("node_url = \"127.0.0.1:9000\""),
            "ledger.node_url",
            "http://127.0.0.1:9000",
        ),
        (
            ledger(&format!("{node}poll_ms = 0")),
            "ledger.poll_ms",
            "1000",
        ),
        (
            format!("[ledger]\n{node}seller = \"bob\""),
            "ledger.seller",
            "0x8d2d",
        ),
        (format!("[ledger]\n{node}"), "seller", "missing"),
    ];
    for (text, key, remedy) in cases {
        fs::write(shop.config(), &text).unwrap();
        let said = shop.run(&["serve"]);
        assert!(!said.success, "{text}");
        assert!(
            said.err.contains(key) && said.err.contains(remedy),
            "{text}: {}",
            said.err
        );
    }
    fs::remove_file(shop.config()).unwrap();
    let said = shop.run(&["serve"]);
    assert!(
        !said.success && said.err.contains(path(&shop.config())),
        "{}",
        said.err
    );
    assert!(!shop.data().exists(), "nothing was started");
}

#[test]
fn a_database_address_that_cannot_be_used_is_refused_without_showing_its_password() {
    let shop = Shop::closed();
    let cases = [
        (
            "mysql://u:hush-71@db/x",
            "postgres://tanglegate:password@db.example/tanglegate",
        ),
        ("postgres://u:hush-71@127.0.0.1:1/x", "DATABASE_URL"),
    ];
    for (url, remedy) in cases {
        let said = finish(shop.program().arg("serve").env("DATABASE_URL", url), "");
        assert!(!said.success && said.err.contains(remedy), "{}", said.err);
        assert!(!said.err.contains("hush"), "{}", said.err);
    }
}

#[test]
fn a_port_that_is_taken_is_named_and_the_database_is_stopped_again() {
    let shop = Shop::closed();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    fs::write(shop.config(), format!("gate.listen = \"{address}\"")).unwrap();
    let said = shop.run(&["serve"]);
    assert!(
        !said.success && said.err.contains(&address.to_string()),
        "{}",
        said.err
    );
    assert_eq!(shop.database_processes(), []);
}
