//! Sessions without a mistake, as the packets that a client sends.

fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("short");
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
}

/// A packet with less than 128 bytes behind its header.
fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = u8::try_from(body.len()).expect("short");
    assert!(length < 128);
    [&[first, length][..], &body].concat()
}

/// The packets of one session each.
pub(crate) fn sessions() -> Vec<Vec<Vec<u8>>> {
    vec![
        v311(),
        v5(),
        v5_with_properties(),
        in_two_steps(4),
        in_two_steps(5),
    ]
}

fn v311() -> Vec<Vec<u8>> {
    let (id, topic) = (text(""), text("wild/a"));
    vec![
        packet(0x10, &[&text("MQTT"), &[4, 2, 0, 60], &id]),
        packet(
            0x82,
            &[&[0, 1], &text("wild/#"), &[1], &text("wild/+/b"), &[0]],
        ),
        packet(0x30, &[&topic, b"one"]),
        packet(0x32, &[&topic, &[0, 7], b"two"]),
        packet(0x3A, &[&topic, &[0, 7], b"two"]),
        packet(0x40, &[&[0, 1]]),
        packet(0x31, &[&text("wild/kept"), b"three"]),
        packet(0xC0, &[]),
        packet(0xA2, &[&[0, 2], &text("wild/#")]),
        packet(0xE0, &[]),
    ]
}

fn v5() -> Vec<Vec<u8>> {
    let topic = text("wild/a");
    vec![
        packet(
            0x10,
            &[
                &text("MQTT"),
                &[5, 2, 0, 60, 5, 0x11, 0, 0, 0, 0],
                &text(""),
            ],
        ),
        packet(0x82, &[&[0, 1, 2, 0x0B, 9], &text("wild/#"), &[0x0D]]),
        packet(0x82, &[&[0, 2, 0], &text("$share/group/wild/#"), &[1]]),
        packet(0x30, &[&topic, &[0], b"one"]),
        packet(0x32, &[&topic, &[0, 7, 3, 0x23, 0, 1], b"two"]),
        packet(0x30, &[&text(""), &[3, 0x23, 0, 1], b"three"]),
        packet(0x40, &[&[0, 1, 0, 0]]),
        packet(0xC0, &[]),
        packet(0xA2, &[&[0, 3, 0], &text("wild/#")]),
        packet(0xE0, &[&[0, 0]]),
    ]
}

fn v5_with_properties() -> Vec<Vec<u8>> {
    let user = [&[0x26][..], &text("k"), &text("v")].concat();
    let will = [
        &[5, 0x18, 0, 0, 0, 0][..],
        &text("wild/will"),
        &text("gone"),
    ]
    .concat();
    let asked = [
        &[0x11, 0, 0, 0, 60, 0x21, 0, 5, 0x27, 0, 0, 4, 0, 0x19, 1][..],
        &user,
    ]
    .concat();
    let length = [u8::try_from(asked.len()).expect("short")];
    let told = [
        &[0x01, 1, 0x02, 0, 0, 0, 60][..],
        &[&[0x03][..], &text("t")].concat(),
        &[&[0x08][..], &text("wild/answer")].concat(),
        &[&[0x09][..], &text("id")].concat(),
        &user,
    ]
    .concat();
    let told_length = [u8::try_from(told.len()).expect("short")];
    vec![
        packet(
            0x10,
            &[
                &text("MQTT"),
                &[5, 0x0E, 0, 60],
                &length,
                &asked,
                &text(""),
                &will,
            ],
        ),
        packet(
            0x82,
            &[&[0, 1, 0], &text("wild/+"), &[0x21], &text("$SYS/#"), &[0]],
        ),
        packet(
            0x33,
            &[&text("wild/a"), &[0, 7], &told_length, &told, b"1170"],
        ),
        packet(0x40, &[&[0, 1, 0x10, 0]]),
        packet(0xE0, &[&[4, 5, 0x11, 0, 0, 0, 0]]),
    ]
}

/// Messages with QoS 2, both ways.
fn in_two_steps(version: u8) -> Vec<Vec<u8>> {
    let none: &[u8] = if version == 5 { &[0] } else { &[] };
    vec![
        packet(
            0x10,
            &[&text("MQTT"), &[version, 2, 0, 60], none, &text("")],
        ),
        packet(0x82, &[&[0, 1], none, &text("wild/#"), &[2]]),
        packet(0x34, &[&text("wild/a"), &[0, 7], none, b"one"]),
        packet(0x3C, &[&text("wild/a"), &[0, 7], none, b"one"]),
        packet(0x62, &[&[0, 7]]),
        packet(0x62, &[&[0, 7]]),
        packet(0x50, &[&[0, 1]]),
        packet(0x70, &[&[0, 1]]),
        packet(0xC0, &[]),
    ]
}
