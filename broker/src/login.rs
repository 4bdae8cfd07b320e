//! Passwords: making verifiers, and checking logins against them.

use crate::access::AccessView;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tanglegate_core::{Denied, Login, PasswordVerifier};
use tokio::sync::Semaphore;
use zeroize::{Zeroize, Zeroizing};

/// What a guess costs a thief, and a login us (RFC 9106).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Memory in KiB, at least 8 per lane.
    pub memory_kib: u32,
    /// Passes over the memory, at least 1.
    pub passes: u32,
    /// Lanes, at least 1.
    pub lanes: u32,
}

impl Cost {
    /// What OWASP recommends for Argon2id where memory is dear: 19 MiB, two passes, one lane.
    pub const OWASP: Self = Self {
        memory_kib: 19_456,
        passes: 2,
        lanes: 1,
    };
    /// The least that Argon2 accepts. For tests: it protects nothing.
    pub const LEAST: Self = Self {
        memory_kib: 8,
        passes: 1,
        lanes: 1,
    };
}

/// A cost that Argon2 does not accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no cost of Argon2: give at least 8 KiB of memory per lane, one pass and one lane, \
     for example memory_kib = 19456, passes = 2, lanes = 1"
)]
pub struct CostError(pub Cost);

/// Makes what is kept of a password. `salt` must be random and new for each.
///
/// # Errors
/// When the cost is out of Argon2's bounds.
pub fn make_verifier(
    password: &[u8],
    salt: [u8; 16],
    cost: Cost,
) -> Result<PasswordVerifier, CostError> {
    Ok(PasswordVerifier {
        memory_kib: cost.memory_kib,
        passes: cost.passes,
        lanes: cost.lanes,
        salt,
        tag: *tag(password, &salt, cost, &mut vec![]).ok_or(CostError(cost))?,
    })
}

/// True when `password` is the one that `verifier` was made of. Takes the verifier's cost, and
/// the same time wherever a difference lies.
#[must_use]
pub fn verify(verifier: &PasswordVerifier, password: &[u8]) -> bool {
    verify_in(&mut vec![], verifier, password)
}

fn verify_in(memory: &mut Vec<Block>, verifier: &PasswordVerifier, password: &[u8]) -> bool {
    let cost = Cost {
        memory_kib: verifier.memory_kib,
        passes: verifier.passes,
        lanes: verifier.lanes,
    };
    match tag(password, &verifier.salt, cost, memory) {
        Some(tag) => same(&tag, &verifier.tag),
        None => false,
    }
}

/// Works in `memory`, which grows to what the cost asks for, and is wiped afterwards.
fn tag(
    password: &[u8],
    salt: &[u8; 16],
    cost: Cost,
    memory: &mut Vec<Block>,
) -> Option<Zeroizing<[u8; 32]>> {
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).ok()?;
    let blocks = params.block_count();
    if memory.len() < blocks {
        memory.resize(blocks, Block::default());
    }
    let memory = &mut memory[..blocks];
    let mut tag = Zeroizing::new([0; 32]);
    let made = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(password, salt, &mut *tag, &mut *memory);
    memory.iter_mut().for_each(Zeroize::zeroize);
    made.ok()?;
    Some(tag)
}

/// Compares without telling by its time where the difference is.
fn same(left: &[u8; 32], right: &[u8; 32]) -> bool {
    let difference = left.iter().zip(right).fold(0, |sum, (l, r)| sum | (l ^ r));
    std::hint::black_box(difference) == 0
}

/// Checks logins aside from the threads that pass messages on, a few at a time.
#[derive(Debug)]
pub(crate) struct LoginDesk {
    at_once: Arc<Semaphore>,
    waiting: AtomicUsize,
    most_waiting: usize,
    /// What checks work in, kept for the next ones: each takes many megabytes, and allocators
    /// keep such pieces for every thread that ever freed one.
    memories: Arc<Mutex<Vec<Vec<Block>>>>,
    /// Takes the time of a check for names that do not exist.
    nobody: PasswordVerifier,
}

/// Why a login was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LoginRefused {
    /// Name or password is wrong; which one is nobody's business.
    Wrong,
    /// Too many are waiting.
    Busy,
    /// There is nothing to check against.
    Denied(Denied),
}

impl LoginDesk {
    /// A desk for so many checks at once and waiting. `cost` is the usual one, so that unknown
    /// names take as long as known ones.
    pub(crate) fn new(at_once: usize, most_waiting: usize, cost: Cost) -> Result<Self, CostError> {
        Ok(Self {
            at_once: Arc::new(Semaphore::new(at_once.max(1))),
            waiting: AtomicUsize::new(0),
            most_waiting,
            memories: Arc::default(),
            nobody: make_verifier(b"", [0; 16], cost)?,
        })
    }

