//! A model: which requests are its, and how they are kept.

use super::super::choice::Choice;
use super::super::measure::Number;
use super::super::places::Placed;
use super::super::read::{List, section};
use super::super::scalar::{Count, Flag, GI, Share, Size, Time};
use super::super::text::{
    CookieText, ForeignText, HeaderNameText, HeaderValueText, HostPatternText, ModelNameText, PointerText,
    PrefixText, VersionNameText,
};
use super::{Compare, Limit, Mirror, Pairs, Repository, Rollout, SECOND, Timeout, Version};
use crate::routing::spec::RetryOn;

section! {
    /// A model: what clients call. It has versions, written down or found in a folder.
    #[schemars(extend("oneOf" = [{ "required": ["versions"] }, { "required": ["repository"] }]))]
    Model {
        required {
            /// Name in metrics, in the API, and by default in requests.
            name: ModelNameText,
        }
        optional {
            /// Builds of the model. Names are unique within the model.
            versions: List<Version, 1, 64>,
            /// A folder that versions come from, in place of `versions`. With a `rollout`, each new one
            /// is its candidate.
            repository: Repository,
            /// The version that serves whatever no other one serves. Default: the one with role
            /// `stable`, else the first one.
            stable: VersionNameText,
            /// Requests that are this model's; any item is enough. Default: those that name the model;
            /// when it is the only model, all.
            r#match: List<Match, 1, 64>,
            /// Keeps what belongs together on one version. Default: every request is drawn anew.
            sticky: Sticky,
            /// Lets stable answer when a canary fails before its answer begins. Default: off.
            fallback: Fallback,
            /// Sends requests that failed again, to the same version. Default: only those that never left.
            retry: Retry,
            /// Requests under way at one time, all versions together. Default: no limit.
            concurrency: Concurrency,
            /// Limits of requests.
            limits: Limits,
            /// Timeouts of requests.
            timeouts: Timeouts,
            /// Whether answers name their version in the header `x-switchback-version`.
            #[schemars(extend("default" = true))]
            expose_version: Flag,
            /// Copies of requests to shadows, whose answers reach nobody.
            mirror: List<Mirror, 0, 16>,
            /// How the answers of stable and shadow are compared.
            compare: Compare,
            /// What is kept of pairs of answers that differ, for people to look at.
            pairs: Pairs,
            /// How the model moves from its stable version to a candidate. Default: it does not.
            rollout: Placed<Rollout>,
        }
    }
}

section! {
    /// One way in which a request is a model's; all keys that are written must fit.
    #[schemars(extend("minProperties" = 1, "not" = { "required": ["model", "pathPrefix"] }))]
    Match {
        required {}
        optional {
            /// `Host`/`:authority` without the port; `*.` in front fits any one label.
            host: HostPatternText,
            /// A header with exactly this value.
            header: MatchHeader,
            /// This path or below it, by whole segments. Not together with `model`.
            path_prefix: PrefixText,
            /// The name in an inference request: Open Inference Protocol path or gRPC `model_name`,
            /// TensorFlow V1 path, OpenAI `model`. Not together with `pathPrefix`.
            model: ForeignText,
        }
    }
}

section! {
    /// A header with exactly this value.
    MatchHeader {
        required {
            /// Its name.
            name: HeaderNameText,
            /// Its whole value.
            value: HeaderValueText,
        }
        optional {}
    }
}

section! {
    /// What is kept on one version. Exactly one source.
    #[schemars(extend("oneOf" = [
        { "required": ["header"] },
        { "required": ["cookie"] },
        { "required": ["jsonPointer"] },
        { "required": ["clientAddress"] },
    ]))]
    Sticky {
        required {}
        optional {
            /// The value of this header.
            header: HeaderNameText,
            /// The value of this cookie.
            cookie: CookieText,
            /// The value at this JSON pointer (RFC 6901) in the request body.
            json_pointer: PointerText,
            /// The client's address. Only `true` makes sense.
            #[schemars(extend("const" = true))]
            client_address: Flag,
            /// Salt of the hash: models with one salt assign alike. Default: the model's name.
            salt: ForeignText,
        }
    }
}

