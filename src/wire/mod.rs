//! Headers and bodies: what may pass, what is added, what is watched.
//!
//! Pure HTTP semantics (RFC 9110, 9112, 9113) between a client's message and a version's. This
//! room owns no socket, no pool and no policy: it says what a message may look like on either
//! side, and wraps bodies without changing a byte of them. It is also the only room, beside `net`
//! and `upstream`, that names hyper's types, and it names them in two files only:
//! [`body::Inbound`] and [`upgrade`].

pub mod body;
pub mod forward;
pub mod gather;
pub mod grpc;
pub mod grpc_message;
pub mod grpc_stream;
pub mod http1;
pub mod hygiene;
pub mod kept;
pub mod respond;
pub mod rewrite;
pub mod splice;
pub mod upgrade;
