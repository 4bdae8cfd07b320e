//! A blocking connection that speaks MQTT over anything, by other people's TLS client and
//! WebSocket client.

#![expect(clippy::unwrap_used, reason = "a test that fails may say where")]

use crate::client::Connect;
use crate::stage::SOON;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use tanglegate_stage::packets::cut;
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

pub(crate) trait Duplex: Read + Write + Send {}
impl<T: Read + Write + Send> Duplex for T {}

/// How to connect.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) websocket: bool,
}

pub(crate) struct Wire {
    stream: Box<dyn Duplex>,
    buffer: Vec<u8>,
}

/// A WebSocket as a stream of bytes.
struct Web<S: Read + Write> {
    socket: WebSocket<S>,
    rest: Vec<u8>,
}

impl<S: Read + Write> Read for Web<S> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.socket.read() {
                Ok(Message::Binary(bytes)) => self.rest = bytes.to_vec(),
                Ok(Message::Pong(_)) => self.rest = b"pong".to_vec(),
                Ok(Message::Close(_)) => return Ok(0),
                Ok(_) => panic!("only binary frames [MQTT-6.0.0-1]"),
                Err(tungstenite::Error::Io(error)) => return Err(error),
                Err(_) => return Ok(0),
            }
        }
        let count = self.rest.len().min(into.len());
        into[..count].copy_from_slice(&self.rest[..count]);
        self.rest.drain(..count);
        Ok(count)
    }
}

impl<S: Read + Write> Write for Web<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let message = match bytes {
            b"ping" => Message::Ping(vec![].into()),
            b"text" => Message::text("text"),
            _ => Message::binary(bytes.to_vec()),
        };
        self.socket.send(message).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush().map_err(io::Error::other)
    }
}

/// A TCP connection whose receive buffer is small, so that not reading is soon felt.
pub(crate) async fn tcp(address: SocketAddr) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    let stream = socket.connect(address).await.unwrap().into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_write_timeout(Some(SOON)).unwrap();
    stream
}

impl Way {
    pub(crate) async fn try_connect(&self) -> io::Result<Wire> {
        let stream = tcp(self.address).await;
        let way = self.clone();
        let connect = move || way.connect_over(stream);
        tokio::task::spawn_blocking(connect).await.unwrap()
    }

    pub(crate) async fn connect(&self) -> Wire {
        self.try_connect().await.unwrap()
    }

    fn connect_over(&self, stream: TcpStream) -> io::Result<Wire> {
        match &self.tls {
            Some(tls) => self.open(over_tls(stream, tls)?),
            None => self.open(stream),
        }
    }

    fn open(&self, stream: impl Duplex + 'static) -> io::Result<Wire> {
        let stream: Box<dyn Duplex> = if self.websocket {
            let mut request = "ws://localhost/mqtt".into_client_request().unwrap();
            let offer = "mqtt".parse().unwrap();
            request
                .headers_mut()
                .insert("Sec-WebSocket-Protocol", offer);
            let (socket, answer) = tungstenite::client(request, stream)
                .map_err(|it| io::Error::other(it.to_string()))?;
            assert_eq!(answer.headers()["Sec-WebSocket-Protocol"], "mqtt");
            let rest = vec![];
            Box::new(Web { socket, rest })
        } else {
            Box::new(stream)
        };
        let buffer = vec![];
        Ok(Wire { stream, buffer })
    }

    /// Connects; returns the code of the CONNACK, and the connection.
    pub(crate) async fn greet(&self, connect: &Connect) -> (Wire, u8) {
        let mut wire = self.connect().await;
        wire.send(&connect.packet());
        let (first, body) = wire.packet().expect("a CONNACK");
        assert_eq!(first, 0x20, "{}", self.name);
        (wire, body[1])
    }
}

fn over_tls(
    mut stream: TcpStream,
    config: &Arc<ClientConfig>,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let name = ServerName::try_from("localhost").unwrap();
    let mut tls = ClientConnection::new(Arc::clone(config), name).unwrap();
    while tls.is_handshaking() {
        tls.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(tls, stream))
}

/// The certificate that a server shows.
pub(crate) async fn shown_by(
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> CertificateDer<'static> {
    let stream = tcp(address).await;
    let shown = move || {
        let tls = over_tls(stream, &config).unwrap();
        tls.conn.peer_certificates().unwrap()[0]
            .clone()
            .into_owned()
    };
    tokio::task::spawn_blocking(shown).await.unwrap()
}

impl Wire {
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap();
    }

    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// The next packet; `None` at the end of the connection, however it ends.
    pub(crate) fn packet(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some(packet) = cut(&mut self.buffer) {
                return Some((packet.first, packet.body));
            }
            let mut chunk = [0; 4_096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(count) => self.buffer.extend(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("nothing came"),
                Err(_) => return None,
            }
        }
    }

    /// What comes next, as it comes.
    pub(crate) fn read_some(&mut self) -> Vec<u8> {
        let mut chunk = [0; 100];
        let count = self.stream.read(&mut chunk).unwrap();
        chunk[..count].to_vec()
    }
}

/// Milliseconds as a duration.
pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
