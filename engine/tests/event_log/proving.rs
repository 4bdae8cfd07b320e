//! Payments proved to who paid them, from the index that the writer keeps and the leaves around.

use crate::market::{Market, SELLER, confirmation, now, pay, submit};
use std::time::Duration;
use tanglegate::event_log::EventLog;
use tanglegate::heads::{HeadSettings, KeyFolder, Signer};
use tanglegate::proof::{Ask, CheckError, ProofDesk, check, read_answer};
use tanglegate::writer::{Recording, Started};
use tanglegate_core::{Command, IdempotencyKey, PaymentId, VerifierKey};
use tanglegate_crypto::{HeadVerifier, Outcome, Receipt, SignedHead};
use tempfile::TempDir;
use tokio::time::timeout;

const AMOUNT: u64 = 500_000_000;

/// An engine's part that signs and proves.
struct Office {
    market: Market,
    data_dir: TempDir,
    writer: Started,
    signer: Signer,
    desk: ProofDesk,
}

impl Office {
    async fn new() -> Self {
        let market = Market::patient().await;
        let (writer, data_dir) = (market.open().await, TempDir::new().expect("a folder"));
        Self::on(market, data_dir, writer).await
    }

    async fn on(market: Market, data_dir: TempDir, writer: Started) -> Self {
        let settings = HeadSettings {
            every_events: 1,
            every: Duration::from_millis(20),
            ..HeadSettings::default()
        };
        let options = market.database.connect_options();
        let folder = KeyFolder::of(data_dir.path());
        let signer = Signer::start(&settings, folder, &options, &writer, now).await;
        let signer = signer.expect("it is the only one");
        let subtrees = writer.subtrees.clone();
        let desk = ProofDesk::new(&options, subtrees, Some(signer.heads()));
        Self {
            market,
            data_dir,
            writer,
            signer,
            desk,
        }
    }

    /// The engine stops and starts again.
    async fn again(self) -> Self {
        self.signer.stop().await;
        self.writer.stop().await;
        let writer = self.market.writer("one", true).await.expect("it is free");
        Self::on(self.market, self.data_dir, writer).await
    }

    async fn stop(self) {
        self.signer.stop().await;
        self.writer.stop().await;
    }

    fn key(&self) -> HeadVerifier {
        self.signer.heads().key().0.parse().expect("a key")
    }

    /// Waits until a head is over the whole log.
    async fn signed(&self) {
        let mut heads = self.signer.heads();
        let size = || self.writer.head.borrow().size;
        let covered = |note: Option<String>| {
            let head = note.map(|it| SignedHead::parse(&it).expect("a head"));
            head.is_some_and(|it| it.head.size >= size())
        };
        while !covered(heads.latest()) {
            let next = timeout(Duration::from_secs(20), heads.next()).await;
            next.expect("soon").expect("it goes on");
        }
    }

    async fn ask(&mut self, payment: PaymentId) -> Vec<u8> {
        self.desk.answer(&Ask::about(payment).to_bytes()).await
    }

    /// What the buyer would have been told of such a payment.
    async fn receipt(&self, number: u32) -> Receipt {
        let paid = confirmation(number, AMOUNT);
        let options = self.market.database.connect_options();
        let mut log = EventLog::open(&options).await.expect("opens");
        let event = log.event_with_key(IdempotencyKey::Payment(paid.payment));
        let event = event.await.expect("readable").expect("it is there");
        Receipt {
            digest: paid.payment.digest.0,
            index: paid.payment.index,
            seller: SELLER.0,
            amount: AMOUNT,
            recorded_at: event.recorded_at.0,
            position: event.position,
            outcome: Outcome::TimeBought,
            reason: None,
            offer: "plug-hour".to_owned(),
            username: "ana".to_owned(),
            password: None,
            filter: None,
            access: None,
            from: None,
            until: None,
            credit: 0,
        }
    }

    /// Asks for the proof of a payment and checks it as its buyer does.
    async fn prove(&mut self, number: u32) {
        let answer = self.ask(confirmation(number, AMOUNT).payment).await;
        let receipt = self.receipt(number).await;
        let proved = check(&answer, &receipt, &[self.key()]).expect("proved");
        assert_eq!(proved.position, receipt.position);
        assert_eq!(proved.checkpoint, u64::from(number));
        assert!(!proved.claimed);
    }
}

/// Records many payments at once: each is two events or three.
async fn pay_all(writer: &Started, numbers: std::ops::Range<u32>) {
    let paid = futures_util::future::join_all(numbers.map(|it| pay(writer, it, AMOUNT))).await;
    for outcome in paid {
        assert!(
            matches!(outcome, Ok(Recording::Recorded { .. })),
            "{outcome:?}"
        );
    }
}

#[tokio::test]
async fn every_payment_is_proved_at_every_size_of_the_log() {
    let mut office = Office::new().await;
    let mut paid = 0;
    for more in [1, 1, 83, 1, 1, 90, 400] {
        pay_all(&office.writer, paid..paid + more).await;
        paid += more;
        office.signed().await;
        for number in (0..paid).step_by(37).chain([paid - 1]) {
            office.prove(number).await;
        }
    }
    assert!(office.writer.head.borrow().size > 1_024);
    office.stop().await;
}

