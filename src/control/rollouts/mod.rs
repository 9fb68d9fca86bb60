//! Rollouts under way: from counters to decisions, and from decisions to the live table.
//!
//! One thread decides (`driver`): every 20 ms it looks at what was counted, hands it to the pure
//! machine of `rollout` and carries out what that asks for. A way back is one store into the table,
//! before anything is written; a way forward is written first. Writing (`ledger`), asking gates
//! (`gates`) and telling others have threads of their own, so that neither a disk nor a webhook
//! ever holds up a decision.
//!
//! [`Rollouts`] is the handle for the operator's side: it asks, and reads views that the decider
//! has left for it.

mod abort;
mod backlog;
mod call;
mod candidate;
mod clock;
mod counts;
mod driver;
mod gates;
mod golden;
mod handle;
mod ledger;
mod live;
mod message;
mod model;
mod pace;
mod ranks;
mod recover;
mod rows;
mod setup;
pub mod spec;
mod stand_in;
mod tell;
mod tools;
mod view;

pub use call::{Call, CallError, CandidateCall, Done, StartCall};
pub use driver::{Deciding, start};
pub use handle::{Rollouts, StoreState};
pub use pace::Pace;
pub use setup::{Remake, Setup, StartError, TICK};
pub use view::{ModelView, RolloutView, Views};

#[cfg(test)]
mod tests;
