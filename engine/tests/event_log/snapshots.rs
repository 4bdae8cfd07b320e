//! Snapshots shorten an answer and change nothing about it.

use crate::market::{Market, confirmation, now, pay, plug_hour, register, submit};
use std::time::Duration;
use tanglegate::audit::{Archive, Folded, StateThen};
use tanglegate::event_log::EventLog;
use tanglegate::snapshot::{Fault, Next, Taken, Taker, take_next};
use tanglegate::writer::Started;
use tanglegate_core::{
    Access, Address, Audience, ChainId, Command, MemoReading, Nanos, Offer, OfferId, Position,
    Rule, RuleId, SubscriberId, Tariff, TopicFilter, Username,
};

/// Numbers that look random and are the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn name(number: u64) -> Username {
    Username::parse(&format!("buyer-{number}")).expect("valid")
}

fn id(number: u64) -> u8 {
    u8::try_from(number + 10).expect("few")
}

/// Something that may happen; what the rules refuse is no event.
fn anything(chance: &mut Chance, number: u32) -> Command {
    let who = chance.below(8);
    let some_offer =
        |chance: &mut Chance| OfferId::parse(&format!("offer-{}", chance.below(3))).expect("valid");
    let filter = |chance: &mut Chance| {
        TopicFilter::parse(&format!("sensor/{}", chance.below(4))).expect("valid")
    };
    match chance.below(14) {
        0 | 1 => register(name(who).as_str(), id(who)),
        2 => Command::PublishOffer(Offer {
            id: some_offer(chance),
            filter: filter(chance),
            tariff: Tariff::new(Nanos(1_000 + chance.below(9)), 60_000, Nanos(500)).expect("valid"),
            ..plug_hour()
        }),
        3 => Command::WithdrawOffer(some_offer(chance)),
        4 => Command::GiveRule(Rule {
            id: RuleId([u8::try_from(chance.below(5)).expect("few"); 16]),
            audience: match chance.below(3) {
                0 => Audience::Everyone,
                _ => Audience::Subscriber(SubscriberId([id(who); 16])),
            },
            filter: filter(chance),
            access: Access::Write,
        }),
        5 => Command::RemoveRule(RuleId([u8::try_from(chance.below(5)).expect("few"); 16])),
        6 => Command::Suspend(name(who)),
        7 => Command::Reinstate(name(who)),
        8 => Command::RevokeLease {
            username: name(who),
            filter: filter(chance),
            access: Access::Read,
        },
        9 if chance.below(4) == 0 => Command::Erase(name(who)),
        _ => {
            let mut paid = confirmation(number, 400 + chance.below(2_000));
            paid.payer = Address([u8::try_from(chance.below(6)).expect("few"); 32]);
            paid.reading = match chance.below(6) {
                0 => MemoReading::Absent,
                _ => MemoReading::Purchase {
                    offer: some_offer(chance),
                    username: name(who),
                },
            };
            Command::ConfirmPayment(paid)
        }
    }
}

/// A log in which everything happens.
async fn eventful(market: &Market) -> u64 {
    let writer: Started = market.open().await;
    let bound = Command::BindChain(ChainId("6364aad5".into()));
    submit(&writer, None, bound).await.expect("recorded");
    let mut chance = Chance(11);
    for number in 0..220 {
        let command = anything(&mut chance, number);
        drop(submit(&writer, None, command).await);
    }
    let size = writer.head.borrow().size;
    writer.stop().await;
    assert!(size > 200, "too much was refused: {size}");
    size
}

async fn take_all(market: &Market, every: u64) -> Vec<Taken> {
    let options = market.database.connect_options();
    let mut log = EventLog::open(&options).await.expect("opens");
    let mut taken = Vec::new();
    loop {
        match take_next(&mut log, every, || true).await.expect("whole") {
            Next::Taken(next) => taken.push(next),
            Next::Later(_) => return taken,
            other => panic!("{other:?}"),
        }
    }
}

async fn archive(market: &Market) -> Archive {
    let options = market.database.connect_options();
    Archive::at(options).await.expect("readable")
}

async fn from_the_first(archive: &mut Archive, position: Position) -> StateThen {
    let folded = archive.fold(position, |_, _| ()).await.expect("whole");
    assert_eq!(folded.from, Position(0));
    folded.state(now())
}

