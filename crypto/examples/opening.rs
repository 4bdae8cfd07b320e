//! How long it takes to make a key, to open a memo, and to seal an answer, beside one X25519
//! operation. `cargo run --release -p tanglegate-crypto --example opening`

use std::hint::black_box;
use std::time::Instant;
use tanglegate_crypto::{
    IdentityKey, KeyBody, Order, PasswordWish, ReplyKey, SealedMemo, SealingSecret, seal_answer,
};

/// Rounds of a millisecond: some of them fall where nothing else has the processor.
const ROUNDS: usize = 1_001;
const TIMES: u32 = 8;

fn main() {
    let engine = IdentityKey::from_bytes(&[1; 32]);
    let identity = engine.identity();
    let secret = SealingSecret::from_bytes([2; 4], [3; 32]);
    let (key_id, public) = secret.make_key([4; 12]);
    let reply_key = ReplyKey::from_bytes([5; 32]).public();
    let order = Order {
        offer: "plug-hour".to_owned(),
        username: "ana".to_owned(),
        password: PasswordWish::Make,
        reply_key,
    };
    let key = KeyBody {
        key_id,
        public,
        issued_at: 0,
        valid_until: 1,
    };
    let memo = SealedMemo::seal(&[6; 32], &key, &identity, &[7; 32], &order).expect("an order");

    let mut table = [
        Row::new("X25519, one operation"),
        Row::new("a key made and signed"),
        Row::new("a memo opened"),
        Row::new("a memo refused: paid by another address"),
        Row::new("a receipt signed and sealed (300 bytes)"),
    ];
    // In turns, so that a disturbance hits all of them.
    for _ in 0..ROUNDS {
        table[0].time(|| x25519_dalek::x25519(black_box([8; 32]), black_box(public)));
        table[1].time(|| {
            let (key_id, public) = secret.make_key([4; 12]);
            let made = KeyBody {
                key_id,
                public,
                issued_at: 0,
                valid_until: 1,
            };
            engine.announce(&made)
        });
        table[2].time(|| secret.open_memo(black_box(&memo), &identity, &[7; 32]));
        table[3].time(|| secret.open_memo(black_box(&memo), &identity, &[8; 32]));
        table[4].time(|| {
            let signed = engine.sign(tanglegate_crypto::Label::Receipt, &[0; 300]);
            seal_answer(&[9; 32], &reply_key, &identity, key_id, &signed)
        });
    }
    println!(
        "{:<44}{:>16}{:>18}{:>8}",
        "", "quickest tenth", "middle", ""
    );
    let floor = table[0].after(1);
    for row in &table {
        let (quick, middle) = (row.after(1), row.after(5));
        let ratio = quick / floor;
        println!(
            "{:<44}{quick:>13.1} µs{middle:>15.1} µs{ratio:>8.1} ×",
            row.what
        );
    }
}

/// Microseconds of one operation, round by round.
struct Row {
    what: &'static str,
    rounds: Vec<f64>,
}

impl Row {
    fn new(what: &'static str) -> Self {
        let rounds = Vec::with_capacity(ROUNDS);
        Self { what, rounds }
    }

    fn time<T>(&mut self, operation: impl Fn() -> T) {
        let began = Instant::now();
        for _ in 0..TIMES {
            black_box(operation());
        }
        let micros = began.elapsed().as_secs_f64() * 1e6;
        self.rounds.push(micros / f64::from(TIMES));
    }

    /// The round before which so many tenths of all are, ordered by time.
    fn after(&self, tenths: usize) -> f64 {
        let mut sorted = self.rounds.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() * tenths / 10]
    }
}
