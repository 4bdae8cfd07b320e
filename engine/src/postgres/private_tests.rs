use super::*;
use crate::postgres::testing::TestFolder;
use crate::postgres::{leftover, settings};
use sqlx::{Connection, Executor, PgConnection};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

/// Set for a copy of this test program that plays an engine, to the folder of its server.
const ENGINE: &str = "TANGLEGATE_TEST_ENGINE";

fn quick(folder: &TestFolder) -> Settings {
    Settings {
        folder: folder.path().join("pg"),
        durable: false,
    }
}

async fn started(settings: &Settings) -> PrivatePostgres {
    PrivatePostgres::start(settings, |_| ())
        .await
        .expect("it starts")
}

async fn session(server: &PrivatePostgres) -> PgConnection {
    PgConnection::connect_with(&server.connect_options())
        .await
        .expect("connected")
}

#[tokio::test]
async fn what_was_written_is_there_after_a_stop_and_a_start() {
    let folder = TestFolder::create().expect("a folder");
    let durable = Settings {
        durable: true,
        ..quick(&folder)
    };
    let (sender, told) = mpsc::channel();
    let tell = move |line: &str| sender.send(line.to_owned()).expect("the test listens");
    let server = PrivatePostgres::start(&durable, tell)
        .await
        .expect("it starts");
    let told: Vec<String> = told.try_iter().collect();
    assert!(
        told.iter()
            .any(|line| line.starts_with("creating a private PostgreSQL")),
        "{told:?}"
    );

    let mut first = session(&server).await;
    settings::check(&mut first, true)
        .await
        .expect("production's settings");
    first
        .execute("create table kept as select 42 as answer")
        .await
        .expect("written");
    first
        .execute("set synchronous_commit = off")
        .await
        .expect("set");
    let error = settings::check(&mut first, true)
        .await
        .expect_err("it would lose commits");
    assert!(
        error.to_string().contains("synchronous_commit = off"),
        "{error}"
    );
    assert_eq!(running(&durable.folder), Some(server.url()));
    let how = server.stop().await;
    assert!(how.contains("status: 0"), "a clean end, not {how}");
    assert_eq!(running(&durable.folder), None);

    let again = PrivatePostgres::start(&durable, |line| panic!("nothing takes long: {line}")).await;
    let again = again.expect("it starts again");
    let mut second = PgConnection::connect(&again.url())
        .await
        .expect("connected by URL");
    let answer: i32 = sqlx::query_scalar("select answer from kept")
        .fetch_one(&mut second)
        .await
        .expect("kept");
    assert_eq!(answer, 42);
    again.stop().await;
}