    /// Checks a name and a password.
    pub(crate) async fn check(
        &self,
        view: &AccessView,
        username: &str,
        password: Zeroizing<Vec<u8>>,
    ) -> Result<Login, LoginRefused> {
        let login = view.login(username).map_err(LoginRefused::Denied)?;
        let _place = Place::take(&self.waiting, self.most_waiting).ok_or(LoginRefused::Busy)?;
        let turn = Arc::clone(&self.at_once).acquire_owned().await;
        let Ok(turn) = turn else {
            return Err(LoginRefused::Busy);
        };
        let verifier = match &login {
            Some(login) => login.verifier.clone(),
            None => self.nobody.clone(),
        };
        let memories = Arc::clone(&self.memories);
        let check = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let mut memory = memories.lock().pop().unwrap_or_default();
            let right = verify_in(&mut memory, &verifier, &password);
            memories.lock().push(memory);
            right
        });
        match (check.await, login) {
            (Ok(true), Some(login)) => Ok(login),
            (Ok(_), _) => Err(LoginRefused::Wrong),
            (Err(_), _) => Err(LoginRefused::Busy),
        }
    }
}

/// A place among those who wait.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, most: usize) -> Option<Self> {
        let place = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < most).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_password_is_right() {
        let verifier = make_verifier(b"secret", [7; 16], Cost::LEAST).unwrap();
        assert!(verify(&verifier, b"secret"));
        assert!(!verify(&verifier, b"Secret"));
        assert!(!verify(&verifier, b""));
        let other = make_verifier(b"secret", [8; 16], Cost::LEAST).unwrap();
        assert_ne!(verifier.tag, other.tag, "the salt counts");
    }

    #[test]
    fn an_impossible_cost_is_an_error_that_names_a_possible_one() {
        let cost = Cost {
            memory_kib: 1,
            ..Cost::LEAST
        };
        let error = make_verifier(b"x", [0; 16], cost).unwrap_err();
        assert!(error.to_string().contains("memory_kib = 19456"));
        let broken = PasswordVerifier {
            memory_kib: 0,
            passes: 0,
            lanes: 0,
            salt: [0; 16],
            tag: [0; 32],
        };
        assert!(!verify(&broken, b""));
    }

    #[tokio::test]
    async fn a_full_desk_says_so_at_once() {
        let view = AccessView::new();
        view.install(tanglegate_core::Acl::default());
        let desk = LoginDesk::new(1, 0, Cost::LEAST).unwrap();
        let refused = desk.check(&view, "ana", Zeroizing::default()).await;
        assert_eq!(refused.unwrap_err(), LoginRefused::Busy);
        assert_eq!(desk.waiting.load(Ordering::Relaxed), 0);
        let desk = LoginDesk::new(1, 1, Cost::LEAST).unwrap();
        let refused = desk.check(&view, "ana", Zeroizing::default()).await;
        assert_eq!(refused.unwrap_err(), LoginRefused::Wrong);
    }

    #[test]
    fn used_memory_does_not_change_what_is_right() {
        let cost = Cost {
            memory_kib: 64,
            passes: 2,
            lanes: 1,
        };
        let verifier = make_verifier(b"secret", [7; 16], cost).unwrap();
        let mut memory = vec![];
        for (password, right) in [(&b"Secret"[..], false), (b"secret", true), (b"", false)] {
            assert_eq!(verify_in(&mut memory, &verifier, password), right);
            let wiped = |it: &Block| it.as_ref().iter().all(|word| *word == 0);
            assert!(memory.iter().all(wiped), "nothing of a password stays");
        }
        assert_eq!(memory.len(), 64);
    }

    #[tokio::test]
    async fn checks_take_no_more_memory_than_happen_at_once() {
        let view = Arc::new(AccessView::new());
        view.install(tanglegate_core::Acl::default());
        let desk = Arc::new(LoginDesk::new(2, 100, Cost::LEAST).unwrap());
        let mut checks = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let (desk, view) = (Arc::clone(&desk), Arc::clone(&view));
            checks.spawn(async move { desk.check(&view, "ana", Zeroizing::default()).await });
        }
        for refused in checks.join_all().await {
            assert_eq!(refused.unwrap_err(), LoginRefused::Wrong);
        }
        assert!((1..=2).contains(&desk.memories.lock().len()));
    }
}
