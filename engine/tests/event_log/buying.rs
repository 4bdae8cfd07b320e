//! A stranger's order, from the sealed memo to the answer that only he can open.

use crate::market::{Market, SELLER, confirmation, now};
use tanglegate::buyers::{
    Change, Claim, ClaimError, Keyring, Lifetimes, MasterKeySource, SecretStore,
};
use tanglegate::event_log::{Entropy, EventLog, Origin};
use tanglegate::wallet::Key;
use tanglegate::writer::{Recording, Started};
use tanglegate_broker::login::Cost;
use tanglegate_core::{
    Command, Confirmation, Event, IdempotencyKey, MemoReading, Timestamp, UnmatchedReason,
};
use tanglegate_crypto::{
    Identity, KeyBody, KeyId, Order, Outcome, PasswordWish, Receipt, ReplyKey, SealedMemo,
};
use tempfile::TempDir;
use zeroize::Zeroizing;

/// An engine that takes orders.
struct Counter {
    market: Market,
    writer: Started,
    keyring: Keyring,
    store: SecretStore,
    folder: TempDir,
}

/// Somebody with a wallet.
struct Stranger {
    wallet: Key,
    reply: ReplyKey,
}

impl Counter {
    async fn new() -> Self {
        let (market, folder) = (Market::new().await, TempDir::new().expect("a folder"));
        let writer = market.open().await;
        let store = store(&market, &folder);
        let keyring = open(&store, now()).await;
        Self {
            market,
            writer,
            keyring,
            store,
            folder,
        }
    }

    fn identity(&self) -> Identity {
        self.keyring.identity()
    }

    /// What a client is told, verified.
    fn key(&self, number: u8) -> KeyBody {
        let news = self.keyring.make_key([number; 12], now());
        let key: KeyBody = self.identity().hear(&news.payload).expect("signed");
        assert_eq!(key.key_id, KeyId::from_bytes(news.key_id));
        key
    }

    /// The ledger confirms a payment, and what came of it is recorded.
    async fn confirm(&self, mut paid: Confirmation) -> Vec<Event> {
        let reply = self.keyring.open(&mut paid, &mut Entropy::system());
        let key = Some(IdempotencyKey::Payment(paid.payment));
        let command = Command::ConfirmPayment(paid);
        let answer = self
            .writer
            .handle
            .enqueue(Origin::Ledger, key, command, reply);
        match answer.await.expect("open").await.expect("answered") {
            Ok(Recording::Recorded { events, .. }) => events,
            other => panic!("it was not recorded: {other:?}"),
        }
    }
}

fn store(market: &Market, folder: &TempDir) -> SecretStore {
    let master = MasterKeySource::of(folder.path());
    let master = master
        .load(Some(&Zeroizing::new([9; 32])))
        .expect("a master key");
    let options = market.database.connect_options();
    SecretStore::new(&options, master, Lifetimes::default())
}

async fn open(store: &SecretStore, at: Timestamp) -> Keyring {
    let opened = store.open(&mut Entropy::system(), at).await;
    opened.expect("the secrets are there")
}

impl Stranger {
    fn new(number: u8) -> Self {
        Self {
            wallet: Key::from_seed(&[number; 32]),
            reply: ReplyKey::from_bytes([number; 32]),
        }
    }

    fn memo(&self, counter: &Counter, key: &KeyBody, name: &str, wish: PasswordWish) -> SealedMemo {
        let order = Order {
            offer: "plug-hour".to_owned(),
            username: name.to_owned(),
            password: wish,
            reply_key: self.reply.public(),
        };
        let payer = self.wallet.address().0;
        SealedMemo::seal(&[3; 32], key, &counter.identity(), &payer, &order).expect("sealed")
    }

    fn pays(&self, number: u32, memo: &SealedMemo) -> Confirmation {
        Confirmation {
            payer: self.wallet.address(),
            confirmed_at: now(),
            memo: memo.as_bytes().to_vec(),
            reading: MemoReading::Sealed,
            ..confirmation(number, 500_000_000)
        }
    }

    fn hears(&self, counter: &Counter, events: &[Event]) -> Option<Receipt> {
        let told = events.iter().find_map(|it| match it {
            Event::AnswerAnnounced { key_id, sealed, .. } => Some((*key_id, sealed.clone())),
            _ => None,
        });
        let (key_id, sealed) = told?;
        let key_id = KeyId::from_bytes(key_id);
        let opened = self.reply.open_answer(&sealed, &counter.identity(), key_id);
        Some(opened.expect("it is for him"))
    }
}

fn refused(events: &[Event]) -> Option<UnmatchedReason> {
    events.iter().find_map(|it| match it {
        Event::PaymentUnmatched { reason, .. } => Some(*reason),
        _ => None,
    })
}

