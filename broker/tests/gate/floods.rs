//! One address does what it can to be in the way; somebody at another one is served all the same.
//! The flood comes from 127.0.0.2, everybody else from 127.0.0.1.

use crate::client::{Client, connect};
use crate::stage::{SOON, Stage};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tanglegate_broker::login::{Cost, make_verifier};
use tanglegate_broker::{ClientLimits, Limits, Rate};
use tanglegate_core::{Access, Audience, Event};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

async fn from_elsewhere(gate: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind(([127, 0, 0, 2], 0).into())
        .expect("all of 127/8 is this machine");
    socket.connect(gate).await.expect("the gate listens")
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_logins_of_one_address_do_not_delay_a_right_one_of_another() {
    let mut stage = Stage::with(Limits {
        logins_at_once: 1,
        ..Limits::default()
    })
    .await;
    // Passwords that take their time.
    let cost = Cost {
        memory_kib: 8 << 10,
        passes: 10,
        lanes: 1,
    };
    for name in ["ana", "bob"] {
        let subscriber = stage.register(name);
        let verifier = make_verifier(name.as_bytes(), [3; 16], cost).expect("a cost");
        stage.tell(&Event::PasswordChanged {
            subscriber,
            verifier: Some(verifier),
        });
    }
    let (address, refused) = (stage.address(), Arc::new(AtomicUsize::new(0)));
    let mut flood = tokio::task::JoinSet::new();
    for number in 0..90 {
        let refused = Arc::clone(&refused);
        flood.spawn(async move {
            let mut stream = from_elsewhere(address).await;
            let guess = connect(4, &number.to_string()).password("ana", &format!("guess {number}"));
            stream.write_all(&guess.packet()).await.expect("open");
            let mut answer = [0; 4];
            let _ = stream.read_exact(&mut answer).await;
            refused.fetch_add(1, Ordering::Relaxed);
        });
    }
    stage
        .until("all are there", |it| it.open_connections >= 60)
        .await;
    let before = refused.load(Ordering::Relaxed);
    connect(4, "x").login("bob").open(&stage).await;
    let meanwhile = refused.load(Ordering::Relaxed) - before;
    assert!(meanwhile <= 10, "{meanwhile} guesses were checked before");
    flood.abort_all();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_connects_too_fast_is_closed_unread_and_no_other() {
    let stage = Stage::with(Limits {
        connects_per_address: Rate::new(1, 20),
        ..Limits::default()
    })
    .await;
    let begun = Instant::now();
    let mut open = vec![];
    for _ in 0..100 {
        open.push(from_elsewhere(stage.address()).await);
    }
    stage
        .until("counted", |it| {
            it.connections + it.refused_connections >= 100
        })
        .await;
    let most = 20 + begun.elapsed().as_secs() + 1;
    let let_in = stage.statistics().connections;
    assert!((20..=most).contains(&let_in), "{let_in}");
    connect(4, "x").open(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_connections_of_one_address_leave_room_for_others() {
    let stage = Stage::with(Limits {
        opening: 100,
        opening_per_address: 60,
        ..Limits::default()
    })
    .await;
    let mut open = vec![];
    for _ in 0..200 {
        let mut stream = from_elsewhere(stage.address()).await;
        let _ = stream.write_all(&[0x10, 0xFF]).await;
        open.push(stream);
    }
    stage
        .until("counted", |it| {
            it.connections + it.refused_connections >= 200
        })
        .await;
    assert_eq!(stage.statistics().connections, 60);
    for number in 0..50 {
        connect(5, &number.to_string()).open(&stage).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_beyond_its_rate_is_slowed_and_neither_cut_nor_skipped() {
    let mut stage = Stage::with(Limits {
        anonymous: ClientLimits {
            requests: Some(Rate::new(100, 10)),
            ..ClientLimits::anonymous()
        },
        ..Limits::default()
    })
    .await;
    let plug = stage.register("plug");
    stage.give(Audience::Subscriber(plug), "#", Access::ReadWrite);
    stage.give_everyone("flood", Access::Write);
    let mut reader = connect(4, "reader").login("plug").open(&stage).await;
    reader.subscribe("#", 0).await;
    // A keep-alive far shorter than the flood takes: nobody expects to hear who is not listened to.
    let mut flooder = connect(4, "flooder").keep_alive(1).open(&stage).await;
    let begun = Instant::now();
    let mut flood = vec![];
    for number in 0..250 {
        flood.extend(flooder.publish_packet(0x30, "flood", &[], &number.to_string()));
    }
    flooder.send(&flood).await;
    assert_eq!(reader.payload().await, "0");
    let mut honest = connect(4, "honest").login("plug").open(&stage).await;
    honest.publish("honest", "now").await;
    let (mut next, mut honest_after) = (1, None);
    while next < 250 || honest_after.is_none() {
        let message = reader.message().await;
        if message.topic == "honest" {
            honest_after = Some(next);
            continue;
        }
        assert_eq!(message.payload, next.to_string().as_bytes());
        next += 1;
    }
    assert!(begun.elapsed() >= Duration::from_millis(2_300));
    assert!(honest_after < Some(250), "{honest_after:?}");
    flooder.ping().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_takes_nothing_is_given_up_although_it_still_asks() {
    let mut stage = Stage::with(Limits {
        anonymous: ClientLimits {
            stalled: Duration::from_millis(500),
            ..ClientLimits::anonymous()
        },
        ..Limits::default()
    })
    .await;
    let plug = stage.register("plug");
    stage.give(Audience::Subscriber(plug), "#", Access::Write);
    stage.give_everyone("#", Access::Read);
    let mut stuck = connect(4, "stuck").keep_alive(60).open(&stage).await;
    stuck.subscribe("#", 0).await;
    let mut quick = connect(4, "quick").open(&stage).await;
    quick.subscribe("#", 0).await;
    let mut publisher = connect(4, "p").login("plug").open(&stage).await;
    let payload = "x".repeat(100_000);
    let begun = Instant::now();
    while stage.statistics().cut_slow_sessions == 0 {
        publisher.publish("t", &payload).await;
        quick.message().await;
        let _ = stuck.stream.write_all(&[0xC0, 0]).await;
        assert!(begun.elapsed() < SOON, "{:?}", stage.statistics());
    }
    publisher.publish("t", "last").await;
    assert_eq!(quick.payload().await, "last");
    assert_eq!(stage.statistics().open_sessions, 2);
    let _raw: Client = stuck;
}
