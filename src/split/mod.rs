//! Which version a request gets: a layout of weights, a draw, or a hash of a sticky key.
//!
//! Pure: the draw arrives as a number, so a seed replays everything.

mod key;
mod layout;

pub use key::{KeySource, cookie, hash, point};
pub use layout::{Layout, LayoutError};