#[tokio::test]
async fn a_second_engine_is_told_who_holds_the_folder() {
    let folder = TestFolder::create().expect("a folder");
    let server = started(&quick(&folder)).await;
    let error = PrivatePostgres::start(&quick(&folder), |_| ())
        .await
        .expect_err("it is held");
    let us = format!("in use by another engine (process {})", std::process::id());
    assert!(error.to_string().contains(&us), "{error}");
    session(&server)
        .await
        .ping()
        .await
        .expect("the first is not disturbed");
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_was_killed_starts_again_with_its_data() {
    let folder = TestFolder::create().expect("a folder");
    let server = started(&quick(&folder)).await;
    session(&server)
        .await
        .execute("create table kept (x int)")
        .await
        .expect("written");
    let mut busy = session(&server).await;
    let query = tokio::spawn(async move { busy.execute("select pg_sleep(60)").await.map(|_| ()) });
    server.process.signal(Signal::KILL);
    assert!(server.ended().await.contains("signal: 9"));
    query
        .await
        .expect("no panic")
        .expect_err("its server is gone");
    let again = started(&quick(&folder)).await;
    session(&again)
        .await
        .execute("select * from kept")
        .await
        .expect("recovered");
    again.stop().await;
}

#[tokio::test]
async fn an_interrupted_initdb_leaves_nothing_that_looks_like_a_database() {
    let folder = TestFolder::create().expect("a folder");
    let unfinished = quick(&folder).folder.join("data.new");
    let home = Folder::prepare(
        &quick(&folder).folder,
        Account::choose().expect("an account"),
    );
    drop(home.expect("prepared"));
    std::fs::create_dir_all(&unfinished).expect("mkdir");
    std::fs::write(unfinished.join("PG_VERSION"), "15\n").expect("written");
    let server = started(&quick(&folder)).await;
    session(&server)
        .await
        .ping()
        .await
        .expect("a whole database");
    server.stop().await;
    assert!(!unfinished.exists(), "nothing is left behind");
}

#[tokio::test]
async fn an_initdb_that_outlives_its_engine_does_not_disturb_the_next_start() {
    let folder = TestFolder::create().expect("a folder");
    let root = quick(&folder).folder;
    let home = Folder::prepare(&root, Account::choose().expect("an account"));
    drop(home.expect("prepared"));
    let orphans = root.join("data.new");
    let ends = Instant::now() + Duration::from_secs(4);
    // Writes as fast as it is removed, like an `initdb` in its first seconds.
    let orphan = std::thread::spawn({
        let orphans = orphans.clone();
        move || {
            while Instant::now() < ends {
                for name in ["base", "global", "pg_wal"] {
                    drop(std::fs::create_dir_all(orphans.join(name)));
                }
            }
        }
    });
    let server = started(&quick(&folder)).await;
    session(&server)
        .await
        .ping()
        .await
        .expect("a whole database");
    server.stop().await;
    orphan.join().expect("no panic");
    drop(std::fs::remove_dir_all(orphans));
}

/// Not a test of its own: what a copy of this program does when it plays an engine.
#[tokio::test]
async fn plays_an_engine_when_asked() {
    let Some(folder) = std::env::var_os(ENGINE) else {
        return;
    };
    let settings = Settings {
        folder: folder.into(),
        durable: false,
    };
    let server = started(&settings).await;
    println!("server {}", server.pid());
    tokio::time::sleep(Duration::from_secs(60)).await;
    server.stop().await;
}

/// An engine as a process of its own, with its server's process id.
fn engine(settings: &Settings) -> (std::process::Child, i32) {
    let program = std::env::current_exe().expect("this program has a path");
    let mut engine = Command::new(program)
        .args([
            "--exact",
            "postgres::private::tests::plays_an_engine_when_asked",
            "--nocapture",
        ])
        .env(ENGINE, &settings.folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let lines = BufReader::new(engine.stdout.take().expect("piped")).lines();
    let pid = lines
        .map_while(Result::ok)
        .find_map(|line| line.split_once("server ")?.1.trim().parse().ok())
        .expect("the engine says which server it started");
    (engine, pid)
}

#[tokio::test]
async fn an_engine_killed_outright_takes_its_server_along() {
    let folder = TestFolder::create().expect("a folder");
    let settings = quick(&folder);
    let (mut engine, pid) = engine(&settings);
    let pid = rustix::process::Pid::from_raw(pid).expect("positive");
    let data = settings.folder.join("data");
    assert!(leftover::runs_here(pid, &data));
    engine
        .kill()
        .and_then(|()| engine.wait())
        .expect("our child");
    if cfg!(target_os = "linux") {
        let deadline = Instant::now() + Duration::from_secs(20);
        while leftover::runs_here(pid, &data) {
            assert!(Instant::now() < deadline, "the server outlives its engine");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    started(&settings).await.stop().await;
}

#[tokio::test]
async fn the_next_start_does_not_wait_for_a_killed_engine_to_be_forgotten() {
    let folder = TestFolder::create().expect("a folder");
    let settings = quick(&folder);
    let (mut engine, _) = engine(&settings);
    engine
        .kill()
        .and_then(|()| engine.wait())
        .expect("our child");
    // At once: the old server may still be shutting down, or not yet know.
    let server = started(&settings).await;
    session(&server).await.ping().await.expect("it serves");
    server.stop().await;
}
