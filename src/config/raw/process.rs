//! The process: its end, its log, its library, its memory.

use super::super::choice::Choice;
use super::super::read::section;
use super::super::scalar::{MI, Share, Size, Time};
use super::super::spec::ModelControl;
use super::super::text::PathText;
use super::{DAY, HOUR};

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
    /// What happens when the process runs out of something.
    Overload {
        required {}
        optional {
            /// Resident memory of the process. Above 80% of it nothing is copied to shadows, above 90%
            /// canaries get no requests, above 95% requests and connections are refused. Default: the
            /// limit of the process' cgroup, else none.
            memory: Size<{ 16 * MI }, { 1 << 50 }>,
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
            /// What may change which models are loaded. `poll`: their folders. `explicit`: clients, with
            /// `/v2/repository/models/{model}/load` and `unload`. `none`: this file only.
            #[schemars(extend("default" = "poll"))]
            model_control: Choice<ModelControl>,
            /// Between two looks at the folders; a change is mostly noticed at once.
            #[schemars(extend("default" = "10s"))]
            poll_interval: Time<100, DAY>,
        }
    }
}

section! {
    /// Where the state and history of rollouts last.
    Store {
        required {
            /// SQLite file; it is made when it is not there. Two more files stand beside it while it is
            /// used. Relative to the folder of this file.
            path: PathText,
        }
        optional {}
    }
}
