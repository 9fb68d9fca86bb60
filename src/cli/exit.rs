//! How the process ends: one code for each thing a pipeline may want to tell apart.
//!
//! The codes are part of what users build on: they are never given another meaning.

use std::process::ExitCode;

use super::server::CallError;

/// The codes as `--help` shows them.
pub(super) const TABLE: &str = "\
Exit codes:
   0  done; with --wait or watch: the candidate is promoted
   1  something is wrong: the configuration, a file, an answer, a record that does not verify
   2  the command line is wrong
   3  rolled back
   4  inconclusive: the rollout waits, because a step ended without evidence; of a load test, too few
      requests were made to say whether the goals hold
   5  aborted, by somebody or because the candidate could not be loaded
   6  superseded by another rollout
   7  --timeout is over; the rollout goes on
   8  no sidecar answers; of a load test, nothing that is to be tested
   9  refused: it contradicts what is under way, or the candidate is latched
  10  not allowed: no token, an unknown one, or one that may only read
  11  a load test's goals do not hold
  12  a load test is invalid: the generator could not send as it was meant to
  13  a load test cannot begin: the scenario, its inputs, a goal, the model's name, a remote address
  14  a load test was interrupted; its report is that of a part";

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Exit {
    /// What was asked for is done; a rollout that was waited for is promoted.
    Done = 0,
    /// Something is wrong.
    Error = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The rollout was rolled back.
    RolledBack = 3,
    /// The rollout waits for somebody, because nothing could be shown.
    Inconclusive = 4,
    /// The rollout was aborted.
    Aborted = 5,
    /// Another rollout took the place of this one.
    Superseded = 6,
    /// It took longer than it was waited for.
    TimedOut = 7,
    /// No sidecar answers.
    Unreachable = 8,
    /// The sidecar says no.
    Refused = 9,
    /// The sidecar does not let this caller in.
    Denied = 10,
    /// A load test's goals do not hold.
    GoalsMissed = 11,
    /// A load test says nothing, because the generator fell behind.
    Invalid = 12,
    /// A load test cannot begin.
    BadInput = 13,
    /// A load test was stopped.
    Interrupted = 14,
}

impl Exit {
    /// The word of the outcome in documents.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Done => "promoted",
            Self::Error => "error",
            Self::Usage => "usage",
            Self::RolledBack => "rolledBack",
            Self::Inconclusive => "inconclusive",
            Self::Aborted => "aborted",
            Self::Superseded => "superseded",
            Self::TimedOut => "timeout",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::Denied => "denied",
            Self::GoalsMissed => "fail",
            Self::Invalid => "invalid",
            Self::BadInput => "badInput",
            Self::Interrupted => "interrupted",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what it was asked for: a code, and lines for people.
#[derive(Debug)]
pub(super) struct Failure {
    /// How the process ends.
    pub(super) exit: Exit,
    /// What is wrong and what to do about it. Empty where everything was said already.
    pub(super) message: String,
}

impl Failure {
    /// A failure with this code.
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// A failure without a code of its own.
    pub(super) fn error(message: impl Into<String>) -> Self {
        Self::new(Exit::Error, message)
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        let exit = match error {
            CallError::Unreachable(_) => Exit::Unreachable,
            CallError::Refused(_) => Exit::Refused,
            CallError::Denied(_) => Exit::Denied,
            CallError::NotFound(_)
            | CallError::Invalid(_)
            | CallError::Unavailable(_)
            | CallError::Garbled(_) => Exit::Error,
        };
        Self::new(exit, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_stands_in_the_table_once() {
        let all = [
            Exit::Done,
            Exit::Error,
            Exit::Usage,
            Exit::RolledBack,
            Exit::Inconclusive,
            Exit::Aborted,
            Exit::Superseded,
            Exit::TimedOut,
            Exit::Unreachable,
            Exit::Refused,
            Exit::Denied,
            Exit::GoalsMissed,
            Exit::Invalid,
            Exit::BadInput,
            Exit::Interrupted,
        ];
        // Lines that go on begin further to the right.
        let first = |line: &&str| !line.starts_with("      ");
        let listed: Vec<u8> = TABLE
            .lines()
            .skip(1)
            .filter(first)
            .map(|line| line.split_whitespace().next().unwrap().parse().unwrap())
            .collect();
        assert_eq!(listed, all.map(|exit| exit as u8));
    }
}
