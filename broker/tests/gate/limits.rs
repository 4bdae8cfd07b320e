//! What a faulty or hostile client costs.

use crate::client::{Client, connect};
use crate::stage::{SOON, Stage};
use std::time::Duration;
use tanglegate_broker::{ClientLimits, Limits};
use tanglegate_core::{Access, Audience};

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_anonymous_clients_is_bounded_and_leaves_room_for_logins() {
    let limits = Limits {
        anonymous_connections: 20,
        ..Limits::default()
    };
    let mut stage = Stage::with(limits).await;
    stage.register("ana");
    let mut inside = vec![];
    for number in 0..30 {
        let (client, answer) = connect(5, &number.to_string()).try_open(&stage).await;
        if number < 20 {
            assert_eq!(answer.body[1], 0);
            inside.push(client);
        } else {
            assert_eq!(answer.body[1], 0x97);
        }
    }
    connect(5, "x").login("ana").open(&stage).await;
    inside.pop();
    stage.until("left", |it| it.open_sessions <= 19).await;
    connect(4, "x").open(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_does_not_take_all_places() {
    let limits = Limits {
        connections_per_address: 5,
        ..Limits::default()
    };
    let stage = Stage::with(limits).await;
    let mut inside = vec![];
    for _ in 0..5 {
        inside.push(connect(4, "x").open(&stage).await);
    }
    Client::raw(&stage, 4).await.is_closed().await;
    assert_eq!(stage.statistics().refused_connections, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_costs_only_itself() {
    let mut stage = Stage::new().await;
    let plug = stage.register("plug");
    stage.give(Audience::Subscriber(plug), "#", Access::Write);
    stage.give_everyone("#", Access::Read);
    let mut stuck = connect(4, "stuck").open(&stage).await;
    stuck.subscribe("#", 0).await;
    let mut quick = connect(4, "quick").open(&stage).await;
    quick.subscribe("#", 0).await;
    let mut publisher = connect(4, "p").login("plug").open(&stage).await;
    let payload = "x".repeat(10_000);
    // 100 MB: far more than sockets and queues hold.
    let publishing = tokio::spawn(async move {
        for number in 0..10_000 {
            let payload = format!("{number:05}{payload}");
            publisher.publish("t", &payload).await;
            if number % 20 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        publisher
    });
    let mut last = 0;
    while last < 9_999 {
        let message = tokio::time::timeout(SOON, quick.message())
            .await
            .expect("it flows");
        let number = String::from_utf8_lossy(&message.payload[..5])
            .parse::<u32>()
            .unwrap();
        assert!(number == 0 || number > last);
        last = number;
    }
    let _publisher = publishing.await.unwrap();
    let statistics = stage.statistics();
    assert!(statistics.dropped_slow > 5_000, "{statistics:?}");
    assert_eq!((statistics.lost_records, statistics.open_sessions), (0, 3));
    // It is not forgotten either: what it has in its queue, it still gets.
    let message = stuck.message().await;
    assert!(message.payload.starts_with(b"00000"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_lets_promised_messages_pile_up_is_dismissed() {
    let limits = Limits {
        anonymous: ClientLimits {
            queued_bytes: 10_000,
            ..ClientLimits::anonymous()
        },
        ..Limits::default()
    };
    let mut stage = Stage::with(limits).await;
    stage.give_everyone("#", Access::ReadWrite);
    let mut five = connect(5, "five")
        .properties(&[0x21, 0, 1])
        .open(&stage)
        .await;
    five.subscribe("#", 1).await;
    let mut publisher = connect(4, "p").open(&stage).await;
    publisher.publish_safely("t", "first").await;
    five.message().await;
    for _ in 0..20 {
        publisher.publish_safely("t", &"x".repeat(1_000)).await;
    }
    let why = five.is_dismissed(0x97).await;
    assert!(why.contains("read faster"), "{why}");
    assert_eq!(stage.statistics().cut_slow_sessions, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_take_its_answers_gets_no_more_questions_answered() {
    let mut limits = Limits::default();
    limits.anonymous.stalled = Duration::from_millis(1_500);
    let stage = Stage::with(limits).await;
    // It is not silent: the gate does not listen to it.
    let mut client = connect(4, "x").keep_alive(1).open(&stage).await;
    let questions = [0xC0, 0].repeat(1 << 20);
    let asking = async {
        loop {
            client.send(&questions).await;
        }
    };
    // Neither answers nor questions pile up here: the client's own socket fills.
    assert!(
        tokio::time::timeout(Duration::from_secs(1), asking)
            .await
            .is_err()
    );
    stage
        .until("given up", |it| it.cut_slow_sessions == 1)
        .await;
    let received = stage.statistics().received_bytes;
    assert!(received < 64 << 20, "{received} bytes were read");
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_wait_in_a_bounded_line() {
    let limits = Limits {
        logins_at_once: 1,
        logins_waiting: 2,
        ..Limits::default()
    };
    let mut stage = Stage::with(limits).await;
    let ana = stage.register("ana");
    // A password that takes its time.
    let cost = tanglegate_broker::login::Cost {
        memory_kib: 8 << 10,
        passes: 20,
        lanes: 1,
    };
    let verifier = tanglegate_broker::login::make_verifier(b"ana", [3; 16], cost).unwrap();
    stage.tell(&tanglegate_core::Event::PasswordChanged {
        subscriber: ana,
        verifier: Some(verifier),
    });
    let address = stage.address();
    let mut answers = tokio::task::JoinSet::new();
    for number in 0..20 {
        answers.spawn(async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let ask = connect(4, &number.to_string()).login("ana");
            stream.write_all(&ask.packet()).await.unwrap();
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).await.unwrap();
            answer[3]
        });
    }
    let answers = answers.join_all().await;
    let busy = answers.iter().filter(|it| **it == 3).count();
    assert!((1..20).contains(&busy), "{answers:?}");
    assert!(answers.contains(&0), "{answers:?}");
}
