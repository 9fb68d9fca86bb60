//! The configuration as it is written: every section and key, its type, bounds and default.
//!
//! These files are the reference: the reader, the list of known keys and the JSON Schema are made
//! of them. `default` is what the key's absence means; a test holds the specs' defaults to it.

mod admin;
mod analysis;
mod compare;
mod downstream;
mod load;
mod mirror;
mod model;
mod notification;
mod process;
mod rollout;
mod version;

pub(super) use admin::{Admin, AdminTls, Token};
pub(super) use analysis::{
    Analysis, Check, Dimension, Divergence, Drift, ErrorRate, Latency, Prediction, Profile, Segments,
    Threshold,
};
pub(super) use compare::{Comparator, Compare, JsonCompare, JsonTolerance, LabelCompare, Pairs, TextCompare};
pub(super) use downstream::{Downstream, Listener, ListenerTls};
pub(super) use load::{
    Load, LoadCheck, LoadFindMax, LoadInputs, LoadLimits, LoadRequest, LoadResource, LoadStage, LoadTarget,
    LoadTest,
};
pub(super) use mirror::Mirror;
pub(super) use model::{Concurrency, Match, Model, Retry, Sticky};
pub(super) use notification::{Alertmanager, GitHub, Notification, Opsgenie, PagerDuty, Slack, Webhook};
pub(super) use process::{AccessLog, Drain, OnnxRuntime, Overload, Store};
pub(super) use rollout::{Bake, Gate, Harm, Pause, Rollout, SetWeight, Shadow, Step};
pub(super) use version::{
    HealthCheck, Onnx, Outlier, Repository, Rewrite, Upstream, UpstreamTls, Version, VersionPolicy,
};

use super::read::{List, section};
use super::scalar::{Count, Time};

const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;
/// Long enough for any step.
const MONTH: u64 = 31 * DAY;

/// A timeout: 1 ms to a day.
type Timeout = Time<1, DAY>;
/// How many of something there may be.
type Limit = Count<1, 1_000_000>;

section! {
    /// Switchback: splits traffic between versions of models, mirrors requests to shadows and
    /// measures every version.
    Root {
        required {
            /// What clients call. Names are unique.
            models: List<Model, 1>,
        }
        optional {
            /// Addresses that clients connect to. Default: one, `main`, on 0.0.0.0:8080.
            #[schemars(extend("default" = [{ "name": "main", "address": "0.0.0.0:8080" }]))]
            listeners: List<Listener, 1, 64>,
            /// Limits of what clients may do, the same on every listener.
            downstream: Downstream,
            /// Data threads, each with its own listeners and connections. Default: the number of cores.
            workers: Count<1, 1024>,
            /// Admin API, metrics and health.
            admin: Admin,
            /// One JSON line per sampled request. Default: none.
            access_log: AccessLog,
            /// What happens between SIGTERM and exit.
            drain: Drain,
            /// What happens when the process runs out of something.
            overload: Overload,
            /// ONNX Runtime, for versions that are served in process.
            onnx_runtime: OnnxRuntime,
            /// Where the state and history of rollouts last. Default: in memory, gone with the
            /// process.
            store: Store,
            /// Who is told what happens in rollouts. Default: nobody. Names are unique.
            notifications: List<Notification, 0, 32>,
        }
    }
}
