//! The key of tree heads: made, changed, cut off in between, and named by strangers.

use crate::market::{Market, now, pay, submit};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tanglegate::audit::{Archive, Verifier, Whole};
use tanglegate::heads::{HeadSettings, Heads, KeyFolder, Signer, SignerError};
use tanglegate::writer::Started;
use tanglegate_core::{Command, VerifierKey};
use tanglegate_crypto::{HeadKey, HeadVerifier, SignedHead};
use tempfile::TempDir;
use tokio::time::timeout;

/// An engine's part that signs, at once when anything was recorded.
struct Signing {
    market: Market,
    data_dir: TempDir,
    writer: Started,
    signer: Signer,
}

async fn signer(market: &Market, data_dir: &Path, writer: &Started) -> Signer {
    let settings = HeadSettings {
        every_events: 1,
        every: Duration::from_millis(20),
        ..HeadSettings::default()
    };
    let (options, folder) = (market.database.connect_options(), KeyFolder::of(data_dir));
    let started = Signer::start(&settings, folder, &options, writer, now);
    started.await.expect("it is the only one")
}

impl Signing {
    async fn new() -> Self {
        let (market, data_dir) = (Market::new().await, TempDir::new().expect("a folder"));
        let writer = market.open().await;
        let signer = signer(&market, data_dir.path(), &writer).await;
        Self {
            market,
            data_dir,
            writer,
            signer,
        }
    }

    fn folder(&self) -> KeyFolder {
        KeyFolder::of(self.data_dir.path())
    }

    /// Where the head stands on its way to the folder: a folder of that name is in its way.
    fn obstacle(&self) -> PathBuf {
        self.data_dir.path().join("keys/log.head.new")
    }

    /// Pays, and waits for the head over it.
    async fn pay(&self, number: u32) {
        pay(&self.writer, number, 500_000_000)
            .await
            .expect("recorded");
        let size = self.writer.head.borrow().size;
        let mut heads = self.signer.heads();
        while signed(&heads) < size {
            let next = timeout(Duration::from_secs(10), heads.next()).await;
            next.expect("soon").expect("it goes on");
        }
    }

    /// Somebody writes an event into the log that names a key of his.
    async fn name_a_strangers_key(&self) -> String {
        let own: HeadVerifier = self.signer.heads().key().0.parse().expect("a key");
        let stranger = HeadKey::from_seed(own.origin().clone(), &[9; 32]);
        let stranger = stranger.verifier().to_string();
        let adopt = Command::AdoptHeadKey(VerifierKey(stranger.as_str().into()));
        submit(&self.writer, None, adopt).await.expect("recorded");
        stranger
    }

    /// Stops signing and starts it again, as a new start of the engine does.
    async fn again(self) -> Self {
        self.signer.stop().await;
        let signer = signer(&self.market, self.data_dir.path(), &self.writer).await;
        Self { signer, ..self }
    }

    async fn stop(self) {
        self.signer.stop().await;
        self.writer.stop().await;
    }

    /// What an auditor finds who trusts a key.
    async fn found(&self, trusted: &str) -> Whole {
        let options = self.market.database.connect_options();
        let mut archive = Archive::at(options).await.expect("readable");
        let trusted: HeadVerifier = trusted.parse().expect("a key");
        let verifier = Verifier::new(Some(trusted), Vec::new());
        let found = archive.verify(verifier, |_, _| ()).await;
        archive.close().await;
        found.expect("whole")
    }
}

/// The size of the newest head.
fn signed(heads: &Heads) -> u64 {
    let head = heads.latest().map(|it| SignedHead::parse(&it));
    head.map_or(0, |it| it.expect("a head").head.size)
}

