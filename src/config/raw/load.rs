//! A scenario of a load test. It is a file of its own, read by `switchback load`.

use super::super::choice::{ArrivalWord, Choice};
use super::super::either::Short;
use super::super::measure::{Number, Rate};
use super::super::read::{List, Pairs, section};
use super::super::scalar::{Count, Flag, Time};
use super::super::text::{
    AnyText, ForeignText, HeaderValueText, LoadUrlText, MethodText, NameText, PathText, PointerText,
    RequestPathText, SloText, VersionNameText, WebhookUrlText,
};
use super::{HOUR, SECOND};
use crate::load::spec::Format;
use crate::upstream::Protocol;

/// Most requests of one test.
const MOST_REQUESTS: u64 = 1_000_000_000;

section! {
    /// A load test: what is sent where, how fast, and what must hold.
    LoadTest {
        required {
            /// Kinds of requests, drawn by their weights. Names are unique.
            requests: List<LoadRequest, 1, 32>,
            /// How requests arrive.
            load: Load,
        }
        optional {
            /// What the test is called in reports. Default: the file's name.
            name: NameText,
            /// What is tested: its URL, or a section. The rate is that of each target.
            target: Short<LoadUrlText, LoadTarget>,
            /// Two targets that get the same requests in turns, instead of `target`.
            compare: LoadCompare,
            /// Time at the beginning that is not measured.
            #[schemars(extend("default" = "1s"))]
            warmup: Time<0, { 10 * 60 * SECOND }>,
            /// What must hold, such as `p99 < 80ms` or `errors < 0.1%`.
            slos: List<SloText, 0, 64>,
            /// Confidence of intervals.
            #[schemars(extend("default" = "95%"))]
            confidence: Rate,
            /// Bounds of the test.
            limits: LoadLimits,
            /// Processes that are watched meanwhile. Names are unique.
            resources: List<LoadResource, 0, 16>,
            /// Everything random follows from it: the same seed, the same requests at the same times.
            #[schemars(extend("default" = 1))]
            seed: Count<0, { u32::MAX as u64 }>,
        }
    }
}

section! {
    /// Two targets to compare. Goals such as `B/A p99 < 1.1` limit their ratio.
    LoadCompare {
        required {
            /// The first one: what is live now.
            a: Short<LoadUrlText, LoadTarget>,
            /// The second one: what might follow it.
            b: Short<LoadUrlText, LoadTarget>,
        }
        optional {}
    }
}

section! {
    /// Something that is tested.
    LoadTarget {
        required {
            /// Its URL; a path stands in front of every request's path.
            url: LoadUrlText,
        }
        optional {
            /// Version of the model at a sidecar: sent as `x-switchback-version`.
            version: VersionNameText,
            /// Headers of every request.
            headers: Pairs<HeaderValueText>,
            /// Which HTTP it speaks. `auto`: HTTP/2 for gRPC, HTTP/1.1 for everything else.
            #[schemars(extend("default" = "auto"))]
            protocol: Choice<Protocol>,
            /// PEM file of the authorities to trust for https. Default: those of the public web.
            ca: PathText,
        }
    }
}

section! {
    /// A kind of request.
    LoadRequest {
        required {
            /// How it is written.
            format: Choice<Format>,
        }
        optional {
            /// What it is called in reports. Default: the model, or the format.
            name: NameText,
            /// The model. Required but for `plain`.
            model: ForeignText,
            /// The model's version, where the protocol names one.
            version: ForeignText,
            /// Share of the requests, relative to the weights of the others.
            #[schemars(extend("default" = 1))]
            weight: Count<1, 1_000_000>,
            /// Method of a `plain` request. Default: GET without a body, POST with one.
            method: MethodText,
            /// Path of a `plain` request, with its query. For others it replaces the protocol's own.
            path: RequestPathText,
            /// Headers beside those of the format.
            headers: Pairs<HeaderValueText>,
            /// What is sent. Default: made up from the model's metadata; for `chat` a few prompts, for
            /// `plain` no body.
            inputs: LoadInputs,
            /// Rows that make one request.
            #[schemars(extend("default" = 1))]
            batch: Count<1, 4096>,
            /// Longest answer of a language model, in tokens.
            #[schemars(extend("default" = 64))]
            max_tokens: Count<1, 1_000_000>,
            /// What a good answer is. Default: any status from 200 to 299, and 0 by gRPC.
            check: LoadCheck,
            /// What must hold of this kind of request alone.
            slos: List<SloText, 0, 64>,
        }
    }
}

section! {
    /// Where inputs come from: one of `generate`, `text`, `file` and `pairs`.
    LoadInputs {
        required {}
        optional {
            /// Random values, as the model's metadata describes its inputs.
            generate: LoadGenerate,
            /// One body for all requests, or a language model's prompt.
            text: AnyText,
            /// A file: `.jsonl` with a JSON value per line, `.csv` with a line of names, `.npy`, or
            /// `.json` with recorded pairs.
            file: PathText,
            /// Column (CSV) or key (JSON lines) of `file` with the expected label.
            label: ForeignText,
            /// Requests of pairs that a sidecar has kept.
            pairs: LoadPairs,
        }
    }
}