#[tokio::test]
async fn proofs_go_on_after_a_restart_and_behind_what_others_wrote() {
    let mut office = Office::new().await;
    pay_all(&office.writer, 0..150).await;
    office = office.again().await;
    office.signed().await;
    office.prove(77).await;

    office.signer.stop().await;
    office.writer.stop().await;
    let market = office.market;
    let writer = market.writer("one", false).await.expect("it may");
    let mut office = Office::on(market, office.data_dir, writer).await;
    let other = office.market.writer("two", false).await.expect("it may");
    pay_all(&other, 150..300).await;
    // The first writer hears of it when it writes itself, and decides again.
    pay_all(&office.writer, 300..350).await;
    pay_all(&other, 350..400).await;
    pay_all(&office.writer, 400..401).await;
    office.signed().await;
    for number in [0, 149, 150, 299, 300, 349, 350, 399, 400] {
        office.prove(number).await;
    }
    other.stop().await;
    office.stop().await;
}

#[tokio::test]
async fn who_cannot_be_given_a_proof_is_told_why() {
    let mut office = Office::new().await;
    let reason = |answer: Vec<u8>| {
        read_answer(&answer)
            .expect("an answer")
            .expect_err("no proof")
    };
    let unknown = office.ask(confirmation(9, AMOUNT).payment).await;
    assert!(reason(unknown).starts_with("unknown-payment: "));
    let question = Ask::about(confirmation(9, AMOUNT).payment).to_bytes();
    for unreadable in [
        &[][..],
        b"x",
        &question[..9],
        &[&question[..], &[0]].concat(),
    ] {
        let told = reason(office.desk.answer(unreadable).await);
        assert!(told.starts_with("unreadable: "), "{told}");
    }
    // Nothing is signed any more, and so a payment stays behind the last head.
    pay(&office.writer, 1, AMOUNT).await.expect("recorded");
    office.signed().await;
    let stranger = tanglegate_crypto::HeadKey::from_seed(office.key().origin().clone(), &[9; 32]);
    let adopt = Command::AdoptHeadKey(VerifierKey(stranger.verifier().to_string().into()));
    submit(&office.writer, None, adopt).await.expect("recorded");
    pay(&office.writer, 2, AMOUNT).await.expect("recorded");
    let early = office.ask(confirmation(2, AMOUNT).payment).await;
    assert!(reason(early).starts_with("not-yet: "));
    let silent = ProofDesk::new(
        &office.market.database.connect_options(),
        office.writer.subtrees.clone(),
        None,
    );
    let mut silent = silent;
    assert!(reason(silent.answer(&question).await).starts_with("no-heads: "));
    office.stop().await;
}

#[tokio::test]
async fn no_byte_of_an_answer_can_be_changed_and_no_other_receipt_fits() {
    let mut office = Office::new().await;
    pay_all(&office.writer, 0..300).await;
    office.signed().await;
    let (answer, receipt) = (
        office.ask(confirmation(5, AMOUNT).payment).await,
        office.receipt(5).await,
    );
    let keys = [office.key()];
    check(&answer, &receipt, &keys).expect("proved");
    assert!(answer.len() < 1_500, "{} bytes", answer.len());
    for at in 0..answer.len() {
        let mut changed = answer.clone();
        changed[at] ^= 1;
        assert!(check(&changed, &receipt, &keys).is_err(), "byte {at}");
    }
    for length in 0..answer.len() {
        assert!(check(&answer[..length], &receipt, &keys).is_err());
    }
    let other = office.receipt(6).await;
    let others = [
        ("stream", other.clone()),
        (
            "amount",
            Receipt {
                amount: AMOUNT + 1,
                ..receipt.clone()
            },
        ),
        (
            "seller",
            Receipt {
                seller: [8; 32],
                ..receipt.clone()
            },
        ),
        (
            "position",
            Receipt {
                position: receipt.position - 1,
                ..receipt.clone()
            },
        ),
        (
            "instant",
            Receipt {
                recorded_at: receipt.recorded_at + 1,
                ..receipt.clone()
            },
        ),
        (
            "stream",
            Receipt {
                index: 1,
                ..receipt.clone()
            },
        ),
    ];
    for (field, receipt) in others {
        let found = check(&answer, &receipt, &keys);
        assert!(
            matches!(found, Err(CheckError::Differs(it)) if it == field),
            "{field}: {found:?}"
        );
    }
    let stranger = tanglegate_crypto::HeadKey::from_seed(keys[0].origin().clone(), &[9; 32]);
    for keys in [&[][..], &[stranger.verifier()]] {
        let found = check(&answer, &receipt, keys);
        assert!(matches!(found, Err(CheckError::Head(_))), "{found:?}");
    }
    // A receipt of a claim names a later event: the payment's own stands before it.
    let claim = Receipt {
        position: receipt.position + 9,
        ..receipt.clone()
    };
    assert!(check(&answer, &claim, &keys).expect("proved").claimed);
    office.stop().await;
}

#[tokio::test]
async fn a_log_that_was_rewritten_gives_no_proof() {
    use sqlx::Connection as _;
    let mut office = Office::new().await;
    pay_all(&office.writer, 0..10).await;
    office.signed().await;
    let mut owner = office.market.connect().await;
    for statement in [
        "alter table event_log.event disable trigger all",
        "update event_log.event set leaf = sha256(leaf) where position = 9",
    ] {
        sqlx::raw_sql(statement)
            .execute(&mut owner)
            .await
            .expect("may");
    }
    owner.close().await.expect("closed");
    let answer = office.ask(confirmation(0, AMOUNT).payment).await;
    let told = read_answer(&answer)
        .expect("an answer")
        .expect_err("no proof");
    assert!(told.starts_with("unavailable: "), "{told}");
    office.stop().await;
}
