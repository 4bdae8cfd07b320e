//! What a sealed purchase is worth to others: copies, replays, taken names, garbage, expired keys,
//! and what the files and the log tell.

use std::fs;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use tanglegate::wallet::{Receipt as Paid, Wallet};
use tanglegate_crypto::{
    Identity, IdentityBody, KeyBody, Order, Outcome, PasswordWish, Receipt, ReplyKey, SealedMemo,
};

use crate::buying::{Stranger, login, text};
use crate::client::told;
use crate::process::eventually;
use crate::secrets::{files_with, in_events};
use crate::shop::{SECOND, Shop};

/// The first message on each of these topics, in their order, as an anonymous client hears them.
async fn heard(port: u16, topics: &[&str]) -> Vec<Vec<u8>> {
    let mut options = MqttOptions::new(format!("heard-{}", random()[0]), "127.0.0.1", port);
    options.set_keep_alive(Duration::from_secs(30));
    let (client, mut events) = AsyncClient::new(options, 16);
    for topic in topics {
        client.subscribe(*topic, QoS::AtMostOnce).await.unwrap();
    }
    let mut said = vec![None; topics.len()];
    let listen = async {
        while said.iter().any(Option::is_none) {
            if let Event::Incoming(Packet::Publish(it)) = events.poll().await.unwrap() {
                let topic = String::from_utf8(it.topic.to_vec()).unwrap();
                let place = topics.iter().position(|it| *it == topic).unwrap();
                said[place].get_or_insert(it.payload.to_vec());
            }
        }
    };
    let patience = Duration::from_secs(30);
    tokio::time::timeout(patience, listen)
        .await
        .expect("all are told");
    said.into_iter().flatten().collect()
}

fn random() -> [u64; 4] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).unwrap();
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    [number(0), number(8), number(16), number(24)]
}

fn entropy() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

/// An order by hand: what `tanglegate buy` does, with all its parts in sight.
struct Sealed {
    identity: Identity,
    key: KeyBody,
    reply: ReplyKey,
    memo: SealedMemo,
}

impl Sealed {
    fn order(shop: &Shop, payer: &Wallet, username: &str) -> Self {
        let topics = ["$SYS/access/identity", "$SYS/access/me/key"];
        let said = shop.block_on(heard(shop.port(), &topics));
        let (identity, _) = IdentityBody::introduced(&said[0]).unwrap();
        let key: KeyBody = identity.hear(&said[1]).unwrap();
        let reply = ReplyKey::from_bytes(entropy());
        let order = Order {
            offer: "plug-hour".to_owned(),
            username: username.to_owned(),
            password: PasswordWish::Make,
            reply_key: reply.public(),
        };
        let payer = payer.address().0;
        let memo = SealedMemo::seal(&entropy(), &key, &identity, &payer, &order).unwrap();
        Self {
            identity,
            key,
            reply,
            memo,
        }
    }

    fn pay(&self, shop: &Shop, payer: &Wallet) -> Paid {
        shop.pay(payer, 60 * SECOND, self.memo.as_bytes())
    }

    /// The answer that anybody may hear and nobody else can read.
    fn answer(&self, shop: &Shop) -> Receipt {
        let topic = format!("$SYS/access/keys/{}/credential", self.key.key_id);
        let said = shop.block_on(heard(shop.port(), &[&topic]));
        let stranger = ReplyKey::from_bytes(entropy());
        let key_id = self.key.key_id;
        assert!(
            stranger
                .open_answer(&said[0], &self.identity, key_id)
                .is_err()
        );
        self.reply
            .open_answer(&said[0], &self.identity, key_id)
            .unwrap()
    }
}

/// The engine's record of a payment.
fn record(shop: &Shop, paid: &Paid) -> Value {
    eventually("the payment is recorded", || {
        let mut payments = shop.payments().into_iter();
        payments.find(|it| it["digest"] == paid.digest.as_str())
    })
}

fn reason(payment: &Value) -> &str {
    payment["reason"].as_str().unwrap_or("none")
}

