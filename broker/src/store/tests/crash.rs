//! The store in another process, which is killed, or which the disk fails.

use super::*;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Names the folder to the other process.
const FOLDER: &str = "TANGLEGATE_TEST_STORE";

/// This program again, to run one ignored test.
fn other_process(test: &str) -> Vec<String> {
    let program = std::env::current_exe().unwrap();
    let test = format!("store::tests::crash::{test}");
    vec![
        program.to_str().unwrap().to_owned(),
        test,
        "--exact".to_owned(),
        "--ignored".to_owned(),
        "--nocapture".to_owned(),
    ]
}

fn settings_of_other(safety: Safety) -> StoreSettings {
    let folder = std::env::var_os(FOLDER).expect("the other process is started by a test");
    StoreSettings {
        folder: PathBuf::from(folder).join("sessions"),
        safety,
    }
}

/// Queues messages for ever, and says which are safe. Every third is done at once, every fifth
/// a while later.
#[test]
#[ignore = "the other process of a test"]
fn queues_until_it_is_killed() {
    let (store, restored) = Store::open(&settings_of_other(Safety::System)).unwrap();
    if restored.sessions.is_empty() {
        store.record(session(1));
    }
    let queue_of = |it: &RestoredSession| it.queue.last().map_or(0, |it| it.sequence);
    let from = restored.sessions.first().map_or(0, queue_of);
    // What the one before did not come to.
    for it in restored.sessions.iter().flat_map(|it| &it.queue) {
        if !is_kept(it.sequence, from) {
            store.record(Change::Done {
                session: 1,
                sequence: it.sequence,
            });
        }
    }
    let text = message("a", &[1; 200]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    for sequence in from + 1.. {
        runtime.block_on(store.room());
        let mut mark = store.record(queue(1, sequence, &text));
        let done = |sequence| {
            store.record(Change::Done {
                session: 1,
                sequence,
            })
        };
        if sequence.is_multiple_of(3) {
            mark = done(sequence);
        }
        if sequence.is_multiple_of(5) && sequence > 50 {
            mark = done(sequence - 50);
        }
        store.when_safe(mark, move || {
            let mut out = std::io::stdout().lock();
            writeln!(out, "safe {sequence}").unwrap();
        });
    }
}

/// True when the message must be there, once everything up to `last` is safe and nothing more
/// was done.
fn is_kept(sequence: u64, last: u64) -> bool {
    let done_later = sequence.is_multiple_of(5) && sequence + 50 <= last;
    !(sequence.is_multiple_of(3) || done_later)
}

#[tokio::test]
async fn what_was_safe_survives_kill_9() {
    let folder = TempDir::new().unwrap();
    let mut before = 0;
    for round in 0..6 {
        let arguments = other_process("queues_until_it_is_killed");
        let mut other = Command::new(&arguments[0])
            .args(&arguments[1..])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(other.stdout.take().unwrap()).lines();
        let mut safe_up_to = 0;
        let mut take = |line: std::io::Result<String>| {
            // The last line may be cut.
            let line = line.unwrap_or_default();
            if let Some((_, number)) = line.split_once("safe ") {
                safe_up_to = safe_up_to.max(number.parse().unwrap_or(0));
            }
            safe_up_to
        };
        let mut killed = None;
        for line in &mut lines {
            let safe = take(line);
            let begun = *killed.get_or_insert_with(Instant::now);
            if safe > before && begun.elapsed() > Duration::from_millis(37 * (round + 1)) {
                break;
            }
        }
        other.kill().unwrap();
        other.wait().unwrap();
        // A number that was cut in the pipe would be too small, never too large.
        for line in lines {
            take(line);
        }
        assert!(safe_up_to > before, "the other process came nowhere");

        let settings = settings(&folder, Safety::System);
        let (store, restored) = Store::open(&settings).unwrap();
        let found: Vec<u64> = restored.sessions[0]
            .queue
            .iter()
            .map(|it| it.sequence)
            .collect();
        let last = found.last().copied().unwrap_or(0).max(safe_up_to);
        for sequence in 1..=safe_up_to {
            let there = found.binary_search(&sequence).is_ok();
            if is_kept(sequence, last + 5) {
                assert!(there, "{sequence} of {safe_up_to} is lost");
            } else if !is_kept(sequence, safe_up_to) {
                assert!(!there, "{sequence} of {safe_up_to} was done");
            }
        }
        before = safe_up_to;
        store.close().await.unwrap();
    }
}

/// Writes more than the limit on files allows.
#[test]
#[ignore = "the other process of a test"]
fn writes_until_the_disk_is_full() {
    let (store, _) = Store::open(&settings_of_other(Safety::Disk)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mark = store.record(session(1));
        safe(&store, mark).await;
        let too_large = store.record(queue(1, 1, &message("a", &vec![1; 80 << 20])));
        let error = timeout(PATIENCE, store.failed()).await.unwrap();
        assert!(matches!(error, StoreError::Write { .. }), "{error}");
        assert!(!store.is_safe(too_large));
        let later = store.record(session(2));
        assert!(!store.is_safe(later));
        timeout(PATIENCE, store.room()).await.unwrap();
        assert!(store.close().await.is_err());
    });
    println!("failed as it should");
}

#[test]
fn a_disk_that_takes_no_more_fails_the_store() {
    let folder = TempDir::new().unwrap();
    // The journal is made 64 MiB long; nothing may be written beyond.
    let limited = "trap '' XFSZ; ulimit -f $((64 * 1024 * 1024 / 512)); exec \"$0\" \"$@\"";
    let output = Command::new("sh")
        .args(["-c", limited])
        .args(other_process("writes_until_the_disk_is_full"))
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("failed as it should"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // What was safe is still there.
    let (_store, restored) = Store::open(&settings(&folder, Safety::Disk)).unwrap();
    let sessions: Vec<_> = restored.sessions.iter().map(|it| it.session).collect();
    assert_eq!(sessions, [1]);
}
