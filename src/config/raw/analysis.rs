//! What is watched during a rollout, and with what risk of being wrong.

use super::super::choice::Choice;
use super::super::either::{OrNone, Several};
use super::super::measure::{Bound, MetricName, Number, Quantile, QuantileLimit, Rate};
use super::super::read::{List, section};
use super::super::scalar::{Count, Share, Time};
use super::super::text::{CookieText, ForeignText, HeaderNameText, NameText, PointerText};
use super::{DAY, SECOND};
use crate::rollout::policy::{Signal, Unit};

section! {
    /// What is watched, and with what risk of error.
    Analysis {
        required {}
        optional {
            /// Bound on the probability of rolling back a candidate that is no worse, over the whole
            /// rollout with its bake, however often one looks; above 0, at most 0.5.
            #[schemars(extend("default" = 0.01))]
            alpha: Number,
            /// Bound on the probability that a step passes in spite of the harm that it declares; above
            /// 0, at most 0.5.
            #[schemars(extend("default" = 0.05))]
            beta: Number,
            /// What is drawn for an arm and counts once. Default: `key` for a model with `sticky`, else
            /// `request`.
            randomize_by: Choice<Unit>,
            /// What is left out at the beginning of the candidate's live traffic, in both arms.
            warmup: Warmup,
            /// The checks that share `alpha`. Default: errors (share 0.5) and latency (0.3) against
            /// stable, and divergence of the shadow (0.2).
            metrics: List<Check, 0, 32>,
            /// What tells parts of the requests apart, to find harm to one of them. Default: nothing.
            segments: Segments,
            /// Stops a candidate that fails outright, without waiting for evidence. `none`: off.
            circuit_breaker: OrNone<CircuitBreaker>,
            /// Plain limits over a sliding window, without a bound on false alarms. Names are unique.
            thresholds: List<Threshold, 0, 32>,
        }
    }
}

section! {
    /// What is left out at the beginning. Over when both have been reached.
    Warmup {
        required {}
        optional {
            /// The candidate's first live requests.
            #[schemars(extend("default" = 0))]
            requests: Count<0, 1_000_000_000>,
            /// Time since the candidate's first live request.
            #[schemars(extend("default" = "0s"))]
            duration: Time<0, DAY>,
        }
    }
}

section! {
    /// A check: exactly one of the rules, a name and a share of `alpha`.
    #[schemars(extend("oneOf" = [
        { "required": ["errorRate"] },
        { "required": ["latency"] },
        { "required": ["timeToFirstToken"] },
        { "required": ["interToken"] },
        { "required": ["divergence"] },
        { "required": ["prediction"] },
        { "required": ["drift"] },
    ]))]
    Check {
        required {}
        optional {
            /// Name in status, metrics and evidence. Default: that of the rule, such as `error-rate`.
            name: NameText,
            /// Part of `alpha`, relative to the sum of all shares. Drift only informs and has none.
            #[schemars(extend("default" = 1))]
            share: Number,
            /// Share of live requests that failed.
            error_rate: ErrorRate,
            /// From the request's head to the end of the answer.
            latency: Latency,
            /// To the first token of a streamed answer.
            time_to_first_token: Latency,
            /// Between the tokens of a streamed answer.
            inter_token: Latency,
            /// How often the candidate's answers differ from the stable version's.
            divergence: Divergence,
            /// How the distribution of a predicted number differs between the arms.
            prediction: Prediction,
            /// How far the inputs are from those of the training. Alerts, never a verdict.
            drift: Drift,
        }
    }
}

section! {
    /// Errors: against the concurrent stable arm, against a limit, or both.
    ErrorRate {
        required {}
        optional {
            /// Against the stable arm. Default: as below, but with an `absolute` and without this key
            /// only the limit counts. `none`: never.
            relative: OrNone<RelativeErrors>,
            /// Against a limit. Default: none.
            absolute: RateLimit,
        }
    }
}

section! {
    /// A rate of errors against the stable arm's.
    RelativeErrors {
        required {}
        optional {
            /// Ratio of rates that is tolerated. 1: no worse.
            #[schemars(extend("default" = 1))]
            tolerance: Number,
            /// Observed ratio below which nothing is rolled back, whatever the evidence.
            #[schemars(extend("default" = 1.2))]
            min_effect: Number,
            /// Observed rate of the candidate below which nothing is rolled back.
            #[schemars(extend("default" = "0.2%"))]
            min_rate: Rate,
        }
    }
}

