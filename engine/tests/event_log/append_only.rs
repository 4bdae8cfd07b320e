//! The past cannot be changed, forked or left with gaps, whoever tries.

use crate::market::{Market, pay};
use sqlx::{Connection, Executor, PgConnection};

async fn refusal(connection: &mut PgConnection, statement: &str) -> String {
    let refused = connection
        .execute(sqlx::AssertSqlSafe(statement.to_owned()))
        .await;
    refused
        .err()
        .unwrap_or_else(|| panic!("{statement:?} was not refused"))
        .to_string()
}

#[tokio::test]
async fn nobody_can_update_delete_or_truncate_not_even_the_owner() {
    let market = Market::new().await;
    let writer = market.open().await;
    pay(&writer, 1, 500_000_000).await.expect("recorded");
    writer.stop().await;
    let mut owner = market.connect().await;
    for statement in [
        "update event_log.event set body = ''",
        "delete from event_log.event where position = 1",
        "truncate event_log.event",
        "update event_log.batch set node = 'x'",
        "delete from event_log.batch",
        "truncate event_log.batch cascade",
        "update event_log.tree_head set note = ''",
        "delete from event_log.tree_head",
    ] {
        let refused = refusal(&mut owner, statement).await;
        assert!(refused.contains("append-only"), "{statement}: {refused}");
    }
    owner
        .execute("set role tanglegate_writer")
        .await
        .expect("the owner may be the writer");
    for statement in [
        "update event_log.event set body = ''",
        "delete from event_log.event",
        "truncate event_log.event",
        "alter table event_log.event disable trigger all",
        "drop table event_log.event",
    ] {
        let refused = refusal(&mut owner, statement).await;
        let forbidden = refused.contains("permission denied") || refused.contains("must be owner");
        assert!(forbidden, "{statement}: {refused}");
    }
}

#[tokio::test]
async fn a_reader_sees_events_and_no_keys_and_writes_nothing() {
    let market = Market::new().await;
    let writer = market.open().await;
    writer.stop().await;
    let mut reader = market.connect().await;
    reader
        .execute("set role tanglegate_reader")
        .await
        .expect("the role exists");
    reader
        .execute("select * from event_log.event")
        .await
        .expect("may read");
    reader
        .execute("select * from projection.access")
        .await
        .expect("may read");
    for statement in [
        "select * from vault.subject_key",
        "delete from projection.access",
        "insert into event_log.batch values (9, 2, sha256(''), 'x', now())",
    ] {
        let refused = refusal(&mut reader, statement).await;
        assert!(
            refused.contains("permission denied"),
            "{statement}: {refused}"
        );
    }
}

#[tokio::test]
async fn gaps_forks_and_empty_batches_are_refused() {
    let market = Market::new().await;
    let writer = market.open().await;
    writer.stop().await;
    let size = market.count("event_log.event").await;
    let mut connection = market.connect().await;
    let event = |position: i64, version: i64| {
        format!(
            "insert into event_log.event values ({position}, 'ledger', {version}, 'x', 1, null, \
             now(), null, null, '', '', sha256(''))"
        )
    };
    let batch = |size: i64, previous: i64| {
        format!("insert into event_log.batch values ({size}, {previous}, sha256(''), 'x', now())")
    };
    let cases = [
        (event(size + 1, 1), "are not the batch"),
        (batch(size + 1, size), "announced without its events"),
        (
            format!("{}; {}", batch(size + 2, size), event(size + 2, 1)),
            "are not the batch",
        ),
        (
            format!(
                "{}; {}; {}",
                batch(size + 1, size),
                event(size + 1, 1),
                event(size + 2, 2)
            ),
            "are not the batch",
        ),
        (
            format!("{}; {}", batch(size + 1, size), event(size, 1)),
            "event_pkey",
        ),
        (
            format!(
                "{}; {}; {}",
                batch(size + 2, size),
                batch(size + 3, size + 2),
                event(size + 3, 1)
            ),
            "announced without its events",
        ),
        (
            format!("{}; {}", batch(size + 1, size - 1), event(size + 1, 1)),
            "previous_size_key",
        ),
        (
            format!("{}; {}", batch(size + 9, size + 5), event(size + 9, 1)),
            "foreign key",
        ),
    ];
    for (statements, reason) in cases {
        let mut transaction = connection.begin().await.expect("begins");
        let mut outcome = Ok(());
        for statement in statements.split("; ") {
            if outcome.is_ok() {
                let statement = sqlx::AssertSqlSafe(statement.to_owned());
                outcome = transaction.execute(statement).await.map(drop);
            }
        }
        let outcome = match outcome {
            Ok(()) => transaction.commit().await,
            Err(error) => Err(error),
        };
        let refused = outcome.expect_err(&statements).to_string();
        assert!(refused.contains(reason), "{statements}: {refused}");
    }
    assert_eq!(market.count("event_log.event").await, size);
}

#[tokio::test]
async fn a_changed_event_or_root_is_found_at_the_next_start() {
    let tampering = [
        (
            "update event_log.event set body = body || '\\x00' where position = 2",
            "event 2 is not",
        ),
        (
            "update event_log.event set recorded_at = now() where position = 1",
            "event 1 is not",
        ),
        (
            "update event_log.event set body = body || '\\x00', leaf = sha256('') where position = 1",
            "event 1 is not",
        ),
        (
            "update event_log.batch set root = sha256('x') where size = 2",
            "does not give the root",
        ),
        (
            "delete from event_log.event where position = 1",
            "goes on with 2",
        ),
    ];
    for (statement, complaint) in tampering {
        let market = Market::new().await;
        market.open().await.stop().await;
        let mut owner = market.connect().await;
        for table in ["event", "batch"] {
            let disable = format!("alter table event_log.{table} disable trigger all");
            owner
                .execute(sqlx::AssertSqlSafe(disable))
                .await
                .expect("a superuser may");
        }
        owner
            .execute(statement)
            .await
            .expect("without triggers anything goes");
        let refused = market
            .writer("two", true)
            .await
            .err()
            .expect(statement)
            .to_string();
        assert!(refused.contains(complaint), "{statement}: {refused}");
    }
}
