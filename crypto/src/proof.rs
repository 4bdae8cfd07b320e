//! Proofs about the Merkle tree (RFC 6962 §2.1.1 and §2.1.2): that a leaf stands in it, and that
//! a larger tree only added to a smaller one.
//!
//! Each hash of a proof is the root of a run of leaves. [`Wanted`] knows which runs a proof needs
//! and makes their roots while the leaves pass by once: memory for a path, whatever the tree's
//! size.

use crate::merkle::{Frontier, Hash, node_hash};
use std::ops::Range;

/// A proof that does not prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// There is no such leaf, or the smaller tree is the larger one.
    #[error("a tree of {size} leaves has nothing to prove about {asked}")]
    OutOfRange {
        /// The leaf's index, or the size of the smaller tree.
        asked: u64,
        /// Leaves of the tree.
        size: u64,
    },
    /// More or fewer hashes than such a proof has.
    #[error("the proof has {found} hashes, and not as many as its sizes take")]
    Length {
        /// How many.
        found: usize,
    },
    /// The hashes do not lead to the root.
    #[error("the proof does not lead to the root")]
    Differs,
}

/// The roots that a proof consists of, while they are made.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The runs of leaves, in the order of the proof.
    runs: Vec<Range<u64>>,
    /// Indices into `runs`, from the leftmost run to the rightmost.
    left_to_right: Vec<usize>,
    /// How many of those are complete, and the one that grows.
    complete: usize,
    growing: Frontier,
    roots: Vec<Hash>,
    next: u64,
}

impl Wanted {
    /// What proves that leaf `index` (from 0) stands in the tree of `size` leaves.
    ///
    /// # Errors
    /// When there is no such leaf.
    pub fn inclusion(index: u64, size: u64) -> Result<Self, ProofError> {
        inclusion_runs(index, size).map(Self::of)
    }

    /// What proves that the tree of `size` leaves begins with that of `smaller` leaves.
    ///
    /// # Errors
    /// When `smaller` is 0 or exceeds `size`.
    pub fn consistency(smaller: u64, size: u64) -> Result<Self, ProofError> {
        if smaller == 0 || smaller > size {
            return Err(ProofError::OutOfRange {
                asked: smaller,
                size,
            });
        }
        let mut runs = Vec::new();
        subproof(smaller, 0..size, true, &mut runs);
        Ok(Self::of(runs))
    }

    fn of(runs: Vec<Range<u64>>) -> Self {
        let mut left_to_right: Vec<usize> = (0..runs.len()).collect();
        left_to_right.sort_by_key(|it| runs[*it].start);
        Self {
            roots: vec![[0; 32]; runs.len()],
            runs,
            left_to_right,
            complete: 0,
            growing: Frontier::default(),
            next: 0,
        }
    }

    /// The next leaf of the tree, from the first on; those that no root covers are passed over.
    pub fn push(&mut self, leaf: Hash) {
        let index = self.next;
        self.next += 1;
        let Some(at) = self.left_to_right.get(self.complete) else {
            return;
        };
        let run = &self.runs[*at];
        if index < run.start {
            return;
        }
        self.growing.push(leaf);
        if self.next == run.end {
            self.roots[*at] = std::mem::take(&mut self.growing).root();
            self.complete += 1;
        }
    }

    /// The proof, when every leaf that it covers has passed by.
    #[must_use]
    pub fn finish(self) -> Option<Vec<Hash>> {
        (self.complete == self.runs.len()).then_some(self.roots)
    }
}

/// The runs of leaves whose roots prove that leaf `index` stands in the tree of `size` leaves.
pub(crate) fn inclusion_runs(index: u64, size: u64) -> Result<Vec<Range<u64>>, ProofError> {
    if index >= size {
        return Err(ProofError::OutOfRange { asked: index, size });
    }
    let mut runs = Vec::new();
    path(index, 0..size, &mut runs);
    Ok(runs)
}

/// Where a tree of more than one leaf is divided: the largest power of two below its size.
fn half(run: &Range<u64>) -> u64 {
    let size = run.end - run.start;
    run.start + size.next_power_of_two() / 2
}

/// PATH of RFC 6962 §2.1.1.
fn path(index: u64, run: Range<u64>, runs: &mut Vec<Range<u64>>) {
    if run.end - run.start == 1 {
        return;
    }
    let middle = half(&run);
    if index < middle {
        path(index, run.start..middle, runs);
        runs.push(middle..run.end);
    } else {
        path(index, middle..run.end, runs);
        runs.push(run.start..middle);
    }
}

/// SUBPROOF of RFC 6962 §2.1.2; `known` while the smaller tree is the whole left edge.
fn subproof(smaller: u64, run: Range<u64>, known: bool, runs: &mut Vec<Range<u64>>) {
    if smaller == run.end {
        if !known {
            runs.push(run);
        }
        return;
    }
    let middle = half(&run);
    if smaller <= middle {
        subproof(smaller, run.start..middle, known, runs);
        runs.push(middle..run.end);
    } else {
        subproof(smaller, middle..run.end, false, runs);
        runs.push(run.start..middle);
    }
}

