//! Commands become facts once, in order, and the tables say what the log says.

use crate::market::{Market, SELLER, now, pay, plug_hour, register, submit};
use std::collections::HashSet;
use std::time::Duration;
use tanglegate::audit::Archive;
use tanglegate::event_log::{EventLog, EventLogError, Origin};
use tanglegate::projections::{self, Columns};
use tanglegate::writer::{Recording, SubmitError};
use tanglegate_core::{
    Access, Audience, ChainId, Command, Event, IdempotencyKey, OfferId, Position, Rejection, Rule,
    RuleId, SubscriberId, TopicFilter, TopicName, Username,
};
use tanglegate_crypto::Frontier;

fn first(recording: &Recording) -> Position {
    match recording {
        Recording::Recorded { first, .. } | Recording::Before { first } => *first,
        Recording::Nothing => panic!("something was recorded"),
    }
}

#[tokio::test]
async fn a_payment_is_recorded_once_however_often_it_comes() {
    let market = Market::new().await;
    let writer = market.open().await;
    let recorded = pay(&writer, 1, 500_000_000).await.expect("recorded");
    let Recording::Recorded { first: at, events } = &recorded else {
        panic!("it is new: {recorded:?}")
    };
    assert!(matches!(events[2], Event::LeaseGranted { .. }));
    let again = pay(&writer, 1, 500_000_000).await.expect("answered");
    assert_eq!(again, Recording::Before { first: *at });
    writer.stop().await;
    let restarted = market.writer("two", true).await.expect("the log is free");
    assert_eq!(restarted.checkpoint(SELLER), 1);
    let again = pay(&restarted, 1, 500_000_000).await.expect("answered");
    assert_eq!(again, Recording::Before { first: *at });
    restarted.stop().await;
    assert_eq!(
        market
            .count("event_log.event where kind = 'lease_granted'")
            .await,
        1
    );
    assert_eq!(
        market
            .count("projection.payment where state = 'applied'")
            .await,
        1
    );
}

#[tokio::test]
async fn a_batch_with_some_known_commands_records_the_others() {
    let market = Market::new().await;
    let writer = market.open().await;
    pay(&writer, 1, 500_000_000).await.expect("recorded");
    let payments = (0..200).map(|number| pay(&writer, number / 2, 1_000_000));
    let answers = futures_util::future::join_all(payments).await;
    let fresh = answers
        .iter()
        .filter(|it| matches!(it, Ok(Recording::Recorded { .. })))
        .count();
    assert_eq!(
        fresh, 99,
        "one hundred different ones, one of them known before"
    );
    assert!(
        answers
            .iter()
            .all(|it| !matches!(it, Ok(Recording::Nothing)))
    );
    writer.stop().await;
    assert_eq!(market.count("projection.payment").await, 100);
}

#[tokio::test]
async fn thousands_of_commands_share_a_commit_and_each_is_recorded_once() {
    let market = Market::patient().await;
    let writer = market.open().await;
    // Each payment comes twice, with 1,500 others in between: in different parts of a commit.
    let numbers = (0..1_500).chain(0..1_500);
    let answers = futures_util::future::join_all(numbers.map(|it| pay(&writer, it, 1_000_000)));
    // While the first commit waits for the table, all the others gather.
    let mut holder = market.connect().await;
    sqlx::raw_sql("begin; lock table event_log.batch in exclusive mode")
        .execute(&mut holder)
        .await
        .expect("nobody else holds it");
    let let_go = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        sqlx::raw_sql("commit")
            .execute(&mut holder)
            .await
            .expect("let go");
    };
    let (answers, ()) = tokio::join!(answers, let_go);
    let mut places = HashSet::new();
    let mut repeated = HashSet::new();
    for answer in answers {
        match answer.expect("answered") {
            Recording::Recorded { first, events } => {
                assert_eq!(events.len(), 3);
                assert!(matches!(events[0], Event::PaymentConfirmed { .. }));
                assert!(places.insert(first));
            }
            Recording::Before { first } => {
                assert!(repeated.insert(first));
            }
            Recording::Nothing => panic!("something was recorded"),
        }
    }
    assert_eq!(places.len(), 1_500);
    assert_eq!(places, repeated, "who repeats it is told the same place");
    writer.stop().await;
    let commits = "(select distinct xmin::text from event_log.batch) as it";
    let (commits, batches) = (
        market.count(commits).await,
        market.count("event_log.batch").await,
    );
    assert!(
        commits < batches,
        "{batches} batches in {commits} commits: none had parts"
    );
    let restarted = market
        .writer("two", true)
        .await
        .expect("gapless, and the roots fit");
    assert_eq!(restarted.replayed, 2 + 3 * 1_500);
    restarted.stop().await;
    assert_eq!(
        market
            .count("projection.payment where state = 'applied'")
            .await,
        1_500
    );
    assert_eq!(
        market
            .count("vault.subject_key where purpose = 'memo'")
            .await,
        1_500
    );
}

