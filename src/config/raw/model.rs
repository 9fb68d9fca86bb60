//! A model: which requests are its, and how they are kept.

use super::super::places::Placed;
use super::super::read::{List, section};
use super::super::scalar::{Flag, GI, Size};
use super::super::text::{
    CookieText, ForeignText, HeaderNameText, HeaderValueText, HostPatternText, ModelNameText, PointerText,
    PrefixText, VersionNameText,
};
use super::{Compare, Mirror, Pairs, Repository, Rollout, Timeout, Version};

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
        }
    }
}
