//! A gate for tests: it lets everybody in, and says what it was told to.

use super::line::Gate;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// Messages, by topic.
pub(super) type Said = Vec<(String, Vec<u8>)>;

/// Serves one client, for as long as that stays.
pub(super) struct FakeGate;

impl FakeGate {
    /// A gate that says the first of `said` before it grants the first subscription, the second
    /// before the second, and so on.
    pub(super) fn start(said: Vec<Said>) -> Gate {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("it has one").port();
        thread::spawn(move || {
            let (client, _) = listener.accept().expect("a client");
            // It may leave whenever it likes.
            let _ = serve(client, said);
        });
        let host = "127.0.0.1".to_owned();
        Gate { host, port }
    }
}

fn serve(mut client: TcpStream, said: Vec<Said>) -> std::io::Result<()> {
    let mut said = said.into_iter();
    loop {
        let (kind, body) = packet(&mut client)?;
        match kind >> 4 {
            // CONNECT, CONNACK (MQTT 5.0 §3.1, §3.2).
            1 => client.write_all(&[0x20, 3, 0, 0, 0])?,
            // SUBSCRIBE, PUBLISH at QoS 0, SUBACK (§3.8, §3.3, §3.9).
            8 => {
                for (topic, payload) in said.next().unwrap_or_default() {
                    client.write_all(&publish(&topic, &payload))?;
                }
                client.write_all(&[0x90, 4, body[0], body[1], 0, 0])?;
            }
            _ => {}
        }
    }
}

fn packet(client: &mut TcpStream) -> std::io::Result<(u8, Vec<u8>)> {
    let mut kind = [0];
    client.read_exact(&mut kind)?;
    let (mut length, mut shift) = (0, 0);
    loop {
        let mut digit = [0];
        client.read_exact(&mut digit)?;
        length |= usize::from(digit[0] & 127) << shift;
        shift += 7;
        if digit[0] < 128 {
            break;
        }
    }
    let mut body = vec![0; length];
    client.read_exact(&mut body)?;
    Ok((kind[0], body))
}

fn publish(topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut body = u16::try_from(topic.len())
        .expect("short")
        .to_be_bytes()
        .to_vec();
    body.extend_from_slice(topic.as_bytes());
    body.push(0);
    body.extend_from_slice(payload);
    let (low, high) = (body.len() % 128, body.len() / 128);
    let length = [low | 128, high].map(|it| u8::try_from(it).expect("below 16 KiB"));
    [&[0x30], &length[..], &body].concat()
}
