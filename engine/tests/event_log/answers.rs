//! Questions about the past, and what the log alone answers.

use crate::market::{Market, now, pay, submit};
use std::time::Duration;
use tanglegate::audit::{
    Archive, Explanation, Question, Verdict, Wanted, When, explain, life_of, money,
};
use tanglegate::event_log::EventLogError;
use tanglegate_core::{
    Access, Audience, Command, Confirmation, Digest, MemoReading, Position, Rule, RuleId,
    SubscriberId, Timestamp, TopicFilter, TopicName, Username,
};

fn ana() -> Option<SubscriberId> {
    Some(SubscriberId([1; 16]))
}

fn read(topic: &str) -> Wanted {
    Wanted::Read(TopicName::parse(topic).expect("valid"))
}

fn ana_is() -> Username {
    Username::parse("ana").expect("valid")
}

async fn ask(
    archive: &mut Archive,
    subject: Option<SubscriberId>,
    wanted: Wanted,
    when: When,
) -> Explanation {
    let question = Question {
        subject,
        wanted,
        when,
    };
    explain(archive, &question, now()).await.expect("answered")
}

fn kinds(answer: &Explanation) -> Vec<&str> {
    answer.chain.iter().map(|it| it.kind.as_str()).collect()
}

/// Positions: 1 offer, 2 ana, 3–5 payment and lease, 6–8 second payment, 9 revoked, 10 suspended,
/// 11 reinstated, 12 rule, 13 rule removed.
async fn eventful(market: &Market) -> Timestamp {
    let writer = market.open().await;
    pay(&writer, 1, 500_000_000).await.expect("recorded");
    pay(&writer, 2, 500_000_000).await.expect("recorded");
    let paid = now();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let filter = || TopicFilter::parse("sensor/live").expect("valid");
    let revoke = Command::RevokeLease {
        username: ana_is(),
        filter: filter(),
        access: Access::Read,
    };
    let rule = Rule {
        id: RuleId([3; 16]),
        audience: Audience::Subscriber(SubscriberId([1; 16])),
        filter: filter(),
        access: Access::Read,
    };
    for command in [
        revoke,
        Command::Suspend(ana_is()),
        Command::Reinstate(ana_is()),
        Command::GiveRule(rule),
        Command::RemoveRule(RuleId([3; 16])),
    ] {
        submit(&writer, None, command).await.expect("recorded");
    }
    writer.stop().await;
    paid
}

#[tokio::test]
async fn a_yes_goes_back_to_the_payments_and_the_terms() {
    let market = Market::new().await;
    let paid = eventful(&market).await;
    let mut archive = Archive::at(market.database.connect_options())
        .await
        .expect("readable");
    for when in [When::Instant(paid), When::Position(Position(8))] {
        let answer = ask(&mut archive, ana(), read("sensor/live"), when).await;
        assert_eq!(
            (answer.verdict, answer.position),
            (Verdict::Yes, 8),
            "{answer:?}"
        );
        let expected = [
            "offer_published",
            "subscriber_registered",
            "payment_confirmed",
            "payment_applied",
            "lease_granted",
            "payment_confirmed",
            "payment_applied",
            "lease_extended",
        ];
        assert_eq!(kinds(&answer), expected);
        let digest = Digest({
            let mut digest = [0; 32];
            digest[3] = 1;
            digest
        });
        assert_eq!(answer.chain[2].transaction, Some(digest.to_string()));
        assert_eq!(answer.chain[2].origin, "ledger");
    }
    archive.close().await;
}

