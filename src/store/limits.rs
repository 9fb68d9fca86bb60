//! How much a store keeps. Everything in it is bounded, in number and in bytes.

use super::error::StoreError;

const KI: usize = 1024;
const MI: usize = 1024 * KI;
const DAY_MS: u64 = 24 * 3_600 * 1_000;

/// Bounds of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Ended rollouts that are kept per model; older ones go, with their decisions.
    pub rollouts_per_model: usize,
    /// Ended rollouts that are kept over all models.
    pub rollouts: usize,
    /// Decisions that are kept per rollout; older ones go, and sequence numbers stay.
    pub decisions_per_rollout: usize,
    /// Rows of each of: rollouts that have not ended, latches, roles, candidates. One more is refused.
    pub rows: usize,
    /// Idempotency keys that are kept; older ones go.
    pub keys: usize,
    /// How long an idempotency key is good for, in milliseconds.
    pub key_age_ms: u64,
    /// Notices that may wait; further ones are refused and counted.
    pub notices: usize,
    /// Bytes of JSON of the notices that may wait.
    pub notice_bytes: usize,
    /// Bytes of one JSON payload.
    pub json_bytes: usize,
    /// Bytes of one name, id, digest or other short text.
    pub text_bytes: usize,
    /// Writes in one commit.
    pub writes_per_commit: usize,
    /// Bytes of the file. At that size the store is as if the disk were full.
    pub file_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rollouts_per_model: 200,
            rollouts: 10_000,
            decisions_per_rollout: 2_000,
            rows: 10_000,
            keys: 10_000,
            key_age_ms: DAY_MS,
            notices: 1_000,
            notice_bytes: 8 * MI,
            json_bytes: MI,
            text_bytes: KI,
            writes_per_commit: 1_000,
            file_bytes: 2 * 1024 * 1024 * 1024,
        }
    }
}

/// Refuses a text that is longer than `limit` bytes.
pub(super) fn fits(what: &'static str, text: &str, limit: usize) -> Result<(), StoreError> {
    if text.len() > limit {
        return Err(StoreError::TooLarge { what, bytes: text.len(), limit });
    }
    Ok(())
}
