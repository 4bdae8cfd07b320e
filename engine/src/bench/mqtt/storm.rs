//! Many clients that connect with a password at once.

use super::client::Client;
use super::packet::{Hello, Version};
use super::scene::{COSTLY_PASSWORD, storming_name};
use super::server::Server;
use anyhow::bail;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Clients that connect at the same time.
const AT_ONCE: usize = 64;

/// Connects `count` clients with a login each, and keeps them until all are in; connects per
/// second.
pub(super) fn connects(server: &Server, count: usize) -> anyhow::Result<f64> {
    let (next, connected) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(count)));
    let begun = Instant::now();
    let work = || -> anyhow::Result<()> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(());
            }
            let name = storming_name(number);
            let hello = Hello {
                password: COSTLY_PASSWORD,
                ..Hello::new(Version::V311, &name, &name)
            };
            let client = Client::connect(server.address, &hello)?;
            match connected.lock() {
                Ok(mut connected) => connected.push(client),
                Err(_) => bail!("another thread of the storm panicked"),
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            match thread.join() {
                Ok(result) => result?,
                Err(_) => bail!("a thread of the storm panicked"),
            }
        }
        Ok(())
    })?;
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}
