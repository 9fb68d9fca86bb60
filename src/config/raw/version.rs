//! A version: what serves it and what it is sent.

use super::super::choice::Choice;
use super::super::read::{List, Pairs, section};
use super::super::scalar::{Count, Flag, GI, Share, Size, Time};
use super::super::text::{
    AuthorityText, CertificateNameText, DigestText, FolderText, ForeignText, HeaderNameText, HeaderValueText,
    PathText, PrefixText, QuestionText, ServerNameText, UrlText, VersionNameText,
};
use super::{Concurrency, HOUR, Limit, MONTH, Timeout};
use crate::base::Role;
use crate::certs::MinVersion;
use crate::onnx::{Optimization, Provider};
use crate::upstream::Protocol;

section! {
    /// A build of the model, served by exactly one backend: `upstream` or `onnx`.
    #[schemars(extend("oneOf" = [{ "required": ["upstream"] }, { "required": ["onnx"] }]))]
    Version {
        required {
            /// Name in metrics, in the API and in `x-switchback-version`.
            name: VersionNameText,
        }
        optional {
            /// Share of the live traffic: `N%` or `Nbp` (basis points). All weights sum to 100%.
            /// Default: for stable what the others leave, for others none.
            weight: Share<false>,
            /// What it does. Default: `stable` for the stable version, `canary` with a weight, `shadow`
            /// when mirrored to, else `standby`.
            role: Choice<Role>,
            /// A model server.
            upstream: Upstream,
            /// ONNX Runtime in this process.
            onnx: Onnx,
            /// What this version is sent under other names; the answer is put back.
            rewrite: Rewrite,
            /// Requests under way at one time. Default: no limit.
            concurrency: Concurrency,
        }
    }
}

section! {
    /// A model server, at one place (`url`) or at several that serve the same (`endpoints`).
    #[schemars(extend("oneOf" = [{ "required": ["url"] }, { "required": ["endpoints"] }]))]
    Upstream {
        required {}
        optional {
            /// `http://HOST[:PORT]`, `https://HOST[:PORT]` or `unix:/path`, without a path in it.
            url: UrlText,
            /// The same, several of them: two are drawn for a request, and the less loaded is asked.
            endpoints: List<UrlText, 1, 256>,
            /// Names are looked up this often, and every address of a name is an endpoint. Default: a
            /// name is one endpoint, looked up at each connect.
            resolve_every: Time<100, HOUR>,
            /// Questions asked of each endpoint; one that fails them gets no requests. Default: none.
            health_check: HealthCheck,
            /// Endpoints that fail too often in a row are left out for a while.
            outlier: Outlier,
            /// Other endpoints that a request is offered to when it never left for the first one.
            #[schemars(extend("default" = 2))]
            moves: Count<0, 16>,
            /// Requests under way per endpoint and worker. Default: no limit.
            max_requests: Limit,
            /// How long an endpoint that is new, or back, gets fewer requests than the others.
            #[schemars(extend("default" = "0s"))]
            slow_start: Time<0, HOUR>,
            /// Share of endpoints that must be usable; with fewer, all are used.
            #[schemars(extend("default" = "50%"))]
            panic_below: Share<false>,
            /// HTTP version. `auto`: what the client spoke, if the server does.
            #[schemars(extend("default" = "auto"))]
            protocol: Choice<Protocol>,
            /// TLS to it, for `https` only.
            tls: UpstreamTls,
            /// For connecting, TLS handshake included.
            #[schemars(extend("default" = "5s"))]
            connect_timeout: Timeout,
            /// Connections per worker and endpoint.
            #[schemars(extend("default" = 1024))]
            max_connections: Limit,
            /// Idle HTTP/1.1 connections that are kept, per worker and endpoint.
            #[schemars(extend("default" = 256))]
            max_idle: Count<0, 1_000_000>,
            /// How long an idle connection is kept.
            #[schemars(extend("default" = "60s"))]
            idle_timeout: Timeout,
            /// HTTP/2 streams per connection before another one is opened.
            #[schemars(extend("default" = 100))]
            h2_streams_per_connection: Count<1, 65_536>,
        }
    }
}

section! {
    /// Questions that endpoints are asked. Exactly one of `http`, `oip` and `grpc`.
    #[schemars(extend("oneOf" = [
        { "required": ["http"] }, { "required": ["oip"] }, { "required": ["grpc"] },
    ]))]
    HealthCheck {
        required {}
        optional {
            /// `GET` of a path; 2xx is well.
            http: HttpCheck,
            /// Readiness of the Open Inference Protocol, over HTTP.
            oip: OipCheck,
            /// `grpc.health.v1.Health/Check`; `SERVING` is well.
            grpc: GrpcCheck,
            /// Between two questions; a tenth more or less, so that they spread.
            #[schemars(extend("default" = "5s"))]
            interval: Time<10, HOUR>,
            /// For the whole answer.
            #[schemars(extend("default" = "1s"))]
            timeout: Timeout,
            /// Failures in a row after which an endpoint gets no requests.
            #[schemars(extend("default" = 3))]
            unhealthy_after: Count<1, 1_000>,
            /// Successes in a row after which it gets some again.
            #[schemars(extend("default" = 2))]
            healthy_after: Count<1, 1_000>,
        }
    }
}

