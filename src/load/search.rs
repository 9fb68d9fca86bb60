//! Looking for the highest rate that holds the goals, as MLPerf's server scenario asks for it.
//!
//! First the rate doubles until one does not hold, then the bracket is halved (in the logarithm)
//! until it is as narrow as wanted, then the rate that held must hold again, several times in a row;
//! if it does not, the search goes on below it. Pure: it says which rate to try next and is told
//! how that went.
//!
//! A try at a low rate may be too short to show anything: a p99 takes hundreds of requests. Such a
//! try is no failure, and as long as nothing has held or failed the search goes up, where there are
//! more requests to judge by.

use super::spec::FindMaxSpec;

/// Most tries of a search.
pub const MOST_TRIES: usize = 64;

/// How a try went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Try {
    /// The goals held.
    Held,
    /// They did not.
    Failed,
    /// It could not be shown whether they did.
    Unclear,
    /// The generator could not keep up, so nothing is known of this rate but that it is beyond this
    /// machine.
    Beyond,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Next {
    /// Try this rate.
    Probe(f64),
    /// Try this rate again: it has held, and must be confirmed.
    Confirm(f64),
    /// It is over.
    Over(Found),
}

/// What a search found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Found {
    /// This rate holds, confirmed; the next higher one that was tried does not.
    Rate(f64),
    /// The highest rate that was allowed holds, confirmed: the limit is beyond it.
    AtLeast(f64),
    /// This rate holds, confirmed, and this machine cannot send faster.
    Generator(f64),
    /// Not even the lowest rate holds.
    Nothing,
    /// Nothing could be shown to hold: the tries are too short for these goals. Up to this rate
    /// nothing speaks against them either.
    Unshown(f64),
    /// The generator could not keep up with the lowest rate.
    TooSlow,
    /// Too many tries, for goals that hold now and then. The rate is the last one that held, if any.
    Undecided(Option<f64>),
}

/// A search.
#[derive(Debug, Clone)]
pub struct Search {
    spec: FindMaxSpec,
    held: Option<f64>,
    failed: Option<f64>,
    /// The highest rate below `failed` of which nothing could be said, while nothing has held.
    unclear: Option<f64>,
    /// The bracket's upper end is there because of the generator.
    beyond: bool,
    confirmed: usize,
    tries: usize,
    /// Something has held: tries are long enough to show it.
    ever_held: bool,
}

impl Search {
    /// A search that has not begun.
    pub fn new(spec: &FindMaxSpec) -> Self {
        let spec = spec.clone();
        Self {
            spec,
            held: None,
            failed: None,
            unclear: None,
            beyond: false,
            confirmed: 0,
            tries: 0,
            ever_held: false,
        }
    }

    /// What to do next.
    pub fn next(&self) -> Next {
        if self.tries >= MOST_TRIES {
            return Next::Over(Found::Undecided(self.held));
        }
        let narrow = |low: f64, high: f64| high / low <= 1.0 + self.spec.precision;
        match (self.held, self.failed) {
            (None, None) => match self.unclear {
                None => Next::Probe(self.spec.from),
                Some(unclear) if unclear >= self.spec.to => Next::Over(Found::Unshown(unclear)),
                Some(unclear) => Next::Probe((unclear * 2.0).min(self.spec.to)),
            },
            (None, Some(failed)) if failed <= self.spec.from => {
                Next::Over(if self.beyond { Found::TooSlow } else { Found::Nothing })
            }
            (None, Some(failed)) => match self.unclear {
                Some(unclear) if narrow(unclear, failed) => Next::Over(Found::Unshown(unclear)),
                Some(unclear) => Next::Probe((unclear * failed).sqrt()),
                // A rate was confirmed once and then not: look below it.
                None => Next::Probe((failed / (1.0 + self.spec.precision)).max(self.spec.from)),
            },
            (Some(held), None) if held >= self.spec.to => self.confirm(held),
            (Some(held), None) => Next::Probe((held * 2.0).min(self.spec.to)),
            (Some(held), Some(failed)) if narrow(held, failed) => self.confirm(held),
            (Some(held), Some(failed)) => Next::Probe((held * failed).sqrt()),
        }
    }

    fn confirm(&self, held: f64) -> Next {
        if self.confirmed < self.spec.confirmations {
            return Next::Confirm(held);
        }
        Next::Over(match self.failed {
            None => Found::AtLeast(held),
            Some(_) if self.beyond => Found::Generator(held),
            Some(_) => Found::Rate(held),
        })
    }

    /// Notes how the try went that [`next`](Self::next) asked for.
    pub fn note(&mut self, went: Try) {
        self.tries += 1;
        match self.next_before() {
            Next::Probe(rate) => {
                self.confirmed = 0;
                match went {
                    Try::Held => {
                        (self.held, self.unclear, self.ever_held) = (Some(rate), None, true);
                    }
                    Try::Unclear if !self.ever_held => self.unclear = Some(rate),
                    Try::Failed | Try::Unclear | Try::Beyond => self.fails(rate, went),
                }
            }
            Next::Confirm(rate) => match went {
                Try::Held => self.confirmed += 1,
                Try::Failed | Try::Unclear | Try::Beyond => {
                    self.fails(rate, went);
                    // What held below it is not known any more than this one was.
                    self.held = None;
                }
            },
            Next::Over(_) => {}
        }
    }