#[tokio::test]
async fn a_stranger_orders_a_login_and_alone_is_told_how_to_use_it() {
    let counter = Counter::new().await;
    let (zoe, eve) = (Stranger::new(1), Stranger::new(2));
    let key = counter.key(1);
    let memo = zoe.memo(&counter, &key, "zoe", PasswordWish::Make);
    let events = counter.confirm(zoe.pays(1, &memo)).await;
    assert!(matches!(events.last(), Some(Event::AnswerAnnounced { .. })));
    let mut log = EventLog::open_to_read(&counter.market.database.connect_options())
        .await
        .expect("opens");
    let told = |answers: Vec<_>| answers.len();
    for (since, most, found) in [(0, 5, 1), (0, 0, 0), (now().0 + 60_000, 5, 0)] {
        let answers = log.answers_since(Timestamp(since), most).await;
        assert_eq!(told(answers.expect("readable")), found, "{since} {most}");
    }
    log.close().await;
    let receipt = zoe.hears(&counter, &events).expect("an answer");
    assert_eq!(receipt.outcome, Outcome::TimeBought);
    assert_eq!((receipt.position, receipt.amount), (3, 500_000_000));
    assert_eq!(
        (receipt.username.as_str(), receipt.offer.as_str()),
        ("zoe", "plug-hour")
    );
    assert_eq!(receipt.seller, SELLER.0);
    let lasted = receipt
        .until
        .zip(receipt.from)
        .map(|(until, from)| until - from);
    assert_eq!(lasted, Some(3_600_000));
    let password = receipt.password.clone().expect("one was made");
    assert_eq!(password.len(), 26);

    // Nobody else can open it, nor does anything that is kept show name or password.
    let Some(Event::AnswerAnnounced { key_id, sealed, .. }) = events.last() else {
        panic!("an answer")
    };
    let foreign = eve
        .reply
        .open_answer(sealed, &counter.identity(), KeyId::from_bytes(*key_id));
    assert!(foreign.is_err());
    let acl = counter.market.acl.lock().expect("not poisoned").clone();
    let login = acl.login("zoe").expect("registered");
    let salt = login.verifier.salt;
    let made = tanglegate_broker::login::make_verifier(password.as_bytes(), salt, Cost::LEAST);
    assert_eq!(
        made.expect("made"),
        login.verifier,
        "the password opens the login"
    );
    counter.writer.stop().await;
    for row in ["body", "meta"] {
        for secret in [password.as_bytes(), b"zoe"] {
            let found = format!(
                "event_log.event where position({} in {row}) > 0",
                format_args!("'\\x{}'::bytea", hex::encode(secret))
            );
            assert_eq!(counter.market.count(&found).await, 0);
        }
    }
}

#[tokio::test]
async fn a_memo_is_worth_nothing_to_who_copies_it() {
    let counter = Counter::new().await;
    let (zoe, eve) = (Stranger::new(1), Stranger::new(2));
    let key = counter.key(1);
    let verifier = PasswordWish::Verifier {
        salt: [5; 16],
        tag: [6; 32],
    };
    let memo = zoe.memo(&counter, &key, "zoe", verifier);
    let copied = counter.confirm(eve.pays(1, &memo)).await;
    assert_eq!(refused(&copied), Some(UnmatchedReason::DoesNotOpen));
    assert!(eve.hears(&counter, &copied).is_none());
    // The name is still hers, and then nobody else's.
    let events = counter.confirm(zoe.pays(2, &memo)).await;
    let receipt = zoe.hears(&counter, &events).expect("an answer");
    assert_eq!(
        (receipt.outcome, receipt.password),
        (Outcome::TimeBought, None)
    );
    let own = eve.memo(&counter, &counter.key(2), "zoe", PasswordWish::Make);
    let taken = counter.confirm(eve.pays(3, &own)).await;
    assert_eq!(refused(&taken), Some(UnmatchedReason::UsernameTaken));
    let told = eve
        .hears(&counter, &taken)
        .expect("the refusal reaches her");
    assert_eq!((told.outcome, told.password), (Outcome::Refused, None));
    assert!(
        told.reason
            .expect("why")
            .contains("belongs to somebody else")
    );
    counter.writer.stop().await;
}

