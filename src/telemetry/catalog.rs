//! Every metric: its name, type, unit, labels and meaning. No name is written anywhere else.
//!
//! Prometheus' conventions hold: base units (seconds, bytes, ratios), `_total` on counters and on
//! nothing else. Every label's values are bounded by the configuration or by an enum.

/// What a metric is to Prometheus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts values up to each of these bounds, in nanoseconds, and beyond.
    Histogram(&'static [u64]),
}

impl Kind {
    /// The type as it stands in a `# TYPE` line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// What a metric's numbers count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things: requests, connections.
    Count,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// A share, 0 to 1.
    Ratio,
}

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name on the page.
    pub name: &'static str,
    /// What it is to Prometheus.
    pub kind: Kind,
    /// What its numbers count.
    pub unit: Unit,
    /// Its labels, in the order in which values are given.
    pub labels: &'static [&'static str],
    /// What it says, in one sentence.
    pub help: &'static str,
}

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// Bounds for what a client waits: 100 µs to 60 s, the default timeout.
const LATENCY: &[u64] = &[
    100 * MICROSECOND,
    250 * MICROSECOND,
    500 * MICROSECOND,
    MILLISECOND,
    2_500 * MICROSECOND,
    5 * MILLISECOND,
    10 * MILLISECOND,
    25 * MILLISECOND,
    50 * MILLISECOND,
    100 * MILLISECOND,
    250 * MILLISECOND,
    500 * MILLISECOND,
    SECOND,
    2_500 * MILLISECOND,
    5 * SECOND,
    10 * SECOND,
    25 * SECOND,
    60 * SECOND,
];

/// Bounds for what Switchback itself takes: 1 µs to 10 ms.
const OVERHEAD: &[u64] = &[
    MICROSECOND,
    2_500,
    5 * MICROSECOND,
    10 * MICROSECOND,
    25 * MICROSECOND,
    50 * MICROSECOND,
    100 * MICROSECOND,
    250 * MICROSECOND,
    500 * MICROSECOND,
    MILLISECOND,
    2_500 * MICROSECOND,
    5 * MILLISECOND,
    10 * MILLISECOND,
];

/// Bounds for carrying out a decision: 10 µs to 1 s, the tick of 20 ms far below.
const DECISION: &[u64] = &[
    10 * MICROSECOND,
    25 * MICROSECOND,
    50 * MICROSECOND,
    100 * MICROSECOND,
    250 * MICROSECOND,
    500 * MICROSECOND,
    MILLISECOND,
    2_500 * MICROSECOND,
    5 * MILLISECOND,
    10 * MILLISECOND,
    25 * MILLISECOND,
    100 * MILLISECOND,
    SECOND,
];

const VERSION: &[&str] = &["model", "version", "role"];
const MIRROR: &[&str] = &["model", "version"];
const MODEL: &[&str] = &["model"];
const CHECK: &[&str] = &["model", "check"];

macro_rules! metrics {
    ($($const:ident = $name:literal, $kind:expr, $unit:ident, $labels:expr, $help:literal;)*) => {
        $(
            #[doc = concat!("`", $name, "`: ", $help)]
            pub const $const: Metric =
                Metric { name: $name, kind: $kind, unit: Unit::$unit, labels: $labels, help: $help };
        )*

        /// Every metric, in the order of the page.
        pub const ALL: &[Metric] = &[$($const),*];
    };
}