    fn fails(&mut self, rate: f64, went: Try) {
        self.failed = Some(rate);
        self.beyond = went == Try::Beyond;
        self.confirmed = 0;
        self.unclear = self.unclear.filter(|unclear| *unclear < rate);
    }

    /// What was asked for before the try that is being noted was counted.
    fn next_before(&self) -> Next {
        let mut before = self.clone();
        before.tries = before.tries.saturating_sub(1);
        before.next()
    }

    /// Tries so far.
    pub fn tries(&self) -> usize {
        self.tries
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::{Purpose, unit};
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn spec(from: f64, to: f64) -> FindMaxSpec {
        FindMaxSpec {
            from,
            to,
            precision: 0.05,
            probe: Duration::from_secs(1),
            confirmations: 2,
            poisson: true,
        }
    }

    fn run(spec: &FindMaxSpec, mut went: impl FnMut(f64) -> Try) -> (Found, usize) {
        let mut search = Search::new(spec);
        loop {
            match search.next() {
                Next::Probe(rate) | Next::Confirm(rate) => {
                    let went = went(rate);
                    search.note(went);
                }
                Next::Over(found) => return (found, search.tries()),
            }
        }
    }

    proptest! {
        #[test]
        fn a_sharp_limit_is_found_as_exactly_as_was_asked(limit in 12.0..90_000.0f64) {
            let (found, tries) = run(&spec(10.0, 100_000.0), |rate| {
                if rate <= limit { Try::Held } else { Try::Failed }
            });
            let Found::Rate(rate) = found else { panic!("{found:?}") };
            prop_assert!(rate <= limit && limit < rate * 1.051, "{rate} {limit}");
            prop_assert!(tries < 30, "{tries}");
        }
    }

    #[test]
    fn the_ends_of_the_range_are_said_to_be_ends() {
        assert_eq!(run(&spec(10.0, 1000.0), |_| Try::Held).0, Found::AtLeast(1000.0));
        assert_eq!(run(&spec(10.0, 1000.0), |_| Try::Failed).0, Found::Nothing);
        assert_eq!(run(&spec(10.0, 1000.0), |_| Try::Beyond).0, Found::TooSlow);
        let generator = |rate: f64| if rate <= 300.0 { Try::Held } else { Try::Beyond };
        let (Found::Generator(rate), _) = run(&spec(10.0, 1000.0), generator) else { panic!() };
        assert!(rate <= 300.0 && rate > 280.0);
    }

    #[test]
    fn tries_too_short_to_show_anything_are_no_failure() {
        // A p99 of 2 s takes 185 requests/s to be shown at all; the server does 500.
        let short = |rate: f64| match rate {
            r if r > 500.0 => Try::Failed,
            r if r < 185.0 => Try::Unclear,
            _ => Try::Held,
        };
        let (Found::Rate(rate), _) = run(&spec(10.0, 10_000.0), short) else { panic!() };
        assert!(rate <= 500.0 && rate > 475.0, "{rate}");
        // Where nothing is shown anywhere, nothing is claimed: neither a rate nor a failure.
        assert_eq!(run(&spec(10.0, 100.0), |_| Try::Unclear).0, Found::Unshown(100.0));
        let never = |rate: f64| if rate > 50.0 { Try::Failed } else { Try::Unclear };
        let (Found::Unshown(rate), tries) = run(&spec(10.0, 1000.0), never) else { panic!() };
        assert!(rate <= 50.0 && rate > 47.0 && tries < 20, "{rate} {tries}");
        // Where something has held once, tries are long enough: what is unclear then leads down.
        let mut lucky = true;
        let (found, _) = run(&spec(100.0, 500.0), |rate| {
            let luck = rate == 400.0 && std::mem::take(&mut lucky);
            match rate {
                _ if luck => Try::Held,
                r if r > 300.0 => Try::Failed,
                r if r > 220.0 => Try::Unclear,
                _ => Try::Held,
            }
        });
        let Found::Rate(rate) = found else { panic!("{found:?}") };
        assert!(rate <= 220.0 && rate > 205.0, "{rate}");
        // Between what holds and what fails, what is unclear does not hold.
        let between = |rate: f64| match rate {
            r if r > 500.0 => Try::Failed,
            r if r > 300.0 => Try::Unclear,
            _ => Try::Held,
        };
        let (Found::Rate(rate), _) = run(&spec(10.0, 10_000.0), between) else { panic!() };
        assert!(rate <= 300.0 && rate > 285.0, "{rate}");
    }

    #[test]
    fn a_rate_that_held_by_luck_is_not_the_result() {
        // 400 holds the first time only: the search goes on below it.
        let mut lucky = true;
        let (found, _) = run(&spec(100.0, 500.0), |rate| {
            let luck = rate == 400.0 && std::mem::take(&mut lucky);
            if rate <= 220.0 || luck { Try::Held } else { Try::Failed }
        });
        let Found::Rate(rate) = found else { panic!("{found:?}") };
        assert!(rate <= 220.0 && rate > 205.0, "{rate}");
    }

    #[test]
    fn goals_that_hold_by_chance_come_to_an_end_too() {
        for seed in 0..50 {
            let mut n = 0;
            let (_, tries) = run(&spec(1.0, 1e6), |_| {
                n += 1;
                match unit(seed, Purpose::Value, n) {
                    u if u < 0.4 => Try::Held,
                    u if u < 0.6 => Try::Unclear,
                    _ => Try::Failed,
                }
            });
            assert!(tries <= MOST_TRIES);
        }
    }
}
