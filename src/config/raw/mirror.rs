//! Copies of requests to shadows.

use super::super::read::{List, section};
use super::super::scalar::{Flag, GI, KI, Share, Size};
use super::super::text::{HeaderNameText, VersionNameText};
use super::{Limit, Timeout};

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
            /// Whether answers are compared, as the model's `compare` says.
            #[schemars(extend("default" = true))]
            compare: Flag,
            /// Share of the copies that goes back to the stable version instead, below 100%: how much
            /// it differs from itself is the noise that the shadow is judged against.
            #[schemars(extend("default" = "0%"))]
            noise_control: Share<false>,
            /// Longest answer that is compared, in bytes.
            #[schemars(extend("default" = "1Mi"))]
            max_answer_bytes: Size<1, GI>,
        }
    }
}
