//! Which version is stable and what share each one gets.

use crate::base::{Role, Weight};

use super::super::problem::Report;
use super::super::raw;
use super::super::read::{Given, List};
use super::share;

/// Versions as they are written.
pub(super) type Versions = List<raw::Version, 1, 64>;

/// What was resolved about the versions of one model.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// Index of the stable version; `None` when a mistake hides which one it is.
    pub stable: Option<usize>,
    /// Share of each version, in the order of the list.
    pub weights: Vec<Weight>,
}

/// Finds stable and gives each version its share: stable without a weight takes what the others
/// leave, others without one take none.
pub(super) fn shares(model: &raw::Model, list: &Versions, report: &mut Report) -> Shares {
    let stable = stable(model, list, report);
    let mut weights: Vec<Weight> = list.items.iter().map(|v| share(&v.value.weight, Weight::ZERO)).collect();
    let known = list.complete && list.items.iter().all(|v| !v.value.weight.is_wrong());
    if let Some(index) = stable.filter(|_| known) {
        let sum: u32 = weights.iter().map(|w| u32::from(w.basis_points())).sum();
        let free = list.items.get(index).is_some_and(|v| v.value.weight.is_missing());
        let full = u32::from(Weight::FULL.basis_points());
        if let Some(weight) = weights.get_mut(index).filter(|_| free && sum <= full) {
            *weight = Weight::new(full - sum).unwrap_or(Weight::ZERO);
        } else if sum != full {
            let each: Vec<String> = list.items.iter().filter_map(shown).collect();
            let message = format!("the weights sum to {}, not to 100% ({})", percent(sum), each.join(", "));
            let name = list.items.get(index).and_then(|v| v.value.name.get());
            let fix = match name.filter(|_| !free && list.items.len() > 1) {
                Some(name) => {
                    format!("change them, or leave out that of {:?}: stable takes the rest", name.0.as_str())
                }
                None if free => "lower them".to_owned(),
                None => "leave the weight out".to_owned(),
            };
            let at = model.versions.given().map(|v| v.at.clone()).unwrap_or_default();
            report.wrong(&at, message, fix);
        }
    }
    Shares { stable, weights }
}

fn shown(version: &Given<raw::Version>) -> Option<String> {
    let name = version.value.name.get().map_or("?", |n| n.0.as_str());
    version.value.weight.get().map(|w| format!("{name} {}", w.0))
}

fn percent(basis_points: u32) -> String {
    let (whole, part) = (basis_points / 100, basis_points % 100);
    match part {
        0 => format!("{whole}%"),
        part => format!("{whole}.{part:02}%"),
    }
}

/// The version named by `stable`, else the one with that role, else the first one.
fn stable(model: &raw::Model, list: &Versions, report: &mut Report) -> Option<usize> {
    let roles = || list.items.iter().map(|v| v.value.role.given());
    let named_stable =
        || roles().enumerate().filter_map(|(i, r)| r.filter(|r| r.value.0 == Role::Stable).map(|r| (i, r)));
    let name_of = |i: usize| list.items.get(i).and_then(|v| v.value.name.get()).map_or("?", |n| n.0.as_str());
    let all_named = list.complete && list.items.iter().all(|v| !v.value.name.is_wrong());
    let all_roles = list.complete && list.items.iter().all(|v| !v.value.role.is_wrong());

    let (index, why) = if let Some(given) = model.stable.given() {
        let same = |v: &Given<raw::Version>| v.value.name.get().is_some_and(|n| n.0 == given.value.0);
        let Some(index) = list.items.iter().position(same) else {
            if all_named {
                let names: Vec<&str> = (0..list.items.len()).map(name_of).collect();
                let message = format!("there is no version {:?}", given.value.0.as_str());
                report.wrong(&given.at, message, format!("write one of: {}", names.join(", ")));
            }
            return None;
        };
        (index, format!("by `stable` on line {}", given.at.line))
    } else if !model.stable.is_missing() || !all_roles {
        return None;
    } else if let Some((index, role)) = named_stable().next() {
        (index, format!("by its role on line {}", role.at.line))
    } else {
        (0, "as the first one".to_owned())
    };
    for (_, role) in named_stable().filter(|(i, _)| *i != index) {
        let message = format!("a second stable version: {:?} is stable {why}", name_of(index));
        report.wrong(&role.at, message, "keep one");
    }
    let own = roles().nth(index).flatten().filter(|role| role.value.0 != Role::Stable);
    if let Some(role) = own {
        let message = format!("{:?} is stable {why} and cannot be {}", name_of(index), role.value.0);
        report.wrong(&role.at, message, "remove the role, or name another version with `stable`");
    }
    Some(index)
}
