//! Headers and bodies: what may pass, what is added, what is watched.

pub mod body;
pub mod rewrite;
