//! Cutting back what is old, in the transaction that added to it. What has not ended, what is
//! latched and what waits for delivery is never cut.

use rusqlite::Connection;

use super::error::StoreError;
use super::limits::Limits;
use super::rows::int;

/// Deletes the oldest ended rollouts of a model beyond the limit, with their decisions.
pub(super) fn rollouts_of(connection: &Connection, model: &str, limits: &Limits) -> Result<u64, StoreError> {
    let deleted = connection.execute(
        "DELETE FROM rollouts WHERE id IN (
             SELECT id FROM rollouts WHERE model = ?1 AND terminal = 1
             ORDER BY created_ms DESC, id DESC LIMIT -1 OFFSET ?2)",
        (model, count(limits.rollouts_per_model)),
    )?;
    Ok(u64::try_from(deleted).unwrap_or(u64::MAX))
}

/// Deletes the oldest ended rollouts of all models beyond the limit.
pub(super) fn rollouts(connection: &Connection, limits: &Limits) -> Result<u64, StoreError> {
    let deleted = connection.execute(
        "DELETE FROM rollouts WHERE id IN (
             SELECT id FROM rollouts WHERE terminal = 1
             ORDER BY created_ms DESC, id DESC LIMIT -1 OFFSET ?1)",
        [count(limits.rollouts)],
    )?;
    Ok(u64::try_from(deleted).unwrap_or(u64::MAX))
}

/// Deletes the oldest decisions of a rollout beyond the limit.
pub(super) fn decisions(connection: &Connection, rollout: &str, limits: &Limits) -> Result<(), StoreError> {
    connection.execute(
        "DELETE FROM decisions WHERE rollout = ?1 AND seq <= (
             SELECT seq FROM decisions WHERE rollout = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2)",
        (rollout, count(limits.decisions_per_rollout)),
    )?;
    Ok(())
}

/// Deletes idempotency keys that have run out at `now_ms`, and the oldest ones beyond the limit.
pub(super) fn keys(connection: &Connection, now_ms: u64, limits: &Limits) -> Result<(), StoreError> {
    let since_ms = now_ms.saturating_sub(limits.key_age_ms);
    connection.execute("DELETE FROM idempotency_keys WHERE at_ms <= ?1", [int(since_ms)])?;
    connection.execute(
        "DELETE FROM idempotency_keys WHERE key IN (
             SELECT key FROM idempotency_keys ORDER BY at_ms DESC, key DESC LIMIT -1 OFFSET ?1)",
        [count(limits.keys)],
    )?;
    Ok(())
}

fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