/// Checks that `leaf` stands at `index` (from 0) of the tree with `size` leaves and `root`
/// (RFC 9162 §2.1.3.2).
///
/// # Errors
/// When it does not, or the proof is not one.
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    let wanted = Wanted::inclusion(index, size)?;
    let found = proof.len();
    if wanted.runs.len() != found {
        return Err(ProofError::Length { found });
    }
    let reached = wanted
        .runs
        .iter()
        .zip(proof)
        .fold(*leaf, |node, (run, other)| {
            if run.start > index {
                node_hash(&node, other)
            } else {
                node_hash(other, &node)
            }
        });
    if reached == *root {
        Ok(())
    } else {
        Err(ProofError::Differs)
    }
}

/// Checks that the tree with `size` leaves and `root` begins with the one of `smaller` leaves
/// and `smaller_root` (RFC 9162 §2.1.4.2).
///
/// # Errors
/// When it does not, or the proof is not one.
pub fn verify_consistency(
    (smaller, smaller_root): (u64, &Hash),
    (size, root): (u64, &Hash),
    proof: &[Hash],
) -> Result<(), ProofError> {
    let wanted = Wanted::consistency(smaller, size)?;
    let found = proof.len();
    if wanted.runs.len() != found {
        return Err(ProofError::Length { found });
    }
    // Runs left of the smaller tree's edge belong to both trees, those right of it to the larger.
    let mut hashes = wanted.runs.iter().zip(proof).peekable();
    let whole = hashes.next_if(|(run, _)| run.end == smaller);
    let seed = whole.map_or(*smaller_root, |(_, hash)| *hash);
    let (mut old, mut new) = (seed, seed);
    for (run, hash) in hashes {
        if run.start >= smaller {
            new = node_hash(&new, hash);
        } else {
            (old, new) = (node_hash(hash, &old), node_hash(hash, &new));
        }
    }
    if (&old, &new) == (smaller_root, root) {
        Ok(())
    } else {
        Err(ProofError::Differs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::{leaf_hash, root_of};

    const MOST: u64 = 70;

    fn leaves() -> Vec<Hash> {
        (0..MOST)
            .map(|it| leaf_hash(&[&it.to_be_bytes()]))
            .collect()
    }

    fn made(mut wanted: Wanted, leaves: &[Hash]) -> Vec<Hash> {
        leaves.iter().for_each(|it| wanted.push(*it));
        wanted.finish().expect("every leaf passed by")
    }

    #[test]
    fn every_leaf_of_every_tree_is_proved_and_no_other() {
        let leaves = leaves();
        for size in 1..=MOST {
            let tree = &leaves[..usize::try_from(size).expect("small")];
            let root = root_of(tree);
            for (index, leaf) in (0..).zip(tree) {
                let wanted = Wanted::inclusion(index, size).expect("it is there");
                let proof = made(wanted, tree);
                assert_eq!(verify_inclusion(leaf, index, size, &proof, &root), Ok(()));
                let wrong = verify_inclusion(&[7; 32], index, size, &proof, &root);
                assert_eq!(wrong, Err(ProofError::Differs));
                let elsewhere = (index + 1) % size;
                if size > 1 {
                    assert!(verify_inclusion(leaf, elsewhere, size, &proof, &root).is_err());
                }
                for at in 0..proof.len() {
                    let mut changed = proof.clone();
                    changed[at][31] ^= 1;
                    assert!(verify_inclusion(leaf, index, size, &changed, &root).is_err());
                }
                let longer = [proof, vec![[0; 32]]].concat();
                assert!(matches!(
                    verify_inclusion(leaf, index, size, &longer, &root),
                    Err(ProofError::Length { .. })
                ));
            }
            assert!(Wanted::inclusion(size, size).is_err());
        }
    }

    #[test]
    fn every_tree_is_proved_to_continue_the_smaller_ones_and_no_fork() {
        let leaves = leaves();
        let roots: Vec<Hash> = (0..=leaves.len())
            .map(|it| root_of(&leaves[..it]))
            .collect();
        let at = |size: u64| &roots[usize::try_from(size).expect("small")];
        for size in 1..=MOST {
            let tree = &leaves[..usize::try_from(size).expect("small")];
            for smaller in 1..=size {
                let wanted = Wanted::consistency(smaller, size).expect("it is smaller");
                let proof = made(wanted, tree);
                let verify = |old, new, proof: &[Hash]| {
                    verify_consistency((smaller, old), (size, new), proof)
                };
                assert_eq!(verify(at(smaller), at(size), &proof), Ok(()));
                assert!(verify(&[7; 32], at(size), &proof).is_err());
                assert!(verify(at(smaller), &[7; 32], &proof).is_err());
                for hash in 0..proof.len() {
                    let mut changed = proof.clone();
                    changed[hash][0] ^= 1;
                    assert!(verify(at(smaller), at(size), &changed).is_err());
                }
            }
        }
        assert!(Wanted::consistency(0, 5).is_err() && Wanted::consistency(6, 5).is_err());
    }

    #[test]
    fn a_proof_is_finished_only_with_the_leaves_it_covers() {
        let leaves = leaves();
        let mut wanted = Wanted::inclusion(0, 8).expect("it is there");
        leaves[..7].iter().for_each(|it| wanted.push(*it));
        assert_eq!(wanted.clone().finish(), None);
        wanted.push(leaves[7]);
        assert!(wanted.finish().is_some());
    }
}