section! {
    /// Lets stable answer when a canary fails before its answer begins.
    Fallback {
        required {
            /// Whether it does.
            enabled: Flag,
        }
        optional {
            /// Longest request body that is kept for it, in bytes; longer requests have no fallback.
            #[schemars(extend("default" = "1Mi"))]
            max_body_bytes: Size<1, GI>,
        }
    }
}

section! {
    /// Limits of requests.
    Limits {
        required {}
        optional {
            /// Longest request body, in bytes; longer ones are answered 413.
            #[schemars(extend("default" = "4Gi"))]
            request_bytes: Size<1, { 1024 * GI }>,
            /// Longest body that is read ahead to find a model name or sticky key in it, in bytes.
            #[schemars(extend("default" = "1Mi"))]
            peek_bytes: Size<1, GI>,
        }
    }
}

section! {
    /// Timeouts of requests.
    Timeouts {
        required {}
        optional {
            /// From the end of the request to the head of the answer.
            #[schemars(extend("default" = "60s"))]
            response: Timeout,
            /// Longest standstill of a request or response body.
            #[schemars(extend("default" = "300s"))]
            idle: Timeout,
            /// From the head of a request to the last byte of its answer. Default: no limit.
            total: Timeout,
        }
    }
}

section! {
    /// Sends requests that failed again, to the same version and where there is one to another endpoint.
    /// Only before the first byte of an answer, and only what may be repeated: methods that say so,
    /// inference requests, and what never left; the whole body must have been kept.
    Retry {
        required {}
        optional {
            /// How often a request is sent again.
            #[schemars(extend("default" = 1))]
            attempts: Count<1, 10>,
            /// What for. `reset`: no whole answer. `timeout`: none within `perTry`. `unavailable`: 503,
            /// gRPC `UNAVAILABLE`. `gateway`: 502 to 504. `serverError`: all of 5xx.
            #[schemars(extend("default" = ["reset", "unavailable"]))]
            when: List<Choice<RetryOn>, 1, 8>,
            /// From the end of the request to the head of the answer, for each attempt.
            /// Default: `timeouts.response`.
            per_try: Timeout,
            /// Longest body that is kept for it, in bytes; longer requests are sent once.
            #[schemars(extend("default" = "1Mi"))]
            max_body_bytes: Size<0, GI>,
            /// Of the requests, so many may be sent again.
            #[schemars(extend("default" = "20%"))]
            budget: Share<true>,
            /// And so many a second in any case, per worker.
            #[schemars(extend("default" = 10))]
            min_per_second: Count<0, 100_000>,
            /// Before the first repetition at most this long, doubled each time, at random.
            #[schemars(extend("default" = "25ms"))]
            backoff: Time<0, { 10 * SECOND }>,
            /// Whether other requests may be repeated as well, such as a POST of something unknown.
            #[schemars(extend("default" = false))]
            non_idempotent: Flag,
        }
    }
}

section! {
    /// How many requests may be under way at one time, in the whole process. Beyond it they are
    /// answered 503 with `Retry-After` (gRPC: RESOURCE_EXHAUSTED). Copies for shadows stop at 80%, of a
    /// model's limit canaries at 90%. `max`, `adaptive`, or both.
    #[schemars(extend("minProperties" = 1))]
    Concurrency {
        required {}
        optional {
            /// So many.
            max: Limit,
            /// As many as latency allows.
            adaptive: Adaptive,
        }
    }
}

section! {
    /// A limit that follows latency: it falls when answers take longer than they used to.
    Adaptive {
        required {}
        optional {
            /// Never below.
            #[schemars(extend("default" = 4))]
            min: Limit,
            /// Never above, and where `concurrency.max` is lower not above that.
            #[schemars(extend("default" = 1000))]
            max: Limit,
            /// Where it begins.
            #[schemars(extend("default" = 20))]
            initial: Limit,
            /// Latency, as a multiple of the usual one, that is no reason to fall.
            #[schemars(extend("default" = 1.5))]
            tolerance: Number,
        }
    }
}
