//! Whatever clients make the gate hold, all of it together stays within the stated bound; who
//! asks for more is told so, and others are served all the same.

use crate::client::{Client, connect, packet, text};
use crate::stage::{SOON, Stage};
use tanglegate_broker::{ClientLimits, Limits, Rate, RequestTopic, Settings};
use tanglegate_core::{Access, Audience};

/// What all anonymous clients may make the gate hold in these tests.
const ROOM: usize = 512 << 10;
/// Clients in a flood: together they ask for several times as much.
const CLIENTS: usize = 60;

fn limits() -> Limits {
    Limits {
        connections: 500,
        known_bytes: ROOM,
        anonymous_bytes: ROOM,
        opening_bytes: ROOM / 2,
        log_bytes: 1 << 20,
        retained_bytes: 1 << 20,
        logins_remembered: 10,
        kept_sessions: 10,
        anonymous: ClientLimits {
            queued_bytes: ROOM,
            ..ClientLimits::anonymous()
        },
        ..Limits::default()
    }
}

/// A gate in which everybody may do everything.
async fn stage() -> Stage {
    let mut stage = Stage::with(limits()).await;
    stage.give_everyone("#", Access::ReadWrite);
    stage
}

/// The bound holds now, and somebody who asks for little is served.
async fn stands(stage: &Stage) {
    let now = stage.statistics();
    assert!(now.anonymous_bytes <= ROOM as u64, "{now:#?}");
    assert!(now.known_bytes <= ROOM as u64, "{now:#?}");
    assert!(now.opening_bytes <= ROOM as u64 / 2, "{now:#?}");
    let mut modest = connect(5, "modest").open(stage).await;
    modest.subscribe("modest", 1).await;
    modest.publish("modest", "here").await;
    assert_eq!(modest.payload().await, "here");
}

/// Everything is given back.
async fn is_free_again(stage: &Stage) {
    stage
        .until("free again", |it| {
            it.anonymous_bytes + it.known_bytes + it.opening_bytes == 0
        })
        .await;
}

/// True when the gate has cut the client off for want of room; false when it is still served.
async fn was_cut(client: &mut Client) -> bool {
    client.send(&[0xC0, 0]).await;
    loop {
        let packet = client.packet().await;
        match packet.first {
            0xE0 => {
                let why = String::from_utf8_lossy(&packet.body);
                assert_eq!(packet.body[0], 0x97, "{why}");
                assert!(why.contains("gate.limits.anonymous_bytes"), "{why}");
                return true;
            }
            0xD0 => return false,
            _ => {}
        }
    }
}