#[tokio::test]
async fn nothing_is_signed_while_the_log_names_a_strangers_key() {
    for restarted in [false, true] {
        let mut signing = Signing::new().await;
        signing.pay(1).await;
        let own = signing.signer.heads().key().0.to_string();
        let size = signed(&signing.signer.heads());
        let stranger = signing.name_a_strangers_key().await;
        pay(&signing.writer, 2, 500_000_000)
            .await
            .expect("recorded");
        if restarted {
            signing = signing.again().await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(signed(&signing.signer.heads()), size, "it has stopped");
        let whole = signing.found(&own).await;
        assert_eq!(
            (whole.keys, whole.unproved_keys),
            (vec![own.clone()], vec![stranger.clone()])
        );
        // The operator has looked into it, and goes on.
        let fresh = signing.signer.heads().rotate().await.expect("rotated");
        signing.pay(3).await;
        let whole = signing.found(&own).await;
        assert_eq!(whole.signed, whole.events);
        assert_eq!(whole.keys, [own, fresh.to_string()]);
        assert_eq!(whole.unproved_keys, [stranger]);
        signing.stop().await;
    }
}

#[tokio::test]
async fn the_last_key_stays_until_the_head_of_both_is_kept_here() {
    let signing = Signing::new().await;
    signing.pay(1).await;
    let last = signing.folder().key().expect("readable").expect("there");
    std::fs::create_dir(signing.obstacle()).expect("made");
    let fresh = signing.signer.heads().rotate().await.expect("adopted");
    let kept = signing.folder().key().expect("readable").expect("there");
    assert_eq!(kept.verifier(), last.verifier());
    let past = signing.folder().past();
    past.expect("whoever starts now knows whose head it is");
    let early = signing.signer.heads().rotate().await;
    assert!(matches!(early, Err(SignerError::HandingOver)), "{early:?}");

    std::fs::remove_dir(signing.obstacle()).expect("removed");
    signing.pay(2).await;
    let kept = signing.folder().key().expect("readable").expect("there");
    assert_eq!(kept.verifier().to_string(), *fresh.0);
    assert!(signing.folder().next_key().expect("readable").is_none());
    let whole = signing.found(&fresh.0).await;
    assert_eq!(whole.keys, [last.verifier().to_string(), fresh.to_string()]);
    signing.stop().await;
}

#[tokio::test]
async fn a_key_that_may_have_been_adopted_is_kept() {
    let signing = Signing::new().await;
    signing.pay(1).await;
    let folder = signing.folder();
    let Signing {
        writer,
        signer,
        market,
        data_dir,
    } = signing;
    // The engine stops while its database is silent.
    let mut owner = market.connect().await;
    let locks = "begin; lock table event_log.batch in share row exclusive mode";
    sqlx::raw_sql(locks).execute(&mut owner).await.expect("may");
    let heads = signer.heads();
    let stop = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        writer.stop().await;
    };
    let (unknown, ()) = tokio::join!(heads.rotate(), stop);
    drop(owner);
    assert!(
        matches!(unknown, Err(SignerError::Unanswered)),
        "{unknown:?}"
    );
    let next = folder.next_key().expect("readable").expect("kept");
    signer.stop().await;

    // It was, as the log says at the next start.
    let writer = market.writer("two", true).await.expect("free");
    let adopt = Command::AdoptHeadKey(VerifierKey(next.verifier().to_string().into()));
    submit(&writer, None, adopt).await.expect("recorded");
    writer.stop().await;
    let writer = market.writer("three", true).await.expect("free");
    let signer = self::signer(&market, data_dir.path(), &writer).await;
    let signing = Signing {
        market,
        data_dir,
        writer,
        signer,
    };
    signing.pay(2).await;
    let whole = signing.found(&next.verifier().to_string()).await;
    assert_eq!((whole.keys.len(), whole.signed), (2, whole.events));
    signing.stop().await;
}

#[tokio::test]
async fn signing_stops_though_the_database_keeps_no_head() {
    let signing = Signing::new().await;
    signing.pay(1).await;
    let mut owner = signing.market.connect().await;
    let locks = "begin; lock table event_log.tree_head in access exclusive mode";
    sqlx::raw_sql(locks).execute(&mut owner).await.expect("may");
    pay(&signing.writer, 2, 500_000_000)
        .await
        .expect("recorded");
    let stopped = timeout(Duration::from_secs(20), signing.stop()).await;
    stopped.expect("a shutdown comes to its end");
}

#[tokio::test]
async fn heads_are_shown_before_there_are_any() {
    let signing = Signing::new().await.again().await;
    let query = "select kind from event_log.event where kind in ('rule_given', 'head_key_adopted') \
         order by position";
    let mut connection = signing.market.connect().await;
    let kinds: Vec<String> = sqlx::query_scalar(query)
        .fetch_all(&mut connection)
        .await
        .expect("readable");
    assert_eq!(
        kinds,
        ["rule_given", "head_key_adopted"],
        "whoever is cut off in between does the first again"
    );
    signing.stop().await;
}

#[tokio::test]
async fn a_proof_over_a_change_of_keys_takes_both() {
    let signing = Signing::new().await;
    signing.pay(1).await;
    let smaller = signed(&signing.signer.heads());
    let first: HeadVerifier = signing.signer.heads().key().0.parse().expect("a key");
    let fresh = signing.signer.heads().rotate().await.expect("rotated");
    let fresh: HeadVerifier = fresh.0.parse().expect("a key");
    signing.pay(2).await;
    let options = signing.market.database.connect_options();
    let mut archive = Archive::at(options).await.expect("readable");
    let proof = archive.prove_consistency(smaller, None).await;
    let proof = proof.expect("both are kept");
    archive.close().await;
    let both = [fresh, first];
    proof.check(&both).expect("each is signed with one of them");
    for one in &both {
        assert!(proof.check(std::slice::from_ref(one)).is_err(), "{one}");
    }
    signing.stop().await;
}
