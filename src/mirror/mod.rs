//! Copies of requests for shadows, in a way that no shadow can hurt a client.
//!
//! A request is granted a copy before its body is read ([`budget`]); the body is kept, chunk by
//! chunk, while the live leg reads it ([`keep`]); once it is whole, the copy is sent by a task of
//! its own with its own deadline ([`send`]). What both versions answered is brought together
//! ([`pair`]) and compared on a thread of its own ([`compare`]). The live leg never waits for any of
//! it. Whatever is not sent, not answered or not compared is counted by reason, so coverage tells
//! how much was seen.
//!
//! Deliberately absent: retries, and any way for a shadow's outcome to reach the client.

pub mod budget;
pub mod compare;
pub mod keep;
pub mod pair;
pub mod send;
pub mod taken;
