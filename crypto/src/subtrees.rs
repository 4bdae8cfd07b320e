//! The large complete subtrees of a tree that grows: with them, proving one leaf of many takes
//! only the few hundred leaves around it and at the tree's end.
//!
//! A tree is divided into blocks of 256 leaves. The roots of complete blocks, and of the complete
//! subtrees over them, are kept in the order in which they became complete: 0.25 bytes for each
//! leaf. A root that is there once never changes, so those of a larger tree prove for a smaller.

use crate::merkle::{Frontier, Hash, root_of};
use crate::proof::{ProofError, inclusion_runs};
use std::ops::Range;

/// Height of the smallest subtree that is kept.
pub(crate) const BLOCK_HEIGHT: u32 = 8;
/// Leaves of a block.
const BLOCK: u64 = 1 << BLOCK_HEIGHT;

/// Roots of complete subtrees of 256 leaves and more. [`Frontier::push_noting`] gives them out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subtrees {
    /// Behind each block's root those of the larger subtrees that it completes.
    roots: Vec<Hash>,
}

impl Subtrees {
    /// Adds what became complete since the last time, in its order.
    pub fn extend(&mut self, complete: &[Hash]) {
        self.roots.extend_from_slice(complete);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.roots.len()
    }

    /// True before the first block is complete.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// The root of the subtree of this height that begins with leaf `first`.
    fn root(&self, height: u32, first: u64) -> Option<&Hash> {
        let over = height.checked_sub(BLOCK_HEIGHT)?;
        // It is complete with the block before this one.
        let blocks = (first >> BLOCK_HEIGHT).checked_add(1_u64.checked_shl(over)?)?;
        // A number of blocks has completed twice as many subtrees, less one for each that is
        // still the right edge.
        let last = blocks - 1;
        let before = 2 * last - u64::from(last.count_ones());
        self.roots
            .get(usize::try_from(before + u64::from(over)).ok()?)
    }
}

/// What it takes to prove that a leaf stands in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inclusion {
    /// The runs of leaves whose roots are the proof.
    runs: Vec<Range<u64>>,
    near: Range<u64>,
    tail: Range<u64>,
}

impl Inclusion {
    /// Of leaf `index` (from 0) in the tree of `size` leaves.
    ///
    /// # Errors
    /// When there is no such leaf.
    pub fn of(index: u64, size: u64) -> Result<Self, ProofError> {
        let runs = inclusion_runs(index, size)?;
        let block =
            |of: u64| of / BLOCK * BLOCK..size.min((of / BLOCK * BLOCK).saturating_add(BLOCK));
        let near = block(index);
        let tail = if near.end == size {
            size..size
        } else {
            block(size)
        };
        Ok(Self { runs, near, tail })
    }

    /// The leaves of its own block, itself among them: at most 256.
    #[must_use]
    pub fn near(&self) -> Range<u64> {
        self.near.clone()
    }

    /// The leaves behind the last complete block, unless they are [`Inclusion::near`]: at most 255,
    /// often none.
    #[must_use]
    pub fn tail(&self) -> Range<u64> {
        self.tail.clone()
    }

    /// The proof (RFC 6962 §2.1.1), from the leaves of those two ranges. `None` when there are too
    /// few of them, or the tree has not grown so large yet.
    #[must_use]
    pub fn path(&self, subtrees: &Subtrees, near: &[Hash], tail: &[Hash]) -> Option<Vec<Hash>> {
        let leaves = |run: Range<u64>| {
            within(&self.near, near, &run).or_else(|| within(&self.tail, tail, &run))
        };
        let root = |run: &Range<u64>| {
            let (length, mut at) = (run.end - run.start, run.start);
            let mut pieces = Vec::new();
            // A run is a tree of its own: complete subtrees, the largest first.
            for height in (0..u64::BITS).rev().filter(|it| length >> it & 1 == 1) {
                let piece = at..at + (1 << height);
                at = piece.end;
                pieces.push(match height {
                    BLOCK_HEIGHT.. => *subtrees.root(height, piece.start)?,
                    _ => root_of(leaves(piece)?),
                });
            }
            let frontier = Frontier::from_parts(length, pieces).ok()?;
            Some(frontier.root())
        };
        self.runs.iter().map(root).collect()
    }
}

