//! A purchase that is interrupted goes on, and is paid once: at each step, by kill -9, without the
//! gate, and with another engine process than the one that was paid.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use tanglegate::buy::{
    Book, Bought, BuyError, Buyer, Caps, Gate, LoginFile, Price, Step, Stopped, Wish,
};
use tanglegate::ledger::{Node, NodeLimits};
use tanglegate::wallet::{Key, Wallet, WalletSettings};
use tanglegate_core::{Nanos, Username};
use tanglegate_crypto::{IdentityKey, Outcome};

use crate::client::{Login, told};
use crate::process::{PATIENCE, Process};
use crate::shop::{SECOND, Shop, path};

/// A buyer as a new process would make him: from his files alone.
fn buyer(shop: &Shop, seed: u8) -> Buyer {
    buyer_at(shop, seed, shop.port())
}

fn buyer_at(shop: &Shop, seed: u8, port: u16) -> Buyer {
    let key = Key::from_seed(&[seed; 32]);
    let node = Node::new(&shop.devnet.url(), NodeLimits::default()).unwrap();
    let settings = WalletSettings {
        poll: Duration::from_millis(10),
        ..WalletSettings::default()
    };
    let state = shop.folder.path().join(format!("{seed}.purchases"));
    let host = "127.0.0.1".to_owned();
    Buyer {
        gate: Gate { host, port },
        book: Book::open(&state, key.address()).unwrap(),
        wallet: Wallet::new(key, node.clone(), settings),
        node,
        beside: state,
        patience: 2 * PATIENCE,
    }
}

fn wish(seconds: u64, username: &str) -> Wish {
    Wish {
        offer: "plug-hour".to_owned(),
        username: Some(Username::parse(username).unwrap()),
        password: None,
        price: Price::Amount(Nanos(seconds * SECOND)),
        caps: Caps::default(),
        identity: None,
        out: None,
    }
}

fn buy(shop: &Shop, seed: u8, wish: &Wish) -> Result<Bought, BuyError> {
    let mut buyer = buyer(shop, seed);
    shop.block_on(buyer.buy(wish, &mut |_| Ok(())))
}

/// Buys until a step, and is gone.
fn buy_until(shop: &Shop, seed: u8, wish: &Wish, last: impl Fn(&Step) -> bool) {
    let mut buyer = buyer(shop, seed);
    let mut tell = |step| if last(&step) { Err(Stopped) } else { Ok(()) };
    let ended = shop.block_on(buyer.buy(wish, &mut tell));
    assert!(matches!(ended, Err(BuyError::Stopped)), "{ended:?}");
}

fn password(login: &LoginFile) -> &str {
    login.password.as_ref().unwrap().expose()
}

/// How many payments the engine has recorded of this buyer.
fn paid(shop: &Shop, seed: u8) -> usize {
    let payer = Key::from_seed(&[seed; 32]).address().to_string();
    let payments = shop.payments();
    payments.iter().filter(|it| it["payer"] == payer).count()
}

fn let_in(shop: &Shop, login: Login<'_>) -> bool {
    let told = told(
        "mosquitto_sub",
        shop.port(),
        "5",
        login,
        &["-t", "sensor/1m", "-W", "1"],
    );
    !told.contains("Bad User Name or Password")
}

