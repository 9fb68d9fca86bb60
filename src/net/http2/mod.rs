//! HTTP/2 as a server speaks it (RFC 9113), on the `h2` crate's frames and flow control.
//!
//! A connection is one task, and its streams are futures within it: nothing is spawned, and what
//! was woken meanwhile is done in one turn, whose frames leave in one write. In reading order:
//! `connection` is that turn, `streams` the futures and `wake` how one of them says that it can go
//! on; `exchange` is one stream from its request to the end of its answer, `request` the body
//! that comes, `head` what an answer's head must and must not have, `date` one field of it, `sending`
//! the stream that takes it, `pressure` what lies ready for the socket, `flood` what a client may send
//! for nothing, `windows` whether it takes back what it has allowed, `refusals` what `h2` refuses by
//! itself, `late` how long a client may take for a head, `patience` how long for an answer, `idle` how
//! long it may keep a connection without a stream.
//!
//! Absent on purpose: server push (RFC 9113 section 8.4, which clients have given up), extended
//! CONNECT (RFC 8441), and pings of our own: TCP keepalive finds dead clients.

mod connection;
mod date;
mod exchange;
mod flood;
mod head;
mod idle;
mod late;
mod patience;
mod pressure;
mod refusals;
mod request;
mod sending;
mod streams;
mod wake;
mod windows;

pub(super) use connection::Http2;

#[cfg(test)]
mod tests;
