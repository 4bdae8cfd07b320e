//! The database is away, full, or refuses: nothing is lost, nothing half-done stays.

use crate::market::{Market, pay, plug_hour, register, submit};
use sqlx::Executor;
use std::time::Duration;
use tanglegate::writer::{Recording, SubmitError};
use tanglegate_core::{Command, OfferId, TopicFilter};

/// Lets the next commits fail as a full disk does, until it is dropped.
const DISK_FULL: &str = "
    create function public.disk_full() returns trigger language plpgsql as $$
    begin
        raise exception 'could not extend file: No space left on device' using errcode = '53100';
    end $$;
    create trigger disk_full before insert on event_log.event
        for each statement execute function public.disk_full();";

#[tokio::test]
async fn commands_wait_for_a_full_disk_and_are_recorded_once_there_is_room() {
    let market = Market::new().await;
    let writer = market.open().await;
    let mut owner = market.connect().await;
    owner
        .execute(sqlx::raw_sql(DISK_FULL))
        .await
        .expect("a superuser may");
    let payments = async {
        futures_util::future::join_all((0..20).map(|it| pay(&writer, it, 1_000_000))).await
    };
    let repair = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert_eq!(market.count("projection.payment").await, 0);
        owner
            .execute("drop trigger disk_full on event_log.event")
            .await
            .expect("there");
    };
    let (answers, ()) = tokio::join!(payments, repair);
    assert!(
        answers
            .iter()
            .all(|it| matches!(it, Ok(Recording::Recorded { .. }))),
        "{answers:?}"
    );
    writer.stop().await;
    assert_eq!(market.count("projection.payment").await, 20);
}

#[tokio::test]
async fn while_the_database_is_away_commands_wait_and_nothing_new_is_granted() {
    let market = Market::new().await;
    let writer = market.open().await;
    let mut owner = maintenance(&market).await;
    let name = market
        .database
        .connect_options()
        .get_database()
        .expect("named")
        .to_owned();
    let close = format!(
        "alter database {name} allow_connections false; \
         select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'"
    );
    owner
        .execute(sqlx::raw_sql(sqlx::AssertSqlSafe(close)))
        .await
        .expect("a superuser may");
    let waiting = pay(&writer, 1, 500_000_000);
    let outage = async {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert_eq!(*market.told.lock().expect("not poisoned"), ["stale"]);
        let open = sqlx::AssertSqlSafe(format!("alter database {name} allow_connections true"));
        owner.execute(open).await.expect("a superuser may");
    };
    let (answer, ()) = tokio::join!(waiting, outage);
    assert!(
        matches!(answer, Ok(Recording::Recorded { .. })),
        "{answer:?}"
    );
    writer.stop().await;
    assert_eq!(
        *market.told.lock().expect("not poisoned"),
        ["stale", "fresh"]
    );
    assert_eq!(
        market
            .count("projection.payment where state = 'applied'")
            .await,
        1
    );
}

#[tokio::test]
async fn a_database_that_went_away_while_nothing_was_written_is_noticed() {
    let market = Market::new().await;
    let writer = market.open().await;
    let mut owner = maintenance(&market).await;
    let name = market
        .database
        .connect_options()
        .get_database()
        .expect("named")
        .to_owned();
    let close = format!(
        "alter database {name} allow_connections false; \
         select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'"
    );
    owner
        .execute(sqlx::raw_sql(sqlx::AssertSqlSafe(close)))
        .await
        .expect("a superuser may");
    eventually(|| *market.told.lock().expect("not poisoned") == ["stale"]).await;
    let open = sqlx::AssertSqlSafe(format!("alter database {name} allow_connections true"));
    owner.execute(open).await.expect("a superuser may");
    eventually(|| *market.told.lock().expect("not poisoned") == ["stale", "fresh"]).await;
    writer.stop().await;
}

#[tokio::test]
async fn a_lost_connection_costs_nothing_but_time() {
    let market = Market::new().await;
    let writer = market.open().await;
    let mut owner = market.connect().await;
    for round in 0..5 {
        let payments = (0..40).map(|it| pay(&writer, round * 100 + it, 1_000_000));
        let cut = async {
            tokio::time::sleep(Duration::from_millis(u64::from(round))).await;
            let others = "select pg_terminate_backend(pid) from pg_stat_activity \
                where datname = current_database() and pid <> pg_backend_pid()";
            owner.execute(others).await.expect("a superuser may");
        };
        let (answers, ()) = tokio::join!(futures_util::future::join_all(payments), cut);
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    }
    writer.stop().await;
    assert_eq!(
        market
            .count("projection.payment where state = 'applied'")
            .await,
        200
    );
    let leases = market
        .count("event_log.event where kind like 'lease%'")
        .await;
    assert_eq!(leases, 200, "each payment bought time once");
}

