//! How a rollout fares, as an exit code.

use crate::base::Role;
use crate::control::rollouts::RolloutView;
use crate::rollout::state::PauseReason;

use super::super::exit::Exit;

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Until {
    /// The candidate serves; the bake goes on, and may still go back.
    Promoted,
    /// The rollout has ended, bake included.
    Ended,
}

/// The code that a rollout which stands like this has, if there is nothing more to wait for.
pub(super) fn outcome(view: &RolloutView, until: Until) -> Option<Exit> {
    match view.phase.as_str() {
        "Succeeded" => Some(Exit::Done),
        "RolledBack" => Some(Exit::RolledBack),
        "Aborted" => Some(Exit::Aborted),
        "Superseded" => Some(Exit::Superseded),
        "Paused" if waits_without_evidence(view) => Some(Exit::Inconclusive),
        "Baking" | "Paused" if until == Until::Promoted && promoted(view) => Some(Exit::Done),
        _ => None,
    }
}

/// Whether the candidate serves as the stable version does.
pub(super) fn promoted(view: &RolloutView) -> bool {
    let candidate = view.versions.iter().find(|version| version.version.as_str() == view.candidate);
    candidate.is_some_and(|candidate| candidate.role == Role::Stable)
}

/// Whether a paused rollout waits for somebody because nothing could be shown, rather than because
/// somebody or the policy wanted a pause.
fn waits_without_evidence(view: &RolloutView) -> bool {
    view.pause_reason.as_deref().is_some_and(PauseReason::is_for_want_of_evidence)
        || view.verdict == "brokenRandomisation"
}

#[cfg(test)]
mod tests {
    use super::super::testing::view;
    use super::*;

    #[test]
    fn every_end_has_a_code_of_its_own() {
        for (phase, exit) in [
            ("Succeeded", Some(Exit::Done)),
            ("RolledBack", Some(Exit::RolledBack)),
            ("Aborted", Some(Exit::Aborted)),
            ("Superseded", Some(Exit::Superseded)),
            ("Pending", None),
            ("Running", None),
            ("Confirming", None),
            ("WaitingForPromotion", None),
            ("RollingBack", None),
            ("Paused", None),
        ] {
            for until in [Until::Promoted, Until::Ended] {
                assert_eq!(outcome(&view(phase), until), exit, "{phase}");
            }
        }
    }

    #[test]
    fn a_pause_for_want_of_evidence_is_an_end_for_a_pipeline_and_another_is_not() {
        for (why, exit) in [
            (None, None),
            (Some("step"), None),
            (Some("command"), None),
            (Some("inconclusive"), Some(Exit::Inconclusive)),
            (Some("brokenRandomisation"), Some(Exit::Inconclusive)),
        ] {
            let mut paused = view("Paused");
            // What people read says nothing to a pipeline.
            paused.reason = "INCONCLUSIVE after 9 s".to_owned();
            paused.pause_reason = why.map(str::to_owned);
            for until in [Until::Promoted, Until::Ended] {
                assert_eq!(outcome(&paused, until), exit, "{why:?}");
            }
        }
        let mut broken = view("Paused");
        broken.verdict = "brokenRandomisation".to_owned();
        assert_eq!(outcome(&broken, Until::Promoted), Some(Exit::Inconclusive));
    }

    #[test]
    fn in_the_bake_the_candidate_is_promoted_but_the_rollout_goes_on() {
        let mut baking = view("Baking");
        baking.versions[0].role = Role::Standby;
        baking.versions[1].role = Role::Stable;
        assert_eq!(outcome(&baking, Until::Promoted), Some(Exit::Done));
        assert_eq!(outcome(&baking, Until::Ended), None);
        baking.phase = "Paused".to_owned();
        assert_eq!(outcome(&baking, Until::Promoted), Some(Exit::Done));
    }
}