metrics! {
    REQUESTS = "switchback_requests_total", Kind::Counter, Count, &["model", "version", "role", "outcome"],
        "Finished requests by outcome, judged at the end of the body and its trailers.";
    REQUEST_DURATION = "switchback_request_duration_seconds", Kind::Histogram(LATENCY), Seconds, VERSION,
        "From the head of a request to the last byte of its answer, whatever the outcome.";
    TIME_TO_FIRST_BYTE = "switchback_time_to_first_byte_seconds", Kind::Histogram(LATENCY), Seconds, VERSION,
        "From the head of a request to the first byte of the answer's body.";
    TIME_TO_FIRST_TOKEN = "switchback_time_to_first_token_seconds", Kind::Histogram(LATENCY), Seconds, VERSION,
        "From the head of a request to the first token of an answer that is a stream of events.";
    INTER_TOKEN = "switchback_inter_token_seconds", Kind::Histogram(LATENCY), Seconds, VERSION,
        "Time between the tokens of streamed answers; tokens that come together count once.";
    OVERHEAD_TIME = "switchback_overhead_seconds", Kind::Histogram(OVERHEAD), Seconds, VERSION,
        "Time per request spent inside Switchback, not waiting for clients or versions.";
    REQUESTS_IN_FLIGHT = "switchback_requests_in_flight", Kind::Gauge, Count, VERSION,
        "Requests under way.";
    REQUEST_BODY = "switchback_request_body_bytes_total", Kind::Counter, Bytes, VERSION,
        "Bytes of request bodies.";
    RESPONSE_BODY = "switchback_response_body_bytes_total", Kind::Counter, Bytes, VERSION,
        "Bytes of the bodies of answers.";
    FAULTS = "switchback_faults_total", Kind::Counter, Count, &["model", "version", "role", "reason"],
        "Requests that failed in or behind Switchback, by reason.";
    GRPC_RESPONSES = "switchback_grpc_responses_total", Kind::Counter, Count, &["model", "version", "role", "code"],
        "gRPC answers by numeric status code.";
    UPSTREAM_RETRIES = "switchback_upstream_retries_total", Kind::Counter, Count, VERSION,
        "Requests sent again: they had never left, or the retry policy asked for it.";
    RETRIES_REFUSED = "switchback_upstream_retries_refused_total", Kind::Counter, Count, VERSION,
        "Requests that were not sent again because the budget for that was used up.";
    SHED = "switchback_shed_requests_total", Kind::Counter, Count, VERSION,
        "Requests that were turned away because of a limit of concurrency or for want of memory.";
    FALLBACKS = "switchback_fallbacks_total", Kind::Counter, Count, VERSION,
        "Requests of this version that the stable version answered in its place.";
    SPLIT_WEIGHT = "switchback_split_weight_ratio", Kind::Gauge, Ratio, VERSION,
        "Share of live traffic that the version is given, 0 to 1.";
    VERSION_READY = "switchback_version_ready", Kind::Gauge, Count, VERSION,
        "Whether the version can serve: 1 or 0.";
    ENDPOINTS = "switchback_upstream_endpoints", Kind::Gauge, Count, &["model", "version", "standing"],
        "Endpoints of a version that are balanced or asked, by how they stand.";
    EJECTIONS = "switchback_upstream_ejections_total", Kind::Counter, Count, MIRROR,
        "Endpoints that were left out for a while for what they answered.";
    HEALTH_CHECKS = "switchback_upstream_health_checks_total", Kind::Counter, Count, &["model", "version", "result"],
        "Health checks of endpoints by result: passed or failed.";
    LOOKUPS_FAILED = "switchback_upstream_lookup_failures_total", Kind::Counter, Count, MIRROR,
        "Names of endpoints that could not be looked up.";
    CONCURRENCY_LIMIT = "switchback_concurrency_limit", Kind::Gauge, Count, MIRROR,
        "Requests that may be under way at one time; without a version, all versions of the model together.";
    CONCURRENCY = "switchback_concurrency", Kind::Gauge, Count, MIRROR,
        "Requests under way that a limit counts.";
    MIRROR_ELIGIBLE = "switchback_mirror_eligible_total", Kind::Counter, Count, MIRROR,
        "Requests that could have been copied to this shadow.";
    MIRROR_SAMPLED = "switchback_mirror_sampled_total", Kind::Counter, Count, MIRROR,
        "Eligible requests that the sampling percentage drew.";
    MIRROR_SENT = "switchback_mirror_sent_total", Kind::Counter, Count, MIRROR,
        "Copies that left for the shadow.";
    MIRROR_COMPLETED = "switchback_mirror_completed_total", Kind::Counter, Count, MIRROR,
        "Copies that the shadow answered whole and in time.";
    MIRROR_DROPPED = "switchback_mirror_dropped_total", Kind::Counter, Count, &["model", "version", "reason"],
        "Sampled requests whose copy was not sent or not answered, by reason.";
    MIRROR_COVERAGE = "switchback_mirror_coverage_ratio", Kind::Gauge, Ratio, MIRROR,
        "Share of sampled requests whose copy was answered, 0 to 1, since the start.";
    PAIRS = "switchback_pairs_total", Kind::Counter, Count, &["model", "version", "kind", "result"],
        "Answers to a request and to its copy that were compared; controls went back to the stable version.";
    DIVERGENCES = "switchback_divergences_total", Kind::Counter, Count, &["model", "version", "kind", "reason"],
        "Pairs whose answers diverge, by the gravest reason.";
    PAIRS_DROPPED = "switchback_pairs_dropped_total", Kind::Counter, Count, &["model", "version", "reason"],
        "Copies that were to make a pair and did not, by reason.";
    MIRROR_IN_FLIGHT = "switchback_mirror_in_flight", Kind::Gauge, Count, MIRROR,
        "Copies under way.";
    MIRROR_RETAINED = "switchback_mirror_retained_bytes", Kind::Gauge, Bytes, MIRROR,
        "Bytes of bodies that are held for copies.";
    ONNX_REQUESTS = "switchback_onnx_requests_total", Kind::Counter, Count, &["model", "version", "result"],
        "Requests to models in this process: answered or failed.";
    ONNX_REFUSED = "switchback_onnx_refused_total", Kind::Counter, Count, &["model", "version", "reason"],
        "Requests that a model in this process never ran: its queue was full, the deadline passed, the caller left.";
    ONNX_PHASES = "switchback_onnx_phase_seconds_total", Kind::Counter, Seconds, &["model", "version", "phase"],
        "Time of requests to models in this process: queue, input, inference, output, encode.";
    ONNX_BATCHES = "switchback_onnx_batches_total", Kind::Counter, Count, &["model", "version", "rows"],
        "Runs of a model in this process by their rows, rounded up to a power of two.";
    ONNX_ROWS = "switchback_onnx_rows_total", Kind::Counter, Count, MIRROR,
        "Rows that a model in this process has inferred.";
    ONNX_RUNS = "switchback_onnx_runs_total", Kind::Counter, Count, MIRROR,
        "Runs of a model in this process; requests that were brought together share one.";
    ONNX_INLINE = "switchback_onnx_inline_total", Kind::Counter, Count, MIRROR,
        "Runs of a model in this process on the thread that read the request.";
    ONNX_SPLIT_BATCHES = "switchback_onnx_split_batches_total", Kind::Counter, Count, MIRROR,
        "Batches that failed and whose requests were run again one by one.";
    ONNX_WAITING = "switchback_onnx_waiting", Kind::Gauge, Count, MIRROR,
        "Requests that wait for a session.";
    ONNX_RESIDENT = "switchback_onnx_resident_bytes", Kind::Gauge, Bytes, MIRROR,
        "By how much the process grew while the version was loaded.";
    ONNX_LOADS = "switchback_onnx_loads_total", Kind::Counter, Count, &["model", "result"],
        "Versions that were loaded, by the folder of their model: ready or failed.";
    ROLLOUT_PHASE = "switchback_rollout_phase", Kind::Gauge, Count, &["model", "phase"],
        "Where the model's latest rollout stands: 1 for its phase, 0 for all others.";
    ROLLOUT_STEP = "switchback_rollout_step", Kind::Gauge, Count, MODEL,
        "Place of the present step of the latest rollout, from 0; the number of steps once all are done.";
    ROLLOUT_STEPS = "switchback_rollout_steps", Kind::Gauge, Count, MODEL,
        "Steps of the latest rollout.";
    ROLLOUT_WEIGHT = "switchback_rollout_weight_ratio", Kind::Gauge, Ratio, MODEL,
        "Share of live traffic that the latest rollout gives its candidate, 0 to 1.";
    ROLLOUT_ATTEMPT = "switchback_rollout_attempt", Kind::Gauge, Count, MODEL,
        "How often the candidate of the latest rollout was tried.";
    ROLLOUT_VERDICT = "switchback_rollout_verdict", Kind::Gauge, Count, &["model", "verdict"],
        "What the checks of the latest rollout say together: 1 for the verdict, 0 for all others.";
    ROLLOUT_EVIDENCE = "switchback_rollout_evidence", Kind::Gauge, Count, MODEL,
        "Combined e-value of all checks against the candidate.";
    ROLLOUT_THRESHOLD = "switchback_rollout_threshold", Kind::Gauge, Count, MODEL,
        "Combined e-value at which the candidate is rolled back.";
    CHECK_EVIDENCE = "switchback_rollout_check_evidence", Kind::Gauge, Count, CHECK,
        "E-value of a check against the candidate.";
    CHECK_THRESHOLD = "switchback_rollout_check_threshold", Kind::Gauge, Count, CHECK,
        "E-value at which a check would roll back alone.";
    CHECK_PASS_EVIDENCE = "switchback_rollout_check_pass_evidence", Kind::Gauge, Count, CHECK,
        "E-value of a check against the harm that the present step must rule out.";
    ROLLOUT_PASS_THRESHOLD = "switchback_rollout_pass_threshold", Kind::Gauge, Count, MODEL,
        "E-value at which a check has ruled the harm of a step out.";
    CHECK_VERDICT = "switchback_rollout_check_verdict", Kind::Gauge, Count, &["model", "check", "verdict"],
        "What a check says: 1 for its verdict, 0 for all others.";
    ROLLOUT_DIFFERENCES = "switchback_rollout_config_differences", Kind::Gauge, Count, MODEL,
        "What the configuration says otherwise than rollouts have made of the model.";
    LATCHED = "switchback_latched_candidates", Kind::Gauge, Count, MODEL,
        "Candidates that were rolled back and get no traffic until they are cleared.";
    DECISIONS = "switchback_rollout_decisions_total", Kind::Counter, Count, &["action"],
        "Decisions about rollouts by what was done, such as advance, promote, rollback.";
    DECISION_DURATION = "switchback_decision_duration_seconds", Kind::Histogram(DECISION), Seconds, &[],
        "From the look that saw the decisive observation to the swapped table.";
    SWAP_DURATION = "switchback_swap_duration_seconds", Kind::Histogram(DECISION), Seconds, &[],
        "Making a table and putting it in place.";
    STORE_WELL = "switchback_store_well", Kind::Gauge, Count, &[],
        "Whether the store of rollouts is used and was written when it last should have been: 1 or 0.";
    STORE_DURABLE = "switchback_store_durable", Kind::Gauge, Count, &[],
        "Whether what is decided outlives the process: 1, or 0 where the store is in memory.";
    STORE_FAILURES = "switchback_store_failures_total", Kind::Counter, Count, &[],
        "Commits that the store of rollouts failed.";
    STORE_LOST = "switchback_store_lost_total", Kind::Counter, Count, &[],
        "Entries that were lost because the store could not be written for too long.";
    STORE_SIZE = "switchback_store_size_bytes", Kind::Gauge, Bytes, &["part"],
        "Size of the store of rollouts: the file, and the write-ahead log beside it.";
    NOTICES_WAITING = "switchback_notices_waiting", Kind::Gauge, Count, &[],
        "Notifications in the store that wait for delivery.";
    NOTICES_REFUSED = "switchback_notices_refused_total", Kind::Counter, Count, &[],
        "Notifications that a full outbox refused.";
    NOTIFICATIONS = "switchback_notifications_total", Kind::Counter, Count, &["receiver", "result"],
        "Notifications by receiver: sent, retried after a failure, failed for good, dropped untried.";
    NOTICES_DISCARDED = "switchback_notices_discarded_total", Kind::Counter, Count, &[],
        "Notifications that waited for a receiver which the configuration does not have any more.";
    UNROUTED = "switchback_unrouted_requests_total", Kind::Counter, Count, &["reason"],
        "Requests that ended before any version was chosen, by reason: answered with an error, or left by the client.";
    CONNECTIONS_OPENED = "switchback_connections_opened_total", Kind::Counter, Count, &[],
        "Client connections accepted.";
    CONNECTIONS_ACTIVE = "switchback_connections_active", Kind::Gauge, Count, &[],
        "Client connections open now.";
    CONNECTIONS_REFUSED = "switchback_connections_refused_total", Kind::Counter, Count, &[],
        "Client connections closed at once: too many, or no descriptor or memory left for them.";
    CONNECTION_FAULTS = "switchback_connection_faults_total", Kind::Counter, Count, &["reason"],
        "Client connections, and streams of them by HTTP/2, that ended other than by agreement, by reason.";
    HANDSHAKE_FAILURES = "switchback_tls_handshake_failures_total", Kind::Counter, Count, &[],
        "TLS handshakes of clients that failed or took too long.";
    PROTOCOL_ERRORS = "switchback_protocol_errors_total", Kind::Counter, Count, &[],
        "Client connections that ended because the client broke HTTP.";
    ACCEPT_ERRORS = "switchback_accept_errors_total", Kind::Counter, Count, &[],
        "Client connections that could not be accepted.";
    ACCESS_LOG_DROPPED = "switchback_access_log_dropped_total", Kind::Counter, Count, &[],
        "Access log lines dropped because their queue was full.";
    STATISTICS_OVERFLOWS = "switchback_statistics_overflows_total", Kind::Counter, Count, &[],
        "Statistics filed under _overflow because too many versions were ever counted.";
    ADMIN_DENIED = "switchback_admin_denied_total", Kind::Counter, Count, &["reason"],
        "Requests to the admin API that were not let in, by reason.";
    ADMIN_DISPLACED = "switchback_admin_connections_displaced_total", Kind::Counter, Count, &[],
        "Connections to the admin API of callers that are not known, closed to make room for others.";
    TLS_RELOADS = "switchback_tls_reloads_total", Kind::Counter, Count, &["result"],
        "Certificates and keys that changed on disk by result: applied or refused.";
    WORKER_RESTARTS = "switchback_worker_restarts_total", Kind::Counter, Count, &[],
        "Data workers that failed and were started again.";
    TASK_RESTARTS = "switchback_task_restarts_total", Kind::Counter, Count, &["task"],
        "Loops of the control and health threads that panicked and were started again, by what they do.";
    MEMORY_USED = "switchback_memory_used_ratio", Kind::Gauge, Ratio, &[],
        "Share of the memory ceiling that is used; absent without a ceiling.";
    CONFIG_RELOADS = "switchback_config_reloads_total", Kind::Counter, Count, &["result"],
        "Configuration reloads by result: applied or refused.";
    CONFIG_LAST_RELOAD = "switchback_config_last_reload_success", Kind::Gauge, Count, &[],
        "Whether the last reload of the configuration was applied: 1 or 0.";
    READY = "switchback_ready", Kind::Gauge, Count, &[],
        "Whether the sidecar is ready for traffic: 1 or 0.";
    BUILD_INFO = "switchback_build_info", Kind::Gauge, Count, &["version"],
        "Always 1; the label names the version of Switchback.";
    PROCESS_CPU = "process_cpu_seconds_total", Kind::Counter, Seconds, &[],
        "User and system CPU time of the process.";
    PROCESS_MEMORY = "process_resident_memory_bytes", Kind::Gauge, Bytes, &[],
        "Resident memory of the process.";
    PROCESS_FDS = "process_open_fds", Kind::Gauge, Count, &[],
        "Open file descriptors of the process.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn is_name(text: &str) -> bool {
        text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            && !text.contains("__")
            && !text.ends_with('_')
    }

    #[test]
    fn every_metric_follows_the_conventions_of_prometheus() {
        for metric in ALL {
            let name = metric.name;
            assert!(is_name(name), "{name}");
            assert!(name.starts_with("switchback_") || name.starts_with("process_"), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
            for reserved in ["_sum", "_count", "_bucket", "_created"] {
                assert!(!name.ends_with(reserved), "{name}");
            }
            let stem = name.strip_suffix("_total").unwrap_or(name);
            assert_eq!(stem.ends_with("_seconds"), metric.unit == Unit::Seconds, "{name}");
            assert_eq!(stem.ends_with("_bytes"), metric.unit == Unit::Bytes, "{name}");
            assert_eq!(stem.ends_with("_ratio"), metric.unit == Unit::Ratio, "{name}");
            assert!(metric.help.ends_with('.') && !metric.help.contains(['\\', '\n']), "{name}");
            assert!(metric.labels.iter().all(|l| is_name(l) && *l != "le"), "{name}");
            let labels: HashSet<_> = metric.labels.iter().collect();
            assert_eq!(labels.len(), metric.labels.len(), "{name}");
        }
    }

    #[test]
    fn no_name_stands_twice() {
        let names: HashSet<_> = ALL.iter().map(|m| m.name).collect();
        assert_eq!(names.len(), ALL.len());
    }

    #[test]
    fn bounds_of_histograms_rise() {
        for metric in ALL {
            if let Kind::Histogram(bounds) = metric.kind {
                assert!(bounds.is_sorted_by(|a, b| a < b) && !bounds.is_empty(), "{}", metric.name);
                assert_eq!(metric.unit, Unit::Seconds);
            }
        }
    }
}
