//! Which versions of a model are served, of those that lie in its folder.

use std::collections::BTreeSet;

/// Triton's version policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionPolicy {
    /// The highest numbers, so many of them.
    Latest(usize),
    /// Every version.
    All,
    /// These and no other.
    Specific(BTreeSet<u64>),
}

impl Default for VersionPolicy {
    fn default() -> Self {
        Self::Latest(1)
    }
}

impl VersionPolicy {
    /// The versions to serve of those `found`, which may come in any order, lowest first. Versions
    /// in `labelled` are served whatever the policy says: a label names what must be there.
    pub fn choose(&self, found: &BTreeSet<u64>, labelled: &[u64]) -> BTreeSet<u64> {
        let mut chosen: BTreeSet<u64> = match self {
            Self::Latest(count) => found.iter().rev().take((*count).max(1)).copied().collect(),
            Self::All => found.clone(),
            Self::Specific(wanted) => found.intersection(wanted).copied().collect(),
        };
        chosen.extend(labelled.iter().filter(|version| found.contains(version)));
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(versions: &[u64]) -> BTreeSet<u64> {
        versions.iter().copied().collect()
    }

    #[test]
    fn a_policy_chooses_among_what_is_there_and_labels_add_to_it() {
        let found = set(&[1, 2, 9, 10]);
        assert_eq!(VersionPolicy::default().choose(&found, &[]), set(&[10]));
        assert_eq!(VersionPolicy::Latest(2).choose(&found, &[1, 7]), set(&[1, 9, 10]));
        assert_eq!(VersionPolicy::All.choose(&found, &[]), found);
        assert_eq!(VersionPolicy::Specific(set(&[2, 3])).choose(&found, &[]), set(&[2]));
        assert_eq!(VersionPolicy::Latest(9).choose(&set(&[]), &[1]), set(&[]));
    }
}
