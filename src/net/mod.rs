//! Listening: sockets, TLS, telling HTTP/1.1 from HTTP/2, draining.
//!
//! One worker thread calls [`serve`] once per listener. The life of a connection is the order of
//! the files: [`bind`] made the socket (`listener`), `accept` takes the connection and owns its
//! task, `tls` shakes hands, `protocol` reads the first bytes and hands the requests to a
//! [`Handler`] (`http2` where they are HTTP/2's), and `drain` ends it all. Everything of a worker is `!Send`; only [`Listener`],
//! [`ServerTls`] and the drain pair cross threads.
//!
//! Absent on purpose: anything about models, routes or header rules (`proxy`, `wire`), and any
//! statistics: a [`ConnectionWatch`] is told what happened.

mod accept;
mod drain;
mod handler;
mod http1;
mod http2;
mod listener;
mod protocol;
mod slow_reader;
mod spec;
mod tls;
mod transport;
mod watch;

pub use accept::{Drained, serve};
pub use drain::{Drain, DrainSignal, drain_pair};
pub use handler::{ConnectionInfo, Handler, IncomingBody};
pub use http1::read_head;
pub use listener::{BindError, BindReason, Listener, bind};
pub use spec::{ClientsSpec, DownstreamSpec, KeyPair, ListenerSpec, TlsSpec};
pub use tls::{ServerTls, TlsError};
pub use watch::{ConnectionFault, ConnectionWatch, Refusal};