section! {
    /// `GET` of a path.
    HttpCheck {
        required {
            /// Path, perhaps with a query.
            path: QuestionText,
        }
        optional {}
    }
}

section! {
    /// Readiness of the Open Inference Protocol.
    OipCheck {
        required {}
        optional {
            /// The model's name at the server. Default: the server as a whole is asked.
            model: FolderText,
        }
    }
}

section! {
    /// `grpc.health.v1.Health/Check`.
    GrpcCheck {
        required {}
        optional {
            /// The service. Default: the server as a whole is asked.
            service: ForeignText,
        }
    }
}

section! {
    /// When an endpoint is left out for what it answers: no answer, a broken one, 5xx, or a gRPC status
    /// that says as much.
    Outlier {
        required {}
        optional {
            /// Whether any is.
            #[schemars(extend("default" = true))]
            enabled: Flag,
            /// Failures in a row.
            #[schemars(extend("default" = 5))]
            consecutive_failures: Count<1, 10_000>,
            /// How long the first time; each further time that much longer.
            #[schemars(extend("default" = "30s"))]
            base_ejection: Timeout,
            /// Longest time.
            #[schemars(extend("default" = "300s"))]
            max_ejection: Timeout,
            /// Most endpoints that are left out at one time. One always may be, but never the only one.
            #[schemars(extend("default" = "10%"))]
            max_ejected: Share<false>,
        }
    }
}

section! {
    /// TLS to a model server.
    UpstreamTls {
        required {}
        optional {
            /// PEM file of the authorities to trust. Relative to the folder of this file. Default: the
            /// public web's.
            ca: PathText,
            /// Name that the certificate must bear, sent as SNI. Default: the host of the URL.
            server_name: ServerNameText,
            /// Names that the certificate may bear instead: DNS names, `*.` for one label, or URIs such as
            /// `spiffe://cluster/model`, `*` at their end for any rest. Default: the server name.
            names: List<CertificateNameText, 1, 64>,
            /// PEM file: the certificate chain that is shown to the server. Relative to the folder of this
            /// file. With `key`. Default: none is shown.
            certificate: PathText,
            /// PEM file: its private key.
            key: PathText,
            /// Oldest version of TLS.
            #[schemars(extend("default" = "tls1.2"))]
            min_version: Choice<MinVersion>,
        }
    }
}

section! {
    /// A model file served in this process: `<repository>/<model>/<version>/model.onnx`.
    Onnx {
        required {
            /// Root of the model repository. Relative to the folder of this file.
            repository: PathText,
            /// Integer version: the folder that holds `model.onnx`.
            version: Count<1, 9_007_199_254_740_991>,
        }
        optional {
            /// Folder of the model. Default: the model's name.
            model: FolderText,
            /// Sessions; as many inferences run at the same time.
            #[schemars(extend("default" = 1))]
            instances: Count<1, 256>,
            /// Threads that one inference may use.
            #[schemars(extend("default" = 1))]
            intra_op_threads: Count<1, 1024>,
            /// Requests that may wait; one more is answered 503.
            #[schemars(extend("default" = 256))]
            max_queue: Limit,
            /// Largest request body, in bytes; longer ones are answered 413.
            #[schemars(extend("default" = "64Mi"))]
            max_body_bytes: Size<1, { 2 * GI }>,
            /// How long loading and warming up may take.
            #[schemars(extend("default" = "120s"))]
            load_timeout: Timeout,
            /// Most rows of several requests that are run together. Only where the first dimension
            /// of every input and output is free.
            #[schemars(extend("default" = 1))]
            max_batch_size: Count<1, 65_536>,
            /// How long a request may wait for others to be run with. `0s` takes what waits already.
            #[schemars(extend("default" = "0s"))]
            max_queue_delay: Time<0, 10_000>,
            /// Whether freed memory is kept for the next run.
            #[schemars(extend("default" = true))]
            arena: Flag,
            /// Whether threads of an inference turn round while they wait. It costs CPU.
            #[schemars(extend("default" = false))]
            spinning: Flag,
            /// How far the graph is optimised while it is loaded.
            #[schemars(extend("default" = "all"))]
            optimization: Choice<Optimization>,
            /// What runs the graph; all but `cpu` have to be built in, and the library must have them.
            #[schemars(extend("default" = "cpu"))]
            provider: Choice<Provider>,
            /// SHA-256 that `model.onnx` must have. Default: what `metadata.json` beside it says, if
            /// anything.
            sha256: DigestText,
        }
    }
}

