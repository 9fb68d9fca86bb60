//! One request's way through Switchback. [`request`] is the file to open first.

mod access;
mod admission;
mod admit;
mod ahead;
mod fallback;
mod finish;
mod local_answers;
mod progress;
mod record;
pub mod reply;
pub mod request;
mod retry;
mod route;
mod seat;
mod segments;
mod upgrade;
pub mod worker;