#[tokio::test]
async fn a_payment_that_waits_is_claimed_with_the_wallets_signature() {
    let counter = Counter::new().await;
    let (zoe, eve) = (Stranger::new(1), Stranger::new(2));
    let lost = Confirmation {
        payer: zoe.wallet.address(),
        reading: MemoReading::Absent,
        memo: Vec::new(),
        ..confirmation(1, 500_000_000)
    };
    let payment = lost.payment;
    counter.confirm(lost).await;
    let claim = |who: &Stranger, number| {
        let memo = who.memo(&counter, &counter.key(number), "zoe", PasswordWish::Make);
        let message = Claim::message(&counter.identity(), payment, memo.as_bytes());
        let signature = who.wallet.sign_personal(message.as_bytes());
        Claim::new(payment, memo.as_bytes(), &signature).to_bytes()
    };
    let submit = async |bytes: &[u8]| {
        let opened = counter
            .keyring
            .open_claim(bytes, now(), &mut Entropy::system());
        let (command, reply) = opened.expect("a proof");
        let handle = &counter.writer.handle;
        let answer = handle.enqueue(Origin::Buyer, None, command, Some(reply));
        answer.await.expect("open").await.expect("answered")
    };
    let stolen = submit(&claim(&eve, 1)).await;
    let why = stolen.err().map(|it| it.to_string()).unwrap_or_default();
    assert!(why.contains("another one made it"), "{why}");
    let Ok(Recording::Recorded { events, .. }) = submit(&claim(&zoe, 2)).await else {
        panic!("it is hers")
    };
    let receipt = zoe.hears(&counter, &events).expect("an answer");
    assert_eq!(receipt.outcome, Outcome::TimeBought);
    assert_eq!((receipt.amount, receipt.seller), (500_000_000, SELLER.0));
    let again = submit(&claim(&zoe, 3)).await;
    assert!(again.is_err(), "it was hers");

    let mut changed = claim(&zoe, 4);
    let last = changed.len() - 40;
    changed[last] ^= 1;
    let forged = counter
        .keyring
        .open_claim(&changed, now(), &mut Entropy::system());
    assert!(matches!(forged, Err(ClaimError::Proof(_))), "{forged:?}");
    counter.writer.stop().await;
}

#[tokio::test]
async fn a_secret_serves_its_time_and_is_destroyed() {
    let counter = Counter::new().await;
    let zoe = Stranger::new(1);
    let day = 24 * 3_600_000;
    let (begin, key) = (now(), counter.key(1));
    let memo = zoe.memo(&counter, &key, "zoe", PasswordWish::Make);
    let mut entropy = Entropy::system();
    // Another engine, or the same one after a restart, has the same secrets.
    let twin = open(&store(&counter.market, &counter.folder), begin).await;
    assert_eq!(twin.identity(), counter.identity());
    let later = begin.plus_millis(day + 1);
    let rotate = async |at| {
        let mut entropy = Entropy::system();
        let rotated = counter.store.rotate(&counter.keyring, &mut entropy, at);
        rotated.await.expect("rotated")
    };
    assert!(!rotate(begin).await && rotate(later).await && !rotate(later).await);
    let fresh = counter.key(2);
    assert_ne!(fresh.key_id.secret(), key.key_id.secret());

    let mut paid = zoe.pays(1, &memo);
    assert!(counter.keyring.open(&mut paid, &mut entropy).is_some());
    assert!(
        matches!(paid.reading, MemoReading::Order(_)),
        "still opened"
    );
    let mut late = zoe.pays(1, &memo);
    late.confirmed_at = begin.plus_millis(2 * day + 1);
    let reply = counter.keyring.open(&mut late, &mut entropy);
    assert_eq!(
        late.reading,
        MemoReading::Refused(UnmatchedReason::KeyExpired)
    );
    assert!(reply.is_some(), "he can be told");

    let destroy = async |settled| {
        let destroyed = counter.store.destroy(&counter.keyring, settled).await;
        destroyed.expect("destroyed")
    };
    assert_eq!(
        destroy(later).await,
        0,
        "payments may still be on their way"
    );
    assert_eq!(destroy(begin.plus_millis(2 * day + 2)).await, 1);
    let mut gone = zoe.pays(1, &memo);
    assert!(counter.keyring.open(&mut gone, &mut entropy).is_none());
    assert_eq!(
        gone.reading,
        MemoReading::Refused(UnmatchedReason::KeyExpired)
    );
    let secrets = "vault.engine_secret where name like 'sealing/%'";
    assert_eq!(counter.market.count(secrets).await, 1);
    counter.writer.stop().await;
}

#[tokio::test]
async fn another_master_key_opens_nothing() {
    let counter = Counter::new().await;
    let elsewhere = TempDir::new().expect("a folder");
    let master = MasterKeySource::of(elsewhere.path());
    let master = master
        .load(Some(&Zeroizing::new([8; 32])))
        .expect("a master key");
    let options = counter.market.database.connect_options();
    let store = SecretStore::new(&options, master, Lifetimes::default());
    let refused = store.open(&mut Entropy::system(), now()).await;
    let why = refused.err().map(|it| it.to_string()).unwrap_or_default();
    assert!(why.contains("is wrapped under master key"), "{why}");
    counter.writer.stop().await;
}

