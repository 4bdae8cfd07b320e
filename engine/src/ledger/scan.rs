//! One walk over a node's transactions, from the newest down to what is recorded.
//!
//! Pure: pages go in, payments and a verdict come out. The walk goes on until so many entries in
//! a row lie below the floor that a node's local disorder cannot hide a newer one behind them,
//! or until history ends.

use std::collections::{BTreeMap, HashSet};

use tanglegate_core::{Confirmation, PaymentId};

/// Entries on a page; nodes give no more.
const PAGE: usize = 50;

/// So many entries in a row below the floor end the walk.
const BELOW_ENOUGH: usize = PAGE;

/// The most payments that one walk keeps. When there are more, the oldest are kept, and the
/// next walk finds the rest.
pub(super) const MOST_PAYMENTS: usize = 10_000;

/// The most pages of one walk: a node that goes on for ever is lying.
const MOST_PAGES: usize = 200_000;

/// The state of a walk.
#[derive(Debug)]
pub(super) struct Scan {
    /// The node's latest checkpoint before the walk began: everything up to it is on the pages.
    latest: u64,
    /// Entries in checkpoints below are not looked for.
    floor: u64,
    cursor: Option<String>,
    cursors: HashSet<String>,
    page_size: usize,
    below_in_a_row: usize,
    found: BTreeMap<(u64, PaymentId), Confirmation>,
    /// The lowest checkpoint of a payment that was left out for [`MOST_PAYMENTS`].
    left_out: Option<u64>,
    newest: Option<String>,
    /// Something was not final yet, or became so only while we walked.
    open: bool,
    done: bool,
}

/// What a finished walk found.
#[derive(Debug)]
pub(super) struct Finding {
    /// Oldest first: by checkpoint, then digest, then index.
    pub(super) payments: Vec<Confirmation>,
    /// Every payment up to and including this checkpoint was seen, by this walk or before.
    pub(super) scanned_to: u64,
    /// The digest of the newest transaction, if the walk left nothing open behind it.
    pub(super) settled_at: Option<String>,
}

impl Scan {
    pub(super) fn new(latest: u64, floor: u64) -> Self {
        Self {
            latest,
            floor,
            cursor: None,
            cursors: HashSet::new(),
            page_size: PAGE,
            below_in_a_row: 0,
            found: BTreeMap::new(),
            left_out: None,
            newest: None,
            open: false,
            done: false,
        }
    }

    pub(super) fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    pub(super) fn page_size(&self) -> usize {
        self.page_size
    }

    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Asks for smaller pages from now on; false when they cannot be smaller.
    pub(super) fn shrink_pages(&mut self) -> bool {
        let smaller = self.page_size / 2;
        self.page_size = smaller.max(1);
        smaller > 0
    }

    /// Notes the digest of an entry; the first one of a walk is the newest.
    pub(super) fn note(&mut self, digest: &str) {
        self.newest.get_or_insert_with(|| digest.to_owned());
    }

    /// An entry that is not final yet.
    pub(super) fn pending(&mut self) {
        self.open = true;
        self.below_in_a_row = 0;
    }

    /// A final entry that is no payment, or one that was handed on before.
    pub(super) fn other(&mut self, checkpoint: u64) {
        self.open |= checkpoint > self.latest;
        match checkpoint < self.floor {
            true => self.below_in_a_row += 1,
            false => self.below_in_a_row = 0,
        }
    }

    /// A payment; duplicates and those below the floor do no harm.
    pub(super) fn payment(&mut self, payment: Confirmation) {
        let checkpoint = payment.checkpoint;
        self.other(checkpoint);
        if checkpoint < self.floor {
            return;
        }
        self.found.insert((checkpoint, payment.payment), payment);
        if self.found.len() > MOST_PAYMENTS
            && let Some(((checkpoint, _), _)) = self.found.pop_last()
        {
            self.left_out = Some(
                self.left_out
                    .map_or(checkpoint, |least| least.min(checkpoint)),
            );
        }
    }

    /// Ends a page: the walk goes on at `next`, or is done.
    ///
    /// # Errors
    /// A sentence about a node that leads in circles or on for ever.
    pub(super) fn page_ends(&mut self, next: Option<String>, more: bool) -> Result<(), String> {
        if !more || self.below_in_a_row >= BELOW_ENOUGH {
            self.done = true;
            return Ok(());
        }
        let next = next.ok_or("a page that is not the last has no cursor")?;
        if self.cursors.len() >= MOST_PAGES {
            return Err(format!("more than {MOST_PAGES} pages"));
        }
        if !self.cursors.insert(next.clone()) {
            return Err("the cursors of its pages lead in a circle".to_owned());
        }
        self.cursor = Some(next);
        Ok(())
    }

