//! The configuration as it is written: every section and key, its type, bounds and default.
//!
//! This file is the reference: the reader, the list of known keys and the JSON Schema are made of
//! it. `default` is what the key's absence means; a test holds the specs' defaults to it.

use crate::base::Role;
use crate::upstream::Protocol;

use super::problem::{At, Report};
use super::read::{Field, Keys, List, Pairs, Read, camel, section};
use super::scalar::{Choice, Count, Flag, GI, KI, MI, Share, Size, Time};
use super::text::{
    AddressText, AuthorityText, CookieText, FolderText, ForeignText, HeaderNameText, HeaderValueText,
    HostPatternText, ListenerNameText, ModelNameText, PathText, PointerText, PrefixText, ServerNameText,
    UrlText, VersionNameText,
};
use super::tree::Node;

const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;

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
            /// ONNX Runtime, for versions that are served in process.
            onnx_runtime: OnnxRuntime,
        }
    }
}

section! {
    /// An address that clients connect to.
    Listener {
        required {
            /// Name in logs and metrics.
            name: ListenerNameText,
            /// `IP:PORT` (port 0: the system chooses) or `unix:/path`.
            address: AddressText,
        }
        optional {
            /// TLS. Default: plaintext.
            tls: ListenerTls,
            /// Whether clients may choose the version with the header `x-switchback-version`.
            #[schemars(extend("default" = false))]
            allow_pin: Flag,
        }
    }
}

section! {
    /// Certificate and key of a listener.
    ListenerTls {
        required {
            /// PEM file: the certificate chain, the server's own certificate first. Relative to the
            /// folder of this file.
            certificate: PathText,
            /// PEM file: the private key. Relative to the folder of this file.
            key: PathText,
        }
        optional {}
    }
}

section! {
    /// Limits of what clients may do, the same on every listener.
    Downstream {
        required {}
        optional {
            /// Open connections per worker; further ones are closed at once.
            #[schemars(extend("default" = 10000))]
            max_connections: Limit,
            /// Largest request head, in bytes.
            #[schemars(extend("default" = "64Ki"))]
            header_bytes: Size<{ 8 * KI }, { 16 * MI }>,
            /// Most header fields of a request.
            #[schemars(extend("default" = 100))]
            header_count: Count<10, 10_000>,
            /// From accept, or the end of the TLS handshake, to the first byte.
            #[schemars(extend("default" = "60s"))]
            first_byte_timeout: Timeout,
            /// For a whole TLS handshake.
            #[schemars(extend("default" = "10s"))]
            handshake_timeout: Timeout,
            /// From the first byte of a request head to its last, and between the requests of an
            /// HTTP/1.1 connection.
            #[schemars(extend("default" = "60s"))]
            header_timeout: Timeout,
            /// HTTP/2 limits.
            h2: Http2,
        }
    }
}

section! {
    /// HTTP/2 limits of clients' connections.
    Http2 {
        required {}
        optional {
            /// Streams open at one time on one connection.
            #[schemars(extend("default" = 256))]
            max_streams: Count<1, 65_536>,
            /// Flow-control window of one stream, in bytes.
            #[schemars(extend("default" = "1Mi"))]
            stream_window: Size<{ 16 * KI }, { 2 * GI - 1 }>,
            /// Flow-control window of one connection, in bytes.
            #[schemars(extend("default" = "4Mi"))]
            connection_window: Size<{ 64 * KI }, { 2 * GI - 1 }>,
        }
    }
}

section! {
    /// Admin API, metrics and health.
    Admin {
        required {}
        optional {
            /// `IP:PORT` (port 0: the system chooses) or `unix:/path`. Who reaches it can change weights.
            #[schemars(extend("default" = "127.0.0.1:9901"))]
            address: AddressText,
        }
    }
}

section! {
    /// One JSON line per sampled request.
    AccessLog {
        required {
            /// File that lines are appended to, such as `/dev/stdout`.
            path: PathText,
        }
        optional {
            /// Share of the requests that get a line.
            #[schemars(extend("default" = "1%"))]
            sample: Share<true>,
        }
    }
}

section! {
    /// What happens between SIGTERM and exit.
    Drain {
        required {}
        optional {
            /// Not ready, but still accepting, for this long: time for load balancers to notice.
            #[schemars(extend("default" = "0s"))]
            delay: Time<0, HOUR>,
            /// Then requests under way get this long to finish.
            #[schemars(extend("default" = "30s"))]
            timeout: Time<0, DAY>,
        }
    }
}

section! {
    /// ONNX Runtime.
    OnnxRuntime {
        required {}
        optional {
            /// The shared library, such as `libonnxruntime.so`. Default: what `ORT_DYLIB_PATH` names,
            /// else what the system finds.
            library: PathText,
        }
    }
}

section! {
    /// A model: what clients call. It has versions.
    Model {
        required {
            /// Name in metrics, in the API, and by default in requests.
            name: ModelNameText,
            /// Builds of the model. Names are unique within the model.
            versions: List<Version, 1, 64>,
        }
        optional {
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
        }
    }
}

section! {
    /// A model server.
    Upstream {
        required {
            /// `http://HOST[:PORT]`, `https://HOST[:PORT]` or `unix:/path`, without a path in it.
            url: UrlText,
        }
        optional {
            /// HTTP version. `auto`: what the client spoke.
            #[schemars(extend("default" = "auto"))]
            protocol: Choice<Protocol>,
            /// TLS to it, for `https` only.
            tls: UpstreamTls,
            /// For connecting, TLS handshake included.
            #[schemars(extend("default" = "5s"))]
            connect_timeout: Timeout,
            /// Connections per worker.
            #[schemars(extend("default" = 1024))]
            max_connections: Limit,
            /// Idle HTTP/1.1 connections that are kept, per worker.
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
    /// TLS to a model server.
    UpstreamTls {
        required {}
        optional {
            /// PEM file of the authorities to trust. Relative to the folder of this file. Default: the
            /// public web's.
            ca: PathText,
            /// Name that the certificate must bear, sent as SNI. Default: the host of the URL.
            server_name: ServerNameText,
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
            /// Sessions, each with a thread of its own.
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

section! {
    /// Copies of requests to one shadow. The client never waits for it.
    Mirror {
        required {
            /// The version that gets the copies; it has no weight.
            to: VersionNameText,
        }
        optional {
            /// Share of the live requests that is copied.
            #[schemars(extend("default" = "100%"))]
            sample: Share<true>,
            /// For the whole of a copy's exchange.
            #[schemars(extend("default" = "30s"))]
            deadline: Timeout,
            /// Copies under way, per worker.
            #[schemars(extend("default" = 64))]
            max_in_flight: Limit,
            /// Bytes kept for copies, per worker.
            #[schemars(extend("default" = "16Mi"))]
            max_bytes: Size<KI, { 64 * GI }>,
            /// Longest body that is copied, in bytes. At most `maxBytes`.
            #[schemars(extend("default" = "1Mi"))]
            max_body_bytes: Size<1, { 64 * GI }>,
            /// Live requests under way per worker above which nothing is copied.
            #[schemars(extend("default" = 1024))]
            suspend_above: Limit,
            /// Headers that do not reach the shadow. Default: none.
            #[schemars(extend("examples" = [["authorization", "cookie"]]))]
            drop_headers: List<HeaderNameText, 0, 64>,
        }
    }
}
