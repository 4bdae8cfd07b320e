//! Whatever is read from outside is read or refused, never a panic; and what is read is written
//! back as it stood.

use proptest::collection::vec;
use proptest::prelude::*;
use tanglegate_core::{
    Acl, Address, Digest, OfferId, RuleId, SubscriberId, Timestamp, TopicFilter, TopicName,
    Username,
};
use tanglegate_proptest::{Broken, for_all};

/// Texts with the characters that matter to any of the readers.
fn text() -> impl Strategy<Value = String> {
    let telling = prop::sample::select(
        "+#/$\0 \n0x:-aZ19lé用\u{85}\u{202e}"
            .chars()
            .collect::<Vec<_>>(),
    );
    let character = prop_oneof![3 => telling, 1 => any::<char>()];
    let any_text = vec(character, 0..80).prop_map(String::from_iter);
    let digits = prop_oneof![Just(16_usize), Just(32)]
        .prop_flat_map(|it| vec(any::<u8>(), it))
        .prop_map(|bytes| bytes.iter().map(|it| format!("{it:02x}")).collect());
    let long = (0..70_000_usize).prop_map(|it| "a/".repeat(it / 2));
    prop_oneof![20 => any_text, 4 => digits, 1 => long]
}

fn ensure(holds: bool, what: &str, text: &str) -> Result<(), Broken> {
    if holds {
        return Ok(());
    }
    let shown: String = text.chars().take(200).collect();
    Err(Broken(format!("{what}: {shown:?}")))
}

/// An error may be shown to people and logged: it does not repeat a text of any length.
fn is_short<T>(read: &Result<T, impl ToString>) -> bool {
    read.as_ref()
        .err()
        .is_none_or(|it| it.to_string().len() < 700)
}

#[test]
fn topics_and_filters_are_read_as_they_stand_or_refused() {
    for_all(400, text(), |text| {
        let (filter, topic) = (TopicFilter::parse(text), TopicName::parse(text));
        ensure(is_short(&filter) && is_short(&topic), "a long error", text)?;
        let fits = (1..=65_535).contains(&text.len()) && !text.contains('\0');
        let plain = !text.contains(['+', '#']);
        ensure(topic.is_ok() == (fits && plain), "a topic, or not", text)?;
        if let Ok(topic) = &topic {
            ensure(topic.as_str() == text, "another topic", text)?;
            ensure(filter.is_ok(), "a topic that is no filter", text)?;
        }
        let Ok(filter) = filter else { return Ok(()) };
        ensure(fits && filter.as_str() == text, "another filter", text)?;
        ensure(filter.is_exact() == topic.is_ok(), "exact, or not", text)?;
        ensure(filter.covers(&filter), "covers itself", text)?;
        ensure(filter.overlaps(&filter), "overlaps itself", text)?;
        ensure(!filter.is_exact() || filter.matches(text), "matches", text)
    });
}

#[test]
fn names_and_identities_are_read_as_they_stand_or_refused() {
    for_all(800, text(), |text| {
        let (user, offer) = (Username::parse(text), OfferId::parse(text));
        ensure(is_short(&user) && is_short(&offer), "a long error", text)?;
        if let Ok(user) = user {
            ensure(user.as_str() == text && text.len() <= 64, "username", text)?;
            ensure(!text.chars().any(char::is_control), "control", text)?;
        }
        if let Ok(offer) = offer {
            ensure(offer.as_str() == text && text.len() <= 32, "offer", text)?;
        }
        let bare = text.strip_prefix("0x").unwrap_or(text);
        let address = Address::parse(text);
        ensure(is_short(&address), "a long error", text)?;
        if let Ok(address) = address {
            ensure(
                address.to_string() == format!("0x{}", bare.to_lowercase()),
                "address",
                text,
            )?;
        }
        if let Ok(rule) = RuleId::parse(text) {
            ensure(rule.to_string() == text.to_lowercase(), "rule", text)?;
        }
        if let Ok(subscriber) = SubscriberId::parse(text) {
            ensure(subscriber.to_string() == text.to_lowercase(), "id", text)?;
        }
        let digest = Digest::parse(text);
        ensure(is_short(&digest), "a long error", text)?;
        if let Ok(digest) = digest {
            ensure(digest.to_string() == *text, "digest", text)?;
        }
        Ok(())
    });
}

#[test]
fn every_identity_is_read_back_from_what_is_written_of_it() {
    for_all(300, any::<[u8; 32]>(), |bytes| {
        let (address, digest) = (Address(*bytes), Digest(*bytes));
        let short: [u8; 16] = std::array::from_fn(|at| bytes[at]);
        let read = Address::parse(&address.to_string()) == Ok(address)
            && Digest::parse(&digest.to_string()) == Ok(digest)
            && RuleId::parse(&RuleId(short).to_string()) == Ok(RuleId(short))
            && SubscriberId::parse(&SubscriberId(short).to_string()) == Ok(SubscriberId(short));
        ensure(read, "not read back", &format!("{bytes:?}"))
    });
}

#[test]
fn every_instant_can_be_shown() {
    for_all(
        2_000,
        (any::<u64>(), 0..300_000_000_000_000_u64),
        |(far, near)| {
            for millis in [*far, *near] {
                let shown = Timestamp(millis).to_string();
                let fits = shown == "for ever" || (20..=24).contains(&shown.len());
                ensure(fits, "an instant", &shown)?;
            }
            let moved = Timestamp(*near).plus_millis(*far);
            ensure(
                moved <= Timestamp::LAST,
                "past the calendar",
                &moved.to_string(),
            )
        },
    );
}

#[test]
fn a_table_without_events_denies_whatever_is_asked() {
    let drawn = (text(), any::<Option<[u8; 16]>>(), any::<u64>());
    for_all(500, drawn, |(text, subject, now)| {
        let (acl, subject) = (Acl::default(), subject.map(SubscriberId));
        let now = Timestamp(*now);
        if let Ok(filter) = TopicFilter::parse(text) {
            let answer = acl.permit_subscribe(subject, &filter, now);
            ensure(answer.is_err(), "subscribed", text)?;
        }
        if let Ok(topic) = TopicName::parse(text) {
            let read = acl.permit_deliver(subject, &topic, now);
            let written = acl.permit_publish(subject, &topic, now);
            ensure(read.is_err() && written.is_err(), "permitted", text)?;
        }
        ensure(acl.login(text).is_none(), "logged in", text)?;
        ensure(
            acl.permit_connect(subject).is_ok() == subject.is_none(),
            "connected",
            text,
        )
    });
}
