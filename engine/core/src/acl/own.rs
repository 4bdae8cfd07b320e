//! The rights of one subscriber. Most have one, which lies in the table itself.

use crate::Right;
use std::sync::Arc;

/// His own rights, without those of everyone.
#[derive(Debug, Clone, Default)]
pub(super) enum Own {
    #[default]
    None,
    One(Right),
    Many(Arc<[Right]>),
}

impl Own {
    pub(super) fn as_slice(&self) -> &[Right] {
        match self {
            Self::None => &[],
            Self::One(right) => std::slice::from_ref(right),
            Self::Many(rights) => rights,
        }
    }

    /// The same, for whoever keeps them.
    pub(super) fn shared(&self) -> Arc<[Right]> {
        match self {
            Self::Many(rights) => Arc::clone(rights),
            few => few.as_slice().into(),
        }
    }
}

impl FromIterator<Right> for Own {
    fn from_iter<T: IntoIterator<Item = Right>>(rights: T) -> Self {
        let mut rights = rights.into_iter();
        match (rights.next(), rights.next()) {
            (Some(first), Some(second)) => {
                Self::Many([first, second].into_iter().chain(rights).collect())
            }
            (Some(only), None) => Self::One(only),
            (None, _) => Self::None,
        }
    }
}
