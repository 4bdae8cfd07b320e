//! QoS 1 messages on their way to one client: packet identifiers and how many at a time.

use std::collections::VecDeque;

/// Identifiers are 1 to 65,535.
const IDENTIFIERS: u32 = 0xFFFF;

/// Packet identifiers in flight, oldest first. Sessions end with their connection, so a message
/// is never sent again and its identifier is all that has to be kept of it.
#[derive(Debug)]
pub(crate) struct Window {
    /// The identifier to give next.
    next: u16,
    /// One per identifier given and not retired: whether it was acknowledged out of turn.
    open: VecDeque<bool>,
    limit: u16,
}

impl Window {
    /// A window for at most `limit` messages, at least 1.
    pub(crate) fn new(limit: u16) -> Self {
        Self {
            next: 1,
            open: VecDeque::new(),
            limit: limit.max(1),
        }
    }

    /// An identifier that is not in flight, or `None` while the window is full.
    pub(crate) fn open(&mut self) -> Option<u16> {
        // Counted from the oldest unacknowledged one, so a client that acknowledges out of
        // order ([MQTT-4.6.0-2] forbids it) gets less, never more than its receive maximum.
        if self.open.len() >= usize::from(self.limit) {
            return None;
        }
        let id = self.next;
        self.next = if id == u16::MAX { 1 } else { id + 1 };
        self.open.push_back(false);
        Some(id)
    }

    /// Retires an identifier. One that is not in flight changes nothing.
    pub(crate) fn close(&mut self, id: u16) {
        if id == 0 {
            return;
        }
        let open = u32::try_from(self.open.len()).expect("at most 65,535");
        let oldest = (u32::from(self.next) + 2 * IDENTIFIERS - 1 - open) % IDENTIFIERS + 1;
        let age = (u32::from(id) + IDENTIFIERS - oldest) % IDENTIFIERS;
        if let Some(closed) = self.open.get_mut(age as usize) {
            *closed = true;
        }
        while self.open.front() == Some(&true) {
            self.open.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_the_limit_is_in_flight() {
        // [MQTT-3.3.4-9]
        let mut window = Window::new(2);
        assert_eq!(
            (window.open(), window.open(), window.open()),
            (Some(1), Some(2), None)
        );
        window.close(7);
        window.close(0);
        assert_eq!(window.open(), None, "neither was in flight");
        window.close(2);
        assert_eq!(window.open(), None, "out of turn");
        window.close(1);
        assert_eq!(
            (window.open(), window.open(), window.open()),
            (Some(3), Some(4), None)
        );
    }

    #[test]
    fn identifiers_go_round_without_zero_or_repetition() {
        let mut window = Window::new(3);
        let mut given = vec![];
        for _ in 0..70_000 {
            let id = window.open().unwrap();
            given.push(id);
            window.close(id);
        }
        assert!(!given.contains(&0));
        assert_eq!(given[65_534..65_537], [65_535, 1, 2]);
    }

    #[test]
    fn the_window_stays_exact_across_the_turn() {
        let mut window = Window::new(4);
        let mut flying = VecDeque::new();
        for _ in 0..70_000 {
            while let Some(id) = window.open() {
                assert!(!flying.contains(&id));
                flying.push_back(id);
            }
            assert_eq!(flying.len(), 4);
            window.close(flying.pop_front().unwrap());
        }
    }
}
