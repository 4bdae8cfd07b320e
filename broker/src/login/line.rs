//! Who is checked next: addresses take turns, however many logins each of them sends.

use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Turns of others before one who is in doubt, as long as there are others.
const BEFORE_DOUBTFUL: u32 = 4;

/// Those who wait, and those whose turn it is.
#[derive(Debug)]
pub(super) struct Line(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Turns that nobody has.
    free: usize,
    most: usize,
    most_per_address: usize,
    good: Rounds<oneshot::Sender<Turn>>,
    doubtful: Rounds<oneshot::Sender<Turn>>,
    /// How often good ones went first since the last doubtful one.
    first: u32,
}

/// A turn. Given on to the next when it is dropped.
#[derive(Debug)]
pub(super) struct Turn(Option<Arc<Line>>);

/// There is no place in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LineFull;

impl Line {
    /// A line in which `most` wait, `most_per_address` of each, and `at_once` have their turn.
    pub(super) fn new(at_once: usize, most: usize, most_per_address: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            free: at_once.max(1),
            most,
            most_per_address,
            good: Rounds::default(),
            doubtful: Rounds::default(),
            first: 0,
        })))
    }

    /// Waits for a turn.
    pub(super) async fn wait(
        self: &Arc<Self>,
        address: IpAddr,
        doubtful: bool,
    ) -> Result<Turn, LineFull> {
        let turn = {
            let mut state = self.0.lock();
            if state.free > 0 {
                state.free -= 1;
                return Ok(Turn(Some(Arc::clone(self))));
            }
            state.enter(address, doubtful)?
        };
        // Whose place went to somebody else hears nothing.
        turn.await.map_err(|_| LineFull)
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.0.lock().waiting()
    }
}

impl State {
    fn waiting(&self) -> usize {
        self.good.count + self.doubtful.count
    }

    fn enter(
        &mut self,
        address: IpAddr,
        doubtful: bool,
    ) -> Result<oneshot::Receiver<Turn>, LineFull> {
        let here = self.good.count_of(address) + self.doubtful.count_of(address);
        if here >= self.most_per_address || self.most == 0 {
            return Err(LineFull);
        }
        if self.waiting() >= self.most && !self.make_room(here) {
            return Err(LineFull);
        }
        let (give, turn) = oneshot::channel();
        let rounds = if doubtful {
            &mut self.doubtful
        } else {
            &mut self.good
        };
        rounds.push(address, give);
        Ok(turn)
    }

    /// Sends the last of the longest queue away, if that is longer than the one of whoever asks
    /// will be.
    fn make_room(&mut self, here: usize) -> bool {
        for rounds in [&mut self.doubtful, &mut self.good] {
            if let Some((address, count)) = rounds.longest()
                && count > here + 1
            {
                rounds.drop_last(address);
                return true;
            }
        }
        false
    }

    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let good_first = self.first < BEFORE_DOUBTFUL || self.doubtful.count == 0;
        if good_first && let Some(next) = self.good.pop() {
            self.first += 1;
            return Some(next);
        }
        self.first = 0;
        self.doubtful.pop()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(line) = self.0.take() else {
            return;
        };
        loop {
            let next = {
                let mut state = line.0.lock();
                let next = state.next();
                if next.is_none() {
                    state.free += 1;
                }
                next
            };
            let Some(next) = next else {
                return;
            };
            match next.send(Turn(Some(Arc::clone(&line)))) {
                Ok(()) => return,
                // It does not wait any more; the turn must not be given on twice.
                Err(mut turn) => drop(turn.0.take()),
            }
        }
    }
}

/// Queues by address, served in turn.
#[derive(Debug)]
struct Rounds<T> {
    queues: HashMap<IpAddr, VecDeque<T>>,
    /// Addresses that have a queue; the first one is next.
    order: VecDeque<IpAddr>,
    count: usize,
}

impl<T> Default for Rounds<T> {
    fn default() -> Self {
        Self {
            queues: HashMap::new(),
            order: VecDeque::new(),
            count: 0,
        }
    }
}

