//! The PROXY protocol, versions 1 and 2
//! (<https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt>): a load balancer's word on whom
//! a connection is from, ahead of everything else.

use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use tokio::net::TcpStream;

/// Beginning of a version 2 header, and the bytes after which its length is known (§2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const FIXED: usize = 16;
/// Longest header of version 1 (§2.1).
const LINE: usize = 107;
/// Longest header of version 2 that is read: addresses, and room for what else they carry.
const HEADER: usize = 4 << 10;

/// Reads the header and not a byte more. `None`: the load balancer itself connects, to see whether
/// we are there, or does not say for whom.
pub(super) async fn read_origin(stream: &TcpStream) -> io::Result<Option<IpAddr>> {
    let mut header = vec![0; SIGNATURE.len()];
    read_all(stream, &mut header).await?;
    if header == SIGNATURE {
        header.resize(FIXED, 0);
        read_all(stream, &mut header[SIGNATURE.len()..]).await?;
        let rest = usize::from(u16::from_be_bytes([header[FIXED - 2], header[FIXED - 1]]));
        if FIXED + rest > HEADER {
            return Err(ErrorKind::InvalidData.into());
        }
        header.resize(FIXED + rest, 0);
        read_all(stream, &mut header[FIXED..]).await?;
    } else if header.starts_with(b"PROXY ") {
        while !header.ends_with(b"\r\n") && header.len() < LINE {
            let mut byte = [0];
            read_all(stream, &mut byte).await?;
            header.extend(byte);
        }
    }
    origin(&header)
}

pub(crate) fn origin(header: &[u8]) -> io::Result<Option<IpAddr>> {
    let config = ParseConfig {
        include_tlvs: false,
        ..ParseConfig::default()
    };
    let (read, length) = ProxyHeader::parse(header, config).map_err(io::Error::other)?;
    let origin = match read.proxied_address() {
        Some(it) if it.protocol == Protocol::Stream => Some(it.source.ip().to_canonical()),
        Some(_) => return Err(ErrorKind::InvalidData.into()),
        None => None,
    };
    if length != header.len() {
        return Err(ErrorKind::InvalidData.into());
    }
    Ok(origin)
}

async fn read_all(stream: &TcpStream, mut into: &mut [u8]) -> io::Result<()> {
    while !into.is_empty() {
        stream.readable().await?;
        match stream.try_read(into) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => into = &mut into[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// What is made of `bytes`, and what is left of them.
    async fn read(bytes: &[u8]) -> (Result<Option<IpAddr>, ErrorKind>, Vec<u8>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        sender.write_all(bytes).await.unwrap();
        sender.shutdown().await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let origin = read_origin(&stream).await.map_err(|it| it.kind());
        let mut rest = vec![];
        stream.read_to_end(&mut rest).await.unwrap();
        (origin, rest)
    }

    fn v2(command: u8, family: u8, contents: &[u8]) -> Vec<u8> {
        let length = u16::try_from(contents.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, contents].concat()
    }

    #[tokio::test]
    async fn both_versions_tell_whom_it_is_from_and_nothing_else_is_read() {
        let address: IpAddr = "192.0.2.7".parse().unwrap();
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 1, 1, 7, 91];
        let with_more = [&v4[..], &[4, 0, 1, 0]].concat();
        let mut v6 = vec![0; 36];
        v6[..4].copy_from_slice(&[0x20, 1, 0x0D, 0xB8]);
        for (header, origin) in [
            (
                b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 1883\r\n".to_vec(),
                Some(address),
            ),
            (
                b"PROXY TCP6 ::ffff:192.0.2.7 ::1 4711 1883\r\n".to_vec(),
                Some(address),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN some more\r\n".to_vec(), None),
            (v2(0x21, 0x11, &v4), Some(address)),
            (v2(0x21, 0x11, &with_more), Some(address)),
            (v2(0x21, 0x21, &v6), Some("2001:db8::".parse().unwrap())),
            (v2(0x20, 0x00, &[]), None),
            (v2(0x20, 0x11, &v4), None),
            (v2(0x21, 0x00, &[]), None),
        ] {
            let said = [&header[..], b"MQTT"].concat();
            assert_eq!(read(&said).await, (Ok(origin), b"MQTT".to_vec()));
        }
    }

    #[tokio::test]
    async fn a_broken_header_is_an_error() {
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 1, 1, 7, 91];
        for header in [
            b"\x10\x0C\0\x04MQTT\x05\x02\0\0\0\0\0".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 4711\r\n".to_vec(),
            b"PROXY TCP4 ::1 ::1 4711 1883\r\n".to_vec(),
            b"PROXY TCP5 192.0.2.7 10.0.0.1 4711 1883\r\n".to_vec(),
            b"proxy TCP4 192.0.2.7 10.0.0.1 4711 1883\r\n".to_vec(),
            [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat(),
            b"PROXY TCP4 192.0.2.7".to_vec(),
            v2(0x31, 0x11, &v4),
            v2(0x22, 0x11, &v4),
            v2(0x21, 0x12, &v4),
            v2(0x21, 0x11, &v4[..11]),
            v2(0x21, 0x21, &v4),
            v2(0x21, 0x11, &[0; 5_000]),
            v2(0x21, 0x11, &v4)[..20].to_vec(),
        ] {
            let (origin, _) = read(&header).await;
            assert!(origin.is_err(), "{header:?}");
        }
    }
}
