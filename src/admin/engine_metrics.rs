//! Models in process on the metrics page: what each version on the table has done, and how loading
//! went. Versions that have left the table leave the page, so labels stay as many as there are
//! versions.

use crate::onnx::statistics::{Statistics, Timed};
use crate::telemetry::catalog::{self, Metric};

use super::document::Document;
use super::sidecar::{EngineState, Sidecar};

/// A count of one version.
type Count = fn(&Statistics) -> u64;
/// A time of one version.
type Time = fn(&Statistics) -> Timed;

pub(super) fn write(page: &mut Document, sidecar: &dyn Sidecar) {
    let engines = sidecar.engines();
    let mut requests = page.family(&catalog::ONNX_REQUESTS);
    each(&engines, |[model, version], engine| {
        requests.sample(&[model, version, "answered"], engine.statistics.success.count);
        requests.sample(&[model, version, "failed"], engine.statistics.fail.count);
    });
    let mut refused = page.family(&catalog::ONNX_REFUSED);
    let reasons: [(&str, Count); 3] =
        [("queue_full", |s| s.rejected), ("expired", |s| s.expired), ("abandoned", |s| s.abandoned)];
    each(&engines, |[model, version], engine| {
        for (reason, count) in reasons {
            refused.sample(&[model, version, reason], count(&engine.statistics));
        }
    });
    let mut phases = page.family(&catalog::ONNX_PHASES);
    let timed: [(&str, Time); 5] = [
        ("queue", |s| s.queue),
        ("input", |s| s.compute_input),
        ("inference", |s| s.compute_infer),
        ("output", |s| s.compute_output),
        ("encode", |s| s.encode),
    ];
    each(&engines, |[model, version], engine| {
        for (phase, time) in timed {
            phases.sample(&[model, version, phase], time(&engine.statistics).ns as f64 / 1e9);
        }
    });
    let mut batches = page.family(&catalog::ONNX_BATCHES);
    each(&engines, |[model, version], engine| {
        for (rows, runs) in by_power(&engine.statistics) {
            batches.sample(&[model, version, &rows.to_string()], runs);
        }
    });
    let counts: [(&Metric, Count); 4] = [
        (&catalog::ONNX_ROWS, |s| s.inferences),
        (&catalog::ONNX_RUNS, |s| s.executions),
        (&catalog::ONNX_INLINE, |s| s.inline),
        (&catalog::ONNX_SPLIT_BATCHES, |s| s.split_batches),
    ];
    for (metric, count) in counts {
        let mut family = page.family(metric);
        each(&engines, |labels, engine| family.sample(&labels, count(&engine.statistics)));
    }
    let mut waiting = page.family(&catalog::ONNX_WAITING);
    each(&engines, |labels, engine| waiting.sample(&labels, engine.statistics.waiting));
    let mut resident = page.family(&catalog::ONNX_RESIDENT);
    each(&engines, |labels, engine| resident.sample(&labels, engine.resident_bytes));
    let mut loads = page.family(&catalog::ONNX_LOADS);
    for of in sidecar.loads() {
        loads.sample(&[&of.model, "ready"], of.ready);
        loads.sample(&[&of.model, "failed"], of.failed);
    }
}

fn each<'e>(engines: &'e [EngineState], mut write: impl FnMut([&'e str; 2], &'e EngineState)) {
    for engine in engines {
        write([&engine.model, &engine.version], engine);
    }
}

/// Runs by the power of two that their rows do not exceed: few labels, whatever clients send.
fn by_power(statistics: &Statistics) -> Vec<(u64, u64)> {
    let mut powers: Vec<(u64, u64)> = Vec::new();
    for batch in &statistics.batches {
        let power = batch.size.next_power_of_two();
        match powers.iter_mut().find(|(known, _)| *known == power) {
            Some((_, runs)) => *runs += batch.compute_infer.count,
            None => powers.push((power, batch.compute_infer.count)),
        }
    }
    powers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::statistics::BatchStatistics;

    #[test]
    fn batch_sizes_are_few_labels() {
        let of = |size, count| BatchStatistics {
            size,
            compute_infer: Timed { count, ns: 0 },
            ..BatchStatistics::default()
        };
        let batches = vec![of(1, 5), of(3, 1), of(4, 2), of(65, 7)];
        let found = by_power(&Statistics { batches, ..Statistics::default() });
        assert_eq!(found, [(1, 5), (4, 3), (128, 7)]);
    }
}