fn names(shop: &Shop) -> Vec<String> {
    let rows = shop.rows(&["subscriber", "list"]);
    rows.iter()
        .map(|it| text(it, "username").to_owned())
        .collect()
}

#[test]
fn a_copied_memo_buys_nothing_takes_no_name_and_does_not_hinder_its_owner() {
    let shop = Shop::bare();
    shop.open_for_business();
    let (owner, thief) = (shop.wallet(1), shop.wallet(2));
    let sealed = Sealed::order(&shop, &owner, "ana");
    let stolen = sealed.pay(&shop, &thief);
    assert_eq!(reason(&record(&shop, &stolen)), "does-not-open");
    assert!(!names(&shop).contains(&"ana".to_owned()));

    let paid = sealed.pay(&shop, &owner);
    assert_eq!(record(&shop, &paid)["state"], "applied");
    let receipt = sealed.answer(&shop);
    assert_eq!(receipt.outcome, Outcome::TimeBought);
    assert_eq!(bs58::encode(receipt.digest).into_string(), paid.digest);

    // Again by the thief, and again by its owner, whose time it extends.
    let stolen = sealed.pay(&shop, &thief);
    assert_eq!(reason(&record(&shop, &stolen)), "does-not-open");
    let again = sealed.pay(&shop, &owner);
    assert_eq!(record(&shop, &again)["state"], "applied");
    let leases = shop.rows(&["lease", "list"]);
    assert_eq!(leases.len(), 1);
    let ends = leases[0]["ends_at_ms"].as_u64().unwrap();
    assert_eq!(ends - receipt.from.unwrap(), 120_000);
}

#[test]
fn memos_that_are_garbage_wait_unread_and_the_engine_goes_on() {
    let shop = Shop::bare();
    shop.open_for_business();
    let wallet = shop.wallet(1);
    let sealed = Sealed::order(&shop, &wallet, "ana");
    let good = sealed.memo.as_bytes().to_vec();
    let changed = |at: usize| {
        let mut memo = good.clone();
        memo[at] ^= 1;
        memo
    };
    let mut noise = good.clone();
    noise[6..]
        .iter_mut()
        .zip(entropy().iter().cycle())
        .for_each(|(to, from)| *to = *from);
    let cases = [
        ("unreadable-memo", good[..255].to_vec()),
        ("unreadable-memo", [&good[..], b"?"].concat()),
        ("unreadable-memo", changed(5)),
        ("key-expired", noise),
        ("does-not-open", changed(21)),
        ("does-not-open", changed(22)),
        ("does-not-open", changed(100)),
        ("does-not-open", changed(255)),
    ];
    for (expected, memo) in cases {
        let paid = shop.pay(&wallet, 60 * SECOND, &memo);
        let payment = record(&shop, &paid);
        assert_eq!(
            (reason(&payment), &payment["state"]),
            (expected, &"unmatched".into())
        );
    }
    let paid = sealed.pay(&shop, &wallet);
    assert_eq!(record(&shop, &paid)["state"], "applied");
    assert_eq!(sealed.answer(&shop).outcome, Outcome::TimeBought);
}

