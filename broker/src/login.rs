//! Passwords: making verifiers, and checking logins against them.

mod failures;
mod line;
mod verified;

use crate::access::AccessView;
use crate::limits::Limits;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use failures::Failures;
use line::Line;
use parking_lot::Mutex;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;
use tanglegate_core::{Denied, Login, PasswordVerifier};
use verified::Verified;
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

/// What a check against it takes, in KiB that are passed over: lanes only divide the memory.
fn work(verifier: &PasswordVerifier) -> u64 {
    u64::from(verifier.memory_kib) * u64::from(verifier.passes)
}

/// Compares without telling by its time where the difference is.
fn same(left: &[u8; 32], right: &[u8; 32]) -> bool {
    let difference = left.iter().zip(right).fold(0, |sum, (l, r)| sum | (l ^ r));
    std::hint::black_box(difference) == 0
}

/// Checks logins aside from the threads that pass messages on, a few at a time.
///
/// A login that was right lately is known again at once. Any other one pays: whoever sent wrong
/// ones waits first, then addresses take turns, and last comes the full price of Argon2id, for
/// names that do not exist too, and for wrong passwords of logins whose verifier costs less.
pub(crate) struct LoginDesk {
    verified: Verified,
    failures: Mutex<Failures>,
    line: Arc<Line>,
    /// What checks work in, kept for the next ones: each takes many megabytes, and allocators
    /// keep such pieces for every thread that ever freed one.
    memories: Arc<Mutex<Vec<Vec<Block>>>>,
    /// Takes the time of a check for names that do not exist, and of what is missing to it after
    /// a cheaper check that failed.
    nobody: PasswordVerifier,
}

/// Why a login was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LoginRefused {
    /// Name or password is wrong; which one is nobody's business.
    Wrong,
    /// Too many are waiting.
    Busy,
    /// Too many logins from the address were wrong, and it asks again too soon.
    TooSoon,
    /// There is nothing to check against.
    Denied(Denied),
}

impl LoginDesk {
    /// A desk within these limits. `cost` is the usual one, so that unknown names take as long as
    /// known ones. `key` must be random and secret.
    pub(crate) fn new(
        limits: &Limits,
        cost: Cost,
        key: Zeroizing<[u8; 32]>,
    ) -> Result<Self, CostError> {
        let (most, lifetime) = (limits.logins_remembered, limits.logins_remembered_for);
        let line = Line::new(
            limits.logins_at_once,
            limits.logins_waiting,
            limits.logins_waiting_per_address,
        );
        Ok(Self {
            verified: Verified::new(key, most, lifetime),
            failures: Mutex::new(Failures::new()),
            line,
            memories: Arc::default(),
            nobody: make_verifier(b"", [0; 16], cost)?,
        })
    }

    /// Checks a name and a password that came from `address`.
    pub(crate) async fn check(
        &self,
        view: &AccessView,
        address: IpAddr,
        username: &str,
        password: Zeroizing<Vec<u8>>,
    ) -> Result<Login, LoginRefused> {
        let login = view.login(username).map_err(LoginRefused::Denied)?;
        let verifier = login.as_ref().map_or(&self.nobody, |it| &it.verifier);
        let mark = self.verified.mark(verifier, &password);
        if let Some(login) = &login
            && self.verified.knows(login.subscriber, &mark, Instant::now())
        {
            return Ok(login.clone());
        }
        let slot = self
            .failures
            .lock()
            .slot(address, username, Instant::now())
            .ok_or(LoginRefused::TooSoon)?;
        tokio::time::sleep_until(slot.at.into()).await;
        let right = self
            .check_in_turn(address, slot.doubtful, verifier.clone(), password)
            .await?;
        let now = Instant::now();
        match login {
            Some(login) if right => {
                self.failures.lock().forgive(username);
                self.verified.remember(login.subscriber, mark, now);
                Ok(login)
            }
            _ => {
                self.failures.lock().note(address, username, now);
                Err(LoginRefused::Wrong)
            }
        }
    }

