//! What could not be written yet.
//!
//! Where a newer write replaces an older one, only the newer waits: a store that is away for hours
//! costs no more than one that is away for a moment, and nothing of how models stand is ever given
//! up. What grows with time is history. It is bounded, and its oldest goes first.

use std::collections::{BTreeMap, VecDeque};

use crate::store::{StoreError, Write};

/// Decisions that wait at most.
const DECISIONS: usize = 10_000;
/// Bytes of their records at most.
const DECISION_BYTES: usize = 64 * 1024 * 1024;

/// Writes that wait for a store to recover.
#[derive(Default)]
pub(super) struct Backlog {
    /// How each model stands: of each thing that is written again and again the newest, in the order
    /// in which the things were first written. Bounded by what a model may have.
    standing: BTreeMap<String, Vec<Write>>,
    /// What was decided, oldest first. Refers to rollouts of `standing`, which are written before.
    history: VecDeque<Write>,
    /// Bytes of `history`.
    bytes: usize,
}

impl Backlog {
    pub(super) fn is_empty(&self) -> bool {
        self.standing.is_empty() && self.history.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.standing.values().map(Vec::len).sum::<usize>() + self.history.len()
    }

    /// Has these wait, and says how many decisions were given up for want of room.
    pub(super) fn keep(&mut self, writes: Vec<Write>) -> u64 {
        for write in writes {
            match model(&write) {
                Some(model) => stand(self.standing.entry(model.to_owned()).or_default(), write),
                // News is told from memory now, and would be told twice.
                None if matches!(write, Write::Notice(_)) => {}
                None => {
                    self.bytes = self.bytes.saturating_add(bytes(&write));
                    self.history.push_back(write);
                }
            }
        }
        let mut lost = 0;
        while self.history.len() > DECISIONS || self.bytes > DECISION_BYTES {
            let Some(oldest) = self.history.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(bytes(&oldest));
            lost += 1;
        }
        lost
    }

    /// Commits what waits, at most `most` writes at a time, how models stand before what was decided
    /// of them, and a model's standing in one. What is refused for itself is tried without the rest,
    /// and if it is refused again given up: says how many were.
    ///
    /// # Errors
    /// Why the store cannot be written. What is not written then waits on.
    pub(super) fn flush(
        &mut self,
        most: usize,
        mut commit: impl FnMut(&[Write]) -> Result<(), StoreError>,
        lost: &mut u64,
    ) -> Result<(), StoreError> {
        while let Some(models) = self.next_models(most) {
            let writes: Vec<Write> =
                models.iter().filter_map(|model| self.standing.get(model)).flatten().cloned().collect();
            *lost += all_or_each(&writes, most, &mut commit)?;
            models.iter().for_each(|model| _ = self.standing.remove(model));
        }
        while !self.history.is_empty() {
            let next = self.history.len().min(most.max(1));
            let writes: Vec<Write> = self.history.iter().take(next).cloned().collect();
            *lost += all_or_each(&writes, most, &mut commit)?;
            let written: usize = self.history.drain(..next).map(|write| bytes(&write)).sum();
            self.bytes = self.bytes.saturating_sub(written);
        }
        Ok(())
    }

    /// The models whose standing goes into the next commit: at least one, if any waits.
    fn next_models(&self, most: usize) -> Option<Vec<String>> {
        let mut writes = 0;
        let fits = self.standing.iter().take_while(|(_, standing)| {
            let is_first = writes == 0;
            writes += standing.len();
            is_first || writes <= most
        });
        let models: Vec<String> = fits.map(|(model, _)| model.clone()).collect();
        (!models.is_empty()).then_some(models)
    }
}

/// Commits these together, or, where that is refused for what they are, each by itself; says how many
/// were refused then. All of it may be done again.
fn all_or_each(
    writes: &[Write],
    most: usize,
    commit: &mut impl FnMut(&[Write]) -> Result<(), StoreError>,
) -> Result<u64, StoreError> {
    if writes.len() <= most {
        match commit(writes) {
            Ok(()) => return Ok(0),
            Err(error) if may_recover(&error) => return Err(error),
            Err(_) => {}
        }
    }
    let mut lost = 0;
    for write in writes {
        match commit(std::slice::from_ref(write)) {
            Ok(()) => {}
            Err(error) if may_recover(&error) => return Err(error),
            Err(_) => lost += 1,
        }
    }
    Ok(lost)
}

/// Whether the same write may be made later: it is the store that is in trouble, not the write.
pub(super) fn may_recover(error: &StoreError) -> bool {
    error.is_outage() && !matches!(error, StoreError::Internal(_))
}

/// The model whose standing this is; none where it is history or news.
fn model(write: &Write) -> Option<&str> {
    match write {
        Write::Rollout(row) => Some(&row.model),
        Write::Latch(row) => Some(&row.model),
        Write::Roles(row) => Some(&row.model),
        Write::Candidate(row) => Some(&row.model),
        Write::Unlatch { model, .. }
        | Write::ForgetRoles { model }
        | Write::ForgetCandidate { model, .. } => Some(model),
        Write::Decision(_) | Write::Key(_) | Write::Notice(_) => None,
    }
}

/// Takes a write into a model's standing, in place of what it makes superfluous.
fn stand(standing: &mut Vec<Write>, write: Write) {
    let stays = |known: &Write| match (known, &write) {
        // One that has ended stays ended.
        (Write::Rollout(known), Write::Rollout(new)) => known.id == new.id && known.terminal && !new.terminal,
        // A latch stays as it was made.
        (Write::Latch(known), Write::Latch(new)) => known.digest == new.digest,
        _ => false,
    };
    if standing.iter().any(stays) {
        return;
    }
    let place = standing.iter().position(|known| replaces(&write, known)).unwrap_or(standing.len());
    standing.retain(|known| !replaces(&write, known));
    standing.insert(place, write);
}

/// Whether what `known` does is undone or done by `write` as well.
fn replaces(write: &Write, known: &Write) -> bool {
    match (write, known) {
        (Write::Rollout(new), Write::Rollout(old)) => new.id == old.id,
        (Write::Roles(_) | Write::ForgetRoles { .. }, Write::Roles(_) | Write::ForgetRoles { .. }) => true,
        (Write::Unlatch { digest, .. }, Write::Latch(old)) => *digest == old.digest,
        (Write::Unlatch { digest, .. }, Write::Unlatch { digest: old, .. }) => digest == old,
        (Write::Candidate(new), Write::Candidate(old)) => new.version == old.version,
        (Write::Candidate(new), Write::ForgetCandidate { version, .. }) => new.version == *version,
        (Write::ForgetCandidate { version, .. }, Write::Candidate(old)) => *version == old.version,
        (Write::ForgetCandidate { version, .. }, Write::ForgetCandidate { version: old, .. }) => {
            version == old
        }
        _ => false,
    }
}

/// How much of it waits in memory, roughly.
fn bytes(write: &Write) -> usize {
    match write {
        Write::Decision(row) => row.record.len(),
        Write::Key(row) => row.answer.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
