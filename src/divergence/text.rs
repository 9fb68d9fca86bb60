//! Comparator `text`: how far apart two texts are, by edit distance and by their tokens.

use super::comparison::{Found, Measures};
use super::distance::{edit_distance, normalise, token_overlap};
use super::reason::Reason;
use super::spec::TextSpec;

/// Compares two texts.
pub(super) fn compare(a: &str, b: &str, spec: TextSpec) -> Found {
    let (a, b) = (normalise(a), normalise(b));
    let (distance, overlap) =
        if a == b { (0.0, 1.0) } else { (edit_distance(&a, &b), token_overlap(&a, &b)) };
    let diverged = distance > spec.max_distance || overlap < spec.min_overlap;
    Found {
        reason: diverged.then_some(Reason::Text),
        at: None,
        measures: Measures {
            compared: 1,
            different: u64::from(diverged),
            distance: Some(distance),
            overlap: Some(overlap),
            ..Measures::default()
        },
    }
}
