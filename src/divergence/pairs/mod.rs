//! Diverged pairs kept for people: the latest ones and the worst ones, bounded in count and bytes,
//! with what must not be seen taken out before anything is kept.

mod book;
mod excerpt;
mod redaction;
mod spec;

pub use book::{KeptPair, PairBook, Seen};
pub use excerpt::{Body, Excerpt, LeftOut};
pub use spec::PairSpec;