section! {
    /// A limit of a rate.
    RateLimit {
        required {
            /// The highest rate that is all right, above 0% and below 100%.
            max: Rate,
        }
        optional {}
    }
}

section! {
    /// Durations: against the concurrent stable arm, against a limit, or both.
    Latency {
        required {}
        optional {
            /// Quantiles of the stable arm at which the candidate is compared, rising. Default: p50, p90
            /// and p99, but with an `absolute` and without this key only the limit counts. Empty: never.
            quantiles: List<Quantile, 0, 8>,
            /// Slowdown that is tolerated, as a factor: 1.1 is a tenth slower.
            #[schemars(extend("default" = 1.1))]
            tolerance: Number,
            /// Slowdown that is tolerated in any case: a server with less to do, a colder cache or a new
            /// connection costs some microseconds, and nobody is hurt by it.
            #[schemars(extend("default" = "1ms"))]
            min_difference: Time<0, { 60 * SECOND }>,
            /// A quantile and its limit, such as `{p99: 500ms}`. Default: none.
            absolute: QuantileLimit,
        }
    }
}

section! {
    /// Diverging answers of the shadow, beside the stable version's own noise.
    Divergence {
        required {}
        optional {
            /// Share of the copies that goes back to the stable version to measure its noise, below
            /// 100%.
            #[schemars(extend("default" = "30%"))]
            noise_control: Share<false>,
            /// Against the noise. Judged only once noise was seen. `none`: never.
            relative: OrNone<RelativeDivergence>,
            /// The highest divergence beyond the noise that is all right. `none`: any.
            #[schemars(extend("default" = "5%"))]
            max: OrNone<Rate>,
        }
    }
}

section! {
    /// A rate of diverging answers against the stable version's own noise.
    RelativeDivergence {
        required {}
        optional {
            /// Ratio of rates that is tolerated. 1: no worse.
            #[schemars(extend("default" = 1))]
            tolerance: Number,
            /// Observed ratio below which nothing is rolled back, whatever the evidence.
            #[schemars(extend("default" = 1.5))]
            min_effect: Number,
            /// Observed rate of the candidate below which nothing is rolled back.
            #[schemars(extend("default" = "1%"))]
            min_rate: Rate,
        }
    }
}

section! {
    /// A predicted number, by its rank among the stable arm's. Exactly one of `output` and `pointer`.
    #[schemars(extend("oneOf" = [{ "required": ["output"] }, { "required": ["pointer"] }]))]
    Prediction {
        required {}
        optional {
            /// Name of a tensor or of a key of V1 predictions.
            output: ForeignText,
            /// JSON pointer (RFC 6901) into a JSON answer.
            pointer: PointerText,
            /// Which number of the output, counted from 0 over all of its values.
            #[schemars(extend("default" = 0))]
            index: Count<0, 1_000_000>,
            /// Shift of the mean rank that is all right, above 0 and below 0.5: 0.02 is a probability of
            /// 0.48 to 0.52 that the candidate's number is the larger one.
            #[schemars(extend("default" = 0.02))]
            rank_shift: Number,
        }
    }
}

section! {
    /// Inputs against the reference of the training, by the population stability index.
    Drift {
        required {
            /// The reference, by feature.
            profiles: List<Profile, 1, 64>,
        }
        optional {
            /// Index above which is warned.
            #[schemars(extend("default" = 0.1))]
            warn: Number,
            /// Index above which is alerted.
            #[schemars(extend("default" = 0.25))]
            alert: Number,
        }
    }
}

section! {
    /// How a feature was distributed in the training. Exactly one of `input` and `pointer`.
    #[schemars(extend("oneOf" = [{ "required": ["input"] }, { "required": ["pointer"] }]))]
    Profile {
        required {
            /// Name of the feature in status and alerts.
            feature: ForeignText,
            /// Where one bin ends and the next begins, rising; the value itself belongs to the next one.
            edges: List<Number<true>, 1, 63>,
            /// Share of each bin in the training, one more than edges; above 0, and 1 in all.
            shares: List<Number, 2, 64>,
        }
        optional {
            /// Name of the input tensor.
            input: ForeignText,
            /// Which column of it, counted from 0 along the last axis.
            #[schemars(extend("default" = 0))]
            column: Count<0, 1_000_000>,
            /// JSON pointer (RFC 6901) into a JSON request.
            pointer: PointerText,
        }
    }
}