    /// The full check; true when the password is right. A wrong one takes no less than a name
    /// that does not exist: the verifiers of random passwords cost next to nothing, and a quick
    /// refusal would tell that there is such a login.
    async fn check_in_turn(
        &self,
        address: IpAddr,
        doubtful: bool,
        verifier: PasswordVerifier,
        password: Zeroizing<Vec<u8>>,
    ) -> Result<bool, LoginRefused> {
        let turn = self.line.wait(address, doubtful).await;
        let turn = turn.map_err(|_| LoginRefused::Busy)?;
        let memories = Arc::clone(&self.memories);
        let nobody = (work(&verifier) < work(&self.nobody)).then(|| self.nobody.clone());
        let check = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let mut memory = memories.lock().pop().unwrap_or_default();
            let right = verify_in(&mut memory, &verifier, &password);
            if let Some(nobody) = nobody.filter(|_| !right) {
                std::hint::black_box(verify_in(&mut memory, &nobody, &password));
            }
            memories.lock().push(memory);
            right
        });
        check.await.map_err(|_| LoginRefused::Busy)
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

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn desk(limits: &Limits) -> LoginDesk {
        LoginDesk::new(limits, Cost::LEAST, Zeroizing::new([5; 32])).unwrap()
    }

    fn view() -> AccessView {
        let view = AccessView::new();
        view.install(tanglegate_core::Acl::default());
        view
    }

    #[tokio::test]
    async fn a_full_desk_says_so_at_once() {
        let desk = desk(&Limits {
            logins_at_once: 1,
            logins_waiting: 0,
            ..Limits::default()
        });
        let turn = desk.line.wait(HERE, false).await.unwrap();
        let view = view();
        let check = || desk.check(&view, HERE, "ana", Zeroizing::default());
        assert_eq!(check().await.unwrap_err(), LoginRefused::Busy);
        drop(turn);
        assert_eq!(check().await.unwrap_err(), LoginRefused::Wrong);
    }

    #[tokio::test]
    async fn an_address_with_many_wrong_logins_is_sent_away_and_others_are_not() {
        let (desk, view) = (desk(&Limits::default()), view());
        let wrong = || desk.check(&view, HERE, "ana", Zeroizing::default());
        let mut refusals = vec![];
        for _ in 0..4 {
            refusals.push(wrong().await.unwrap_err());
        }
        assert_eq!(refusals, [const { LoginRefused::Wrong }; 4]);
        // Hundreds at once: each that waits pushes the next one further off.
        let mut sent_away = 0;
        for _ in 0..300 {
            let now = std::time::Duration::ZERO;
            match tokio::time::timeout(now, wrong()).await {
                Ok(refused) => sent_away += u32::from(refused.err() == Some(LoginRefused::TooSoon)),
                Err(_waits) => {}
            }
        }
        assert!(sent_away > 150, "{sent_away}");
        let there = IpAddr::from([192, 0, 2, 2]);
        let begun = Instant::now();
        let other = desk.check(&view, there, "bob", Zeroizing::default()).await;
        assert_eq!(other.unwrap_err(), LoginRefused::Wrong);
        assert!(begun.elapsed() < std::time::Duration::from_secs(1));
    }

    #[tokio::test]
    async fn a_login_that_was_right_is_known_again_until_its_password_changes() {
        use tanglegate_core::{Event, Position, Recorded, SubscriberId, Timestamp, Username};
        let view = view();
        let tell = |position, event: &Event| {
            view.apply(&[Recorded {
                position: Position(position),
                recorded_at: Timestamp(1),
                event,
            }]);
        };
        let subscriber = SubscriberId([1; 16]);
        let verifier = |password: &[u8]| make_verifier(password, [7; 16], Cost::LEAST).unwrap();
        let registered = Event::SubscriberRegistered {
            subscriber,
            username: Username::parse("ana").ok(),
            verifier: Some(verifier(b"secret")),
            owner: None,
        };
        tell(1, &registered);
        let desk = desk(&Limits {
            logins_at_once: 1,
            logins_waiting: 0,
            ..Limits::default()
        });
        let check = |password: &[u8]| {
            let password = Zeroizing::new(password.to_vec());
            desk.check(&view, HERE, "ana", password)
        };
        check(b"secret").await.unwrap();
        // From now on nobody gets a turn, so that whoever needs one is refused.
        let _turn = desk.line.wait(HERE, false).await.unwrap();
        check(b"secret").await.unwrap();
        let refused = check(b"Secret").await;
        assert_eq!(refused.unwrap_err(), LoginRefused::Busy, "it pays in full");
        let changed = Event::PasswordChanged {
            subscriber,
            verifier: Some(verifier(b"other")),
        };
        tell(2, &changed);
        assert_eq!(check(b"secret").await.unwrap_err(), LoginRefused::Busy);
        assert_eq!(check(b"other").await.unwrap_err(), LoginRefused::Busy);
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
    async fn a_wrong_password_takes_no_less_than_an_unknown_name_whatever_the_verifier_costs() {
        use tanglegate_core::{Event, Position, Recorded, SubscriberId, Timestamp, Username};
        let usual = Cost {
            memory_kib: 64,
            ..Cost::LEAST
        };
        let view = view();
        let ana = Event::SubscriberRegistered {
            subscriber: SubscriberId([1; 16]),
            username: Username::parse("ana").ok(),
            verifier: make_verifier(b"secret", [7; 16], Cost::LEAST).ok(),
            owner: None,
        };
        view.apply(&[Recorded {
            position: Position(1),
            recorded_at: Timestamp(1),
            event: &ana,
        }]);
        // The memory that a check leaves for the next one tells what it took.
        for (name, password, kib) in [
            ("ana", "secret", 8),
            ("ana", "Secret", 64),
            ("nobody", "secret", 64),
        ] {
            let desk = LoginDesk::new(&Limits::default(), usual, Zeroizing::new([5; 32])).unwrap();
            let password = Zeroizing::new(password.as_bytes().to_vec());
            let checked = desk.check(&view, HERE, name, password).await;
            assert_eq!(checked.is_ok(), kib == 8, "{name}");
            let memories = desk.memories.lock();
            assert_eq!(memories.len(), 1, "one turn, one memory");
            assert_eq!(memories[0].len(), kib, "{name}");
        }
    }

    #[tokio::test]
    async fn checks_take_no_more_memory_than_happen_at_once() {
        let view = Arc::new(view());
        let desk = Arc::new(desk(&Limits {
            logins_at_once: 2,
            ..Limits::default()
        }));
        let mut checks = tokio::task::JoinSet::new();
        for number in 0..50 {
            let (desk, view) = (Arc::clone(&desk), Arc::clone(&view));
            let address = IpAddr::from([192, 0, 2, number]);
            let name = number.to_string();
            checks.spawn(async move {
                desk.check(&view, address, &name, Zeroizing::default())
                    .await
            });
        }
        for refused in checks.join_all().await {
            assert_eq!(refused.unwrap_err(), LoginRefused::Wrong);
        }
        assert!((1..=2).contains(&desk.memories.lock().len()));
    }
}
