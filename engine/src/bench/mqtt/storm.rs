//! Many clients that connect with a password at once.

use super::client::Client;
use super::packet::{Hello, Version};
use super::scene::{COSTLY_PASSWORD, storming_name};
use super::server::Server;
use std::time::{Duration, Instant};

/// How long a client waits for its turn: all passwords are checked before the last one's.
const PATIENCE: Duration = Duration::from_secs(300);

/// Connects `count` clients with a login each, all at once: each has said who it is before the
/// answer to the first one is looked at. Keeps them until all are in; connects per second.
pub(super) fn connects(server: &Server, count: usize) -> anyhow::Result<f64> {
    let names: Vec<String> = (0..count).map(storming_name).collect();
    let begun = Instant::now();
    let mut clients = vec![];
    for name in &names {
        let hello = Hello {
            password: COSTLY_PASSWORD,
            ..Hello::new(Version::V311, name, name)
        };
        let client = Client::knock(server.address, &hello)?;
        client.wait_for(PATIENCE)?;
        clients.push(client);
    }
    for (client, name) in clients.iter_mut().zip(&names) {
        client.enter(name)?;
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}