#[tokio::test]
async fn the_same_wish_of_a_person_is_granted_once() {
    let market = Market::new().await;
    let writer = market.open().await;
    let key = Some(IdempotencyKey::Person([5; 16]));
    let one = submit(&writer, key, register("bob", 2))
        .await
        .expect("recorded");
    let two = submit(&writer, key, register("bob", 3))
        .await
        .expect("found");
    assert_eq!(two, Recording::Before { first: first(&one) });
    let other = submit(
        &writer,
        Some(IdempotencyKey::Person([6; 16])),
        register("bob", 3),
    )
    .await;
    assert!(
        matches!(
            other,
            Err(SubmitError::Rejected(Rejection::UsernameTaken(_)))
        ),
        "{other:?}"
    );
    writer.stop().await;
    assert_eq!(
        market
            .count("projection.subscriber where username = 'bob'")
            .await,
        1
    );
}

#[tokio::test]
async fn a_rebuild_from_zero_equals_the_live_tables_byte_for_byte() {
    let market = Market::new().await;
    let writer = market.open().await;
    everything(&writer).await;
    writer.stop().await;
    let mut connection = market.connect().await;
    let live = projections::digests(&mut connection, Columns::All)
        .await
        .expect("readable");
    assert!(
        live.iter().all(|it| it.rows > 0),
        "every table is filled: {live:?}"
    );
    let mut log = EventLog::open(&market.database.connect_options())
        .await
        .expect("opens");
    projections::rebuild(&mut log, &mut connection)
        .await
        .expect("rebuilt");
    let rebuilt = projections::digests(&mut connection, Columns::All)
        .await
        .expect("readable");
    assert_eq!(live, rebuilt);
}

async fn rebuild(market: &Market) {
    let mut connection = market.connect().await;
    let options = market.database.connect_options();
    let mut log = EventLog::open(&options).await.expect("opens");
    projections::rebuild(&mut log, &mut connection)
        .await
        .expect("rebuilt");
}

#[tokio::test]
async fn a_rebuild_locks_no_reader_out_and_waits_for_none() {
    let market = Market::new().await;
    let writer = market.open().await;
    everything(&writer).await;
    writer.stop().await;
    let rows = market.count("projection.access").await;
    let mut reader = market.connect().await;
    for statements in [
        "delete from projection.access; update projection.subscriber set credit = 7;",
        "set role tanglegate_reader",
        "begin isolation level repeatable read",
        "select from projection.access, projection.subscriber, projection.access_now",
    ] {
        sqlx::raw_sql(statements)
            .execute(&mut reader)
            .await
            .expect("allowed");
    }
    tokio::time::timeout(Duration::from_secs(30), rebuild(&market))
        .await
        .expect("the reader's open transaction does not hold it up");
    let seen: i64 = sqlx::query_scalar("select count(*) from projection.access")
        .fetch_one(&mut reader)
        .await
        .expect("it reads on");
    assert_eq!(seen, 0, "of the instant at which it began");
    assert_eq!(market.count("projection.access").await, rows);
    let wrong = "projection.subscriber where credit = 7";
    assert_eq!(market.count(wrong).await, 0);
}

