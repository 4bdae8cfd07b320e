//! Logins: names and what is kept of passwords.

use std::fmt;
use std::sync::Arc;

/// A text that cannot be a username.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UsernameError {
    /// Too short or too long.
    #[error("a username has 1 to 64 bytes, this one has {0}")]
    Length(usize),
    /// Something that cannot be typed, seen or told apart.
    #[error("a username must not contain control characters or spaces at its ends")]
    Unprintable,
}

/// What a subscriber types to log in: 1 to 64 bytes of UTF-8. Personal data.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Username(Arc<str>);

impl Username {
    /// Reads a name.
    ///
    /// # Errors
    /// When it is empty, longer than 64 bytes, or has control characters or outer spaces.
    pub fn parse(text: &str) -> Result<Self, UsernameError> {
        if !(1..=64).contains(&text.len()) {
            return Err(UsernameError::Length(text.len()));
        }
        if text.chars().any(char::is_control) || text.trim() != text {
            return Err(UsernameError::Unprintable);
        }
        Ok(Self(text.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Shows no more than the length: names are personal data and have no place in logs.
impl fmt::Debug for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Username({} bytes)", self.0.len())
    }
}

/// What is kept of a password: Argon2id (RFC 9106) with its parameters and salt. It tells
/// whether a password is right, and not what it is.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordVerifier {
    /// Memory cost in KiB.
    pub memory_kib: u32,
    /// Number of passes.
    pub passes: u32,
    /// Number of lanes.
    pub lanes: u32,
    /// Random salt.
    pub salt: [u8; 16],
    /// The tag that the right password gives.
    pub tag: [u8; 32],
}

/// Shows nothing: salt and tag are what a thief needs to guess at leisure.
impl fmt::Debug for PasswordVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordVerifier(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_nobody_could_type_are_refused() {
        for text in ["", " ana", "ana ", "a\nb", "a\0", &"é".repeat(33)] {
            assert!(Username::parse(text).is_err(), "{text:?}");
        }
        for text in ["ana", "Ana María", "用户", &"x".repeat(64)] {
            assert!(Username::parse(text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn debug_output_tells_neither_names_nor_verifiers() {
        let name = Username::parse("ana").expect("valid");
        let verifier = PasswordVerifier {
            memory_kib: 8,
            passes: 1,
            lanes: 1,
            salt: [171; 16],
            tag: [205; 32],
        };
        let shown = format!("{name:?} {verifier:?}");
        assert!(!shown.contains("ana") && !shown.contains("171") && !shown.contains("205"));
    }
}
