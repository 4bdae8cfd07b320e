//! Cloudflare's `signed_note` and `tlog_tiles`, ports of the Go checksum database's code, against
//! our crypto crate: what one makes, the other has to believe, and neither a changed copy.

use signed_note::{Note, NoteError, StandardSigner, StandardVerifier, VerifierList};
use tanglegate_crypto::{
    Hash, HeadKey, HeadVerifier, Origin, ProofError, SignedHead, TreeHead, Wanted, leaf_hash,
    root_of, verify_consistency, verify_inclusion,
};
use tlog_tiles::{
    Checkpoint, HashReader, check_record, check_tree, prove_record, prove_tree, record_hash,
    stored_hashes, tree_hash,
};

/// Every shape of the right edge up to this size.
const MOST: u64 = 70;

fn index(number: u64) -> usize {
    usize::try_from(number).expect("small")
}

fn key(seed: u8) -> HeadKey {
    let origin = Origin::parse("log.example.org/shop").expect("a name of a log");
    HeadKey::from_seed(origin, &[seed; 32])
}

fn theirs(keys: &[&HeadKey]) -> VerifierList {
    let verifier = |key: &&HeadKey| {
        let text = key.verifier().to_string();
        let read = StandardVerifier::new(&text).expect("they read our public key");
        Box::new(read) as Box<dyn signed_note::Verifier>
    };
    VerifierList::new(keys.iter().map(verifier).collect())
}

/// A tree of both kinds over the same records.
struct Tree {
    leaves: Vec<Hash>,
    /// Their way to keep a tree: every complete subtree.
    stored: Stored,
}

struct Stored(Vec<tlog_tiles::Hash>);

impl HashReader for Stored {
    fn read_hashes(&self, wanted: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        Ok(wanted.iter().map(|it| self.0[index(*it)]).collect())
    }
}

impl Tree {
    fn grown() -> Self {
        let mut tree = Self {
            leaves: Vec::new(),
            stored: Stored(Vec::new()),
        };
        for number in 0..MOST {
            let record = number.to_be_bytes();
            let more = stored_hashes(number, &record, &tree.stored).expect("it grows");
            tree.stored.0.extend(more);
            tree.leaves.push(leaf_hash(&[&record]));
            assert_eq!(record_hash(&record).0, tree.leaves[index(number)]);
        }
        tree
    }

    fn root(&self, size: u64) -> Hash {
        root_of(&self.leaves[..index(size)])
    }

    fn ours(&self, mut wanted: Wanted) -> Vec<Hash> {
        self.leaves.iter().for_each(|it| wanted.push(*it));
        wanted.finish().expect("every leaf passed by")
    }
}

fn to_theirs(hashes: &[Hash]) -> Vec<tlog_tiles::Hash> {
    hashes.iter().map(|it| tlog_tiles::Hash(*it)).collect()
}

fn to_ours(hashes: &[tlog_tiles::Hash]) -> Vec<Hash> {
    hashes.iter().map(|it| it.0).collect()
}

#[test]
fn a_head_that_we_signed_opens_with_their_verifier_and_reads_as_a_checkpoint() {
    let tree = Tree::grown();
    let (size, root) = (MOST, tree.root(MOST));
    let origin = key(1).verifier().origin().clone();
    let head = TreeHead { origin, size, root };
    let text = head.sign(&[&key(1)]);

    let note = Note::from_bytes(text.as_bytes()).expect("they read our note");
    let (verified, unverified) = note.verify(&theirs(&[&key(1)])).expect("it holds");
    assert_eq!((verified.len(), unverified.len()), (1, 0));
    let checkpoint = Checkpoint::from_bytes(note.text()).expect("a checkpoint");
    assert_eq!(checkpoint.origin(), "log.example.org/shop");
    assert_eq!((checkpoint.size(), checkpoint.hash().0), (size, root));
    assert_eq!(checkpoint.extension(), "");
    assert_eq!(note.to_bytes(), text.as_bytes(), "written as they write it");

    let nobody = note.verify(&theirs(&[&key(2)]));
    assert!(
        matches!(nobody, Err(NoteError::UnverifiedNote)),
        "{nobody:?}"
    );
    let larger = text.replacen("\n70\n", "\n71\n", 1);
    let changed = Note::from_bytes(larger.as_bytes()).expect("still a note");
    let found = changed.verify(&theirs(&[&key(1)]));
    assert!(
        matches!(found, Err(NoteError::InvalidSignature { .. })),
        "{found:?}"
    );
}

