//! Connections that are merely held: what they weigh, and whether traffic flows beside them.

use super::client::Client;
use super::load::Load;
use super::packet::{Hello, Version};
use super::process::resident;
use super::scene::READER;
use super::server::Server;
use anyhow::Context;
use std::time::Duration;

/// Subscriptions that each client adds to its first one.
const MORE: usize = 9;
/// Time for the server to come to rest.
const REST: Duration = Duration::from_millis(500);

/// Bytes of memory per idle connection, for its first subscription and for each further one; then
/// messages per second that one publisher gets to one reader beside them all. Wants a server
/// that has done nothing yet, because what a server has used once, it keeps.
pub(super) fn measure(server: &Server, count: usize, load: &Load) -> anyhow::Result<Vec<f64>> {
    let weigh = || -> anyhow::Result<f64> {
        std::thread::sleep(REST);
        #[expect(clippy::cast_precision_loss, reason = "an average")]
        Ok(resident(server.process())? as f64)
    };
    let mut weights = vec![weigh()?];
    let mut crowd = Vec::with_capacity(count);
    for number in 0..count {
        let id = format!("idle-{number:05}");
        let hello = Hello::new(Version::V311, READER, &id);
        crowd.push(Client::connect(server.address, &hello)?);
    }
    weights.push(weigh()?);
    for (number, client) in crowd.iter_mut().enumerate() {
        client.subscribe(&[format!("bench/m/{number:05}")], 0)?;
    }
    weights.push(weigh()?);
    for (number, client) in crowd.iter_mut().enumerate() {
        let filters: Vec<String> = (0..MORE)
            .map(|it| format!("bench/m/{number:05}/{it}"))
            .collect();
        client.subscribe(&filters, 0)?;
    }
    weights.push(weigh()?);
    let flow = load.run(server)?;
    for (number, client) in crowd.iter_mut().enumerate() {
        client
            .ping()
            .with_context(|| format!("{}: idle client {number} was not held", server.name))?;
    }
    #[expect(clippy::cast_precision_loss, reason = "averages")]
    let (count, more) = (count as f64, (count * MORE) as f64);
    let gained = |step: usize| (weights[step] - weights[step - 1]).max(0.0);
    Ok(vec![
        gained(1) / count,
        gained(2) / count,
        gained(3) / more,
        flow.rate,
    ])
}
