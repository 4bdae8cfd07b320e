//! A person who is forgotten: nothing of him can be read any more, and the log is whole.

use crate::market::{Market, confirmation, now, pay, register, submit};
use tanglegate::audit::{Archive, Verifier, When, money};
use tanglegate::event_log::EventLog;
use tanglegate::projections::{self, Columns};
use tanglegate_core::{
    Command, MemoReading, OfferId, Rejection, SubscriberId, TopicName, Username,
};

fn ana() -> Username {
    Username::parse("ana").expect("valid")
}

#[tokio::test]
async fn an_erased_person_is_gone_and_the_log_is_whole() {
    let market = Market::new().await;
    let writer = market.open().await;
    pay(&writer, 1, 500_000_000).await.expect("recorded");
    submit(&writer, None, register("bob", 2))
        .await
        .expect("recorded");
    let keys = "vault.subject_key";
    assert_eq!(
        market.count(keys).await,
        3,
        "ana's, bob's and that of ana's memo"
    );
    submit(&writer, None, Command::Erase(ana()))
        .await
        .expect("recorded");
    assert_eq!(market.count(keys).await, 1, "bob's");
    let again = submit(&writer, None, Command::Erase(ana())).await;
    let again = again.err().map(|it| it.to_string()).unwrap_or_default();
    assert!(again.contains("no subscriber named 'ana'"), "{again}");
    // The name is free again: nobody knows that it was taken.
    submit(&writer, None, register("ana", 3))
        .await
        .expect("recorded");
    writer.stop().await;

    let named = market
        .count("projection.subscriber where username = 'ana'")
        .await;
    let erased = market
        .count("projection.subscriber where erased and username is null")
        .await;
    assert_eq!((named, erased), (1, 1));
    let topic = TopicName::parse("sensor/live").expect("valid");
    let told = market.acl.lock().expect("not poisoned").clone();
    let old = Some(SubscriberId([1; 16]));
    assert!(told.permit_deliver(old, &topic, now()).is_err() && told.permit_connect(old).is_err());

    let restarted = market
        .writer("two", true)
        .await
        .expect("it replays without the key");
    restarted.stop().await;
    let replayed = market.acl.lock().expect("not poisoned").clone();
    assert_eq!(
        replayed.login("ana").map(|it| it.subscriber),
        Some(SubscriberId([3; 16]))
    );
    let mut archive = Archive::at(market.database.connect_options())
        .await
        .expect("readable");
    let whole = archive
        .verify(Verifier::new(None, Vec::new()), |_, _| ())
        .await;
    whole.expect("every hash is as it was");
    let report = money(&mut archive, When::Now, now())
        .await
        .expect("counted");
    assert!(report.closes && report.came_in == 500_000_000);
    archive.close().await;

    let mut connection = market.connect().await;
    let live = projections::digests(&mut connection, Columns::All)
        .await
        .expect("readable");
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

#[tokio::test]
async fn a_memo_that_named_a_person_before_she_registered_goes_with_her() {
    let market = Market::new().await;
    let writer = market.open().await;
    let keys = "vault.subject_key";
    let mut early = confirmation(9, 500_000_000);
    let bob = Username::parse("bob").expect("valid");
    early.reading = MemoReading::Purchase {
        offer: OfferId::parse("plug-hour").expect("valid"),
        username: bob.clone(),
    };
    submit(&writer, None, Command::ConfirmPayment(early))
        .await
        .expect("recorded");
    submit(&writer, None, register("bob", 2))
        .await
        .expect("recorded");
    assert_eq!(market.count(keys).await, 3, "ana's, bob's, and the memo's");
    submit(&writer, None, Command::Erase(bob))
        .await
        .expect("recorded");
    assert_eq!(market.count(keys).await, 1, "ana's");
    writer.stop().await;
}

#[tokio::test]
async fn a_person_registered_and_erased_in_one_commit_leaves_no_key() {
    let market = Market::new().await;
    let writer = market.open().await;
    let (one, two) = tokio::join!(
        submit(&writer, None, register("bob", 2)),
        submit(
            &writer,
            None,
            Command::Erase(Username::parse("bob").expect("valid"))
        ),
    );
    one.expect("recorded");
    two.expect("recorded");
    writer.stop().await;
    assert_eq!(market.count("vault.subject_key").await, 1, "ana's");
}

#[tokio::test]
async fn a_key_that_is_missing_without_an_erasure_stops_the_start() {
    let market = Market::new().await;
    market.open().await.stop().await;
    let mut connection = market.connect().await;
    sqlx::raw_sql("delete from vault.subject_key")
        .execute(&mut connection)
        .await
        .expect("deleted");
    let refused = market
        .writer("two", true)
        .await
        .err()
        .expect("refused")
        .to_string();
    assert!(
        refused.contains("01010101") && refused.contains("backup"),
        "{refused}"
    );
}

#[tokio::test]
async fn nobody_gives_an_erased_person_a_right() {
    let market = Market::new().await;
    let writer = market.open().await;
    submit(&writer, None, Command::Erase(ana()))
        .await
        .expect("recorded");
    let rule = tanglegate_core::Rule {
        id: tanglegate_core::RuleId([1; 16]),
        audience: tanglegate_core::Audience::Subscriber(SubscriberId([1; 16])),
        filter: tanglegate_core::TopicFilter::parse("a").expect("valid"),
        access: tanglegate_core::Access::Read,
    };
    let refused = submit(&writer, None, Command::GiveRule(rule)).await;
    let unknown = Rejection::UnknownSubscriber(SubscriberId([1; 16])).to_string();
    assert_eq!(refused.err().map(|it| it.to_string()), Some(unknown));
    writer.stop().await;
}
