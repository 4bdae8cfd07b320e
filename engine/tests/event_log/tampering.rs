//! Whoever owns the database can write into it what he likes. He cannot do it unnoticed.

use crate::market::{Market, now, pay, submit};
use std::path::Path;
use std::time::Duration;
use tanglegate::audit::{
    Archive, CheckError, Finding, Unsigned, Verifier, VerifyError, Whole, verify_file,
};
use tanglegate::heads::{HeadSettings, KeyFolder, Signer};
use tanglegate::writer::Started;
use tanglegate_core::{Command, VerifierKey};
use tanglegate_crypto::{HeadKey, HeadVerifier, SignedHead, TreeHead};
use tempfile::TempDir;

/// A log with a few heads, each after some payments, and what its auditor keeps at home.
struct Signed {
    market: Market,
    data_dir: TempDir,
    key: HeadVerifier,
    /// The last head.
    head: SignedHead,
}

/// Signs at once: as soon as anything was recorded.
fn settings() -> HeadSettings {
    HeadSettings {
        every_events: 1,
        every: Duration::from_millis(20),
        ..HeadSettings::default()
    }
}

async fn signer(market: &Market, data_dir: &Path, writer: &Started) -> Signer {
    let options = market.database.connect_options();
    let folder = KeyFolder::of(data_dir);
    Signer::start(&settings(), folder, &options, writer, now)
        .await
        .expect("it is the only one")
}

impl Signed {
    async fn new() -> Self {
        let (market, data_dir) = (Market::new().await, TempDir::new().expect("a folder"));
        let writer = market.open().await;
        let signer = signer(&market, data_dir.path(), &writer).await;
        let mut heads = signer.heads();
        for number in 0..5 {
            pay(&writer, number, 500_000_000).await.expect("recorded");
            heads.next().await.expect("signed");
        }
        let key = heads.key().0.parse().expect("a key");
        signer.stop().await;
        writer.stop().await;
        let kept = KeyFolder::of(data_dir.path()).head();
        let head = kept.expect("readable").expect("the last one");
        Self {
            market,
            data_dir,
            key,
            head,
        }
    }

    /// What an auditor finds who trusts the key, and has the last head at home or not.
    async fn found(&self, outside: bool) -> Result<Whole, Finding> {
        let outside = outside.then(|| self.head.clone());
        let outside = outside.into_iter().collect();
        self.found_by(Verifier::new(Some(self.key.clone()), outside))
            .await
    }

    async fn found_by(&self, verifier: Verifier) -> Result<Whole, Finding> {
        let options = self.market.database.connect_options();
        let mut archive = Archive::at(options).await.expect("readable");
        let found = archive.verify(verifier, |_, _| ()).await;
        archive.close().await;
        found.map_err(|it| match it {
            VerifyError::Finding(finding) => finding,
            error => panic!("{error}"),
        })
    }

