//! What reads bytes from outside, one function for each fuzzer. Every one takes any bytes and has
//! to return: a panic is a defect. The corpus that the fuzzers have found so far is replayed by
//! the tests below.

use crate::message::StoredMessage;
use crate::wire::hostile;
use crate::{entrance, socket};

/// A stream of packets from a client of either version.
pub fn packets(bytes: &[u8]) {
    hostile::packets(bytes);
}

/// The body of a CONNECT.
pub fn connect(bytes: &[u8]) {
    hostile::connect(bytes);
}

/// A PUBLISH, compared with what another codec makes of it.
pub fn publish(bytes: &[u8]) {
    hostile::publish(bytes);
}

/// A message from the disk.
pub fn stored(bytes: &[u8]) {
    if let Ok(message) = StoredMessage::read(bytes) {
        assert_eq!(message.bytes(), bytes);
        let (topic, properties) = (message.topic(), message.properties());
        let again = StoredMessage::new(topic, properties, message.payload(), message.expires());
        assert_eq!(again, message, "there is one form of every message");
    }
}

/// What a WebSocket carries; the first byte says in what pieces it comes.
pub fn frames(bytes: &[u8]) {
    if let Some((pieces, bytes)) = bytes.split_first() {
        socket::pieces_do_not_matter(bytes, usize::from(*pieces));
    }
}

/// The request that opens a WebSocket.
pub fn upgrade(bytes: &[u8]) {
    socket::any_request_is_answered(bytes);
}

/// A load balancer's word on whom a connection is from.
pub fn proxied(bytes: &[u8]) {
    // Refused or not, whatever it says is no panic.
    let _ = entrance::origin(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// Runs everything that is kept for a fuzzer through its function.
    fn replay(target: &str, function: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fuzz/corpus")
            .join(target);
        let entries = std::fs::read_dir(&folder).expect("the corpus is kept with the code");
        let mut count = 0;
        for entry in entries {
            let path = entry.expect("a readable folder").path();
            function(&std::fs::read(&path).expect("a readable file"));
            count += 1;
        }
        assert!(count > 0, "{} is empty", folder.display());
    }

    #[test]
    fn what_the_fuzzers_found_so_far_harms_nobody() {
        let targets: [(&str, fn(&[u8])); 7] = [
            ("packets", packets),
            ("connect", connect),
            ("publish", publish),
            ("stored", stored),
            ("frames", frames),
            ("upgrade", upgrade),
            ("proxied", proxied),
        ];
        for (target, function) in targets {
            replay(target, function);
        }
    }
}