#[test]
fn whoever_is_stopped_at_any_step_goes_on_and_pays_once() {
    let shop = Shop::bare();
    shop.open_for_business();
    let mut steps = Vec::new();
    {
        shop.fund(Key::from_seed(&[1; 32]).address());
        let mut buyer = buyer(&shop, 1);
        let mut tell = |step| {
            steps.push(step);
            Ok(())
        };
        let bought = shop.block_on(buyer.buy(&wish(60, "first"), &mut tell));
        assert_eq!(bought.unwrap().outcome, Outcome::TimeBought);
    }
    assert!(steps.len() >= 9, "{steps:?}");

    for (seed, number) in (2..).zip(0..steps.len()) {
        let name = format!("stopped-{number}");
        shop.fund(Key::from_seed(&[seed; 32]).address());
        let wish = wish(60, &name);
        let seen = std::cell::Cell::new(0);
        buy_until(&shop, seed, &wish, |_| {
            seen.replace(seen.get() + 1) == number
        });
        let bought = buy(&shop, seed, &wish).unwrap();
        assert_eq!(bought.outcome, Outcome::TimeBought, "{:?}", steps[number]);
        assert_eq!(paid(&shop, seed), 1, "stopped after {:?}", steps[number]);
        let login = &bought.login;
        assert_eq!(login.until.unwrap() - login.from.unwrap(), 60_000);
        assert!(let_in(&shop, Some((&name, password(login)))));
        let mut book = buyer(&shop, seed).book;
        assert_eq!(
            (book.unfinished(), book.spent()),
            (None, Nanos(60 * SECOND))
        );
        book.give_up().unwrap();
    }
    assert_eq!(shop.payments().len(), steps.len() + 1);
}

#[test]
fn who_has_used_the_login_already_still_comes_to_the_end() {
    let shop = Shop::bare();
    shop.open_for_business();
    shop.fund(Key::from_seed(&[1; 32]).address());
    let wish = wish(60, "ana");
    buy_until(&shop, 1, &wish, |it| matches!(it, Step::Written { .. }));
    let file = shop.folder.path().join("1.purchases.ana.json");
    let login: LoginFile = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    // From now on nobody is told the answer.
    assert!(let_in(&shop, Some(("ana", password(&login)))));
    let bought = buy(&shop, 1, &wish).unwrap();
    assert_eq!(password(&bought.login), password(&login));
    assert_eq!(paid(&shop, 1), 1);
}

#[test]
fn another_purchase_waits_until_the_first_is_over() {
    let shop = Shop::bare();
    shop.open_for_business();
    shop.fund(Key::from_seed(&[1; 32]).address());
    buy_until(&shop, 1, &wish(60, "ana"), |it| {
        matches!(it, Step::Signed { .. })
    });
    for other in [wish(61, "ana"), wish(60, "bob")] {
        let refused = buy(&shop, 1, &other);
        assert!(matches!(refused, Err(BuyError::Unfinished { .. })));
    }
    let somebody = IdentityKey::from_bytes(&[9; 32]).identity();
    let mut others = [(); 4].map(|()| wish(60, "ana"));
    others[0].identity = Some(somebody);
    others[1].password = Some(serde_json::from_value("another".into()).unwrap());
    others[2].caps.each = Some(Nanos(60 * SECOND - 1));
    others[3].caps.total = Some(Nanos(60 * SECOND - 1));
    let words = [
        "another seller",
        "another password",
        "--cap ",
        "--cap-total ",
    ];
    for (other, words) in others.iter().zip(words) {
        let refused = buy(&shop, 1, other).unwrap_err().to_string();
        assert!(refused.contains(words), "{refused}");
    }
    let mut again = buyer(&shop, 1);
    let occupied = shop.folder.path().join("occupied");
    std::fs::write(&occupied, "mine").unwrap();
    std::fs::set_permissions(&occupied, std::fs::Permissions::from_mode(0o600)).unwrap();
    let refused = shop.block_on(again.resume(Some(occupied.clone()), &mut |_| Ok(())));
    assert!(
        matches!(refused, Err(BuyError::LoginFile(_))),
        "{refused:?}"
    );
    assert_eq!(std::fs::read(&occupied).unwrap(), b"mine");
    assert_eq!(paid(&shop, 1), 0, "nothing was sent");

    let bought = shop.block_on(again.resume(None, &mut |_| Ok(()))).unwrap();
    assert_eq!(bought.login.username, "ana");
    let over = shop.block_on(again.resume(None, &mut |_| Ok(())));
    assert!(matches!(over, Err(BuyError::NothingBegun)));
    assert_eq!(paid(&shop, 1), 1);
}

