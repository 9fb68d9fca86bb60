//! How the metrics page is written: families, each once, with help, type and samples.
//!
//! The lines themselves are metrics-exporter-prometheus' (text format 0.0.4). Its recorder is not
//! used: the numbers are in the workers' shards already, and a second set of counters behind a
//! lock-free map would cost every request something and every reader a second truth.

use std::fmt::Display;

use metrics::{Key, Label};
use metrics_exporter_prometheus::LabelSet;
use metrics_exporter_prometheus::formatting::{write_help_line, write_metric_line, write_type_line};

use crate::stats::Snapshot;
use crate::telemetry::catalog::{Kind, Metric};

/// The media type of a page.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page that is being written.
#[derive(Debug, Default)]
pub(super) struct Document {
    text: String,
}

/// One family of a page. Its head is written with its first sample: a family without samples is
/// not on the page.
#[derive(Debug)]
pub(super) struct Family<'d> {
    text: &'d mut String,
    metric: &'d Metric,
    begun: bool,
}

impl Document {
    /// Begins the family of `metric`; each may stand on a page once.
    pub(super) fn family<'d>(&'d mut self, metric: &'d Metric) -> Family<'d> {
        debug_assert!(!self.text.contains(&format!("# TYPE {} ", metric.name)), "{}", metric.name);
        Family { text: &mut self.text, metric, begun: false }
    }

    /// Writes a family that has one sample, without labels.
    pub(super) fn single(&mut self, metric: &Metric, value: impl Display) {
        self.family(metric).sample(&[], value);
    }

    /// The page.
    pub(super) fn into_text(self) -> String {
        self.text
    }
}

impl Family<'_> {
    /// Writes one sample; `labels` are values in the order of the catalogue.
    pub(super) fn sample(&mut self, labels: &[&str], value: impl Display) {
        let labels = self.begin(labels);
        write_metric_line::<&str, _>(self.text, self.metric.name, None, &labels, None, value, None);
    }

    /// Writes one histogram: its buckets, sum and count.
    pub(super) fn histogram(&mut self, labels: &[&str], snapshot: &Snapshot) {
        let Kind::Histogram(bounds) = self.metric.kind else { return };
        let labels = self.begin(labels);
        let name = self.metric.name;
        for bound in bounds {
            let le = Some(("le", *bound as f64 / 1e9));
            let count = snapshot.count_le(*bound);
            write_metric_line(self.text, name, Some("bucket"), &labels, le, count, None);
        }
        let count = snapshot.count();
        write_metric_line(self.text, name, Some("bucket"), &labels, Some(("le", "+Inf")), count, None);
        let sum = snapshot.sum_seconds();
        write_metric_line::<&str, _>(self.text, name, Some("sum"), &labels, None, sum, None);
        write_metric_line::<&str, _>(self.text, name, Some("count"), &labels, None, count, None);
    }

    /// Writes the head, if this is the first sample, and pairs the labels with their names.
    fn begin(&mut self, values: &[&str]) -> LabelSet {
        let Metric { name, kind, help, labels, .. } = *self.metric;
        debug_assert_eq!(labels.len(), values.len(), "{name}");
        if !std::mem::replace(&mut self.begun, true) {
            write_help_line(self.text, name, None, None, help);
            write_type_line(self.text, name, None, None, kind.as_str());
        }
        let labels = labels.iter().zip(values).map(|(label, value)| Label::new(*label, (*value).to_owned()));
        LabelSet::from_key_and_global(&Key::from_parts(name, labels.collect::<Vec<_>>()), &Default::default())
    }
}
