//! Clients that are away when their leases end, and clients that leave a will.

use super::super::client::Client;
use super::super::packet::Hello;
use super::watching::Task;
use super::{Holder, Path, Tally, now};
use std::net::SocketAddr;
use std::time::Duration;

/// Milliseconds after the end until a client comes back, or its connection breaks.
const LATER: u64 = 20;

/// Sessions whose clients have gone and for which messages are queued.
pub(super) struct Sessions {
    server: SocketAddr,
    away: Vec<Holder>,
    refused: bool,
}

impl Sessions {
    /// Subscribes and goes.
    pub(super) fn leave(server: SocketAddr, holders: &[Holder]) -> anyhow::Result<Self> {
        let mut away = of(holders, Path::Queued);
        let mut refused = false;
        for holder in &away {
            let mut client = Client::connect(server, &kept(holder))?;
            client.subscribe(&[holder.filter()], holder.path.qos())?;
            drop(client);
            // A gate that keeps no sessions says so now.
            refused |= !resumes(server, holder)?;
        }
        if refused {
            away.clear();
        }
        Ok(Self {
            server,
            away,
            refused,
        })
    }

    /// Each comes back after its end, the control after all; counts what is waiting for them.
    pub(super) fn come_back(self, ended: u64) -> anyhow::Result<Vec<Task>> {
        let mut tally = Tally {
            refused: self.refused,
            ..Tally::default()
        };
        for holder in &self.away {
            sleep_until(holder.end.unwrap_or(ended) + LATER);
            // Without any right he need not be let in; then nothing reaches him either.
            let mut messages = 0;
            if let Ok(mut client) = Client::connect(self.server, &kept(holder)) {
                messages = messages_before_pong(&mut client)?;
            }
            match holder.end {
                Some(_) => tally.late += messages,
                None => tally.control += messages,
            }
            tally.leases += u64::from(holder.end.is_some());
        }
        Ok(vec![(Path::Queued, tally)])
    }
}

fn kept(holder: &Holder) -> Hello<'_> {
    Hello {
        kept: true,
        ..holder.hello()
    }
}

/// True when the session is still there.
fn resumes(server: SocketAddr, holder: &Holder) -> anyhow::Result<bool> {
    Ok(Client::connect(server, &kept(holder))?.resumed)
}

fn messages_before_pong(client: &mut Client) -> anyhow::Result<u64> {
    use std::io::Write;
    client.socket.write_all(&[0xC0, 0])?;
    let mut messages = 0;
    loop {
        match client.next(|it| Ok(it.kind()))? {
            3 => messages += 1,
            13 => return Ok(messages),
            _ => {}
        }
    }
}

/// Connections that will break.
pub(super) struct Wills(Vec<(Holder, Client)>);

impl Wills {
    /// Connects with a will that carries the client's number.
    pub(super) fn connect(server: SocketAddr, holders: &[Holder]) -> anyhow::Result<Self> {
        let mut connected = vec![];
        for holder in of(holders, Path::Will) {
            let number = (holder.number as u64).to_be_bytes();
            let hello = Hello {
                will: Some((&holder.topic, &number)),
                ..holder.hello()
            };
            let client = Client::connect(server, &hello)?;
            connected.push((holder, client));
        }
        Ok(Self(connected))
    }

    /// Breaks each after its end, the control after all. A watcher counts the wills.
    pub(super) fn fall_due(self, ended: u64) -> anyhow::Result<Vec<Task>> {
        let mut tally = Tally::default();
        for (holder, client) in self.0 {
            sleep_until(holder.end.unwrap_or(ended) + LATER);
            drop(client);
            tally.leases += u64::from(holder.end.is_some());
        }
        Ok(vec![(Path::Will, tally)])
    }
}

/// Those on a path, in the order of their ends, the control last.
fn of(holders: &[Holder], path: Path) -> Vec<Holder> {
    let mut of: Vec<_> = holders
        .iter()
        .filter(|it| it.path == path)
        .cloned()
        .collect();
    of.sort_by_key(|it| it.end.unwrap_or(u64::MAX));
    of
}

fn sleep_until(instant: u64) {
    std::thread::sleep(Duration::from_millis(instant.saturating_sub(now())));
}
