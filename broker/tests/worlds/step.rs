//! What can happen in a world. Four bytes make a step, and any four bytes make one: so a world is
//! a file, a fuzzer's input and a drawing by lot, whichever comes.

use std::fmt;

/// Topics that are published on; the last one is for sale.
pub(crate) const TOPICS: [&str; 3] = ["free/0", "free/1", "paid/0"];
pub(crate) const PAID: usize = 2;
/// Filters that are subscribed to, and the topics that each matches.
pub(crate) const FILTERS: [(&str, &[usize]); 4] = [
    ("free/0", &[0]),
    ("free/+", &[0, 1]),
    ("paid/0", &[PAID]),
    ("+/0", &[0, PAID]),
];

/// One of the two clients: 0 or 1.
pub(crate) type Who = usize;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Opens a connection, also while there is one already.
    Connect {
        who: Who,
        version: u8,
        clean: bool,
        /// The session is to outlive the connection.
        keep: bool,
        receive_maximum: u16,
    },
    /// The connection breaks; `settled`: after everything sent was handled.
    Break {
        who: Who,
        settled: bool,
    },
    /// DISCONNECT.
    Leave {
        who: Who,
    },
    Subscribe {
        who: Who,
        filter: usize,
        options: Options,
    },
    Unsubscribe {
        who: Who,
        filter: usize,
    },
    Publish {
        who: Who,
        topic: usize,
        qos: u8,
        retain: bool,
        large: bool,
        /// QoS 2: no PUBREL follows until [`Step::Release`].
        hold: bool,
    },
    /// Answers the oldest messages that were not answered yet.
    Acknowledge {
        who: Who,
        count: usize,
    },
    /// Sends the PUBRELs that were held back.
    Release {
        who: Who,
    },
    /// Waits until everything that was sent has arrived.
    Settle,
    Advance {
        millis: u64,
    },
    /// A lease to read the paid topic from now on.
    Lease {
        who: Who,
        millis: u64,
    },
    Revoke {
        who: Who,
    },
    /// Somebody without a login sends so many of the following cells as they are.
    Noise {
        version: u8,
        cells: usize,
    },
}

/// Options of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Options {
    pub(crate) qos: u8,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    /// 0, 1 or 2.
    pub(crate) retain_handling: u8,
}

impl Step {
    fn read([kind, who, a, b]: [u8; 4]) -> Self {
        let who = usize::from(who & 1);
        match kind % 32 {
            0..=3 => Self::Connect {
                who,
                version: if a & 1 == 0 { 5 } else { 4 },
                clean: a & 6 == 6,
                keep: a & 8 == 0,
                receive_maximum: [u16::MAX, 1, 2, 5][usize::from(b & 3)],
            },
            4 => Self::Break {
                who,
                settled: a & 1 == 0,
            },
            5 => Self::Leave { who },
            6..=9 => Self::Subscribe {
                who,
                filter: usize::from(a % 4),
                options: Options {
                    qos: b % 3,
                    no_local: b & 0x18 == 0x18,
                    retain_as_published: b & 0x20 != 0,
                    retain_handling: (b >> 6) % 3,
                },
            },
            10 => Self::Unsubscribe {
                who,
                filter: usize::from(a % 4),
            },
            11..=19 => Self::Publish {
                who,
                topic: usize::from(a % 3),
                qos: b % 3,
                retain: b & 0x0C == 0x0C,
                large: b & 0x30 == 0x30,
                hold: b & 0xC0 == 0xC0,
            },
            20..=23 => Self::Acknowledge {
                who,
                count: usize::from(a % 4) + 1,
            },
            24 => Self::Release { who },
            25 | 26 => Self::Settle,
            27 => Self::Advance {
                millis: u64::from(a) * 100,
            },
            28 | 29 => Self::Lease {
                who,
                millis: u64::from(a) * 200 + 1,
            },
            30 => Self::Revoke { who },
            _ => Self::Noise {
                version: if a & 1 == 0 { 5 } else { 4 },
                cells: usize::from(b % 64),
            },
        }
    }
}

/// Steps with the noise that belongs to each.
pub(crate) fn steps(cells: &[[u8; 4]]) -> Vec<(Step, Vec<u8>)> {
    let (mut steps, mut rest) = (vec![], cells);
    while let Some((cell, after)) = rest.split_first() {
        let step = Step::read(*cell);
        rest = after;
        let mut noise = vec![];
        if let Step::Noise { cells, .. } = step {
            let (sent, after) = rest.split_at(cells.min(rest.len()));
            noise = sent.concat();
            rest = after;
        }
        steps.push((step, noise));
    }
    steps
}

/// The cells of a file; what is left of a last one does not count.
pub(crate) fn cells(bytes: &[u8]) -> Vec<[u8; 4]> {
    bytes.as_chunks().0.to_vec()
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |who: Who| ["ana", "bob"][who];
        match *self {
            Self::Connect {
                who,
                version,
                clean,
                keep,
                receive_maximum,
            } => write!(
                f,
                "{} connects (version {version}, clean {clean}, keep {keep}, takes {receive_maximum})",
                name(who)
            ),
            Self::Break { who, settled } => {
                write!(f, "{}'s connection breaks (settled {settled})", name(who))
            }
            Self::Leave { who } => write!(f, "{} leaves", name(who)),
            Self::Subscribe {
                who,
                filter,
                options,
            } => write!(
                f,
                "{} subscribes to {} {options:?}",
                name(who),
                FILTERS[filter].0
            ),
            Self::Unsubscribe { who, filter } => {
                write!(f, "{} unsubscribes from {}", name(who), FILTERS[filter].0)
            }
            Self::Publish {
                who,
                topic,
                qos,
                retain,
                large,
                hold,
            } => write!(
                f,
                "{} publishes on {} (QoS {qos}, retain {retain}, large {large}, hold {hold})",
                name(who),
                TOPICS[topic]
            ),
            Self::Acknowledge { who, count } => {
                write!(f, "{} acknowledges {count}", name(who))
            }
            Self::Release { who } => write!(f, "{} releases", name(who)),
            Self::Settle => f.write_str("all settles"),
            Self::Advance { millis } => write!(f, "{millis} ms go by"),
            Self::Lease { who, millis } => {
                write!(f, "{} gets a lease of {millis} ms", name(who))
            }
            Self::Revoke { who } => write!(f, "{}'s lease is revoked", name(who)),
            Self::Noise { version, cells } => {
                write!(
                    f,
                    "somebody sends {cells} cells of noise (version {version})"
                )
            }
        }
    }
}