#[tokio::test]
async fn a_no_tells_what_was_missing_and_when_it_was_last_there() {
    let market = Market::new().await;
    eventful(&market).await;
    let mut archive = Archive::at(market.database.connect_options())
        .await
        .expect("readable");
    let topic = || read("sensor/live");
    let at = |position| When::Position(Position(position));
    let cases = [
        (1, "no such login yet", "never before", 0),
        (2, "no right to read sensor/live", "never before", 1),
        (9, "lease on sensor/live ended", "until ", 9),
        (10, "suspended", "until ", 10),
        (11, "lease on sensor/live ended", "until ", 10),
    ];
    for (position, why, last, chain) in cases {
        let answer = ask(&mut archive, ana(), topic(), at(position)).await;
        let last_there = answer.last_there.clone().unwrap_or_default();
        assert_eq!(answer.verdict, Verdict::No, "{answer:?}");
        assert!(answer.why.contains(why), "after {position}: {}", answer.why);
        assert!(
            last_there.starts_with(last),
            "after {position}: {last_there}"
        );
        assert_eq!(
            answer.chain.len(),
            chain,
            "after {position}: {:?}",
            kinds(&answer)
        );
    }
    let by_rule = ask(&mut archive, ana(), topic(), at(12)).await;
    assert_eq!(by_rule.verdict, Verdict::Yes);
    assert!(kinds(&by_rule).contains(&"rule_given"), "{by_rule:?}");
    let nobody = ask(&mut archive, None, topic(), at(13)).await;
    assert!(nobody.why.contains("no right"), "{nobody:?}");
    let other = ask(&mut archive, ana(), read("other"), at(13)).await;
    assert!(other.why.contains("no right to read other"), "{other:?}");
    let never = other.last_there.as_deref();
    assert_eq!(
        never,
        Some("never before"),
        "the removed rule was about another topic"
    );
    let removed = ask(&mut archive, ana(), topic(), at(13)).await;
    let last_there = removed.last_there.clone().unwrap_or_default();
    assert!(
        last_there.ends_with("by a rule that was removed"),
        "{last_there}"
    );
    assert!(kinds(&removed).contains(&"rule_removed"), "{removed:?}");
    assert!(!removed.ahead);
    let tomorrow = When::Instant(now().plus_millis(86_400_000));
    assert!(ask(&mut archive, ana(), topic(), tomorrow).await.ahead);
    let own = ask(&mut archive, ana(), read("$SYS/access/me/lease"), at(13)).await;
    assert_eq!(own.verdict, Verdict::Yes, "{own:?}");
    let named = "$SYS/access/keys/00112233445566778899aabbccddeeff/credential";
    let named = ask(&mut archive, ana(), read(named), at(13)).await;
    assert_eq!(named.verdict, Verdict::Yes, "{named:?}");
    archive.close().await;
}

#[tokio::test]
async fn what_is_explained_is_what_the_gate_would_have_said() {
    let market = Market::new().await;
    eventful(&market).await;
    let mut archive = Archive::at(market.database.connect_options())
        .await
        .expect("readable");
    let topic = TopicName::parse("sensor/live").expect("valid");
    let filter = TopicFilter::parse("sensor/#").expect("valid");
    // The whole table, folded up to each position, knows nothing of selections.
    for position in 1..=13 {
        let whole = market.table_at(Position(position)).await;
        let at = archive
            .moment(When::Position(Position(position)), now())
            .await
            .expect("readable")
            .at;
        for subject in [ana(), None, Some(SubscriberId([2; 16]))] {
            let cases = [
                (Wanted::Connect, whole.permit_connect(subject).is_ok()),
                (
                    Wanted::Read(topic.clone()),
                    whole.permit_deliver(subject, &topic, at).is_ok(),
                ),
                (
                    Wanted::Write(topic.clone()),
                    whole.permit_publish(subject, &topic, at).is_ok(),
                ),
                (
                    Wanted::Subscribe(filter.clone()),
                    whole.permit_subscribe(subject, &filter, at).is_ok(),
                ),
            ];
            for (wanted, allowed) in cases {
                let when = When::Position(Position(position));
                let answer = ask(&mut archive, subject, wanted.clone(), when).await;
                let explained = answer.verdict == Verdict::Yes;
                assert_eq!(
                    explained, allowed,
                    "{position} {subject:?} {wanted:?} {answer:?}"
                );
            }
        }
    }
    archive.close().await;
}

#[tokio::test]
async fn every_table_is_what_the_log_makes_of_it() {
    let market = Market::new().await;
    eventful(&market).await;
    let options = || market.database.connect_options();
    let mut archive = Archive::at(options()).await.expect("readable");
    let compared = archive.compare(|_, _| ()).await.expect("folded");
    assert!(compared.same && compared.position == 13, "{compared:?}");
    archive.close().await;
    let mut connection = market.connect().await;
    sqlx::raw_sql("update projection.access set ends_at = ends_at + interval '1 hour'")
        .execute(&mut connection)
        .await
        .expect("projections can be changed");
    let mut archive = Archive::at(options()).await.expect("readable");
    let compared = archive.compare(|_, _| ()).await.expect("folded");
    let differs = compared.tables.iter().filter(|it| !it.same);
    let differs: Vec<&str> = differs.map(|it| it.live.table).collect();
    assert_eq!(differs, ["access"]);
    archive.close().await;
}

