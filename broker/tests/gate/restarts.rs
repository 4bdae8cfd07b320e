//! What the gate finds again when it is started anew.

use crate::client::connect;
use crate::stage::{SOON, Stage, stored_in};
use tanglegate_broker::{AccessView, Clock, Gate, GateError, Settings, StoreError};
use tanglegate_core::Access;
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread")]
async fn retained_messages_are_there_after_a_restart() {
    let folder = TempDir::new().unwrap();
    let mut stage = Stage::stored_in(folder.path()).await;
    stage.give_everyone("#", Access::ReadWrite);
    let mut publisher = connect(4, "p").open(&stage).await;
    for (topic, payload) in [("a", "old"), ("b", "gone"), ("a", "new"), ("b", "")] {
        let packet = publisher.publish_packet(0x31, topic, &[], payload);
        publisher.send(&packet).await;
    }
    publisher.ping().await;
    stage.until("kept", |it| it.retained_messages == 1).await;
    stage.gate.shutdown(SOON).await;

    let mut stage = Stage::stored_in(folder.path()).await;
    stage.give_everyone("#", Access::ReadWrite);
    let mut late = connect(5, "late").open(&stage).await;
    late.subscribe("#", 1).await;
    let message = late.message().await;
    assert_eq!((message.retain, &message.payload[..]), (true, &b"new"[..]));
    late.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gates_do_not_share_what_they_keep() {
    let folder = TempDir::new().unwrap();
    let stage = Stage::stored_in(folder.path()).await;
    let settings = Settings {
        store: Some(stored_in(folder.path())),
        ..Settings::new(([127, 0, 0, 1], 0).into())
    };
    let other = Gate::start(settings, AccessView::new(), Clock::wall()).await;
    let Err(GateError::Store(StoreError::InUse { folder: named })) = other else {
        panic!("two gates run in one folder");
    };
    assert_eq!(named, folder.path().join("sessions"));
    stage.gate.shutdown(SOON).await;
}
