//! Connections whose every instant is known: when bytes left, when they arrived, what a connection cost.
//!
//! Over HTTP/1.1 a request is one task: it connects, writes and reads on its own socket, which stamps
//! writes, reads with the kernel's receive stamps, and asks for permission before a request's first byte.
//! Over HTTP/2 ([`http2`]) requests share sockets that are driven beside them, and have less exact instants.

mod addresses;
mod attempt;
mod chunked;
mod connect;
mod connection;
mod framing;
mod head;
mod http2;
mod pool;
mod rest;
mod socket;
mod source;
mod stamping;
mod stamps;
mod term;
mod tls;
mod trust;
mod wire;

pub(crate) use addresses::Addresses;
pub(crate) use connect::{ConnectError, Connector};
pub(crate) use connection::{Body, Connection, Fault, HeadError, Outgoing};
pub(crate) use head::{Delivery, Head, answer};
pub(crate) use http2::{Http2, SendError};
pub(crate) use pool::{Pool, Taken};
pub(crate) use rest::Rest;
pub(crate) use source::Source;
pub(crate) use stamping::kernel_stamps_are_on;
pub(crate) use stamps::{Read, Write};
pub(crate) use tls::{TlsError, tls_config};