    /// As the superuser, past every trigger and constraint.
    async fn tamper(&self, statements: &str) {
        let mut connection = self.market.connect().await;
        let statements = format!(
            "set session_replication_role = replica;
             alter table event_log.event drop constraint if exists event_position_check,
                 drop constraint if exists event_check;
             {statements}"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(statements))
            .execute(&mut connection)
            .await
            .expect("a superuser may do everything");
    }
}

#[tokio::test]
async fn a_log_that_nobody_touched_is_whole() {
    let signed = Signed::new().await;
    let whole = signed.found(true).await.expect("whole");
    assert_eq!((whole.events, whole.signed), (19, 19));
    assert!(whole.heads >= 5 && whole.outside_heads == 1, "{whole:?}");
    assert_eq!(whole.keys, [signed.key.to_string()]);
}

#[tokio::test]
async fn a_changed_byte_of_any_column_is_named() {
    for change in [
        "body = set_byte(body, 3, get_byte(body, 3) # 1)",
        "meta = '\\x07'",
        "stream = 'offer/other'",
        "recorded_at = recorded_at + interval '1 millisecond'",
        "causation = null",
        "idempotency_key = '\\x01'",
        "leaf = sha256(leaf)",
    ] {
        let signed = Signed::new().await;
        let position = 6;
        signed
            .tamper(&format!(
                "update event_log.event set {change} where position = {position}"
            ))
            .await;
        let found = signed.found(false).await;
        assert!(
            matches!(found, Err(Finding::EventChanged(6))),
            "{change}: {found:?}"
        );
    }
}

#[tokio::test]
async fn two_events_that_were_exchanged_are_found() {
    let signed = Signed::new().await;
    signed
        .tamper(
            "update event_log.event set position = -1 where position = 6;
             update event_log.event set position = 6 where position = 9;
             update event_log.event set position = 9 where position = -1",
        )
        .await;
    let found = signed.found(false).await;
    assert!(matches!(found, Err(Finding::EventChanged(6))), "{found:?}");
}

#[tokio::test]
async fn a_last_event_that_was_removed_is_missed() {
    let signed = Signed::new().await;
    signed
        .tamper("delete from event_log.event where position = 19")
        .await;
    let found = signed.found(false).await;
    let missed = matches!(
        found,
        Err(Finding::Truncated {
            size: 19,
            events: 18
        })
    );
    assert!(missed, "{found:?}");
}

/// What a superuser does who knows how the tree is made: leaves, roots and positions fit again.
const RECOMPUTE: &str = "
    create function pg_temp.leaf(e event_log.event) returns bytea language sql as $$
        select sha256('\\x00'::bytea || int8send(e.position)
            || set_byte('\\x00', 0, octet_length(e.stream)) || e.stream::bytea
            || int8send(e.version)
            || set_byte('\\x00', 0, octet_length(e.kind)) || e.kind::bytea
            || int2send(e.schema_version)
            || set_byte('\\x00', 0, coalesce(octet_length(e.idempotency_key), 0))
            || coalesce(e.idempotency_key, '')
            || int8send((extract(epoch from e.recorded_at) * 1000)::bigint)
            || case when e.correlation is null then '\\x00'::bytea
               else '\\x10'::bytea || uuid_send(e.correlation) end
            || int8send(coalesce(e.causation, 0)) || sha256(e.meta) || sha256(e.body))
    $$;
    create function pg_temp.root(first bigint, last bigint) returns bytea language plpgsql as $$
    declare half bigint := 1;
    begin
        if first = last then
            return (select leaf from event_log.event where position = first);
        end if;
        while half * 2 < last - first + 1 loop half := half * 2; end loop;
        return sha256('\\x01'::bytea || pg_temp.root(first, first + half - 1)
            || pg_temp.root(first + half, last));
    end $$;
    update event_log.event as e set leaf = pg_temp.leaf(e);
    update event_log.batch set root = pg_temp.root(1, size) where size > 0;
";

#[tokio::test]
async fn the_recomputation_of_the_superuser_is_right() {
    let signed = Signed::new().await;
    signed.tamper(RECOMPUTE).await;
    signed.found(true).await.expect("nothing has changed by it");
}

#[tokio::test]
async fn a_past_that_was_rewritten_with_all_its_hashes_breaks_a_signed_head() {
    let rewrite = "update event_log.event set body = set_byte(body, 36, 9) where position = 11;";
    let removal = "
        delete from event_log.event where position = 19;
        update event_log.event set position = -position, causation = -causation where position > 10;
        delete from event_log.event where position = -11;
        update event_log.event set position = -position - 1, causation = -causation - 1
            where position < 0;
        delete from event_log.batch where size > 16;
        delete from event_log.tree_head where size > 16;";
    for (what, statements) in [("a rewritten body", rewrite), ("a closed gap", removal)] {
        let signed = Signed::new().await;
        signed.tamper(&format!("{statements}{RECOMPUTE}")).await;
        let found = signed.found(false).await;
        let named = matches!(
            &found,
            Err(Finding::HeadRoot { size, fits }) if *fits < 11 && *size >= 11
        );
        assert!(named, "{what}: {found:?}");
    }
}

#[tokio::test]
async fn a_head_that_was_replaced_does_not_verify() {
    let signed = Signed::new().await;
    signed
        .tamper(
            "update event_log.tree_head set note = regexp_replace(note, '(— \\S+ \\S{10})(.)', \
             '\\1' || case when note ~ '— \\S+ \\S{10}A' then 'B' else 'A' end) \
             where size = (select min(size) from event_log.tree_head)",
        )
        .await;
    let found = signed.found(false).await;
    assert!(
        matches!(found, Err(Finding::HeadForged { .. })),
        "{found:?}"
    );
}

#[tokio::test]
async fn an_old_backup_lacks_what_a_head_at_home_covers() {
    let signed = Signed::new().await;
    signed
        .tamper(
            "delete from event_log.tree_head where size > 13;
             delete from event_log.batch where size > 13;
             delete from event_log.event where position > 13",
        )
        .await;
    signed
        .found(false)
        .await
        .expect("by itself it is whole: it was, once");
    let found = signed.found(true).await;
    let missed = matches!(
        found,
        Err(Finding::Truncated {
            size: 19,
            events: 13
        })
    );
    assert!(missed, "{found:?}");
    // The engine has its last head at home, too.
    let writer = {
        let past = KeyFolder::of(signed.data_dir.path())
            .past()
            .expect("readable");
        signed.market.writer_after("late", past).await
    };
    let refused = writer.err().expect("refused").to_string();
    assert!(
        refused.contains("19") && refused.contains("backup"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_rewritten_tail_without_its_heads_is_too_long_to_be_believed() {
    let signed = Signed::new().await;
    let rewrite = "
        update event_log.event set body = set_byte(body, 36, 9) where position = 17;
        update event_log.event set recorded_at = recorded_at + interval '2 minutes'
            where position = 19;
        delete from event_log.tree_head where size > 13;";
    signed.tamper(&format!("{rewrite}{RECOMPUTE}")).await;
    let trusting = || Verifier::new(Some(signed.key.clone()), Vec::new());
    let few = |events| Unsigned {
        events,
        millis: None,
    };
    let usual = Unsigned::of(&HeadSettings::default());
    for bound in [few(5), usual] {
        let found = signed.found_by(trusting().unsigned(bound)).await;
        assert!(
            matches!(found, Err(Finding::Unsigned { events: 6, millis }) if millis >= 120_000),
            "{bound:?}: {found:?}"
        );
    }
    let accepted = signed.found_by(trusting().unsigned(few(6))).await;
    assert_eq!(accepted.expect("whole").signed, 13);
    let found = signed.found(true).await;
    assert!(
        matches!(found, Err(Finding::HeadRoot { size: 19, fits: 13 })),
        "a head at home knows better: {found:?}"
    );
}

#[tokio::test]
async fn a_head_beyond_the_end_counts_only_with_a_signature() {
    let signed = Signed::new().await;
    let stranger = HeadKey::from_seed(signed.key.origin().clone(), &[9; 32]);
    let (origin, size, root) = (signed.key.origin().clone(), 99, [1; 32]);
    let note = TreeHead { origin, size, root }.sign(&[&stranger]);
    let forged = SignedHead::parse(&note).expect("a head");
    for trusted in [None, Some(signed.key.clone())] {
        let verifier = Verifier::new(trusted, vec![forged.clone()]);
        let found = signed.found_by(verifier).await;
        assert!(
            matches!(found, Err(Finding::HeadForged { size: 99, .. })),
            "{found:?}"
        );
    }
}

#[tokio::test]
async fn a_key_that_somebody_wrote_into_the_log_is_not_its_key() {
    let signed = Signed::new().await;
    let stranger = HeadKey::from_seed(signed.key.origin().clone(), &[9; 32]).verifier();
    let writer = signed.market.writer("two", true).await.expect("free");
    let adopt = Command::AdoptHeadKey(VerifierKey(stranger.to_string().into()));
    submit(&writer, None, adopt).await.expect("recorded");
    writer.stop().await;
    let whole = signed.found(true).await.expect("whole");
    assert_eq!(whole.keys, [signed.key.to_string()]);
    assert_eq!(whole.unproved_keys, [stranger.to_string()]);
    let options = signed.market.database.connect_options();
    let mut archive = Archive::at(options).await.expect("readable");
    let key = archive.head_key().await.expect("readable");
    assert_eq!(key, Some(signed.key.clone()));
    archive.close().await;
}

#[tokio::test]
async fn a_log_under_another_key_is_not_the_one_that_is_trusted() {
    let (signed, other) = (Signed::new().await, Signed::new().await);
    let options = signed.market.database.connect_options();
    let mut archive = Archive::at(options).await.expect("readable");
    let verifier = Verifier::new(Some(other.key.clone()), Vec::new());
    let found = archive.verify(verifier, |_, _| ()).await;
    assert!(
        matches!(found, Err(VerifyError::Finding(Finding::Untrusted(_)))),
        "{found:?}"
    );
    archive.close().await;
}

#[tokio::test]
async fn a_forged_log_that_only_names_the_trusted_key_is_not_trusted() {
    let forged = Signed::new().await;
    let trusted = HeadKey::from_seed(forged.key.origin().clone(), &[9; 32]).verifier();
    let past = KeyFolder::of(forged.data_dir.path()).past();
    let writer = forged.market.writer_after("two", past.expect("readable"));
    let writer = writer.await.expect("it continues");
    let adopt = Command::AdoptHeadKey(VerifierKey(trusted.to_string().into()));
    submit(&writer, None, adopt).await.expect("recorded");
    writer.stop().await;
    let options = forged.market.database.connect_options();
    let mut archive = Archive::at(options).await.expect("readable");
    let verifier = Verifier::new(Some(trusted), Vec::new());
    let found = archive.verify(verifier, |_, _| ()).await;
    assert!(
        matches!(found, Err(VerifyError::Finding(Finding::Untrusted(_)))),
        "{found:?}"
    );
    archive.close().await;
}

#[tokio::test]
async fn a_new_key_is_signed_in_by_the_last_one() {
    let signed = Signed::new().await;
    let past = KeyFolder::of(signed.data_dir.path())
        .past()
        .expect("readable");
    let writer = signed
        .market
        .writer_after("two", past)
        .await
        .expect("it continues");
    let signer = signer(&signed.market, signed.data_dir.path(), &writer).await;
    let fresh = signer.heads().rotate().await.expect("rotated");
    assert_ne!(fresh.0.as_ref(), signed.key.to_string());
    pay(&writer, 77, 500_000_000).await.expect("recorded");
    signer.stop().await;
    writer.stop().await;
    let whole = signed.found(true).await.expect("whole");
    assert_eq!(whole.keys, [signed.key.to_string(), fresh.to_string()]);
    assert_eq!(whole.signed, whole.events);
    // A thief who has the new key alone cannot have signed it in.
    signed
        .tamper(
            "update event_log.tree_head set note = regexp_replace(note, E'\\n— [^\\n]*\\n$', E'\\n') \
             where note like E'%\\n— %\\n— %\\n'",
        )
        .await;
    let found = signed.found(false).await;
    assert!(
        matches!(found, Err(Finding::HeadForged { .. })),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_file_is_checked_without_the_database_and_goes_on_where_it_was_cut() {
    let signed = Signed::new().await;
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("log.jsonl");
    let options = signed.market.database.connect_options();
    let mut archive = Archive::at(options).await.expect("readable");
    let exported = archive
        .export(&path, None, false, |_, _| ())
        .await
        .expect("written");
    assert_eq!((exported.events, exported.added), (19, 19));
    let verifier = || Verifier::new(Some(signed.key.clone()), vec![signed.head.clone()]);
    let whole = verify_file(&path, verifier(), |_| ()).expect("whole");
    assert_eq!((whole.events, whole.signed), (19, 19));
    let text = std::fs::read_to_string(&path).expect("text");
    // In a signature's dash, too: what is left is no text.
    let dash = text.find('\u{2014}').expect("a signature") + 1;
    for cut in [text.len() - 1, text.len() / 2, dash, text.len() / 3, 90] {
        std::fs::write(&path, &text.as_bytes()[..cut]).expect("cut");
        assert!(
            verify_file(&path, verifier(), |_| ()).is_err(),
            "cut at {cut}"
        );
        archive
            .export(&path, None, true, |_, _| ())
            .await
            .expect("continued");
        assert_eq!(
            std::fs::read_to_string(&path).expect("text"),
            text,
            "cut at {cut}"
        );
    }
    let again = archive.export(&path, None, false, |_, _| ()).await;
    assert!(again.is_err(), "a file is not overwritten");
    // Any digit of any line: what is changed is found.
    let digits = text.char_indices().filter(|(_, it)| it.is_ascii_hexdigit());
    for (at, digit) in digits.step_by(97) {
        let mut changed = text.clone();
        let other = if digit == '1' { "2" } else { "1" };
        changed.replace_range(at..=at, other);
        std::fs::write(&path, &changed).expect("changed");
        assert!(verify_file(&path, verifier(), |_| ()).is_err(), "byte {at}");
    }
    archive.close().await;
}

#[tokio::test]
async fn what_is_about_others_is_withheld_and_proved_all_the_same() {
    let signed = Signed::new().await;
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("bob.jsonl");
    let options = signed.market.database.connect_options();
    let mut archive = Archive::at(options).await.expect("readable");
    let bob = Some(tanglegate_core::SubscriberId([2; 16]));
    archive
        .export(&path, bob, false, |_, _| ())
        .await
        .expect("written");
    let verifier = Verifier::new(Some(signed.key.clone()), vec![signed.head.clone()]);
    let whole = verify_file(&path, verifier, |_| ()).expect("whole");
    assert_eq!((whole.events + whole.withheld, whole.withheld), (19, 16));
    let text = std::fs::read_to_string(&path).expect("text");
    assert!(!text.contains("payment") && !text.contains(&"01".repeat(16)));
    archive.close().await;
}

#[tokio::test]
async fn proofs_hold_with_nothing_but_the_key() {
    let signed = Signed::new().await;
    let options = signed.market.database.connect_options();
    let mut archive = Archive::at(options).await.expect("readable");
    for position in 1..=19 {
        let proof = archive
            .prove_inclusion(position, None)
            .await
            .expect("covered");
        proof
            .check(std::slice::from_ref(&signed.key))
            .expect("it holds");
        let text = serde_json::to_string(&proof).expect("JSON");
        let wrong = text.replace(&format!("\"index\":{}", position - 1), "\"index\":18");
        if position != 19 {
            let wrong: tanglegate::audit::Proof = serde_json::from_str(&wrong).expect("a proof");
            assert!(
                wrong.check(std::slice::from_ref(&signed.key)).is_err(),
                "event {position}"
            );
        }
    }
    assert!(archive.prove_inclusion(20, None).await.is_err());
    // One event's hashes under another one's number.
    let proof = archive.prove_inclusion(7, None).await.expect("covered");
    let text = serde_json::to_string(&proof).expect("JSON");
    for other in ["8", "0", "18446744073709551615"] {
        let moved = text.replace("\"position\":7", &format!("\"position\":{other}"));
        let moved: tanglegate::audit::Proof = serde_json::from_str(&moved).expect("a proof");
        let refused = moved.check(std::slice::from_ref(&signed.key));
        assert!(
            matches!(refused, Err(CheckError::Place { index: 6, .. })),
            "{refused:?}"
        );
    }
    let heads = archive.heads(100).await.expect("readable");
    for head in &heads {
        let proof = archive
            .prove_consistency(head.size, None)
            .await
            .expect("there");
        proof
            .check(std::slice::from_ref(&signed.key))
            .expect("it holds");
    }
    assert!(heads.len() >= 5);
    archive.close().await;
}