/// What stands in the newest snapshot's parts.
async fn newest_bytes(market: &Market) -> Vec<(String, Vec<u8>)> {
    let query = "select holds, bytes from snapshot.part where holds = 'state' and position = \
         (select max(position) from snapshot.taken) order by number";
    let mut connection = market.connect().await;
    sqlx::query_as(query)
        .fetch_all(&mut connection)
        .await
        .expect("readable")
}

async fn run(market: &Market, statement: &'static str) -> u64 {
    let mut connection = market.connect().await;
    let done = sqlx::query(statement).execute(&mut connection).await;
    done.expect("the owner may").rows_affected()
}

#[tokio::test]
async fn every_past_moment_is_the_same_with_snapshots_and_without() {
    let market = Market::new().await;
    let size = eventful(&market).await;
    let taken = take_all(&market, 16).await;
    assert!(taken.len() > 8, "{taken:?}");
    let mut archive = archive(&market).await;
    let (at, mut begun) = (now(), Vec::new());
    for position in (1..=size).map(Position) {
        let whole = archive.fold(position, |_, _| ()).await.expect("whole");
        let short = archive.fold_on(position, |_, _| ()).await.expect("whole");
        assert_eq!(short.refused, []);
        assert!(short.from <= position && position.0 - short.from.0 < 20);
        assert_eq!(short.state(at), whole.state(at), "after {position}");
        begun.push(short.from);
    }
    begun.dedup();
    assert_eq!(begun.len(), taken.len() + 1, "each of them was used");
    archive.close().await;
}

#[tokio::test]
async fn a_snapshot_after_others_is_the_one_that_the_whole_log_gives() {
    let market = Market::new().await;
    eventful(&market).await;
    let last = take_all(&market, 16).await.pop().expect("some").position;
    let chained = newest_bytes(&market).await;
    run(&market, "delete from snapshot.taken").await;
    let at_once = take_all(&market, last.0).await;
    assert_eq!(at_once.len(), 1);
    assert_eq!(at_once[0].position, last);
    assert_eq!(newest_bytes(&market).await, chained);
}

#[tokio::test]
async fn no_name_of_a_person_is_in_a_snapshot() {
    let market = Market::new().await;
    eventful(&market).await;
    take_all(&market, 64).await;
    let named = "select 1 from snapshot.part where position('buyer-'::bytea in bytes) > 0";
    assert_eq!(run(&market, named).await, 0);
    let offers = "select 1 from snapshot.part where position('offer-'::bytea in bytes) > 0";
    assert!(run(&market, offers).await > 0, "names of offers are");
}

/// What is wrong with a snapshot, as an audit of the whole log tells it.
async fn refused(market: &Market, size: u64) -> (Folded, Vec<(u64, Fault)>) {
    let mut archive = archive(market).await;
    let folded = archive.fold_on(Position(size), |_, _| ()).await;
    let folded = folded.expect("the log is whole");
    let whole = from_the_first(&mut archive, Position(size)).await;
    assert_eq!(folded.state(now()).payments, whole.payments);
    assert_eq!(folded.state(now()).subscribers, whole.subscribers);
    let all = folded.refused.iter();
    let refused = all.map(|it| (it.position.0, it.why.clone())).collect();
    archive.close().await;
    (folded, refused)
}

