//! Rollouts: steps, and who is asked.

use super::super::choice::Choice;
use super::super::either::{OrNone, Short};
use super::super::measure::{Number, Rate};
use super::super::read::{List, Pairs, section};
use super::super::scalar::{Count, Flag, Share, Time};
use super::super::text::{ForeignText, NameText, PathText, VersionNameText, WebhookUrlText};
use super::{Analysis, HOUR, MONTH, SECOND};
use crate::rollout::policy::{GateKind, OnInconclusive};

/// How long a step may last, or something in it.
type Period = Time<1, MONTH>;

section! {
    /// How the model moves from its stable version to a candidate.
    Rollout {
        required {
            /// What happens, in order. After the last step the candidate gets all traffic; with a bake
            /// at the end it gets it when the bake begins.
            steps: List<Step, 1, 100>,
        }
        optional {
            /// The version to move to; not the stable one, and without a weight. Default: the one that a
            /// start names.
            candidate: VersionNameText,
            /// Whether a configuration that names a new candidate starts a rollout.
            #[schemars(extend("default" = false))]
            auto_start: Flag,
            /// What is watched, and with what risk of error.
            analysis: Analysis,
            /// Who is asked before traffic moves. Names are unique.
            gates: List<Gate, 0, 32>,
        }
    }
}

section! {
    /// One step. Exactly one key.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
    Step {
        required {}
        optional {
            /// Copies of requests go to the candidate; its answers are compared and reach nobody.
            shadow: Shadow,
            /// The candidate gets a share of live traffic: `10%`, or a section.
            set_weight: Short<Share<false>, SetWeight>,
            /// Nothing moves for a while, or until somebody promotes: `5m`, or a section. Checks go on.
            pause: Short<Period, Pause>,
            /// The candidate is promoted, the previous version stays warm: `24h`, or a section. Only as
            /// the last step.
            bake: Short<Period, Bake>,
        }
    }
}

section! {
    /// A step of copies.
    Shadow {
        required {}
        optional {
            /// Share of the live requests that is copied.
            #[schemars(extend("default" = "100%"))]
            sample: Share<true>,
            /// Compared copies of the candidate without which the step never passes.
            #[schemars(extend("default" = 100))]
            min_pairs: Count<0, 1_000_000_000>,
            /// Share of the sampled requests that must have been compared: what was lost on the way may
            /// not look like agreement.
            #[schemars(extend("default" = "90%"))]
            min_coverage: Rate,
            /// The step lasts at least this long.
            #[schemars(extend("default" = "1m"))]
            min_duration: Time<0, MONTH>,
            /// Without evidence by then the step is inconclusive. `none`: it waits for evidence.
            #[schemars(extend("default" = "1h"))]
            max_duration: OrNone<Period>,
            /// The same, counted in compared copies of the candidate. Default: no limit.
            max_requests: Count<1, 1_000_000_000_000>,
            /// What an inconclusive step does.
            #[schemars(extend("default" = "pause"))]
            on_inconclusive: Choice<OnInconclusive>,
            /// What must be ruled out before the step passes.
            harm: Harm,
        }
    }
}

section! {
    /// A step of live traffic.
    SetWeight {
        required {
            /// The candidate's share: more than nothing, less than all. Weights rise from step to step.
            weight: Share<false>,
        }
        optional {
            /// The step lasts at least this long.
            #[schemars(extend("default" = "1m"))]
            min_duration: Time<0, MONTH>,
            /// Without evidence by then the step is inconclusive. `none`: it waits for evidence.
            #[schemars(extend("default" = "1h"))]
            max_duration: OrNone<Period>,
            /// The same, counted in the candidate's requests. Default: no limit.
            max_requests: Count<1, 1_000_000_000_000>,
            /// What an inconclusive step does.
            #[schemars(extend("default" = "pause"))]
            on_inconclusive: Choice<OnInconclusive>,
            /// What must be ruled out before the step passes.
            harm: Harm,
        }
    }
}

section! {
    /// The harm whose absence lets a step pass: the candidate's rate of errors (of slow requests, of
    /// diverging answers) is at least `ratio` times the stable version's, and at least `minRate`.
    Harm {
        required {}
        optional {
            /// How many times the stable version's rate; more than 1.
            #[schemars(extend("default" = 2))]
            ratio: Number,
            /// What rate is worth mentioning.
            #[schemars(extend("default" = "0.5%"))]
            min_rate: Rate,
        }
    }
}

section! {
    /// A step of waiting.
    Pause {
        required {}
        optional {
            /// How long. Default: until somebody promotes.
            duration: Period,
        }
    }
}

section! {
    /// The time after promotion, in which the previous version stays warm and is gone back to at once.
    Bake {
        required {}
        optional {
            /// How long.
            #[schemars(extend("default" = "24h"))]
            duration: Period,
            /// Share of traffic that stays on the previous version, so that there is something
            /// concurrent to compare with. Without one only absolute limits can end a bake.
            #[schemars(extend("default" = "0%"))]
            holdback: Share<false>,
        }
    }
}

section! {
    /// Somebody who is asked before traffic moves, or who may ask for it back. `golden` takes
    /// `examples`, every other kind a `url`.
    #[schemars(extend("oneOf" = [{ "required": ["url"] }, { "required": ["examples"] }]))]
    Gate {
        required {
            /// Name in status, logs and metrics.
            name: NameText,
            /// When it is asked, and what its answer means.
            kind: Choice<GateKind>,
        }
        optional {
            /// Webhook that is asked by POST; 200 to 202 is a yes.
            url: WebhookUrlText,
            /// Sent along, for the webhook to tell who asks.
            metadata: Pairs<ForeignText>,
            /// Examples that the candidate must answer, one JSON object a line. Relative to the folder of
            /// this file.
            examples: PathText,
            /// How long one answer may take.
            #[schemars(extend("default" = "30s"))]
            timeout: Time<1, HOUR>,
            /// How long to wait before a gate that said no is asked again.
            #[schemars(extend("default" = "10s"))]
            retry_every: Time<SECOND, { 24 * HOUR }>,
        }
    }
}