/// Those of `run`, where all of them are among `hashes`, the leaves of `all`.
fn within<'a>(all: &Range<u64>, hashes: &'a [Hash], run: &Range<u64>) -> Option<&'a [Hash]> {
    let start = usize::try_from(run.start.checked_sub(all.start)?).ok()?;
    let end = usize::try_from(run.end.checked_sub(all.start)?).ok()?;
    hashes.get(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::leaf_hash;
    use crate::proof::{Wanted, verify_inclusion};
    use proptest::prelude::*;

    fn leaves(size: u64) -> Vec<Hash> {
        (0..size)
            .map(|it| leaf_hash(&[&it.to_be_bytes()]))
            .collect()
    }

    fn grown(leaves: &[Hash]) -> Subtrees {
        let (mut frontier, mut complete) = (Frontier::default(), Vec::new());
        let mut subtrees = Subtrees::default();
        for (number, leaf) in leaves.iter().enumerate() {
            frontier.push_noting(*leaf, &mut complete);
            // Commits of many sizes.
            if number % 700 == 3 {
                subtrees.extend(&std::mem::take(&mut complete));
            }
        }
        subtrees.extend(&complete);
        assert_eq!(frontier.root(), root_of(leaves));
        subtrees
    }

    fn slice(leaves: &[Hash], range: Range<u64>) -> &[Hash] {
        let at = |it: u64| usize::try_from(it).expect("small");
        &leaves[at(range.start)..at(range.end)]
    }

    fn by_all_leaves(index: u64, leaves: &[Hash]) -> Vec<Hash> {
        let mut wanted = Wanted::inclusion(index, leaves.len() as u64).expect("it is there");
        leaves.iter().for_each(|it| wanted.push(*it));
        wanted.finish().expect("every leaf passed by")
    }

    /// Proves a leaf of the tree of `size` leaves while the log has grown to all of `leaves`.
    fn prove(leaves: &[Hash], subtrees: &Subtrees, index: u64, size: u64) {
        let tree = slice(leaves, 0..size);
        let plan = Inclusion::of(index, size).expect("it is there");
        assert!(plan.near().contains(&index) && plan.near().end - plan.near().start <= 256);
        assert!(plan.tail().end - plan.tail().start <= 255);
        let (near, tail) = (slice(leaves, plan.near()), slice(leaves, plan.tail()));
        let path = plan.path(subtrees, near, tail).expect("all that it takes");
        assert_eq!(path, by_all_leaves(index, tree), "leaf {index} of {size}");
        let leaf = tree[usize::try_from(index).expect("small")];
        assert_eq!(
            verify_inclusion(&leaf, index, size, &path, &root_of(tree)),
            Ok(())
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn proofs_from_subtrees_are_those_from_all_leaves(
            grown_to in 1..9_000_u64, size in any::<prop::sample::Index>(), index in any::<prop::sample::Index>(),
        ) {
            let leaves = leaves(grown_to);
            let subtrees = grown(&leaves);
            let size = size.index(leaves.len()) as u64 + 1;
            let index = index.index(usize::try_from(size).expect("small")) as u64;
            prove(&leaves, &subtrees, index, size);
        }
    }

    #[test]
    fn proofs_hold_at_the_edges_of_blocks_and_subtrees() {
        let leaves = leaves(2_100);
        let subtrees = grown(&leaves);
        let edges = [
            1, 2, 255, 256, 257, 511, 512, 513, 767, 768, 1_024, 1_025, 2_047, 2_048, 2_049, 2_100,
        ];
        for size in edges {
            for index in edges.iter().map(|it| it - 1).filter(|it| *it < size) {
                prove(&leaves, &subtrees, index, size);
            }
        }
    }

    #[test]
    fn a_quarter_of_a_byte_is_kept_for_each_leaf() {
        let leaves = leaves(4_096);
        let subtrees = grown(&leaves);
        assert!(subtrees.len() * size_of::<Hash>() <= leaves.len() / 4);
        assert!(Subtrees::default().is_empty());
    }

    #[test]
    fn what_is_missing_gives_no_proof() {
        let leaves = leaves(1_000);
        let plan = Inclusion::of(3, 1_000).expect("it is there");
        let (near, tail) = (slice(&leaves, plan.near()), slice(&leaves, plan.tail()));
        assert!(plan.path(&grown(&leaves), near, tail).is_some());
        assert_eq!(plan.path(&grown(&leaves[..700]), near, tail), None);
        assert_eq!(plan.path(&grown(&leaves), &near[..255], tail), None);
        assert_eq!(plan.path(&grown(&leaves), near, &tail[1..]), None);
        assert!(Inclusion::of(7, 7).is_err());
    }
}
