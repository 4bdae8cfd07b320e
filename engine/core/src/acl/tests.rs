use super::*;
use crate::{Address, Digest, Nanos, PaymentId, Tariff};

const ANA: SubscriberId = SubscriberId([1; 16]);
const END: Timestamp = Timestamp(10_000);
const BEFORE: Timestamp = Timestamp(9_999);

fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text).expect("valid")
}

fn topic(text: &str) -> TopicName {
    TopicName::parse(text).expect("valid")
}

fn plug_hour() -> OfferId {
    OfferId::parse("plug-hour").expect("valid")
}

fn tariff() -> Tariff {
    Tariff::new(Nanos(1), 1, Nanos(0)).expect("valid")
}

fn offer() -> Event {
    Event::OfferPublished {
        offer: Offer {
            id: plug_hour(),
            seller: Address([9; 32]),
            filter: filter("sensor/live"),
            access: Access::Read,
            tariff: tariff(),
            valid_until: Timestamp::FOREVER,
        },
    }
}

fn registered() -> Event {
    Event::SubscriberRegistered {
        subscriber: ANA,
        username: Username::parse("ana").ok(),
        verifier: Some(verifier()),
        owner: None,
    }
}

fn verifier() -> PasswordVerifier {
    PasswordVerifier {
        memory_kib: 8,
        passes: 1,
        lanes: 1,
        salt: [1; 16],
        tag: [2; 32],
    }
}

fn lease(topics: &str) -> Event {
    Event::LeaseGranted {
        subscriber: ANA,
        filter: filter(topics),
        access: Access::Read,
        from: Timestamp(0),
        until: END,
        offer: plug_hour(),
        tariff: tariff(),
        payment: PaymentId {
            digest: Digest([3; 32]),
            index: 0,
        },
    }
}

fn free(topics: &str) -> Event {
    Event::RuleGiven {
        rule: Rule {
            id: RuleId([4; 16]),
            audience: Audience::Everyone,
            filter: filter(topics),
            access: Access::Read,
        },
    }
}

fn fold(acl: &mut Acl, event: &Event) -> Affected {
    let position = acl.as_of().next();
    acl.apply(Recorded {
        position,
        recorded_at: Timestamp(0),
        event,
    })
}

fn table(events: impl IntoIterator<Item = Event>) -> Acl {
    let mut acl = Acl::default();
    for event in events {
        fold(&mut acl, &event);
    }
    acl
}

#[test]
fn an_empty_table_denies_everything() {
    let acl = Acl::default();
    assert!(acl.permit_subscribe(None, &filter("#"), BEFORE).is_err());
    assert!(acl.permit_publish(None, &topic("a"), BEFORE).is_err());
    assert!(acl.permit_deliver(Some(ANA), &topic("a"), BEFORE).is_err());
    assert!(acl.permit_connect(Some(ANA)).is_err());
    assert!(acl.login("ana").is_none());
}

#[test]
fn a_lease_is_good_until_its_exclusive_end() {
    let acl = table([offer(), registered(), lease("sensor/live")]);
    let permit = acl
        .permit_deliver(Some(ANA), &topic("sensor/live"), BEFORE)
        .expect("running");
    assert_eq!((permit.subject(), permit.until()), (Some(ANA), END));
    let denied = acl
        .permit_deliver(Some(ANA), &topic("sensor/live"), END)
        .expect_err("ended");
    assert_eq!(
        denied.to_string(),
        "lease on sensor/live ended 1970-01-01T00:00:10Z; offer plug-hour sells it"
    );
    assert!(
        acl.permit_publish(Some(ANA), &topic("sensor/live"), BEFORE)
            .is_err(),
        "read only"
    );
    assert!(
        acl.permit_deliver(None, &topic("sensor/live"), BEFORE)
            .is_err(),
        "hers alone"
    );
}

#[test]
fn what_was_never_bought_is_denied_with_the_offer_that_sells_it() {
    let acl = table([offer(), registered()]);
    let denied = acl
        .permit_subscribe(None, &filter("sensor/+"), BEFORE)
        .expect_err("no right");
    assert_eq!(
        denied.to_string(),
        "no right to read sensor/+; offer plug-hour sells it"
    );
    let denied = acl
        .permit_subscribe(None, &filter("other"), BEFORE)
        .expect_err("no right");
    assert_eq!(denied.to_string(), "no right to read other");
}