#[test]
fn a_killed_command_goes_on_and_pays_once() {
    let shop = Shop::bare();
    shop.open_for_business();
    let lines = ["order ", "signed ", "executed", "final ", "waiting "];
    for (number, line) in lines.iter().enumerate() {
        let wallet = shop.folder.path().join(format!("killed-{number}.key"));
        shop.say(&["wallet", "new", path(&wallet)]);
        let payer = Key::load(&wallet).unwrap().address();
        shop.fund(payer);
        let (broker, node) = (format!("127.0.0.1:{}", shop.port()), shop.devnet.url());
        let amount = format!("{}NANOS", 60 * SECOND);
        let words = [
            "buy",
            "plug-hour",
            "--broker",
            &broker,
            "--node",
            &node,
            "--amount",
            &amount,
            "--wallet",
            path(&wallet),
        ];
        let mut command = shop.program();
        command.args(words).stdout(Stdio::piped());
        let mut process = Process::spawn(command.stdin(Stdio::null()));
        let mut said = BufReader::new(process.stdout()).lines();
        let reached = said.any(|it| it.is_ok_and(|it| it.starts_with(line)));
        assert!(reached, "{line} is said");
        process.signal(Signal::KILL);
        process.wait(PATIENCE).expect("nobody survives that");

        let said = shop.say(&words);
        assert!(
            said.contains("bought   sensor/live until "),
            "{line}: {said}"
        );
        let payments = shop.payments();
        let of = payments
            .iter()
            .filter(|it| it["payer"] == payer.to_string());
        assert_eq!(of.count(), 1, "killed at {line}");
    }
}

#[test]
fn the_answer_is_found_by_its_key_after_the_engine_was_killed_too() {
    let mut shop = Shop::bare();
    shop.open_for_business();
    shop.fund(Key::from_seed(&[1; 32]).address());
    let wish = wish(600, "ana");
    buy_until(&shop, 1, &wish, |it| matches!(it, Step::Paid { .. }));
    shop.recorded(1);
    shop.kill();
    shop.start();
    let bought = buy(&shop, 1, &wish).unwrap();
    assert_eq!(bought.outcome, Outcome::TimeBought);
    assert!(let_in(&shop, Some(("ana", password(&bought.login)))));
    assert_eq!(paid(&shop, 1), 1);

    // Paid while the engine is away: it tells the answer when it is back.
    buy_until(&shop, 1, &wish, |it| matches!(it, Step::Signed { .. }));
    let port = shop.port();
    shop.kill();
    let mut away = buyer_at(&shop, 1, port);
    away.patience = Duration::from_secs(1);
    let nobody = shop.block_on(away.resume(None, &mut |_| Ok(())));
    assert!(
        matches!(nobody, Err(BuyError::NoAnswer { .. })),
        "{nobody:?}"
    );
    shop.start();
    let extended = buy(&shop, 1, &wish).unwrap();
    assert_eq!(paid(&shop, 1), 2);
    let (before, after) = (bought.login, extended.login);
    assert_eq!(after.until.unwrap() - before.until.unwrap(), 600_000);
    assert_eq!(password(&after), password(&before));
}

#[test]
fn an_expired_key_is_not_paid_to() {
    let shop = Shop::bare();
    shop.open_for_business();
    shop.fund(Key::from_seed(&[1; 32]).address());
    let wish = wish(60, "ana");
    buy_until(&shop, 1, &wish, |it| matches!(it, Step::Signed { .. }));
    // The book was put away for days.
    let state = shop.folder.path().join("1.purchases");
    let text = std::fs::read_to_string(&state).unwrap();
    let mut kept: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(kept["pending"]["key_ends"].as_u64() > Some(crate::process::now_ms()));
    kept["pending"]["key_ends"] = 1.into();
    std::fs::write(&state, kept.to_string()).unwrap();
    let expired = buy(&shop, 1, &wish);
    assert!(
        matches!(expired, Err(BuyError::KeyExpired { .. })),
        "{expired:?}"
    );
    assert_eq!(paid(&shop, 1), 0);

    let mut again = buyer(&shop, 1);
    again.book.give_up().unwrap();
    assert_eq!(buy(&shop, 1, &wish).unwrap().outcome, Outcome::TimeBought);
    assert_eq!(paid(&shop, 1), 1);
}
