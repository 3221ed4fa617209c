//! A Merkle tree as transparency logs keep it (RFC 6962): its root, and the proof that an entry is in it.

use sha2::{Digest as _, Sha256};

fn node(prefix: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut hash = Sha256::new_with_prefix([prefix]);
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().to_vec()
}

/// The largest power of two below a number of leaves.
fn split(n_leaves: usize) -> usize {
    let mut left = 1;
    while left * 2 < n_leaves {
        left *= 2;
    }
    left
}

/// The root of a tree with these entries.
pub(super) fn root(leaves: &[Vec<u8>]) -> Vec<u8> {
    match leaves {
        [one] => node(0, &[one]),
        many => {
            let (left, right) = many.split_at(split(many.len()));
            node(1, &[&root(left), &root(right)])
        }
    }
}

/// The hashes that lead from an entry to the root.
pub(super) fn path(index: usize, leaves: &[Vec<u8>]) -> Vec<Vec<u8>> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let at = split(leaves.len());
    let (left, right) = leaves.split_at(at);
    if index < at {
        let mut hashes = path(index, left);
        hashes.push(root(right));
        hashes
    } else {
        let mut hashes = path(index - at, right);
        hashes.push(root(left));
        hashes
    }
}