#[tokio::test]
async fn a_commit_that_is_cut_in_its_parts_leaves_nothing_and_is_made_again() {
    let market = Market::new().await;
    let writer = market.open().await;
    let mut owner = market.connect().await;
    // The third thousand of payments finds no room, the first and second had some.
    let full = "
        create function public.disk_full() returns trigger language plpgsql as $$
        begin
            if (select max(position) from event_log.event) > 6000 then
                raise exception 'No space left on device' using errcode = '53100';
            end if;
            return null;
        end $$;
        create trigger disk_full after insert on event_log.event
            for each statement execute function public.disk_full();";
    owner
        .execute(sqlx::raw_sql(full))
        .await
        .expect("a superuser may");
    let payments = futures_util::future::join_all((0..3_500).map(|it| pay(&writer, it, 1_000_000)));
    let repair = async {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let payments = market.count("projection.payment").await;
        assert!(
            payments <= 2_000,
            "{payments} payments were committed without room"
        );
        assert_eq!(market.count("event_log.event").await, 2 + 3 * payments);
        let others = "drop trigger disk_full on event_log.event; \
            select pg_terminate_backend(pid) from pg_stat_activity \
            where datname = current_database() and pid <> pg_backend_pid()";
        owner
            .execute(sqlx::raw_sql(others))
            .await
            .expect("a superuser may");
    };
    let (answers, ()) = tokio::join!(payments, repair);
    assert!(answers.iter().all(|it| matches!(
        it,
        Ok(Recording::Recorded { .. } | Recording::Before { .. })
    )));
    writer.stop().await;
    assert_eq!(
        market
            .count("projection.payment where state = 'applied'")
            .await,
        3_500
    );
    let leases = market
        .count("event_log.event where kind like 'lease%'")
        .await;
    assert_eq!(leases, 3_500, "each payment bought time once");
}

#[tokio::test]
async fn what_the_database_refuses_does_not_hold_up_the_others() {
    let market = Market::new().await;
    let writer = market.open().await;
    let mut owner = market.connect().await;
    let picky = "alter table projection.offer add check (offer <> 'poison')";
    owner.execute(picky).await.expect("a superuser may");
    let offer = |name: &str| {
        let mut offer = plug_hour();
        offer.id = OfferId::parse(name).expect("valid");
        offer.filter = TopicFilter::parse(name).expect("valid");
        submit(&writer, None, Command::PublishOffer(offer))
    };
    let names = ["a", "b", "poison", "c", "d"];
    let answers = futures_util::future::join_all(names.map(offer)).await;
    for (name, answer) in names.into_iter().zip(answers) {
        match answer {
            Ok(_) => assert_ne!(name, "poison"),
            Err(SubmitError::Refused(_)) => assert_eq!(name, "poison"),
            Err(other) => panic!("{name}: {other}"),
        }
    }
    submit(&writer, None, register("bob", 2))
        .await
        .expect("the writer goes on");
    writer.stop().await;
}

async fn maintenance(market: &Market) -> sqlx::PgConnection {
    use sqlx::Connection;
    let options = market.database.connect_options().database("postgres");
    sqlx::PgConnection::connect_with(&options)
        .await
        .expect("PostgreSQL runs")
}

async fn eventually(mut what: impl FnMut() -> bool) {
    for _ in 0..200 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it did not happen within ten seconds");
}

#[tokio::test]
async fn a_database_that_is_too_slow_for_many_at_once_takes_them_in_halves() {
    let market = Market::new().await;
    let writer = market.open().await;
    let mut owner = market.connect().await;
    // Each event takes two milliseconds: 200 payments at once never end in half a second.
    let slow = "
        create function public.slow() returns trigger language plpgsql as $$
        begin perform pg_sleep(0.002); return new; end $$;
        create trigger slow before insert on event_log.event
            for each row execute function public.slow();";
    owner
        .execute(sqlx::raw_sql(slow))
        .await
        .expect("a superuser may");
    let payments = futures_util::future::join_all((0..200).map(|it| pay(&writer, it, 1_000_000)));
    let answers = payments.await;
    let taken = |it: &Result<Recording, SubmitError>| {
        matches!(
            it,
            Ok(Recording::Recorded { .. } | Recording::Before { .. })
        )
    };
    assert!(answers.iter().all(taken));
    writer.stop().await;
    assert_eq!(market.count("projection.payment").await, 200);
}