#[tokio::test]
async fn a_rebuild_beside_a_writer_misses_nothing() {
    let market = Market::new().await;
    let writer = market.open().await;
    let paying = async {
        for number in 100..160 {
            pay(&writer, number, 500_000_000).await.expect("recorded");
        }
    };
    // Names stand in the tables only, sealed in the log: whose key comes with his event, while the
    // log is read, keeps his name.
    let registering = async {
        for id in 3..=250 {
            let newcomer = register(&format!("guest-{id}"), id);
            submit(&writer, None, newcomer).await.expect("recorded");
        }
    };
    let nameless = "projection.subscriber where username is null";
    let rebuilding = async {
        for _ in 0..12 {
            rebuild(&market).await;
            assert_eq!(market.count(nameless).await, 0, "everybody has his name");
        }
    };
    tokio::join!(paying, registering, rebuilding);
    writer.stop().await;
    let options = market.database.connect_options();
    let mut archive = Archive::at(options).await.expect("readable");
    let compared = archive.compare(|_, _| ()).await.expect("whole");
    assert!(compared.same, "{compared:?}");
    archive.close().await;
}

#[tokio::test]
async fn a_name_that_is_missing_in_the_table_is_noticed_without_its_key() {
    let market = Market::new().await;
    market.open().await.stop().await;
    let mut connection = market.connect().await;
    sqlx::raw_sql("update projection.subscriber set username = null")
        .execute(&mut connection)
        .await
        .expect("a superuser may do everything");
    let options = market.database.connect_options();
    let mut archive = Archive::at(options).await.expect("readable");
    let compared = archive.compare(|_, _| ()).await.expect("whole");
    assert!(!compared.same && compared.nameless == 1, "{compared:?}");
    archive.close().await;
}

#[tokio::test]
async fn a_rebuild_without_a_key_that_it_needs_is_refused() {
    let market = Market::new().await;
    market.open().await.stop().await;
    let mut connection = market.connect().await;
    sqlx::raw_sql("delete from vault.subject_key")
        .execute(&mut connection)
        .await
        .expect("a superuser may do everything");
    let options = market.database.connect_options();
    let mut log = EventLog::open(&options).await.expect("opens");
    let refused = projections::rebuild(&mut log, &mut connection).await;
    assert!(
        matches!(refused, Err(EventLogError::KeyMissing(_))),
        "{refused:?}"
    );
    let named = "projection.subscriber where username = 'ana'";
    assert_eq!(market.count(named).await, 1, "the table is as it was");
}

#[tokio::test]
async fn projections_that_fell_behind_are_rebuilt_at_the_start() {
    let market = Market::new().await;
    let writer = market.open().await;
    everything(&writer).await;
    writer.stop().await;
    let mut connection = market.connect().await;
    let live = projections::digests(&mut connection, Columns::All)
        .await
        .expect("readable");
    for damage in [
        "delete from projection.access; update projection.cursor set position = 1",
        "update projection.subscriber set credit = 7; update projection.cursor set version = 0",
        "delete from projection.cursor",
    ] {
        sqlx::raw_sql(damage)
            .execute(&mut connection)
            .await
            .expect("projections can be changed");
        market
            .writer("two", true)
            .await
            .expect("the log is free")
            .stop()
            .await;
        assert_eq!(
            projections::digests(&mut connection, Columns::All)
                .await
                .expect("readable"),
            live
        );
    }
}

#[tokio::test]
async fn the_access_table_in_memory_says_what_the_log_says() {
    let market = Market::new().await;
    let writer = market.open().await;
    everything(&writer).await;
    writer.stop().await;
    let told = market.acl.lock().expect("not poisoned").clone();
    let restarted = market.writer("two", true).await.expect("the log is free");
    restarted.stop().await;
    let replayed = market.acl.lock().expect("not poisoned").clone();
    assert_eq!(told.as_of(), replayed.as_of());
    let live = TopicName::parse("sensor/live").expect("valid");
    let ana = Some(SubscriberId([1; 16]));
    let permit = replayed
        .permit_deliver(ana, &live, now())
        .expect("she has paid");
    assert_eq!(told.permit_deliver(ana, &live, now()), Ok(permit));
    assert!(replayed.login("ana").is_some() && replayed.login("nobody").is_none());
}