    pub(super) fn finish(self) -> Finding {
        assert!(self.done, "a walk is judged when it is over");
        let scanned_to = match self.left_out {
            Some(checkpoint) => checkpoint.saturating_sub(1).min(self.latest),
            None => self.latest,
        };
        let settled = !self.open && self.left_out.is_none();
        Finding {
            payments: self.found.into_values().collect(),
            scanned_to,
            settled_at: self.newest.filter(|_| settled),
        }
    }
}

#[cfg(test)]
mod tests {
    use tanglegate_core::{Address, Digest, MemoReading, Nanos, Timestamp};

    use super::*;

    fn payment(checkpoint: u64, digest: u16) -> Confirmation {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&digest.to_be_bytes());
        Confirmation {
            payment: PaymentId {
                digest: Digest(bytes),
                index: 0,
            },
            seller: Address([1; 32]),
            payer: Address([2; 32]),
            amount: Nanos(1),
            checkpoint,
            confirmed_at: Timestamp(0),
            memo: Vec::new(),
            reading: MemoReading::Absent,
        }
    }

    fn order(finding: &Finding) -> Vec<(u64, u8)> {
        finding
            .payments
            .iter()
            .map(|p| (p.checkpoint, p.payment.digest.0[1]))
            .collect()
    }

    #[test]
    fn payments_come_out_oldest_first_and_once() {
        let mut scan = Scan::new(9, 0);
        for (checkpoint, digest) in [(9, 1), (7, 4), (9, 0), (7, 4), (8, 2)] {
            scan.payment(payment(checkpoint, digest));
        }
        scan.page_ends(None, false).unwrap();
        let finding = scan.finish();
        assert_eq!(order(&finding), [(7, 4), (8, 2), (9, 0), (9, 1)]);
        assert_eq!(finding.scanned_to, 9);
    }

    #[test]
    fn a_newer_payment_behind_older_ones_is_found_while_disorder_is_below_a_page() {
        let mut scan = Scan::new(20, 10);
        for _ in 0..BELOW_ENOUGH - 1 {
            scan.other(3);
        }
        scan.page_ends(Some("a".to_owned()), true).unwrap();
        assert!(!scan.is_done());
        scan.payment(payment(12, 1));
        for _ in 0..BELOW_ENOUGH {
            scan.other(3);
        }
        scan.page_ends(Some("b".to_owned()), true).unwrap();
        assert!(scan.is_done());
        assert_eq!(order(&scan.finish()), [(12, 1)]);
    }

    #[test]
    fn what_is_pending_or_came_meanwhile_keeps_the_walk_open_for_the_next_poll() {
        let cases: [(fn(&mut Scan), bool); 3] = [
            (Scan::pending, false),
            (|scan| scan.other(6), false),
            (|scan| scan.other(5), true),
        ];
        for (entry, settled) in cases {
            let mut scan = Scan::new(5, 0);
            scan.note("newest");
            entry(&mut scan);
            scan.page_ends(None, false).unwrap();
            assert_eq!(scan.finish().settled_at.is_some(), settled);
        }
    }

    #[test]
    fn a_backlog_is_taken_from_its_old_end_and_the_mark_stays_below_the_rest() {
        let mut scan = Scan::new(2_000_000, 0);
        let count = u16::try_from(MOST_PAYMENTS + 5).unwrap();
        for number in (0..count).rev() {
            scan.payment(payment(u64::from(number) * 10, number));
        }
        scan.page_ends(None, false).unwrap();
        let finding = scan.finish();
        assert_eq!(finding.payments.len(), MOST_PAYMENTS);
        let newest = finding.payments.last().unwrap().checkpoint;
        assert_eq!(finding.scanned_to, newest + 9);
        assert!(finding.settled_at.is_none());
    }

    #[test]
    fn a_node_that_leads_in_circles_is_refused() {
        let mut scan = Scan::new(5, 0);
        scan.page_ends(Some("a".to_owned()), true).unwrap();
        scan.page_ends(Some("b".to_owned()), true).unwrap();
        assert!(
            scan.page_ends(Some("a".to_owned()), true)
                .unwrap_err()
                .contains("circle")
        );
        assert!(scan.page_ends(None, true).unwrap_err().contains("cursor"));
    }

    #[test]
    fn pages_shrink_to_one_entry_and_no_further() {
        let mut scan = Scan::new(5, 0);
        let mut sizes = vec![scan.page_size()];
        while scan.shrink_pages() {
            sizes.push(scan.page_size());
        }
        assert_eq!(sizes, [50, 25, 12, 6, 3, 1]);
    }
}