section! {
    /// Random values.
    LoadGenerate {
        required {}
        optional {
            /// Size of dimensions that the model leaves open, beside the batch.
            #[schemars(extend("default" = 4))]
            dynamic: Count<1, 65536>,
            /// How many different requests are made.
            #[schemars(extend("default" = 16))]
            count: Count<1, 10_000>,
        }
    }
}

section! {
    /// Recorded pairs of a sidecar.
    LoadPairs {
        required {
            /// URL of its admin API.
            server: WebhookUrlText,
        }
        optional {
            /// The model at the sidecar. Default: the request's.
            model: ForeignText,
        }
    }
}

section! {
    /// What a good answer is.
    LoadCheck {
        required {}
        optional {
            /// The status. Default: any from 200 to 299.
            status: Count<100, 599>,
            /// Values that must be in the answer.
            values: List<LoadValue, 1, 64>,
            /// The class, compared with the label of the row that was sent.
            label: LoadLabel,
        }
    }
}

section! {
    /// A value in an answer.
    LoadValue {
        required {
            /// Where it is. Binary and gRPC answers are pointed into as the JSON protocol has them.
            pointer: PointerText,
        }
        optional {
            /// What it must be, as text. Default: it must be there.
            equals: AnyText,
        }
    }
}

section! {
    /// The class in an answer.
    LoadLabel {
        required {
            /// Where it is: a value, or with `argmax` a list of scores.
            pointer: PointerText,
        }
        optional {
            /// Whether the class is the position of the largest score.
            #[schemars(extend("default" = false))]
            argmax: Flag,
        }
    }
}

section! {
    /// How requests arrive: one of `rate`, `stages`, `trace`, `clients` and `findMax`.
    Load {
        required {}
        optional {
            /// Requests per second, whatever becomes of those before (an open loop).
            rate: Number,
            /// For how long, with `rate` and `clients`.
            #[schemars(extend("default" = "30s"))]
            duration: Time<SECOND, { 24 * HOUR }>,
            /// How requests are spread, with `rate` and `stages`.
            #[schemars(extend("default" = "poisson"))]
            arrivals: Choice<ArrivalWord>,
            /// Stretches of time, one after the other.
            stages: List<LoadStage, 1, 64>,
            /// Recorded times.
            trace: LoadTrace,
            /// Clients that each wait for their answer before they send again (a closed loop).
            clients: Count<1, 100_000>,
            /// Looks for the highest rate that holds the goals.
            find_max: LoadFindMax,
        }
    }
}

section! {
    /// A stretch of time.
    LoadStage {
        required {
            /// How long it is.
            duration: Time<1, { 24 * HOUR }>,
        }
        optional {
            /// Requests per second throughout.
            rate: Number,
            /// Requests per second at its end, reached in a straight line from the stage before.
            ramp_to: Number,
        }
    }
}

section! {
    /// Recorded times of arrival.
    LoadTrace {
        required {
            /// A file with a time in seconds per line: alone, in the first column, or as `{"at": 1.5}`.
            file: PathText,
        }
        optional {
            /// How many times faster than recorded.
            #[schemars(extend("default" = 1))]
            speed: Number,
        }
    }
}

section! {
    /// A search for the highest rate that holds the goals.
    LoadFindMax {
        required {}
        optional {
            /// Where to begin, in requests per second.
            #[schemars(extend("default" = 10))]
            from: Number,
            /// The highest rate to try.
            #[schemars(extend("default" = 10_000))]
            to: Number,
            /// How exactly, relative to the rate.
            #[schemars(extend("default" = "5%"))]
            precision: Rate,
            /// How long each rate is tried.
            #[schemars(extend("default" = "10s"))]
            probe: Time<SECOND, HOUR>,
            /// Runs that must confirm the result.
            #[schemars(extend("default" = 2))]
            confirmations: Count<0, 10>,
            /// How requests are spread.
            #[schemars(extend("default" = "poisson"))]
            arrivals: Choice<ArrivalWord>,
        }
    }
}

section! {
    /// Bounds of a test.
    LoadLimits {
        required {}
        optional {
            /// For one request, from when it was meant to leave. Later it has failed.
            #[schemars(extend("default" = "10s"))]
            timeout: Time<1, HOUR>,
            /// Requests under way. What would be more is not sent, and has failed.
            #[schemars(extend("default" = 10_000))]
            max_in_flight: Count<1, 1_000_000>,
            /// Requests of the whole test.
            #[schemars(extend("default" = 10_000_000))]
            max_requests: Count<1, MOST_REQUESTS>,
            /// Threads that send. Default: as many as the rate needs, up to the number of cores.
            threads: Count<1, 256>,
            /// How late a request may leave before that is the generator's fault. Default: a tenth of
            /// the tightest limit of latency, from 1ms to 10ms.
            max_lag: Time<1, { 60 * SECOND }>,
        }
    }
}

section! {
    /// A process that is watched: one of `pid` and `metrics`.
    LoadResource {
        required {
            /// What it is called in goals, as in `NAME.rss < 512Mi`.
            name: NameText,
        }
        optional {
            /// A process of this machine.
            pid: Count<1, { u32::MAX as u64 }>,
            /// A metrics page, such as a sidecar's `http://127.0.0.1:9901/metrics`.
            metrics: WebhookUrlText,
        }
    }
}