#[tokio::test]
async fn two_racing_writers_leave_no_gap_no_fork_and_no_double() {
    let market = Market::new().await;
    market.open().await.stop().await;
    let one = market.writer("one", false).await.expect("starts");
    let two = market.writer("two", false).await.expect("starts");
    let mut places = HashSet::new();
    let wrote = "(select distinct node from event_log.batch where size > 2) as it";
    while places.len() < 200 || market.count(wrote).await < 2 {
        let from = u32::try_from(places.len()).expect("few");
        assert!(from < 10_000, "one of the writers never wins");
        let both = (from..from + 20).flat_map(|it| [pay(&two, it, 1_000), pay(&one, it, 1_000)]);
        for pair in futures_util::future::join_all(both).await.chunks(2) {
            let [left, right] = pair else { panic!("pairs") };
            let (left, right) = (left.as_ref().expect("done"), right.as_ref().expect("done"));
            assert_eq!(first(left), first(right), "both tell the same place");
            assert!(places.insert(first(left)));
        }
    }
    one.stop().await;
    two.stop().await;
    let payments = i64::try_from(places.len()).expect("few");
    assert_eq!(market.count("projection.payment").await, payments);
    let mut log = EventLog::open(&market.database.connect_options())
        .await
        .expect("opens");
    let vault = log.vault().await.expect("readable");
    let mut frontier = Frontier::default();
    log.replay(&mut frontier, &vault, |_| Ok(()))
        .await
        .expect("gapless, and the roots fit");
    let mut connection = market.connect().await;
    let live = projections::digests(&mut connection, Columns::All)
        .await
        .expect("readable");
    projections::rebuild(&mut log, &mut connection)
        .await
        .expect("rebuilt");
    assert_eq!(
        projections::digests(&mut connection, Columns::All)
            .await
            .expect("readable"),
        live
    );
}

#[tokio::test]
async fn a_second_engine_is_refused_and_told_who_writes() {
    let market = Market::new().await;
    let writer = market
        .writer("plug-shop on host a", true)
        .await
        .expect("the log is free");
    let refused = market
        .writer("two", true)
        .await
        .err()
        .expect("it is claimed")
        .to_string();
    assert!(
        refused.contains("another engine writes this log"),
        "{refused}"
    );
    assert!(refused.contains("plug-shop on host a"), "{refused}");
    writer.stop().await;
    market
        .writer("two", true)
        .await
        .expect("now it is free")
        .stop()
        .await;
}

/// At least one event of every kind.
async fn everything(writer: &tanglegate::writer::Started) {
    let filter = |text| TopicFilter::parse(text).expect("valid");
    let ana = || Username::parse("ana").expect("valid");
    let rule = |id: u8, audience, text| {
        let (id, access) = (RuleId([id; 16]), Access::ReadWrite);
        Command::GiveRule(Rule {
            id,
            audience,
            filter: filter(text),
            access,
        })
    };
    let Command::RegisterSubscriber { verifier, .. } = register("x", 1) else {
        unreachable!()
    };
    let mut elsewhere = plug_hour();
    elsewhere.id = OfferId::parse("write-hour").expect("valid");
    elsewhere.access = Access::Write;
    elsewhere.seller = SELLER;
    let withdrawn = elsewhere.id.clone();
    let commands = [
        Command::BindChain(ChainId("6364aad5".into())),
        Command::PublishOffer(elsewhere),
        Command::WithdrawOffer(withdrawn),
        rule(1, Audience::Everyone, "sensor/1m"),
        rule(2, Audience::Subscriber(SubscriberId([1; 16])), "plug/#"),
        rule(3, Audience::Everyone, "gone"),
        Command::RemoveRule(RuleId([3; 16])),
        register("bob \"the\" \\ builder", 2),
        Command::ChangePassword {
            username: ana(),
            verifier,
        },
        Command::Suspend(ana()),
        Command::Reinstate(ana()),
        Command::RecordScan {
            seller: SELLER,
            checkpoint: 40,
        },
    ];
    for command in commands {
        submit(writer, None, command).await.expect("accepted");
    }
    pay(writer, 50, 500_000_000).await.expect("recorded");
    pay(writer, 51, 500_000_007).await.expect("recorded");
    let revoke = Command::RevokeLease {
        username: ana(),
        filter: filter("sensor/live"),
        access: Access::Read,
    };
    submit(writer, None, revoke).await.expect("accepted");
    pay(writer, 52, 999).await.expect("recorded");
    pay(writer, 53, 500_000_000).await.expect("recorded");
    let stranger = tanglegate_core::Confirmation {
        reading: tanglegate_core::MemoReading::Absent,
        ..crate::market::confirmation(54, u64::MAX)
    };
    let command = Command::ConfirmPayment(stranger);
    writer
        .handle
        .submit(Origin::Ledger, None, command)
        .await
        .expect("recorded");
}
