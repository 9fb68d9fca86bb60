//! How many requests may be under way, and how failed ones are sent again.

use crate::routing::spec::{AdaptiveSpec, LimitSpec, RetrySpec};

use super::super::problem::Report;
use super::super::raw;
use super::super::read::Field;
use super::{number, set_count, set_number, set_size, set_time, share};

/// A limit of requests under way.
pub(super) fn concurrency(field: &Field<raw::Concurrency>, report: &mut Report) -> Option<LimitSpec> {
    let raw = field.get()?;
    if raw.max.is_missing() && raw.adaptive.is_missing() && !report.has_unknown_key(&raw.at) {
        report.wrong(&raw.at, "no limit", "write max, adaptive, or both");
    }
    let max = raw.max.get().map(|n| number(n.0));
    let adaptive = raw.adaptive.get().map(|raw| {
        let mut spec = AdaptiveSpec::default();
        set_count(&mut spec.min, &raw.min);
        set_count(&mut spec.max, &raw.max);
        set_count(&mut spec.initial, &raw.initial);
        set_number(&mut spec.tolerance, &raw.tolerance);
        if spec.min > spec.max {
            let message = format!("min is {} and max is {}", spec.min, spec.max);
            report.wrong(&raw.at, message, "write a min that is not above max");
        }
        if let Some(given) = raw.tolerance.given().filter(|given| given.value.0 < 1.0) {
            report.wrong(&given.at, "below 1 the limit would always fall", "write 1 or more");
        }
        spec
    });
    Some(LimitSpec { max, adaptive })
}

/// How failed requests are sent again.
pub(super) fn retry(field: &Field<raw::Retry>) -> Option<RetrySpec> {
    let raw = field.get()?;
    let mut spec = RetrySpec::default();
    if let Some(attempts) = raw.attempts.get() {
        spec.attempts = u32::try_from(attempts.0).unwrap_or(u32::MAX);
    }
    if let Some(list) = raw.when.get() {
        spec.when = list.items.iter().map(|item| item.value.0).collect();
    }
    spec.per_try = raw.per_try.get().map(|time| time.0);
    set_size(&mut spec.max_body_bytes, &raw.max_body_bytes);
    spec.budget = share(&raw.budget, spec.budget);
    if let Some(rate) = raw.min_per_second.get() {
        spec.min_per_second = u32::try_from(rate.0).unwrap_or(u32::MAX);
    }
    set_time(&mut spec.backoff, &raw.backoff);
    spec.non_idempotent = raw.non_idempotent.get().is_some_and(|flag| flag.0);
    Some(spec)
}
