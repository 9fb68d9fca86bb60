//! Comparator `json`: two JSON values part by part, numbers within the tolerance of their place,
//! with places that are not looked at.

use super::comparison::Found;
use super::numeric::Pair;
use super::pattern::{Pattern, Step, pointer};
use super::reason::Reason;
use super::spec::{JsonSpec, Tolerance};
use crate::inference::answer::Json;

/// A [`JsonSpec`] with its patterns read.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    /// Places that are not looked at.
    pub(super) skip: Vec<Pattern>,
    tolerance: Tolerance,
    tolerances: Vec<(Pattern, Tolerance)>,
}

impl Rules {
    /// The rules of a spec.
    pub(super) fn of(spec: &JsonSpec) -> Self {
        let tolerances = spec.tolerances.iter();
        Self {
            skip: Pattern::parse_all(&spec.ignore),
            tolerance: spec.tolerance,
            tolerances: tolerances.filter_map(|at| Some((Pattern::parse(&at.path)?, at.tolerance))).collect(),
        }
    }

    /// Everything, with one tolerance.
    pub(super) fn within(tolerance: Tolerance) -> Self {
        Self { skip: Vec::new(), tolerance, tolerances: Vec::new() }
    }

    fn skips(&self, path: &[Step<'_>]) -> bool {
        self.skip.iter().any(|pattern| pattern.is(path))
    }

    fn tolerance(&self, path: &[Step<'_>]) -> Tolerance {
        let at = self.tolerances.iter().find(|(pattern, _)| pattern.covers(path));
        at.map_or(self.tolerance, |(_, tolerance)| *tolerance)
    }
}

/// Compares two values; `at` is the JSON pointer of the gravest difference, the first of equally
/// grave ones, or of the number that is off by most.
pub(super) fn compare(a: &Json, b: &Json, rules: &Rules) -> Found {
    let mut walk = Walk { rules, path: Vec::new(), found: Found::default(), excess: 0.0 };
    walk.values(a, b);
    walk.found
}

struct Walk<'a> {
    rules: &'a Rules,
    path: Vec<Step<'a>>,
    found: Found,
    /// Of the difference that `found` names.
    excess: f64,
}

impl<'a> Walk<'a> {
    fn values(&mut self, a: &'a Json, b: &'a Json) {
        if self.rules.skips(&self.path) {
            return;
        }
        match (a, b) {
            (Json::Object(of_a), Json::Object(of_b)) => self.members(of_a, of_b),
            (Json::Array(of_a), Json::Array(of_b)) => {
                if of_a.len() != of_b.len() {
                    self.leaf(Some(Reason::Shape));
                }
                for (at, (a, b)) in of_a.iter().zip(of_b).enumerate() {
                    self.path.push(Step::Index(at));
                    self.values(a, b);
                    self.path.pop();
                }
            }
            // Equal integers are equal, however large.
            (Json::Integer(of_a), Json::Integer(of_b)) if of_a == of_b => self.leaf(None),
            (Json::Integer(of_a), Json::Integer(of_b)) => {
                self.number(Pair::of_integers(*of_a, *of_b, self.rules.tolerance(&self.path)));
            }
            (Json::Integer(_) | Json::Float(_), Json::Integer(_) | Json::Float(_)) => {
                let (Some(a), Some(b)) = (a.as_f64(), b.as_f64()) else { return };
                self.number(Pair::of(a, b, self.rules.tolerance(&self.path)));
            }
            _ => self.leaf((a != b).then_some(Reason::JsonValue)),
        }
    }

    /// Members by key, which are sorted on both sides.
    fn members(&mut self, a: &'a [(Box<str>, Json)], b: &'a [(Box<str>, Json)]) {
        let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
        loop {
            let order = match (a.peek(), b.peek()) {
                (Some((of_a, _)), Some((of_b, _))) => of_a.cmp(of_b),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (None, None) => return,
            };
            let (here, there) = match order {
                std::cmp::Ordering::Less => (a.next(), None),
                std::cmp::Ordering::Greater => (None, b.next()),
                std::cmp::Ordering::Equal => (a.next(), b.next()),
            };
            let Some((key, _)) = here.or(there) else { return };
            self.path.push(Step::Key(key));
            match (here, there) {
                (Some((_, a)), Some((_, b))) => self.values(a, b),
                _ if self.rules.skips(&self.path) => {}
                _ => self.leaf(Some(Reason::Fields)),
            }
            self.path.pop();
        }
    }

    /// Counts a place with two numbers.
    fn number(&mut self, pair: Pair) {
        let reason = pair.count(&mut self.found.measures);
        let excess = if let Pair::Finite { excess, .. } = pair { excess } else { 0.0 };
        // Off in a number is off in a JSON value, unless it is NaN.
        let reason = match reason {
            Some(Reason::Numeric) => Some(Reason::JsonValue),
            other => other,
        };
        self.note(reason, excess);
    }

    /// Counts a place without a number.
    fn leaf(&mut self, reason: Option<Reason>) {
        self.found.measures.compared += 1;
        self.found.measures.different += u64::from(reason.is_some());
        self.note(reason, 0.0);
    }

    fn note(&mut self, reason: Option<Reason>, excess: f64) {
        let gravity = |reason: Option<Reason>| reason.map_or(0, |reason| 1 + reason.gravity());
        let (here, so_far) = (gravity(reason), gravity(self.found.reason));
        if here > so_far || here == so_far && excess > self.excess {
            self.found.reason = reason;
            self.found.at = Some(pointer(&self.path));
            self.excess = excess;
        }
    }
}
