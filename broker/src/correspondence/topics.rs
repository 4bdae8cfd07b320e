//! The topics of what the engine and one client tell each other. Nothing on them passes through
//! the shards: the gate hands it to the connections that it concerns.

use std::fmt::Write;

/// Identity of a key that was made for one client.
pub(crate) type KeyId = [u8; 16];

/// The client's own key.
pub(crate) const KEY: &str = "$SYS/access/me/key";
/// Answers to the keys that this connection was given.
pub(crate) const CREDENTIAL: &str = "$SYS/access/me/credential";

/// What the topics of answers to any key begin and end with.
const KEYS: &str = "$SYS/access/keys/";
const ANSWERS: &str = "/credential";

/// What a topic or filter has to do with the answers to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyTopic {
    /// Nothing.
    Elsewhere,
    /// It is the topic of the answers to this key.
    Of(KeyId),
    /// It stands among those topics and is none of them, for example because it has a wildcard.
    /// Whoever could ask for many keys would learn who buys when.
    Nobodys,
}

/// Whose answers a topic or filter is about. One form of each identity: 32 lower-case digits.
pub(crate) fn key_topic(text: &str) -> KeyTopic {
    let Some(rest) = text.strip_prefix(KEYS) else {
        return KeyTopic::Elsewhere;
    };
    let digits = rest.strip_suffix(ANSWERS);
    digits
        .and_then(read_key_id)
        .map_or(KeyTopic::Nobodys, KeyTopic::Of)
}

/// The topic of the answers to a key.
pub(crate) fn answers_to(key: &KeyId) -> String {
    let mut topic = KEYS.to_owned();
    for byte in key {
        write!(topic, "{byte:02x}").expect("writing to a String cannot fail");
    }
    topic + ANSWERS
}

fn read_key_id(digits: &str) -> Option<KeyId> {
    let digit = |it: u8| match it {
        b'0'..=b'9' => Some(it - b'0'),
        b'a'..=b'f' => Some(it - b'a' + 10),
        _ => None,
    };
    let (pairs, odd) = digits.as_bytes().as_chunks::<2>();
    let mut id = [0; 16];
    if pairs.len() != id.len() || !odd.is_empty() {
        return None;
    }
    for (byte, [high, low]) in id.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_topic_and_everything_else_there_has_none() {
        let key: KeyId = std::array::from_fn(|it| u8::try_from(it * 17).unwrap());
        let topic = answers_to(&key);
        assert_eq!(
            topic,
            "$SYS/access/keys/00112233445566778899aabbccddeeff/credential"
        );
        assert_eq!(key_topic(&topic), KeyTopic::Of(key));
        for text in [
            "$SYS/access/keys/#",
            "$SYS/access/keys/+/credential",
            "$SYS/access/keys/",
            "$SYS/access/keys/00112233445566778899AABBCCDDEEFF/credential",
            "$SYS/access/keys/00112233445566778899aabbccddeef/credential",
            "$SYS/access/keys/00112233445566778899aabbccddeeff0/credential",
            "$SYS/access/keys/00112233445566778899aabbccddeeff/+",
            "$SYS/access/keys/00112233445566778899aabbccddeeff/credential/x",
        ] {
            assert_eq!(key_topic(text), KeyTopic::Nobodys, "{text}");
        }
        for text in [KEY, CREDENTIAL, "$SYS/#", "$SYS/access/keys", "keys/#"] {
            assert_eq!(key_topic(text), KeyTopic::Elsewhere, "{text}");
        }
    }
}