#[tokio::test]
async fn a_new_master_key_opens_what_the_old_one_did_and_the_old_one_no_more() {
    let counter = Counter::new().await;
    let before = counter.keyring.make_key([1; 12], now());
    let source = MasterKeySource::of(counter.folder.path());
    let new = tanglegate_crypto::MasterKey::from_bytes([7; 32]);
    assert!(source.keep_next(&new).expect("kept"));
    let rewrapped = counter.store.rewrap(&new, &mut Entropy::system()).await;
    assert_eq!(
        rewrapped.expect("wrapped"),
        2,
        "identity and one sealing secret"
    );
    let old = store(&counter.market, &counter.folder);
    assert!(old.open(&mut Entropy::system(), now()).await.is_err());
    source.take_over().expect("it takes over");
    let keyring = open(&store(&counter.market, &counter.folder), now()).await;
    assert_eq!(keyring.identity(), counter.identity());
    let after = keyring.make_key([1; 12], now());
    assert_eq!(
        (after.key_id, after.valid_until),
        (before.key_id, before.valid_until)
    );
    counter.writer.stop().await;
}

#[tokio::test]
async fn an_owner_moves_his_time_to_another_name() {
    let counter = Counter::new().await;
    let (zoe, eve) = (Stranger::new(1), Stranger::new(2));
    let memo = zoe.memo(&counter, &counter.key(1), "zoe", PasswordWish::Make);
    counter.confirm(zoe.pays(1, &memo)).await;
    let change = |who: &Stranger, name: &str| {
        let current = who.memo(&counter, &counter.key(2), "zoe", PasswordWish::Keep);
        let next = who.memo(&counter, &counter.key(3), name, PasswordWish::Keep);
        let (memo, name) = (current.as_bytes(), next.as_bytes());
        let message = Change::message(&counter.identity(), memo, Some(name));
        let signature = who.wallet.sign_personal(message.as_bytes());
        Change::new(memo, Some(name), &signature).to_bytes()
    };
    let submit = async |bytes: &[u8]| {
        let opened = counter
            .keyring
            .open_change(bytes, now(), &mut Entropy::system());
        let command = opened.expect("a proof");
        let handle = &counter.writer.handle;
        handle.submit(Origin::Buyer, None, command).await
    };
    let stolen = submit(&change(&eve, "mine")).await;
    let why = stolen.err().map(|it| it.to_string()).unwrap_or_default();
    assert!(why.contains("has bought no login of that name"), "{why}");
    submit(&change(&zoe, "other")).await.expect("it is hers");
    counter.writer.stop().await;
    // As it was told, and as it is replayed.
    let told = counter.market.acl.lock().expect("not poisoned").clone();
    let again = counter.market.writer("two", true).await.expect("it starts");
    again.stop().await;
    let replayed = counter.market.acl.lock().expect("not poisoned").clone();
    let topic = tanglegate_core::TopicName::parse("sensor/live").expect("valid");
    for acl in [told, replayed] {
        assert!(acl.login("zoe").is_none());
        let login = acl.login("other").expect("she has the other name");
        let permit = acl.permit_deliver(Some(login.subscriber), &topic, now());
        assert!(permit.is_ok(), "her time went with it");
    }
    let row = "projection.subscriber where username = 'other'";
    assert_eq!(counter.market.count(row).await, 1);
}

#[tokio::test]
async fn a_change_of_master_keys_that_was_cut_off_comes_to_one_end_or_the_other() {
    let counter = Counter::new().await;
    let source = MasterKeySource::of(counter.folder.path());
    let options = counter.market.database.connect_options();
    let settle = async || {
        let settled = SecretStore::settle(&source, &options, &mut Entropy::system()).await;
        let (store, key) = settled.expect("one of the keys is right");
        let keyring = open(&store, now()).await;
        assert_eq!(keyring.identity(), counter.identity());
        assert!(source.load_next().expect("readable").is_none());
        key.id()
    };
    let old = settle().await;
    let new = tanglegate_crypto::MasterKey::from_bytes([7; 32]);
    // Cut off before the secrets were wrapped under it.
    source.keep_next(&new).expect("kept");
    assert_eq!(settle().await, old);
    // Cut off behind that.
    source.keep_next(&new).expect("kept");
    let rewrapped = counter.store.rewrap(&new, &mut Entropy::system()).await;
    rewrapped.expect("wrapped");
    assert_eq!(settle().await, new.id());
    assert_eq!(settle().await, new.id());
    // A database that is restored without its key does not get another one.
    let elsewhere = MasterKeySource::of(TempDir::new().expect("a folder").path());
    let lost = SecretStore::settle(&elsewhere, &options, &mut Entropy::system()).await;
    assert!(lost.is_err());
    counter.writer.stop().await;
}