#[test]
fn a_taken_name_is_refused_to_whom_it_does_not_belong_and_to_him_alone() {
    let shop = Shop::bare();
    shop.open_for_business();
    let (first, second) = (
        Stranger::new(&shop, "first"),
        Stranger::new(&shop, "second"),
    );
    let bought = first.bought(&shop, 60, &["--username", "zoë"]);
    let mine = login(&bought);
    for taken in ["zoë", "plug"] {
        let amount = format!("{}NANOS", 60 * SECOND);
        let words = ["--json", "--amount", &amount, "--username", taken];
        let refused = second.buy(&shop, &words);
        assert_eq!(refused.code, Some(1), "{}{}", refused.out, refused.err);
        let refused: Value = serde_json::from_str(&refused.out).unwrap();
        assert_eq!(refused["outcome"], "refused");
        assert!(
            text(&refused, "reason").starts_with("username-taken"),
            "{refused}"
        );
        let file = login(&refused);
        assert_eq!(file["password"], Value::Null);
        let receipt = hex::decode(text(&file, "receipt")).unwrap();
        let identity: Identity = text(&file, "identity").parse().unwrap();
        let receipt: Receipt = identity.hear(&receipt).unwrap();
        assert_eq!(
            receipt.outcome,
            Outcome::Refused,
            "signed, to be shown to others"
        );
    }
    // To people the command says what to do now.
    let amount = format!("{}NANOS", 60 * SECOND);
    let refused = second.buy(&shop, &["--amount", &amount, "--username", "plug"]);
    assert_eq!(refused.code, Some(1), "{}{}", refused.out, refused.err);
    let digest = text(&shop.payments()[0], "digest").to_owned();
    let remedy = format!("tanglegate claim {digest} --offer NAME");
    assert!(refused.out.contains(&remedy), "{}", refused.out);
    assert_eq!(login(&bought)["password"], mine["password"]);
    let login = Some(("zoë", text(&mine, "password")));
    let told = told(
        "mosquitto_sub",
        shop.port(),
        "5",
        login,
        &["-t", "sensor/1m", "-W", "1"],
    );
    assert!(!told.contains("Bad User Name or Password"), "{told}");
}

#[test]
fn a_payment_after_its_key_has_expired_is_refused_and_says_so_to_the_buyer() {
    let mut shop = Shop::bare();
    shop.open_for_business();
    let wallet = shop.wallet(1);
    let sealed = Sealed::order(&shop, &wallet, "ana");
    let url = shop.database_url();
    shop.block_on(async {
        let mut database = PgConnection::connect(&url).await.unwrap();
        let over = "update vault.engine_secret set offered_until = now(), \
                    valid_until = now() where name like 'sealing/%'";
        sqlx::query(over).execute(&mut database).await.unwrap();
    });
    // The secret is destroyed once the ledger is recorded beyond its end, so nothing is before.
    assert_eq!(shop.stop(), Some(0));
    let paid = sealed.pay(&shop, &wallet);
    shop.start();
    assert_eq!(reason(&record(&shop, &paid)), "key-expired");
    let receipt = sealed.answer(&shop);
    assert_eq!(receipt.outcome, Outcome::Refused);
    assert!(receipt.reason.unwrap().starts_with("key-expired"));
    assert!(!names(&shop).contains(&"ana".to_owned()));
}

#[test]
fn nothing_that_a_stranger_sealed_stands_in_logs_or_events() {
    let mut shop = Shop::closed();
    shop.environment = vec![("RUST_LOG", "debug".to_owned())];
    shop.start();
    shop.open_for_business();
    let (chosen, name) = ("correct-horse-battery-7f3a", "Zoë-of-Ängeby");
    let outside = tanglegate::postgres::testing::TestFolder::create().unwrap();
    let file = outside.path().join("password");
    fs::write(&file, format!("{chosen}\n")).unwrap();
    let stranger = Stranger::at(&shop, outside.path().join("wallet.key"));
    let file = file.to_str().unwrap();
    let words = ["--username", name, "--password-file", file];
    stranger.bought(&shop, 60, &words);
    let other = Stranger::at(&shop, outside.path().join("other.key"));
    let made = login(&other.bought(&shop, 60, &["--username", "made-for-me-91"]));
    let made = text(&made, "password").to_owned();

    let words = shop.say(&["log", "tail", "-n", "100"]) + &shop.say(&["log", "tail", "--json"]);
    assert!(words.contains("lease_granted"), "{words}");
    let everywhere = words + &shop.log();
    let url = shop.database_url();
    for secret in [chosen, &made, name, "made-for-me-91"] {
        assert!(!everywhere.contains(secret), "{secret} is shown");
        assert_eq!(shop.block_on(in_events(&url, secret)), 0, "{secret}");
    }
    let sold = shop.block_on(in_events(&url, "sensor/live"));
    assert!(sold > 0, "the search would find it");
    assert_eq!(shop.stop(), Some(0));
    for secret in [chosen, &made] {
        assert_eq!(files_with(&shop, secret), "", "{secret}");
    }
    assert!(!files_with(&shop, name).contains("engine.log"));
}