impl<T> Rounds<T> {
    fn push(&mut self, address: IpAddr, item: T) {
        let queue = self.queues.entry(address).or_default();
        if queue.is_empty() {
            self.order.push_back(address);
        }
        queue.push_back(item);
        self.count += 1;
    }

    fn pop(&mut self) -> Option<T> {
        let address = self.order.pop_front()?;
        let queue = self.queues.get_mut(&address)?;
        let item = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&address);
        } else {
            self.order.push_back(address);
        }
        self.count -= usize::from(item.is_some());
        item
    }

    fn count_of(&self, address: IpAddr) -> usize {
        self.queues.get(&address).map_or(0, VecDeque::len)
    }

    fn longest(&self) -> Option<(IpAddr, usize)> {
        let queues = self.queues.iter().map(|(address, it)| (*address, it.len()));
        queues.max_by_key(|(_, count)| *count)
    }

    fn drop_last(&mut self, address: IpAddr) {
        let Some(queue) = self.queues.get_mut(&address) else {
            return;
        };
        self.count -= usize::from(queue.pop_back().is_some());
        if queue.is_empty() {
            self.queues.remove(&address);
            self.order.retain(|it| *it != address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn addresses_take_turns() {
        let mut rounds = Rounds::default();
        for number in 0..5 {
            rounds.push(address(1), number);
        }
        rounds.push(address(2), 10);
        rounds.push(address(3), 20);
        let order: Vec<i32> = std::iter::from_fn(|| rounds.pop()).collect();
        assert_eq!(order, [0, 10, 20, 1, 2, 3, 4]);
        assert!(rounds.queues.is_empty() && rounds.order.is_empty());
    }

    #[tokio::test]
    async fn who_comes_to_a_crowd_of_one_address_is_next() {
        let line = Line::new(1, 100, 50);
        let turn = line.wait(address(1), false).await.unwrap();
        let mut crowd = tokio::task::JoinSet::new();
        for _ in 0..80 {
            let line = Arc::clone(&line);
            crowd.spawn(async move { line.wait(address(1), true).await });
        }
        while line.waiting() < 50 {
            tokio::task::yield_now().await;
        }
        let honest = {
            let line = Arc::clone(&line);
            tokio::spawn(async move { line.wait(address(2), false).await })
        };
        while line.waiting() < 51 {
            tokio::task::yield_now().await;
        }
        drop(turn);
        let _its_turn = honest.await.unwrap().unwrap();
        assert_eq!(line.waiting(), 50, "none of the crowd was before it");
        crowd.abort_all();
    }

    #[tokio::test]
    async fn a_full_line_makes_room_for_those_who_have_no_place_yet() {
        let line = Line::new(1, 4, 4);
        let _turn = line.wait(address(1), false).await.unwrap();
        let mut crowd = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let line = Arc::clone(&line);
            crowd.spawn(async move { line.wait(address(1), false).await });
        }
        while line.waiting() < 4 {
            tokio::task::yield_now().await;
        }
        let honest = {
            let line = Arc::clone(&line);
            tokio::spawn(async move { line.wait(address(2), false).await })
        };
        let sent_away = crowd.join_next().await.unwrap().unwrap();
        assert_eq!(sent_away.unwrap_err(), LineFull);
        assert_eq!(line.waiting(), 4);
        honest.abort();
    }

    #[tokio::test]
    async fn who_left_does_not_keep_the_turn() {
        let line = Line::new(1, 10, 10);
        let turn = line.wait(address(1), false).await.unwrap();
        let gone = {
            let line = Arc::clone(&line);
            tokio::spawn(async move { line.wait(address(1), false).await })
        };
        while line.waiting() < 1 {
            tokio::task::yield_now().await;
        }
        gone.abort();
        assert!(gone.await.unwrap_err().is_cancelled());
        drop(turn);
        let _turn = line.wait(address(2), true).await.unwrap();
    }
}