#[tokio::test]
async fn what_was_tampered_with_is_named_and_not_used() {
    let market = Market::new().await;
    let size = eventful(&market).await;
    let positions: Vec<u64> = take_all(&market, 32)
        .await
        .iter()
        .map(|it| it.position.0)
        .collect();
    let (last, count) = (positions.len() - 1, positions.len());
    assert!(count >= 6, "{positions:?}");
    let second = "(select position from snapshot.taken order by position offset 1 limit 1)";
    let newest = "(select max(position) from snapshot.taken)";
    let cases: [(String, usize, Fault); 5] = [
        (
            format!(
                "update snapshot.part set bytes = set_byte(bytes, 40, get_byte(bytes, 40) # 1) \
                 where holds = 'payments' and position = {second}"
            ),
            1,
            Fault::Checksum,
        ),
        (
            format!(
                "update snapshot.part set bytes = set_byte(bytes, 40, get_byte(bytes, 40) # 1) \
                 where holds = 'state' and position = {newest}"
            ),
            last,
            Fault::Checksum,
        ),
        (
            format!(
                "update snapshot.taken set frontier = set_byte(frontier, 3, \
                 get_byte(frontier, 3) # 1) where position = {second}"
            ),
            1,
            Fault::Root,
        ),
        (
            format!(
                "update snapshot.taken set payments_sha256 = state_sha256 where position = {newest}"
            ),
            last,
            Fault::Checksum,
        ),
        (
            format!("delete from snapshot.taken where position = {second}"),
            2,
            Fault::Previous,
        ),
    ];
    for (statement, at, fault) in cases {
        let mut connection = market.connect().await;
        let done = sqlx::query(sqlx::AssertSqlSafe(statement.clone()));
        let done = done.execute(&mut connection).await.expect("the owner may");
        assert_eq!(done.rows_affected(), 1, "{statement}");
        let (folded, refused) = refused(&market, size).await;
        assert_eq!(refused, [(positions[at], fault)], "{statement}");
        // The deleted one is no longer there to be begun with.
        let begun = if at == 2 { 0 } else { at - 1 };
        assert_eq!(folded.from.0, positions[begun], "{statement}");
        run(&market, "delete from snapshot.taken").await;
        assert_eq!(
            take_all(&market, 32).await.len(),
            count,
            "all are taken again"
        );
    }
    assert_eq!(refused(&market, size).await.1, []);
}

#[tokio::test]
async fn snapshots_of_another_version_are_ignored_and_replaced() {
    let market = Market::new().await;
    let size = eventful(&market).await;
    take_all(&market, 64).await;
    run(&market, "update snapshot.taken set version = version - 1").await;
    run(&market, "update snapshot.part set version = version - 1").await;
    let (folded, refused) = refused(&market, size).await;
    assert_eq!((folded.from, refused), (Position(0), Vec::new()));
    let taken = take_all(&market, 64).await;
    let kept = market.count("(select distinct version, position from snapshot.part) as it");
    assert_eq!(u64::try_from(kept.await), Ok(taken.len() as u64));
}

#[tokio::test]
async fn what_the_last_snapshot_lost_is_taken_again() {
    let market = Market::new().await;
    let size = eventful(&market).await;
    take_all(&market, 64).await;
    let lost = "delete from snapshot.part where holds = 'state' and position = \
         (select max(position) from snapshot.taken)";
    assert!(run(&market, lost).await > 0);
    assert_eq!(refused(&market, size).await.1.len(), 1);
    assert_eq!(take_all(&market, 64).await.len(), 1);
    assert_eq!(refused(&market, size).await.1, []);
}

#[tokio::test]
async fn a_stop_leaves_nothing_half_done_and_a_log_that_goes_on_is_followed() {
    let market = Market::new().await;
    let writer = market.open().await;
    let options = market.database.connect_options();
    let mut log = EventLog::open(&options).await.expect("opens");
    let early = take_next(&mut log, 10, || true).await.expect("whole");
    assert_eq!(early, Next::Later(Position(10)));
    for number in 0..5 {
        pay(&writer, number, 500_000_000).await.expect("recorded");
    }
    let stopped = take_next(&mut log, 10, || false).await.expect("whole");
    assert_eq!(stopped, Next::Stopped);
    assert_eq!(market.count("snapshot.part").await, 0);
    let taken = take_next(&mut log, 10, || true).await.expect("whole");
    assert!(
        matches!(taken, Next::Taken(it) if it.position == Position(11)),
        "{taken:?}"
    );
    writer.stop().await;
}

#[tokio::test]
async fn they_are_taken_beside_the_writer_and_a_stop_waits_for_none() {
    let market = Market::new().await;
    let writer = market.open().await;
    let options = market.database.connect_options();
    let taker = Taker::start(&options, 10, writer.head.clone()).expect("a thread");
    for number in 0..12 {
        pay(&writer, number, 500_000_000).await.expect("recorded");
    }
    let patience = std::time::Instant::now();
    while market.count("snapshot.taken").await < 3 {
        assert!(
            patience.elapsed().as_secs() < 60,
            "38 events, and no three snapshots"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    taker.stop().await;
    writer.stop().await;
    assert_eq!(take_all(&market, 10).await, [], "they are complete");
    let (folded, refused) = refused(&market, 38).await;
    assert!(folded.from.0 >= 30 && refused.is_empty(), "{refused:?}");
}
