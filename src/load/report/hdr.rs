//! HdrHistogram's log (version 1.3), which its plotters and analysers read: one line for each
//! target with all latencies of good answers, in nanoseconds, tagged with the target's name.

use std::time::{Duration, UNIX_EPOCH};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use super::ReportError;
use crate::load::drive::Counted;
use crate::load::result::RunResult;

/// The log.
pub(super) fn write(result: &RunResult, counted: &Counted) -> Result<String, ReportError> {
    let mut out = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let began = UNIX_EPOCH + Duration::from_millis(result.began_ms);
    let name: String = result.name.chars().filter(|c| !c.is_control()).collect();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment(&format!("switchback load: {name}, latency from the intended send time in nanoseconds"))
        .with_start_time(began)
        .with_base_time(began)
        .with_max_value_divisor(1e6)
        .begin_log_with(&mut out, &mut serializer)
        .map_err(ReportError::of)?;
    let length = Duration::from_secs_f64(result.seconds.max(0.0));
    for (at, target) in result.targets.iter().enumerate() {
        let series = counted.of_target(at);
        let tag: String =
            target.name.chars().filter(|c| !c.is_whitespace() && *c != ',' && !c.is_control()).collect();
        log.write_histogram(series.latency.as_hdr(), Duration::ZERO, length, Tag::new(&tag))
            .map_err(|error| ReportError::of(format!("{error:?}")))?;
    }
    String::from_utf8(out).map_err(ReportError::of)
}