section! {
    /// Versions that come and go as folders: `<path>/<model>/<version>/model.onnx`, with integers as
    /// versions. Each is named by its number.
    Repository {
        required {
            /// Root of the model repository. Relative to the folder of this file.
            path: PathText,
        }
        optional {
            /// Folder of the model. Default: the model's name.
            model: FolderText,
            /// Which versions are served. Default: the latest one.
            policy: VersionPolicy,
            /// Which versions are what. Default: the highest number is stable; with a `rollout`, only
            /// until that has promoted another.
            labels: Labels,
            /// Share of the version labelled `canary`.
            #[schemars(extend("default" = "0%"))]
            canary_weight: Share<false>,
            /// How long the previous stable version stays loaded after another took its place.
            #[schemars(extend("default" = "1h"))]
            keep_previous: Time<0, MONTH>,
            /// Sessions of each version; as many inferences run at the same time.
            #[schemars(extend("default" = 1))]
            instances: Count<1, 256>,
            /// Threads that one inference may use.
            #[schemars(extend("default" = 1))]
            intra_op_threads: Count<1, 1024>,
            /// Requests that may wait; one more is answered 503.
            #[schemars(extend("default" = 256))]
            max_queue: Limit,
            /// Largest request body, in bytes; longer ones are answered 413.
            #[schemars(extend("default" = "64Mi"))]
            max_body_bytes: Size<1, { 2 * GI }>,
            /// How long loading and warming up may take.
            #[schemars(extend("default" = "120s"))]
            load_timeout: Timeout,
            /// Most rows of several requests that are run together. Only where the first dimension
            /// of every input and output is free.
            #[schemars(extend("default" = 1))]
            max_batch_size: Count<1, 65_536>,
            /// How long a request may wait for others to be run with. `0s` takes what waits already.
            #[schemars(extend("default" = "0s"))]
            max_queue_delay: Time<0, 10_000>,
            /// Whether freed memory is kept for the next run.
            #[schemars(extend("default" = true))]
            arena: Flag,
            /// Whether threads of an inference turn round while they wait. It costs CPU.
            #[schemars(extend("default" = false))]
            spinning: Flag,
            /// How far the graph is optimised while it is loaded.
            #[schemars(extend("default" = "all"))]
            optimization: Choice<Optimization>,
            /// What runs the graph; all but `cpu` have to be built in, and the library must have them.
            #[schemars(extend("default" = "cpu"))]
            provider: Choice<Provider>,
        }
    }
}

section! {
    /// Which versions are served: exactly one of these.
    #[schemars(extend("oneOf" = [
        { "required": ["latest"] },
        { "required": ["all"] },
        { "required": ["specific"] },
    ]))]
    VersionPolicy {
        required {}
        optional {
            /// The highest numbers, so many of them.
            latest: Count<1, 64>,
            /// Every version. Only `true` makes sense.
            #[schemars(extend("const" = true))]
            all: Flag,
            /// These versions.
            specific: List<Count<1, 9_007_199_254_740_991>, 1, 64>,
        }
    }
}

section! {
    /// Names for versions. What they name is served whatever the policy says.
    Labels {
        required {}
        optional {
            /// The version that serves.
            stable: Count<1, 9_007_199_254_740_991>,
            /// The version that gets `canaryWeight`.
            canary: Count<1, 9_007_199_254_740_991>,
        }
    }
}

section! {
    /// What a version is sent under other names; the answer is put back.
    Rewrite {
        required {}
        optional {
            /// The model's name at the server: in paths, gRPC `model_name`, OpenAI `model`.
            model: ForeignText,
            /// The version at the server: `/versions/{v}` in paths, gRPC `model_version`.
            model_version: ForeignText,
            /// A path prefix replaced by another.
            path_prefix: RewritePrefix,
            /// `Host`/`:authority`. Default: the client's own.
            host: AuthorityText,
            /// Request headers.
            headers: RewriteHeaders,
        }
    }
}

section! {
    /// A path prefix replaced by another, by whole segments.
    RewritePrefix {
        required {
            /// What the client's path starts with.
            from: PrefixText,
            /// What the server's path starts with.
            to: PrefixText,
        }
        optional {}
    }
}

section! {
    /// Request headers that are changed for one version.
    RewriteHeaders {
        required {}
        optional {
            /// Headers set, in place of what the client sent.
            set: Pairs<HeaderValueText>,
            /// Headers removed.
            remove: List<HeaderNameText, 0, 64>,
        }
    }
}
