//! The book of kept pairs.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::Serialize;

use super::excerpt::{Body, Excerpt};
use super::redaction::Redaction;
use super::spec::PairSpec;
use crate::divergence::comparison::Comparison;

/// A diverged pair, kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeptPair {
    /// Its number, unique in this process and rising.
    pub id: u64,
    /// When it was compared, in milliseconds since the epoch.
    pub at: u64,
    /// The model.
    pub model: String,
    /// The version that answered the client.
    pub primary_version: String,
    /// The version that got the copy.
    pub shadow_version: String,
    /// Whether the copy went back to the primary's version, to measure noise.
    pub control: bool,
    /// The request.
    pub request: Excerpt,
    /// The primary's answer.
    pub primary: Excerpt,
    /// The shadow's answer.
    pub shadow: Excerpt,
    /// How they differ.
    pub comparison: Comparison,
}

/// A pair that was compared.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// When, in milliseconds since the epoch.
    pub at: u64,
    /// The model.
    pub model: &'a str,
    /// The version that answered the client.
    pub primary_version: &'a str,
    /// The version that got the copy.
    pub shadow_version: &'a str,
    /// Whether the copy went back to the primary's version, to measure noise.
    pub control: bool,
    /// The request.
    pub request: Body<'a>,
    /// The primary's answer.
    pub primary: Body<'a>,
    /// The shadow's answer.
    pub shadow: Body<'a>,
    /// How they differ.
    pub comparison: &'a Comparison,
}

/// The latest and the worst diverged pairs.
#[derive(Debug)]
pub struct PairBook {
    spec: PairSpec,
    redaction: Redaction,
    next: u64,
    latest: Shelf,
    worst: Shelf,
}

/// Pairs with the bytes that they take.
#[derive(Debug, Default)]
struct Shelf {
    pairs: VecDeque<Arc<KeptPair>>,
    bytes: usize,
}

impl Shelf {
    fn insert(&mut self, at: usize, pair: Arc<KeptPair>) {
        self.bytes = self.bytes.saturating_add(pair.size());
        self.pairs.insert(at.min(self.pairs.len()), pair);
    }

    /// Drops pairs from the back until the rest is within the bounds.
    fn shrink(&mut self, count: usize, bytes: usize) {
        while self.pairs.len() > count || self.bytes > bytes {
            let Some(gone) = self.pairs.pop_back() else { return };
            self.bytes = self.bytes.saturating_sub(gone.size());
        }
    }
}

impl PairBook {
    /// An empty book.
    pub fn new(spec: PairSpec) -> Self {
        let redaction = Redaction::new(&spec.redact);
        Self { spec, redaction, next: 1, latest: Shelf::default(), worst: Shelf::default() }
    }

    /// Keeps a pair if it diverged and keeping is on.
    pub fn offer(&mut self, seen: &Seen<'_>) -> Option<Arc<KeptPair>> {
        if !self.spec.enabled || !seen.comparison.diverged {
            return None;
        }
        let excerpt = |body, list| Excerpt::of(body, list, &self.redaction, self.spec.max_body_bytes);
        let mut comparison = seen.comparison.clone();
        self.redaction.comparison(&mut comparison);
        let pair = Arc::new(KeptPair {
            id: self.next,
            at: seen.at,
            model: seen.model.to_owned(),
            primary_version: seen.primary_version.to_owned(),
            shadow_version: seen.shadow_version.to_owned(),
            control: seen.control,
            request: excerpt(seen.request, "inputs"),
            primary: excerpt(seen.primary, "outputs"),
            shadow: excerpt(seen.shadow, "outputs"),
            comparison,
        });
        self.next += 1;
        let half = self.spec.max_bytes / 2;
        self.latest.insert(0, pair.clone());
        self.latest.shrink(self.spec.latest, half);
        // Of equally bad ones the older one comes first, and stays.
        let severity = pair.comparison.severity();
        let at = self.worst.pairs.partition_point(|kept| kept.comparison.severity() >= severity);
        self.worst.insert(at, pair.clone());
        self.worst.shrink(self.spec.worst, half);
        Some(pair)
    }

    /// The latest pairs, newest first.
    pub fn latest(&self) -> impl Iterator<Item = &Arc<KeptPair>> {
        self.latest.pairs.iter()
    }

    /// The worst pairs, worst first.
    pub fn worst(&self) -> impl Iterator<Item = &Arc<KeptPair>> {
        self.worst.pairs.iter()
    }

    /// The pair of that number, while it is kept.
    pub fn find(&self, id: u64) -> Option<&Arc<KeptPair>> {
        self.latest().chain(self.worst()).find(|pair| pair.id == id)
    }

    /// Bytes that the kept pairs take. A pair that is both among the latest and the worst counts
    /// twice, though it is there once.
    pub fn bytes(&self) -> usize {
        self.latest.bytes.saturating_add(self.worst.bytes)
    }

    /// Forgets all pairs, as when another candidate is looked at. Numbers go on.
    pub fn clear(&mut self) {
        self.latest = Shelf::default();
        self.worst = Shelf::default();
    }
}

impl KeptPair {
    fn size(&self) -> usize {
        let names = self.model.len() + self.primary_version.len() + self.shadow_version.len();
        let worst = self.comparison.worst.as_ref();
        let places = worst.map_or(0, |worst| worst.output.len() + worst.at.as_ref().map_or(0, String::len));
        let scores = size_of_val(self.comparison.comparators.as_slice());
        let excerpts = [&self.request, &self.primary, &self.shadow];
        size_of::<Self>()
            + names
            + places
            + scores
            + excerpts.iter().map(|excerpt| excerpt.size()).sum::<usize>()
    }
}
