//! The request that opens a WebSocket (RFC 6455 §4.2, MQTT 5.0 §6).

use super::Socket;
use std::io::{self, ErrorKind};
use tungstenite::error::{Error, ProtocolError};
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{Request, create_response, write_response};
use tungstenite::http::HeaderValue;

/// Bytes of a request, at most.
const REQUEST: usize = 8 << 10;
/// The subprotocol of MQTT ([MQTT-6.0.0-3]).
const SUBPROTOCOL: &str = "mqtt";
const SUBPROTOCOL_HEADER: &str = "Sec-WebSocket-Protocol";

/// What the client is told.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) bytes: Vec<u8>,
    /// True when the WebSocket is open.
    pub(super) accepts: bool,
}

/// Reads the request.
pub(super) async fn answer(socket: &mut Socket) -> io::Result<Answer> {
    let mut request = vec![];
    loop {
        let mut chunk = [0; 1_024];
        let new = socket.read(&mut chunk).await?;
        if new == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        request.extend_from_slice(&chunk[..new]);
        if let Some(answer) = answer_to(&request) {
            return Ok(answer);
        }
    }
}

/// `None` while the request is not whole.
fn answer_to(bytes: &[u8]) -> Option<Answer> {
    let whole = bytes.windows(4).any(|it| it == b"\r\n\r\n");
    // A first line that cannot be one is not waited for.
    let begins = b"GET ".iter().zip(bytes).all(|(it, byte)| it == byte);
    if begins && !whole && bytes.len() <= REQUEST {
        return None;
    }
    let answer = if bytes.len() > REQUEST {
        Err((
            "431 Request Header Fields Too Large",
            "the request has more than 8 KiB",
        ))
    } else {
        accept(bytes)
    };
    Some(match answer {
        Ok(bytes) => Answer {
            bytes,
            accepts: true,
        },
        Err((status, why)) => refuse(status, why),
    })
}

fn accept(bytes: &[u8]) -> Result<Vec<u8>, (&'static str, &'static str)> {
    let (length, request) = match Request::try_parse(bytes) {
        Ok(Some(read)) => read,
        Err(Error::Protocol(ProtocolError::WrongHttpMethod)) => {
            return Err(("405 Method Not Allowed", "a WebSocket is opened with GET"));
        }
        _ => return Err(("400 Bad Request", "this is not a request of HTTP/1.1")),
    };
    if length != bytes.len() {
        let why = "nothing may be sent before the WebSocket is open";
        return Err(("400 Bad Request", why));
    }
    let mut response = create_response(&request).map_err(|error| match error {
        Error::Protocol(ProtocolError::MissingSecWebSocketVersionHeader) => (
            "426 Upgrade Required",
            "this server speaks version 13 of WebSocket",
        ),
        _ => (
            "400 Bad Request",
            "this is no request for a WebSocket; connect with an MQTT client over WebSocket",
        ),
    })?;
    let offered = request.headers().get_all(SUBPROTOCOL_HEADER);
    let offers = |it: &HeaderValue| {
        let names = it.to_str().unwrap_or_default();
        names.split(',').any(|name| name.trim() == SUBPROTOCOL)
    };
    if !offered.iter().any(offers) {
        // [MQTT-6.0.0-3]
        let why = "offer the WebSocket subprotocol mqtt";
        return Err(("400 Bad Request", why));
    }
    // [MQTT-6.0.0-4]
    let name = HeaderValue::from_static(SUBPROTOCOL);
    response.headers_mut().insert(SUBPROTOCOL_HEADER, name);
    let mut answer = vec![];
    let written = write_response(&mut answer, &response);
    written.map_err(|_| ("500 Internal Server Error", "the answer cannot be written"))?;
    Ok(answer)
}

fn refuse(status: &str, why: &str) -> Answer {
    let length = why.len() + 1;
    let answer = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nSec-WebSocket-Version: 13\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\r\n{why}\n"
    );
    Answer {
        bytes: answer.into_bytes(),
        accepts: false,
    }
}

/// An answer that accepts is one of HTTP, for any bytes.
#[cfg(any(test, fuzzing))]
pub(crate) fn any_request_is_answered(bytes: &[u8]) {
    if let Some(answer) = answer_to(bytes) {
        assert_eq!(answer.accepts, answer.bytes.starts_with(b"HTTP/1.1 101 "));
        assert!(answer.bytes.windows(4).any(|it| it == b"\r\n\r\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455 §1.2, with the protocol replaced.
    fn request(without: &str, with: &str) -> String {
        let lines = [
            "GET /chat HTTP/1.1",
            "Host: server.example.com",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Protocol: chat, mqtt",
            "Sec-WebSocket-Version: 13",
        ];
        let kept = lines
            .iter()
            .filter(|it| without.is_empty() || !it.starts_with(without));
        let mut text: String = kept.map(|it| format!("{it}\r\n")).collect();
        text.push_str(with);
        text + "\r\n"
    }

    fn told(request: &str) -> (bool, String) {
        let answer = answer_to(request.as_bytes()).expect("an answer");
        (answer.accepts, String::from_utf8(answer.bytes).unwrap())
    }

    #[test]
    fn a_request_for_mqtt_is_answered_with_mqtt() {
        // [MQTT-6.0.0-4]; the key's answer is RFC 6455's own.
        let (accepts, answer) = told(&request("", ""));
        assert!(accepts);
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        let answer = answer.to_ascii_lowercase();
        assert!(answer.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"));
        assert!(answer.contains("sec-websocket-protocol: mqtt\r\n"));
        assert!(answer.ends_with("\r\n\r\n"));
    }

    #[test]
    fn another_subprotocol_is_refused_with_the_remedy() {
        // [MQTT-6.0.0-3]
        for with in ["", "Sec-WebSocket-Protocol: mqttv3.1, MQTT\r\n"] {
            let (accepts, answer) = told(&request("Sec-WebSocket-Protocol", with));
            assert!(!accepts);
            assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
            assert!(answer.contains("offer the WebSocket subprotocol mqtt"));
        }
    }

    #[test]
    fn what_is_no_request_for_a_websocket_is_refused() {
        for (request, status) in [
            (request("Upgrade", ""), "400"),
            (request("Connection", ""), "400"),
            (request("Sec-WebSocket-Key", ""), "400"),
            (
                request("Sec-WebSocket-Key", "Sec-WebSocket-Key: short\r\n"),
                "400",
            ),
            (
                request("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8\r\n"),
                "426",
            ),
            (
                request("GET", "").replace("Host", "POST / HTTP/1.1\r\nHost"),
                "405",
            ),
            (request("", "").replace("HTTP/1.1", "HTTP/1.0"), "400"),
            (request("", "") + "junk", "400"),
            ("\u{10}\0garbage".to_owned(), "400"),
            (format!("GET /{} HTTP/1.1\r\n", "x".repeat(REQUEST)), "431"),
        ] {
            let (accepts, answer) = told(&request);
            assert!(!accepts, "{request}");
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{request}: {answer}"
            );
        }
    }

    #[test]
    fn a_request_is_waited_for_until_it_is_whole_or_too_long() {
        let request = request("", "");
        for end in 0..request.len() {
            assert!(answer_to(&request.as_bytes()[..end]).is_none(), "{end}");
        }
        let endless = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(REQUEST));
        assert!(answer_to(&endless.as_bytes()[..REQUEST]).is_none());
        assert!(answer_to(&endless.as_bytes()[..=REQUEST]).is_some());
    }
}
