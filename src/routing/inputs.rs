//! Inputs of a trial, counted in the bins of a reference profile.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::divergence::feature::{self, FeatureSpec};
use crate::inference::answer::Content;

/// Counts of features. One thread puts, the decider looks.
#[derive(Debug)]
pub struct Inputs {
    features: Vec<(String, FeatureSpec)>,
    counts: Mutex<Vec<Vec<u64>>>,
}

impl Inputs {
    /// Nothing counted yet of these features, by their names.
    pub fn new(features: Vec<(String, FeatureSpec)>) -> Self {
        let counts = features.iter().map(|(_, spec)| vec![0; spec.edges.len() + 1]).collect();
        Self { features, counts: Mutex::new(counts) }
    }

    /// Counts the features of one request.
    pub fn put(&self, request: &Content) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for ((_, spec), counts) in self.features.iter().zip(counts.iter_mut()) {
            for bin in feature::bins(spec, request) {
                if let Some(count) = counts.get_mut(bin) {
                    *count += 1;
                }
            }
        }
    }

    /// What was counted so far, by feature.
    pub fn counts(&self) -> BTreeMap<String, Vec<u64>> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        self.features
            .iter()
            .zip(counts.iter())
            .map(|((name, _), bins)| (name.clone(), bins.clone()))
            .collect()
    }
}
