//! The Merkle tree over the log (RFC 6962 §2.1, SHA-256), grown leaf by leaf.
//!
//! Appending needs only the roots of the complete subtrees along the right edge, at most 64
//! hashes: the *frontier*.

use crate::subtrees::BLOCK_HEIGHT;
use sha2::{Digest as _, Sha256};

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// A frontier that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrontierError {
    /// One hash for each bit that is set in the size.
    #[error("a tree of {size} leaves has a frontier of {expected} hashes, not of {found}")]
    Length {
        /// Leaves of the tree.
        size: u64,
        /// How many hashes it takes.
        expected: u32,
        /// How many there were.
        found: usize,
    },
}

/// Hash of a leaf: SHA-256(0x00 ‖ data), RFC 6962 §2.1. The parts are hashed one after another.
#[must_use]
pub fn leaf_hash(parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new_with_prefix([0x00]);
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

pub(crate) fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [0x01; 65];
    bytes[1..33].copy_from_slice(left);
    bytes[33..].copy_from_slice(right);
    Sha256::digest(bytes).into()
}

/// The right edge of the tree: the root of each complete subtree, the largest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    subtrees: Vec<Hash>,
}

impl Frontier {
    /// A frontier as it was kept.
    ///
    /// # Errors
    /// When the number of hashes does not fit the size.
    pub fn from_parts(size: u64, subtrees: Vec<Hash>) -> Result<Self, FrontierError> {
        let (expected, found) = (size.count_ones(), subtrees.len());
        if expected as usize != found {
            return Err(FrontierError::Length {
                size,
                expected,
                found,
            });
        }
        Ok(Self { size, subtrees })
    }

    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The hashes, the largest subtree first.
    #[must_use]
    pub fn subtrees(&self) -> &[Hash] {
        &self.subtrees
    }

    /// Adds a leaf. Amortised one inner node per leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.grow(leaf, |_, _| ());
    }

    /// Adds a leaf, and to `complete` the roots of the subtrees of 256 leaves and more that it
    /// completes, the smallest first: what [`crate::Subtrees`] keeps.
    pub fn push_noting(&mut self, leaf: Hash, complete: &mut Vec<Hash>) {
        self.grow(leaf, |height, root| {
            if height >= BLOCK_HEIGHT {
                complete.push(*root);
            }
        });
    }

    /// Adds a leaf; `complete` is given the height and the root of each subtree that it completes.
    fn grow(&mut self, leaf: Hash, mut complete: impl FnMut(u32, &Hash)) {
        let mut node = leaf;
        for height in 1..=self.size.trailing_ones() {
            let left = self
                .subtrees
                .pop()
                .expect("one subtree for each bit of the size");
            node = node_hash(&left, &node);
            complete(height, &node);
        }
        self.subtrees.push(node);
        self.size += 1;
    }

    /// The root of the tree; of the empty one, SHA-256 of nothing.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut right_to_left = self.subtrees.iter().rev();
        let Some(smallest) = right_to_left.next() else {
            return Sha256::digest([]).into();
        };
        right_to_left.fold(*smallest, |right, left| node_hash(left, &right))
    }
}

/// The root over some leaf hashes.
#[must_use]
pub fn root_of(leaves: &[Hash]) -> Hash {
    let mut frontier = Frontier::default();
    leaves.iter().for_each(|it| frontier.push(*it));
    frontier.root()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Hash {
        let byte = |at: usize| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).expect("hex");
        std::array::from_fn(byte)
    }

    /// The recursive definition of RFC 6962 §2.1, word for word.
    fn by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [one] => *one,
            more => {
                let half = more.len().next_power_of_two() / 2;
                let (left, right) = more.split_at(half);
                node_hash(&by_definition(left), &by_definition(right))
            }
        }
    }

    #[test]
    fn roots_equal_the_published_vectors() {
        // The reference data of Certificate Transparency: eight inputs, roots of each prefix.
        let inputs: [&[u8]; 8] = [
            &[],
            &[0x00],
            &[0x10],
            &[0x20, 0x21],
            &[0x30, 0x31],
            &[0x40, 0x41, 0x42, 0x43],
            &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
            &[
                0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d,
                0x6e, 0x6f,
            ],
        ];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let mut frontier = Frontier::default();
        assert_eq!(frontier.root(), hex(empty));
        for (input, root) in inputs.iter().zip(roots) {
            frontier.push(leaf_hash(&[input]));
            assert_eq!(frontier.root(), hex(root), "at size {}", frontier.size());
        }
    }

    #[test]
    fn growing_leaf_by_leaf_gives_the_root_by_definition() {
        let leaves: Vec<Hash> = (0..200_u8).map(|it| leaf_hash(&[&[it]])).collect();
        for size in 0..leaves.len() {
            assert_eq!(
                root_of(&leaves[..size]),
                by_definition(&leaves[..size]),
                "size {size}"
            );
        }
    }

    #[test]
    fn a_kept_frontier_grows_on() {
        let leaves: Vec<Hash> = (0..50_u8).map(|it| leaf_hash(&[&[it]])).collect();
        let mut frontier = Frontier::default();
        for leaf in &leaves {
            let kept = frontier.subtrees().to_vec();
            frontier = Frontier::from_parts(frontier.size(), kept).expect("as it was");
            frontier.push(*leaf);
        }
        assert_eq!(frontier.root(), by_definition(&leaves));
        assert!(Frontier::from_parts(3, vec![[0; 32]]).is_err());
    }
}