section! {
    /// What tells parts of the requests apart. Exactly one source; it is read before a version is
    /// drawn.
    #[schemars(extend("oneOf" = [
        { "required": ["header"] },
        { "required": ["cookie"] },
        { "required": ["jsonPointer"] },
        { "required": ["input"] },
    ]))]
    SegmentSource {
        required {}
        optional {
            /// The value of this header.
            header: HeaderNameText,
            /// The value of this cookie.
            cookie: CookieText,
            /// The value at this JSON pointer (RFC 6901) in the request body.
            json_pointer: PointerText,
            /// A value of this input tensor, or of this key that holds rows, such as `instances`: in the
            /// first row, where there are several. The body is read ahead for it, up to `maxPeekBytes`.
            input: ForeignText,
            /// Which value of `input`, counted from 0 along the last axis. Default: 0.
            column: Count<0, 1_000_000>,
            /// Which value of `input`, where its rows are objects. Not together with `column`.
            key: ForeignText,
            /// Where one bin of numbers ends and the next begins, rising; the value itself belongs to the
            /// next one. Default: each value is a segment.
            edges: List<Number<true>, 1, 63>,
        }
    }
}

section! {
    /// One of several ways in which requests are told apart. Exactly one source.
    #[schemars(extend("oneOf" = [
        { "required": ["header"] },
        { "required": ["cookie"] },
        { "required": ["jsonPointer"] },
        { "required": ["input"] },
    ]))]
    Dimension {
        required {
            /// Its name: a segment is called `name=value`.
            name: NameText,
        }
        optional {
            /// The value of this header.
            header: HeaderNameText,
            /// The value of this cookie.
            cookie: CookieText,
            /// The value at this JSON pointer (RFC 6901) in the request body.
            json_pointer: PointerText,
            /// A value of this input tensor, or of this key that holds rows, such as `instances`: in the
            /// first row, where there are several. The body is read ahead for it, up to `maxPeekBytes`.
            input: ForeignText,
            /// Which value of `input`, counted from 0 along the last axis. Default: 0.
            column: Count<0, 1_000_000>,
            /// Which value of `input`, where its rows are objects. Not together with `column`.
            key: ForeignText,
            /// Where one bin of numbers ends and the next begins, rising; the value itself belongs to the
            /// next one. Default: each value is a segment.
            edges: List<Number<true>, 1, 63>,
            /// Most of it that are told apart; further ones count in the whole only. Default: 50.
            max: Count<1, 256>,
        }
    }
}

section! {
    /// Harm to a part of the requests.
    Segments {
        required {
            /// What tells them apart: one source, or a list of named ones that all count at once.
            by: Several<SegmentSource, List<Dimension, 1, 4>>,
        }
        optional {
            /// Most that are told apart; further ones count in the whole only. Evidence is divided by it.
            /// With a list it stands in each item, and evidence is divided by the sum.
            #[schemars(extend("default" = 50))]
            max: Count<1, 256>,
        }
    }
}

section! {
    /// Stops a candidate that fails outright: without guarantee, and without waiting for evidence.
    CircuitBreaker {
        required {}
        optional {
            /// How many of the candidate's latest requests are looked at.
            #[schemars(extend("default" = 50))]
            window: Count<1, 1_000_000>,
            /// How many of them may fail before it opens.
            #[schemars(extend("default" = 25))]
            max_failures: Count<1, 1_000_000>,
        }
    }
}

section! {
    /// A plain limit of a metric of the candidate over a sliding window.
    Threshold {
        required {
            /// `errorRate`, `successRate`, `divergenceRate`, or a quantile of a duration such as `p99`.
            metric: MetricName,
        }
        optional {
            /// Name in status and evidence. Default: the metric's.
            name: NameText,
            /// Which duration a quantile is of.
            #[schemars(extend("default" = "latency"))]
            signal: Choice<Signal>,
            /// Rolled back above: a rate, or a duration for a quantile. `max`, `min` or both.
            max: Bound,
            /// Rolled back below; for rates only.
            min: Bound,
            /// How far back is looked.
            #[schemars(extend("default" = "1m"))]
            window: Time<1, DAY>,
            /// Requests of the candidate (compared copies for divergence) in the window without which
            /// nothing is said.
            #[schemars(extend("default" = 50))]
            min_requests: Count<1, 1_000_000_000>,
        }
    }
}
