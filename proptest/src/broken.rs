//! A promise that was not kept.

/// What was promised and what was found instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub String);

impl From<tanglegate_core::Contradiction> for Broken {
    fn from(contradiction: tanglegate_core::Contradiction) -> Self {
        Self(contradiction.to_string())
    }
}

/// Returns [`Broken`] with a message when the condition does not hold.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::Broken(format!($($message)+)));
        }
    };
}

/// Returns [`Broken`] with both values when they differ.
macro_rules! ensure_same {
    ($found:expr, $expected:expr, $($message:tt)+) => {
        match (&$found, &$expected) {
            (found, expected) if found == expected => {}
            (found, expected) => {
                let what = format!($($message)+);
                return Err($crate::Broken(format!(
                    "{what}\n   found: {found:?}\nexpected: {expected:?}"
                )));
            }
        }
    };
}

pub(crate) use {ensure, ensure_same};