#[test]
fn a_wildcard_subscription_needs_a_right_to_some_of_it() {
    let acl = table([registered(), lease("sensor/live")]);
    assert!(
        acl.permit_subscribe(Some(ANA), &filter("#"), BEFORE)
            .is_ok()
    );
    assert!(
        acl.permit_subscribe(Some(ANA), &filter("sensor/+"), BEFORE)
            .is_ok()
    );
    assert!(
        acl.permit_subscribe(Some(ANA), &filter("other/#"), BEFORE)
            .is_err()
    );
    let rights = acl.rights(Some(ANA));
    assert_eq!(rights.read_until("sensor/live"), Some(END));
    assert_eq!(
        rights.read_until("sensor/1m"),
        None,
        "only the covered part is delivered"
    );
    assert_eq!(rights.next_end(BEFORE), Some(END));
    assert_eq!(rights.next_end(END), None);
}

#[test]
fn everyone_has_what_a_rule_gives_to_everyone_until_it_is_removed() {
    let mut acl = table([registered()]);
    assert_eq!(fold(&mut acl, &free("sensor/1m")), Affected::Everyone);
    assert!(
        acl.permit_subscribe(None, &filter("sensor/1m"), BEFORE)
            .is_ok()
    );
    assert!(
        acl.permit_subscribe(Some(ANA), &filter("sensor/1m"), BEFORE)
            .is_ok()
    );
    assert_eq!(
        fold(
            &mut acl,
            &Event::RuleRemoved {
                rule: RuleId([4; 16])
            }
        ),
        Affected::Everyone
    );
    assert!(
        acl.permit_subscribe(None, &filter("sensor/1m"), BEFORE)
            .is_err()
    );
}

#[test]
fn a_suspended_login_has_no_rights_not_even_everyones() {
    let mut acl = table([registered(), lease("sensor/live"), free("sensor/1m")]);
    fold(&mut acl, &Event::SubscriberSuspended { subscriber: ANA });
    assert_eq!(acl.permit_connect(Some(ANA)), Err(Denied::Suspended));
    let denied = acl.permit_deliver(Some(ANA), &topic("sensor/1m"), BEFORE);
    assert_eq!(denied, Err(Denied::Suspended));
    assert_eq!(acl.rights(Some(ANA)).iter().count(), 0);
    fold(&mut acl, &Event::SubscriberReinstated { subscriber: ANA });
    assert!(
        acl.permit_deliver(Some(ANA), &topic("sensor/live"), BEFORE)
            .is_ok()
    );
}

#[test]
fn revoking_and_changing_the_password_affect_that_subscriber_alone() {
    let mut acl = table([registered(), lease("sensor/live")]);
    let before = acl.login("ana").expect("registered").password_set_at;
    let changed = Event::PasswordChanged {
        subscriber: ANA,
        verifier: Some(verifier()),
    };
    assert_eq!(fold(&mut acl, &changed), Affected::Subscriber(ANA));
    assert!(acl.password_set_at(ANA).expect("registered") > before);
    let revoked = Event::LeaseRevoked {
        subscriber: ANA,
        filter: filter("sensor/live"),
        access: Access::Read,
        until: Timestamp(50),
    };
    assert_eq!(fold(&mut acl, &revoked), Affected::Subscriber(ANA));
    assert!(
        acl.permit_deliver(Some(ANA), &topic("sensor/live"), Timestamp(50))
            .is_err()
    );
    assert!(
        acl.permit_deliver(Some(ANA), &topic("sensor/live"), Timestamp(49))
            .is_ok()
    );
}

#[test]
fn a_lease_granted_anew_takes_the_place_of_the_ended_one() {
    let mut acl = table([registered(), lease("sensor/live"), lease("sensor/live")]);
    assert_eq!(acl.rights(Some(ANA)).iter().count(), 1);
    fold(&mut acl, &lease("sensor/other"));
    assert_eq!(acl.rights(Some(ANA)).iter().count(), 2);
}