#[test]
fn the_head_of_a_handover_holds_under_both_keys() {
    let origin = key(1).verifier().origin().clone();
    let root = leaf_hash(&[b"only"]);
    let head = TreeHead {
        origin,
        size: 1,
        root,
    };
    let text = head.sign(&[&key(2), &key(1)]);
    let note = Note::from_bytes(text.as_bytes()).expect("they read our note");
    let both = note
        .verify(&theirs(&[&key(1), &key(2)]))
        .expect("both hold");
    assert_eq!((both.0.len(), both.1.len()), (2, 0));
    for known in [key(1), key(2)] {
        let (verified, unverified) = note.verify(&theirs(&[&known])).expect("one is enough");
        assert_eq!((verified.len(), unverified.len()), (1, 1));
    }
}

#[test]
fn a_head_that_they_signed_verifies_with_ours() {
    let tree = Tree::grown();
    let secret = key(3).to_text();
    let signer = StandardSigner::new(&secret).expect("they read our secret key");
    let root = tree_hash(MOST, &tree.stored).expect("their root");
    let checkpoint = Checkpoint::new("log.example.org/shop", MOST, root, "a line of theirs\n")
        .expect("a checkpoint");
    let mut note = Note::new(&checkpoint.to_bytes(), &[]).expect("a note");
    note.add_sigs(&[&signer]).expect("signed");
    let text = String::from_utf8(note.to_bytes()).expect("text");

    let head = SignedHead::parse(&text).expect("we read their note");
    let verifier: HeadVerifier = key(3).verifier();
    let read = head.verify(&verifier).expect("it holds");
    assert_eq!((read.size, read.root), (MOST, tree.root(MOST)));
    assert!(head.verify(&key(1).verifier()).is_err());
    let changed = text.replacen("theirs", "others", 1);
    let changed = SignedHead::parse(&changed).expect("still a note");
    assert!(changed.verify(&verifier).is_err(), "every line is signed");
}

#[test]
fn every_inclusion_proof_is_the_same_in_both_and_holds_in_both() {
    let tree = Tree::grown();
    for size in 1..=MOST {
        let root = tree.root(size);
        assert_eq!(tree_hash(size, &tree.stored).expect("a root").0, root);
        for at in 0..size {
            let wanted = Wanted::inclusion(at, size).expect("it is there");
            let ours = tree.ours(wanted);
            let made = prove_record(size, at, &tree.stored).expect("it is there");
            assert_eq!(to_ours(&made), ours, "leaf {at} of {size}");
            let leaf = tree.leaves[index(at)];
            let (their_root, their_leaf) = (tlog_tiles::Hash(root), tlog_tiles::Hash(leaf));
            let checked = check_record(&to_theirs(&ours), size, their_root, at, their_leaf);
            assert!(checked.is_ok(), "leaf {at} of {size}: {checked:?}");
            let checked = verify_inclusion(&leaf, at, size, &to_ours(&made), &root);
            assert_eq!(checked, Ok(()), "leaf {at} of {size}");

            let wrong = tlog_tiles::Hash([7; 32]);
            assert!(check_record(&to_theirs(&ours), size, their_root, at, wrong).is_err());
        }
    }
}

#[test]
fn every_consistency_proof_is_the_same_in_both_and_holds_in_both() {
    let tree = Tree::grown();
    for size in 1..=MOST {
        for smaller in 1..=size {
            let wanted = Wanted::consistency(smaller, size).expect("it is smaller");
            let ours = tree.ours(wanted);
            let made = prove_tree(size, smaller, &tree.stored).expect("it is smaller");
            assert_eq!(to_ours(&made), ours, "{smaller} of {size}");
            let (first, second) = (tree.root(smaller), tree.root(size));
            let wrap = tlog_tiles::Hash;
            let checked = check_tree(&made, size, wrap(second), smaller, wrap(first));
            assert!(checked.is_ok(), "{smaller} of {size}: {checked:?}");
            let checked = verify_consistency((smaller, &first), (size, &second), &to_ours(&made));
            assert_eq!(checked, Ok(()), "{smaller} of {size}");

            let fork = [7; 32];
            assert!(check_tree(&made, size, wrap(second), smaller, wrap(fork)).is_err());
            let forked = verify_consistency((smaller, &fork), (size, &second), &ours);
            assert_eq!(forked, Err(ProofError::Differs));
        }
    }
}
