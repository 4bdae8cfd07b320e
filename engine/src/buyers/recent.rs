//! How many requests one wallet may make: each can leave an event for ever, and none of them costs
//! anything.

use std::collections::HashMap;
use tanglegate_core::{Address, Command, Timestamp};

/// Requests of one address in one span.
const EACH: u32 = 10;
/// Milliseconds of a span.
const SPAN: u64 = 3_600_000;
/// Most addresses of which one knows; all are forgotten together at the end of a span.
const ADDRESSES: usize = 65_536;

/// The requests of the present span, by the address that signed them.
#[derive(Debug, Default)]
pub struct Recent {
    since: Timestamp,
    counts: HashMap<Address, u32>,
}

impl Recent {
    /// Counts a request.
    ///
    /// # Errors
    /// When its address has made too many, in words for whoever asks.
    pub fn take(&mut self, command: &Command, now: Timestamp) -> Result<(), String> {
        let (Command::ClaimPayment { payer: address, .. }
        | Command::ChangeOwned { owner: address, .. }) = command
        else {
            return Ok(());
        };
        if now.millis_since(self.since) >= SPAN {
            self.counts.clear();
            self.since = now;
        }
        let full = self.counts.len() >= ADDRESSES && !self.counts.contains_key(address);
        let count = match full {
            true => return Err("too many ask just now: try again in an hour".to_owned()),
            false => self.counts.entry(*address).or_default(),
        };
        if *count >= EACH {
            return Err(format!(
                "this wallet has asked {EACH} times within an hour: try again later"
            ));
        }
        *count += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tanglegate_core::Username;

    #[test]
    fn one_wallet_asks_ten_times_an_hour_and_the_others_go_on() {
        let asks = |address| Command::ChangeOwned {
            owner: Address([address; 32]),
            username: Username::parse("zoe").expect("valid"),
            verifier: None,
            renamed: None,
        };
        let mut recent = Recent::default();
        let now = Timestamp(1_700_000_000_000);
        for _ in 0..EACH {
            recent.take(&asks(1), now).expect("within bounds");
        }
        assert!(recent.take(&asks(1), now).is_err());
        recent.take(&asks(2), now).expect("another one");
        recent
            .take(&asks(1), now.plus_millis(SPAN))
            .expect("an hour later");
    }
}
