//! The frontier against the recursive definition of RFC 6962 §2.1.

use proptest::collection::vec;
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use tanglegate_crypto::{Frontier, Hash, SealError, SubjectKey, leaf_hash, root_of};
use tanglegate_proptest::{Broken, for_all};

/// The hash of a tree over some data, word for word.
fn tree_hash(data: &[Vec<u8>]) -> Hash {
    match data {
        [] => Sha256::digest([]).into(),
        [one] => Sha256::new_with_prefix([0])
            .chain_update(one)
            .finalize()
            .into(),
        more => {
            let mut split = 1;
            while split * 2 < more.len() {
                split *= 2;
            }
            let (left, right) = more.split_at(split);
            let both = Sha256::new_with_prefix([1]).chain_update(tree_hash(left));
            both.chain_update(tree_hash(right)).finalize().into()
        }
    }
}

fn same<T: PartialEq + std::fmt::Debug>(found: T, expected: T, what: &str) -> Result<(), Broken> {
    if found == expected {
        return Ok(());
    }
    Err(Broken(format!("{what}: {found:?}, not {expected:?}")))
}

#[test]
fn a_frontier_that_was_kept_at_any_size_grows_to_the_root_by_definition() {
    let data = vec(vec(any::<u8>(), 0..20), 0..130);
    for_all(60, (data, 0..200_usize), |(data, kept_at)| {
        let leaves: Vec<Hash> = data.iter().map(|it| leaf_hash(&[it])).collect();
        let (before, after) = leaves.split_at((*kept_at).min(leaves.len()));
        let mut frontier = Frontier::default();
        before.iter().for_each(|it| frontier.push(*it));
        same(frontier.root(), root_of(before), "the root of the first")?;
        let mut frontier = Frontier::from_parts(frontier.size(), frontier.subtrees().to_vec())
            .map_err(|error| Broken(error.to_string()))?;
        after.iter().for_each(|it| frontier.push(*it));
        same(frontier.size(), data.len() as u64, "the size")?;
        same(frontier.root(), tree_hash(data), "the root")?;
        same(root_of(&leaves), tree_hash(data), "the root at once")
    });
}

#[test]
fn a_leaf_is_the_same_in_whatever_parts_it_comes() {
    for_all(
        200,
        (vec(any::<u8>(), 0..80), 0..80_usize),
        |(data, cut)| {
            let (one, other) = data.split_at((*cut).min(data.len()));
            same(leaf_hash(&[one, other]), leaf_hash(&[data]), "in two parts")
        },
    );
}

#[test]
fn a_frontier_takes_exactly_as_many_hashes_as_its_size_has_bits() {
    for_all(400, (any::<u64>(), 0..65_usize), |&(size, hashes)| {
        let fits = size.count_ones() as usize == hashes;
        let kept = Frontier::from_parts(size, vec![[7; 32]; hashes]);
        same(kept.is_ok(), fits, "taken")
    });
}

#[test]
fn what_is_sealed_opens_unchanged_and_nothing_else_opens_at_all() {
    let plain = vec(any::<u8>(), 0..60);
    let drawn = (
        any::<[u8; 32]>(),
        any::<[u8; 24]>(),
        plain,
        any::<(usize, u8)>(),
    );
    for_all(200, drawn, |(key, nonce, plain, (at, flip))| {
        let key = SubjectKey::from_bytes(*key);
        let sealed = key.seal(*nonce, b"name", plain).into_bytes();
        let opened = key.open(b"name", &sealed).map(|it| it.to_vec());
        same(opened, Ok(plain.clone()), "opened")?;
        let mut changed = sealed.clone();
        let at = at % changed.len();
        changed[at] ^= (*flip).max(1);
        let opened = key.open(b"name", &changed).map(|it| it.to_vec());
        same(opened, Err(SealError::DoesNotOpen), "changed")?;
        let opened = key.open(b"name", &sealed[..at]);
        same(opened.is_err(), true, "cut")
    });
}

#[test]
fn no_bytes_make_opening_panic() {
    for_all(500, vec(any::<u8>(), 0..100), |bytes| {
        let opened = SubjectKey::from_bytes([1; 32]).open(b"name", bytes);
        same(opened.is_err(), true, "random bytes")
    });
}
