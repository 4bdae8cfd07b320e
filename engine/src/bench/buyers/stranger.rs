//! A client without a login, as little as a buyer needs: it connects from an address of its own,
//! is given a key, seals an order to it, and hears the answer.

use crate::bench::mqtt::packet::{Version, anonymous, cut, subscribe};
use anyhow::{Context, bail, ensure};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tanglegate_core::{Address, Confirmation, Digest, MemoReading, Nanos, PaymentId, Timestamp};
use tanglegate_crypto::{
    Identity, KeyBody, Order, Outcome, PasswordWish, ReplyKey, SEALED_MEMO, SealedMemo,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

pub(super) const KEY: &str = "$SYS/access/me/key";
pub(super) const CREDENTIAL: &str = "$SYS/access/me/credential";

/// Who is paid.
pub(super) const SELLER: Address = Address([9; 32]);
/// What is sold.
pub(super) const OFFER: &str = "plug-hour";
/// One period of it, and the least amount that buys.
pub(super) const PRICE: Nanos = Nanos(500_000_000);

/// How long the gate may be silent.
const PATIENCE: Duration = Duration::from_secs(60);
/// Strangers that come from one address.
const FROM_ONE: u32 = 50;

/// The loopback address that the stranger with that number comes from.
pub(super) fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + (number / FROM_ONE) % (1 << 20))
}

/// An open connection.
pub(super) struct Line {
    socket: TcpStream,
    read: Vec<u8>,
}

impl Line {
    /// Connects without a login, and waits until it is let in.
    pub(super) async fn connect(server: SocketAddr, from: Ipv4Addr) -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((from, 0)))?;
        let socket = socket.connect(server).await.context("cannot connect")?;
        socket.set_nodelay(true)?;
        let mut line = Self {
            socket,
            read: Vec::new(),
        };
        line.socket.write_all(&anonymous("")).await?;
        let (kind, body) = line.packet().await?;
        ensure!(
            kind == 2 && body.get(1) == Some(&0),
            "a stranger from {from} is refused: {body:?}"
        );
        Ok(line)
    }

    /// Asks for all of these topics; what is said on them comes by [`Line::hear`].
    pub(super) async fn ask(&mut self, topics: &[&str]) -> anyhow::Result<()> {
        let asking = subscribe(Version::V5, topics, 0);
        Ok(self.socket.write_all(&asking).await?)
    }

    /// The next message on a topic; others are passed over.
    pub(super) async fn hear(&mut self, topic: &str) -> anyhow::Result<Vec<u8>> {
        loop {
            let (kind, body) = self.packet().await?;
            match kind {
                3 => {
                    if let Some(payload) = said_on(topic, &body) {
                        return Ok(payload.to_vec());
                    }
                }
                9 => {
                    let refused = body.iter().skip(3).any(|it| *it >= 0x80);
                    ensure!(!refused, "the subscription is refused: {body:?}");
                }
                14 => bail!("the gate ends the connection: {body:?}"),
                _ => {}
            }
        }
    }

    async fn packet(&mut self) -> anyhow::Result<(u8, Vec<u8>)> {
        loop {
            if let Some((packet, length)) = cut(&self.read) {
                let packet = (packet.kind(), packet.body.to_vec());
                self.read.drain(..length);
                return Ok(packet);
            }
            let reading = self.socket.read_buf(&mut self.read);
            let read = timeout(PATIENCE, reading)
                .await
                .context("the gate is silent")??;
            ensure!(read > 0, "the gate closed the connection");
        }
    }
}

/// The payload of a PUBLISH with QoS 0 on that topic; its properties are short.
fn said_on<'a>(topic: &str, body: &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = body.split_first_chunk::<2>()?;
    let (name, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let (properties, rest) = rest.split_first()?;
    let payload = rest.get(usize::from(*properties)..)?;
    (name == topic.as_bytes()).then_some(payload)
}

/// Somebody who is about to buy.
pub(super) struct Stranger {
    number: u32,
    line: Line,
    identity: Identity,
    key: KeyBody,
    reply: ReplyKey,
}

impl Stranger {
    /// Connects, and is given a key.
    pub(super) async fn come(
        server: SocketAddr,
        identity: Identity,
        number: u32,
    ) -> anyhow::Result<Self> {
        let mut line = Line::connect(server, address(number)).await?;
        line.ask(&[CREDENTIAL, KEY]).await?;
        let key = identity.hear(&line.hear(KEY).await?)?;
        Ok(Self {
            number,
            line,
            identity,
            key,
            reply: ReplyKey::from_bytes(random()?),
        })
    }

    /// His payment for a login with his number, as the ledger confirms it.
    pub(super) fn pay(&self, now: Timestamp) -> anyhow::Result<Confirmation> {
        let order = Order {
            offer: OFFER.to_owned(),
            username: format!("stranger-{}", self.number),
            password: PasswordWish::Make,
            reply_key: self.reply.public(),
        };
        let payer = random()?;
        let memo = SealedMemo::seal(&random()?, &self.key, &self.identity, &payer, &order)?;
        payment(now, payer, memo.as_bytes().to_vec())
    }

    /// Waits for the answer; the bytes as they came.
    pub(super) async fn wait(&mut self) -> anyhow::Result<Vec<u8>> {
        self.line.hear(CREDENTIAL).await
    }

    /// The answer says that he has bought what he paid for.
    pub(super) fn check(&self, answer: &[u8]) -> anyhow::Result<()> {
        let key = self.key.key_id;
        let receipt = self.reply.open_answer(answer, &self.identity, key)?;
        ensure!(
            receipt.outcome == Outcome::TimeBought && receipt.password.is_some(),
            "stranger {} bought nothing: {:?}",
            self.number,
            receipt.reason
        );
        Ok(())
    }
}

/// A confirmed payment of the least amount with that memo.
pub(super) fn payment(
    now: Timestamp,
    payer: [u8; 32],
    memo: Vec<u8>,
) -> anyhow::Result<Confirmation> {
    Ok(Confirmation {
        payment: PaymentId {
            digest: Digest(random()?),
            index: 0,
        },
        seller: SELLER,
        payer: Address(payer),
        amount: PRICE,
        checkpoint: 1,
        confirmed_at: now,
        memo,
        reading: MemoReading::Sealed,
    })
}

/// A memo that nobody sealed: random behind the `head` that it has in common with sealed ones.
pub(super) fn forge(head: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut memo: [u8; SEALED_MEMO] = random()?;
    memo[..head.len()].copy_from_slice(head);
    Ok(memo.to_vec())
}

pub(super) fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).context("the system gives no random numbers")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_found_behind_topic_and_properties() {
        let body = [0, 1, b'a', 2, 9, 9, 7, 7];
        assert_eq!(said_on("a", &body), Some(&[7, 7][..]));
        assert_eq!(said_on("b", &body), None);
        for short in 0..6 {
            assert_eq!(said_on("a", &body[..short]), None, "{short}");
        }
    }

    #[test]
    fn fifty_strangers_share_an_address() {
        assert_eq!(address(49), Ipv4Addr::LOCALHOST);
        assert_eq!(address(50), Ipv4Addr::new(127, 0, 0, 2));
    }
}
