//! A predicted number, by its rank among the stable arm's earlier ones.
//!
//! A new model always changes something, so that the distributions differ is only told. What
//! decides is a shift of the mean rank beyond a margin, towards either side. A step advances when a
//! shift of twice the margin has been ruled out towards both.

use serde::{Deserialize, Serialize};

use super::{Figures, Part, PartKind, Scene};
use crate::rollout::delta::Delta;
use crate::rollout::policy::Prediction;
use crate::stats::sequential::{Arms, DifferenceTest, Side, TiltTest};

/// What is known about a predicted number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PredictionCheck {
    shift: DifferenceTest,
    tilt: TiltTest,
    /// Against a shift upwards by twice the margin, and downwards.
    harm: Arms<DifferenceTest>,
    counted: Arms<u64>,
    /// Sum of the candidate's ranks.
    ranks: f64,
}

impl PredictionCheck {
    pub(super) fn new(rule: &Prediction) -> Self {
        Self {
            shift: DifferenceTest::new(rule.rank_shift, Side::Both),
            tilt: TiltTest::new(),
            harm: harm_tests(),
            counted: Arms::default(),
            ranks: 0.0,
        }
    }

    pub(super) fn observe(&mut self, scene: &Scene<'_>, rule: &Prediction, delta: &Delta) {
        if !scene.warm {
            return;
        }
        for score in delta.scores.iter().filter(|score| score.check == scene.place) {
            let weight = delta.weight();
            let width = 1.0 / score.bins.len().max(1) as f64;
            let ranks = || score.bins.iter().enumerate().map(|(at, n)| ((at as f64 + 0.5) * width, *n));
            self.shift.observe(weight, &score.bins);
            self.tilt.observe(weight, &score.bins);
            for (rank, counts) in ranks() {
                self.counted = self.counted.plus(counts);
                self.ranks += rank * counts.candidate as f64;
            }
            if scene.of_step {
                // "Shifted by at least H" is "not lower once H is taken off". What would leave the
                // range stays at its end, which only helps that hypothesis.
                let by = 2.0 * rule.rank_shift;
                let moved = |by: f64| {
                    ranks().flat_map(move |(rank, n)| {
                        [
                            (rank, Arms::new(n.stable, 0)),
                            ((rank + by).clamp(0.0, 1.0), Arms::new(0, n.candidate)),
                        ]
                    })
                };
                self.harm.candidate.observe_values(weight, moved(-by));
                self.harm.stable.observe_values(weight, moved(by));
            }
        }
    }

    pub(super) fn begin_step(&mut self, _rule: &Prediction) {
        self.harm = harm_tests();
    }

    pub(super) fn parts(&self) -> Vec<Part> {
        vec![Part { kind: PartKind::Shift, share: 0.0, e_value: self.shift.e_value(), withheld: None }]
    }

    /// Both directions must be ruled out, so the weaker evidence is the answer.
    pub(super) fn ruled_out(&self) -> f64 {
        self.harm.candidate.e_value().min(self.harm.stable.e_value())
    }

    pub(super) fn figures(&self) -> Figures {
        let mut figures = Figures { tilt: Some(self.tilt.e_value()), ..Figures::default() };
        figures.whole.requests = self.counted;
        figures.mean_rank = (self.counted.candidate > 0).then(|| self.ranks / self.counted.candidate as f64);
        figures
    }
}

/// The `candidate` side is against a shift upwards, the `stable` side against one downwards.
fn harm_tests() -> Arms<DifferenceTest> {
    Arms::new(DifferenceTest::new(0.0, Side::Higher), DifferenceTest::new(0.0, Side::Lower))
}
