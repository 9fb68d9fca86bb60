//! Comparator `label`: whether two answers decide for the same class, row by row.

use super::comparison::{Found, Measures};
use super::reason::Reason;
use super::spec::{LabelRule, LabelSpec};

/// Compares rows of scores of one shape, given by the last dimension `width`. The classes
/// themselves ([`LabelRule::Class`]) are compared as values, by the caller; here they are taken
/// for numbers.
pub(super) fn compare(a: &[f64], b: &[f64], width: usize, spec: LabelSpec) -> Found {
    let width = width.max(1);
    let (rule, width) = match spec.by {
        // The larger of one score is always that score; what it decides is on which side it is.
        LabelRule::Argmax | LabelRule::TopK { .. } if width == 1 => (LabelRule::Threshold { at: 0.5 }, 1),
        LabelRule::Argmax => (LabelRule::TopK { k: 1 }, width),
        LabelRule::Class | LabelRule::Threshold { .. } => (spec.by, 1),
        LabelRule::TopK { .. } => (spec.by, width),
    };
    let mut found = Found::default();
    for (row, (a, b)) in a.chunks(width).zip(b.chunks(width)).enumerate() {
        let reason = rows(a, b, rule, spec.margin, &mut found.measures);
        found.measures.compared += 1;
        found.measures.different += u64::from(reason.is_some());
        let gravity = |reason: Option<Reason>| reason.map_or(0, |reason| 1 + reason.gravity());
        if gravity(reason) > gravity(found.reason) {
            found.reason = reason;
            found.at = Some(format!("row {row}"));
        }
    }
    found
}

fn rows(a: &[f64], b: &[f64], rule: LabelRule, margin: f64, measures: &mut Measures) -> Option<Reason> {
    // Infinities may be scores of classes that are masked out; NaN is no score.
    if a.iter().zip(b).any(|(a, b)| a.is_nan() != b.is_nan()) {
        return Some(Reason::NonFinite);
    }
    let nan = a.iter().filter(|score| score.is_nan()).count();
    measures.non_finite = measures.non_finite.saturating_add(u64::try_from(nan).unwrap_or(u64::MAX));
    let agree = match rule {
        LabelRule::TopK { k } => best_agree(a, b, k, margin),
        LabelRule::Threshold { at } => a
            .iter()
            .zip(b)
            .all(|(a, b)| (*a >= at) == (*b >= at) || (a - at).abs() <= margin && (b - at).abs() <= margin),
        LabelRule::Class | LabelRule::Argmax => a.iter().zip(b).all(|(a, b)| a == b || a.is_nan()),
    };
    (!agree).then_some(Reason::Label)
}

/// Whether the best class of each is among the best `k` of the other, or the two are tied in both.
fn best_agree(a: &[f64], b: &[f64], k: usize, margin: f64) -> bool {
    let (Some(of_a), Some(of_b)) = (best(a), best(b)) else { return true };
    if of_a == of_b || rank(b, of_a) < k && rank(a, of_b) < k {
        return true;
    }
    let tied = |scores: &[f64]| match (scores.get(of_a), scores.get(of_b)) {
        (Some(one), Some(other)) => (one - other).abs() <= margin,
        _ => false,
    };
    tied(a) && tied(b)
}

/// Position of the largest score, the first of equal ones; none when all are NaN.
fn best(scores: &[f64]) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (at, score) in scores.iter().enumerate().filter(|(_, score)| !score.is_nan()) {
        if best.is_none_or(|(_, so_far)| *score > so_far) {
            best = Some((at, *score));
        }
    }
    best.map(|(at, _)| at)
}

/// How many classes have a higher score than the one at `at`.
fn rank(scores: &[f64], at: usize) -> usize {
    let Some(mine) = scores.get(at) else { return usize::MAX };
    scores.iter().filter(|score| *score > mine).count()
}

/// Whether numbers look like the probabilities of classes: rows of 2 to 10 000 values from 0 to 1
/// with a sum of 1, as far as half precision keeps it.
pub(super) fn looks_like_probabilities(values: &[f64], shape: &[i64]) -> bool {
    let width = shape.last().and_then(|width| usize::try_from(*width).ok()).unwrap_or(0);
    let rows = || values.chunks(width.max(1));
    (2..=10_000).contains(&width)
        && !values.is_empty()
        && values.iter().all(|value| (0.0..=1.0).contains(value))
        && rows().all(|row| (row.iter().sum::<f64>() - 1.0).abs() <= 0.01)
}