#[tokio::test]
async fn the_tables_of_a_past_moment_are_those_of_then() {
    let market = Market::new().await;
    let paid = eventful(&market).await;
    let mut archive = Archive::at(market.database.connect_options())
        .await
        .expect("readable");
    let then = archive
        .fold(Position(8), |_, _| ())
        .await
        .expect("folded")
        .state(paid);
    assert_eq!((then.position, then.payments.len()), (8, 2));
    assert!(then.access[0].in_force && !then.subscribers[0].suspended);
    let later = archive
        .fold(Position(10), |_, _| ())
        .await
        .expect("folded")
        .state(now());
    assert!(!later.access[0].in_force && later.subscribers[0].suspended);
    let first = archive
        .fold(Position(1), |_, _| ())
        .await
        .expect("folded")
        .state(paid);
    assert!(first.access.is_empty() && first.offers[0].on_sale);
    archive.close().await;
}

#[tokio::test]
async fn the_life_of_a_payment_and_the_sums_over_all() {
    let market = Market::new().await;
    let writer = market.open().await;
    pay(&writer, 1, 500_000_001).await.expect("recorded");
    let astray = Confirmation {
        reading: MemoReading::Absent,
        memo: Vec::new(),
        ..crate::market::confirmation(2, 7)
    };
    let lost = astray.payment.digest;
    submit(&writer, None, Command::ConfirmPayment(astray))
        .await
        .expect("recorded");
    writer.stop().await;
    let mut archive = Archive::at(market.database.connect_options())
        .await
        .expect("readable");
    let mut digest = [0; 32];
    digest[3] = 1;
    let lives = life_of(&mut archive, Digest(digest))
        .await
        .expect("readable");
    assert!(lives[0].booked && lives[0].chain.len() == 3, "{lives:?}");
    let lives = life_of(&mut archive, lost).await.expect("readable");
    assert!(
        !lives[0].booked && lives[0].fate.contains("no memo"),
        "{lives:?}"
    );
    assert!(
        life_of(&mut archive, Digest([5; 32]))
            .await
            .expect("readable")
            .is_empty()
    );
    let report = money(&mut archive, When::Now, now())
        .await
        .expect("counted");
    assert!(report.closes, "{report:?}");
    assert_eq!((report.came_in, report.unmatched), (500_000_008, 7));
    assert_eq!(report.spent + report.credit, 500_000_001);
    let earlier = money(&mut archive, When::Position(Position(2)), now())
        .await
        .expect("counted");
    assert!(earlier.closes && earlier.came_in == 0);
    archive.close().await;
}

#[tokio::test]
async fn a_question_is_not_answered_from_a_log_with_holes() {
    let market = Market::new().await;
    let paid = eventful(&market).await;
    let mut owner = market.connect().await;
    let remove = "set session_replication_role = replica; \
                  delete from event_log.event where kind = 'subscriber_suspended'";
    sqlx::raw_sql(remove)
        .execute(&mut owner)
        .await
        .expect("a superuser may do everything");
    let options = market.database.connect_options();
    let mut archive = Archive::at(options).await.expect("readable");
    let question = Question {
        subject: ana(),
        wanted: read("sensor/live"),
        when: When::Position(Position(11)),
    };
    let refused = explain(&mut archive, &question, now()).await;
    assert!(
        matches!(refused, Err(EventLogError::StreamGap { found: 11, .. })),
        "{refused:?}"
    );
    let refused = money(&mut archive, When::Now, now()).await;
    let gap = matches!(
        refused,
        Err(EventLogError::Gap {
            after: 9,
            found: 11
        })
    );
    assert!(gap, "{refused:?}");
    let options = market.database.connect_options();
    let mut archive = Archive::at(options).await.expect("readable");
    let earlier = money(&mut archive, When::Position(Position(8)), paid).await;
    assert!(earlier.is_ok(), "what is asked about has no hole");
    archive.close().await;
}