/// Clients that each send `bytes` and wait; how many of them the gate cut off.
async fn flood(stage: &Stage, bytes: impl Fn(&mut Client) -> Vec<u8>) -> usize {
    let (mut cut, mut open) = (0, vec![]);
    for number in 0..CLIENTS {
        let mut client = connect(5, &number.to_string()).open(stage).await;
        let sent = bytes(&mut client);
        client.send(&sent).await;
        // It is read before the answer to this comes, or that never does.
        if was_cut(&mut client).await {
            cut += 1;
        } else {
            open.push(client);
        }
    }
    stands(stage).await;
    assert!(!open.is_empty(), "some of them are served");
    assert_eq!(stage.statistics().cut_for_room_sessions, cut as u64);
    cut
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_that_never_come_whole_are_bounded_for_all_together() {
    let stage = stage().await;
    let mut half = packet(0x30, &[&text("t")[..], &[0; 60_000]].concat());
    half.truncate(50_000);
    let (mut open, begun) = (vec![], tokio::time::Instant::now());
    while stage.statistics().cut_for_room_sessions < 10 {
        let number = open.len().to_string();
        let mut client = connect(5, &number).open(&stage).await;
        client.send(&half).await;
        assert!(stage.statistics().anonymous_bytes <= ROOM as u64);
        open.push(client);
        assert!(begun.elapsed() < SOON, "{:#?}", stage.statistics());
    }
    stands(&stage).await;
    let served = stage.statistics().open_sessions;
    assert!(served >= 3, "{served} of {} are served", open.len());
    drop(open);
    is_free_again(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_behind_aliases_are_bounded_for_all_together() {
    let stage = stage().await;
    let topic = "a".repeat(1_000);
    let aliases = |client: &mut Client| {
        let publish = |alias: u8| client.publish_packet(0x30, &topic, &[0x23, 0, alias], "");
        (1..=16).flat_map(publish).collect()
    };
    assert!(flood(&stage, aliases).await > 0);
    is_free_again(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn permits_that_are_remembered_are_bounded_for_all_together() {
    let stage = stage().await;
    let topics = |client: &mut Client| {
        let topic = |number: usize| format!("{number:03}{}", "t".repeat(800));
        let publish = |number| client.publish_packet(0x30, &topic(number), &[], "");
        (0..30).flat_map(publish).collect()
    };
    assert!(flood(&stage, topics).await > 0);
    is_free_again(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn identifiers_that_are_not_given_free_are_bounded_for_all_together() {
    let mut stage = Stage::with(Limits {
        anonymous: ClientLimits {
            in_flight: 5_000,
            ..limits().anonymous
        },
        ..limits()
    })
    .await;
    stage.give_everyone("#", Access::ReadWrite);
    let begin = |_: &mut Client| {
        let publish = |id: u16| packet(0x34, &[&text("t")[..], &id.to_be_bytes(), &[0]].concat());
        (1..=4_000).flat_map(publish).collect()
    };
    assert!(flood(&stage, begin).await > 0);
    is_free_again(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_are_bounded_for_all_together_and_refused_beyond() {
    let stage = stage().await;
    let (mut open, mut refused) = (vec![], 0);
    for number in 0..CLIENTS {
        let mut client = connect(5, &number.to_string()).open(&stage).await;
        for filter in 0..10 {
            let filter = format!("{}{number}/{filter}", "+/".repeat(13));
            let (codes, why) = client.subscribe_with(&[], &[(&filter, 0)]).await;
            if codes == [0x97] {
                assert!(why.contains("gate.limits.anonymous_bytes"), "{why}");
                refused += 1;
            }
        }
        open.push(client);
    }
    assert!(refused > 0);
    stands(&stage).await;
    // Replaced, refused and given up: each is counted once.
    let client = &mut open[0];
    for _ in 0..100 {
        client.subscribe_with(&[], &[("a/+/b", 1)]).await;
    }
    stands(&stage).await;
    let before = stage.statistics().anonymous_bytes;
    for filter in 0..10 {
        let filter = text(&format!("{}0/{filter}", "+/".repeat(13)));
        client
            .send(&packet(0xA2, &[&[9, 9, 0][..], &filter].concat()))
            .await;
        assert_eq!(client.packet().await.first, 0xB0);
    }
    assert!(stage.statistics().anonymous_bytes < before);
    drop(open);
    is_free_again(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_answers_are_bounded_for_all_together() {
    let any = Rate::new(1_000_000, 1_000_000);
    let stage = Stage::with(Limits {
        anonymous_engine_requests_per_address: any,
        anonymous: ClientLimits {
            engine_requests: any,
            ..limits().anonymous
        },
        ..limits()
    })
    .await;
    let topic = RequestTopic {
        name: "claims",
        answers_on: "answer",
    };
    let requests = stage.gate.correspondence().serve_requests(&[topic]);
    let mut stage = stage;
    stage.give_everyone("#", Access::ReadWrite);
    let payload = "?".repeat(4_096);
    let ask = |client: &mut Client| {
        let publish = |_| client.publish_packet(0x30, "$SYS/access/claims", &[], &payload);
        (0..8).flat_map(publish).collect()
    };
    assert!(flood(&stage, ask).await > 0);
    drop(requests);
    is_free_again(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wills_are_bounded_for_all_together_and_refused_beyond() {
    let mut stage = stage().await;
    let (mut open, mut refused) = (vec![], 0);
    stage.register("ana");
    let will = "w".repeat(40_000);
    for number in 0..CLIENTS {
        let connect = connect(5, &number.to_string()).will("wills", &will, 0, false);
        let (client, answer) = connect.try_open(&stage).await;
        match answer.body[1] {
            0 => open.push(client),
            reason => {
                let why = String::from_utf8_lossy(&answer.body);
                assert_eq!(reason, 0x97, "{why}");
                assert!(why.contains("gate.limits.anonymous_bytes"), "{why}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0 && !open.is_empty());
    stands(&stage).await;
    // Those with a login have room of their own, and who was turned away left no will.
    let ana = connect(5, "ana").login("ana").will("x", &will, 0, false);
    let mut ana = ana.open(&stage).await;
    ana.subscribe("wills", 0).await;
    ana.hears_nothing().await;
    drop((open, ana));
    is_free_again(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connects_that_never_come_whole_are_bounded_for_all_together() {
    let stage = stage().await;
    let mut half = connect(5, "x")
        .will("t", &"w".repeat(60_000), 0, false)
        .packet();
    half.truncate(50_000);
    let mut open = vec![];
    for _ in 0..CLIENTS {
        let mut client = Client::raw(&stage, 5).await;
        client.send(&half).await;
        open.push(client);
        assert!(stage.statistics().opening_bytes <= ROOM as u64 / 2);
    }
    stage
        .until("refused", |it| it.denied_connects >= CLIENTS as u64 / 2)
        .await;
    stands(&stage).await;
    let (mut refused, patience) = (0, std::time::Duration::from_millis(50));
    for client in &mut open {
        if let Ok(answer) = tokio::time::timeout(patience, client.packet()).await {
            let why = String::from_utf8_lossy(&answer.body);
            assert_eq!((answer.first, answer.body[1]), (0x20, 0x97), "{why}");
            assert!(why.contains("gate.limits.opening_bytes"), "{why}");
            refused += 1;
        }
    }
    assert!(refused >= CLIENTS / 2, "{refused}");
    drop(open);
    is_free_again(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_everything_takes_less_memory_than_is_stated() {
    let before = resident();
    let mut stage = stage().await;
    let plug = stage.register("plug");
    stage.give(Audience::Subscriber(plug), "#", Access::ReadWrite);
    let will = "w".repeat(5_000);
    let mut open = vec![];
    for number in 0..200 {
        let wish = connect(5, &number.to_string()).will("t", &will, 0, false);
        let (mut client, answer) = wish.try_open(&stage).await;
        if answer.body[1] == 0 {
            client.subscribe_with(&[], &[("q/+", 2), ("#", 0)]).await;
            let half = packet(0x30, &[&text("t")[..], &[0; 60_000]].concat());
            let _ = client.stream.try_write(&half[..20_000]);
        }
        open.push(client);
    }
    let mut publisher = connect(5, "p").login("plug").open(&stage).await;
    for number in 0..300 {
        publisher
            .publish_safely(&format!("q/{number}"), &will)
            .await;
        let now = stage.statistics();
        assert!(now.anonymous_bytes <= ROOM as u64, "{now:#?}");
    }
    stands(&stage).await;
    let usual = Settings::new(stage.address());
    let bound = Settings {
        limits: limits(),
        shards: 2,
        ..usual
    }
    .memory_bound();
    let grown = resident().saturating_sub(before);
    // The clients are in it, too.
    assert!(grown < bound.bytes(), "{grown} bytes; the bound is {bound}");
}

/// Bytes of memory that this process has; 0 where that is not told.
fn resident() -> usize {
    let told = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = told.split(' ').nth(1).and_then(|it| it.parse().ok());
    pages.unwrap_or(0) * 4_096_usize
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_is_held_until_it_is_published_unwanted_or_spared() {
    let mut stage = stage().await;
    stage.register("ana");
    let will = "w".repeat(20_000);
    let connect = connect(5, "x").login("ana").kept(100);
    let delayed = connect.clone().delayed_will("t", &will, 50);
    let held = |stage: &Stage| stage.statistics().known_bytes;
    let nothing = held(&stage);
    // Lost: the will waits, and is spared by whoever comes back.
    drop(delayed.open(&stage).await);
    stage.until("away", |it| it.away_sessions == 1).await;
    let one = held(&stage);
    assert!(one >= nothing + 18_000, "{one}");
    for _ in 0..20 {
        drop(delayed.resume(&stage).await);
        stage.until("away", |it| it.away_sessions == 1).await;
        assert_eq!(held(&stage), one, "never two at a time");
    }
    // Published when it is due.
    stage.hand.advance_to(crate::stage::after(60_000));
    stage
        .until("published", |it| it.known_bytes == nothing)
        .await;
    // Unwanted by a client that takes leave.
    let mut polite = delayed.resume(&stage).await;
    assert_eq!(held(&stage), one);
    polite.send(&[0xE0, 0]).await;
    stage
        .until("forgotten", |it| it.known_bytes == nothing)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_promised_before_a_restart_is_kept_also_beyond_a_bound_that_was_lowered() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let mut stage = Stage::stored_in(folder.path()).await;
    stage.give_everyone("#", Access::ReadWrite);
    stage.register("ana");
    let ana = connect(5, "x").login("ana").kept(1_000);
    let mut reader = ana.open(&stage).await;
    reader.subscribe("t", 1).await;
    drop(reader);
    stage.until("away", |it| it.away_sessions == 1).await;
    let mut publisher = connect(5, "p").open(&stage).await;
    let payload = "x".repeat(10_000);
    for _ in 0..20 {
        publisher.publish_safely("t", &payload).await;
    }
    stage.gate.shutdown(SOON).await;

    let narrow = Limits {
        known_bytes: 64 << 10,
        ..limits()
    };
    let mut stage = Stage::stored_with(narrow, folder.path()).await;
    stage.give_everyone("#", Access::ReadWrite);
    let names = ["ana", "bob"];
    for name in names {
        stage.register(name);
    }
    assert!(stage.statistics().known_bytes > 190_000, "it is counted");
    // Nobody else gets room meanwhile, beyond what is everybody's own.
    let mut half = packet(0x30, &[&text("t")[..], &[0; 9_000]].concat());
    half.truncate(8_000);
    let bob = connect(5, "bob").login("bob");
    let mut refused = bob.open(&stage).await;
    refused.send(&half).await;
    let why = refused.is_dismissed(0x97).await;
    assert!(why.contains("gate.limits.known_bytes"), "{why}");
    let mut reader = ana.resume(&stage).await;
    for _ in 0..20 {
        let message = reader.message().await;
        assert_eq!(message.payload.len(), payload.len());
        reader.acknowledge(&message).await;
    }
    stage.until("read", |it| it.known_bytes == 0).await;
    let mut served = bob.open(&stage).await;
    served.send(&half).await;
    stage.until("held", |it| it.known_bytes > 0).await;
    assert_eq!(stage.statistics().cut_for_room_sessions, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_room_for_its_will_leaves_its_session_and_the_will_in_it_as_they_were() {
    let narrow = Limits {
        known_bytes: 64 << 10,
        ..limits()
    };
    let mut stage = Stage::with(narrow).await;
    stage.give_everyone("#", Access::ReadWrite);
    stage.register("ana");
    let mut reader = connect(5, "reader").open(&stage).await;
    reader.subscribe("status", 0).await;
    let ana = connect(5, "x").login("ana").kept(1_000);
    let first = ana.clone().delayed_will("status", "first", 50);
    drop(first.open(&stage).await);
    stage.until("away", |it| it.away_sessions == 1).await;
    let held = stage.statistics().known_bytes;
    let second = ana.clone().delayed_will("status", &"2".repeat(50_000), 50);
    for _ in 0..2 {
        let (_, answer) = second.try_open(&stage).await;
        assert_eq!(answer.body[..2], [0, 0x97], "{answer:?}");
        stage.until("away again", |it| it.away_sessions == 1).await;
        assert_eq!(stage.statistics().known_bytes, held);
    }
    stage.hand.advance_to(crate::stage::after(60_000));
    assert_eq!(reader.payload().await, "first");
    drop(ana.resume(&stage).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packet_with_more_filters_than_are_looked_at_is_refused() {
    let stage = stage().await;
    for version in [4, 5] {
        let properties: &[u8] = if version == 5 { &[0] } else { &[] };
        let filters = [0, 1, b'a', 0].repeat(10_000);
        let subscribe = packet(0x82, &[&[0, 9], properties, &filters].concat());
        let mut client = connect(version, "x").open(&stage).await;
        client.send(&subscribe).await;
        match version {
            5 => drop(client.is_dismissed(0x97).await),
            _ => client.is_closed().await,
        }
    }
    assert_eq!(stage.statistics().open_subscriptions, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_have_read_everything_take_no_room_from_others() {
    let stage = stage().await;
    let mut readers = vec![];
    for number in 0..10 {
        let mut reader = connect(5, &format!("reader-{number}")).open(&stage).await;
        reader.subscribe("t", 0).await;
        readers.push(reader);
    }
    let mut publisher = connect(5, "publisher").open(&stage).await;
    let payload = "x".repeat(6_000);
    publisher.publish("t", &payload).await;
    for reader in &mut readers {
        assert_eq!(reader.payload().await, payload);
    }
    // They stay, with their subscriptions; these are among what is everybody's own.
    is_free_again(&stage).await;
    assert_eq!(stage.statistics().open_sessions, 11);
}
