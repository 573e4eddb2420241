//! Connections whose every instant is known: when bytes left, when they arrived, what a connection cost.
//!
//! HTTP/1.1 is hyper's (its connection-level API); the socket under it is ours. It stamps writes, reads
//! with the kernel's receive stamps, and asks for permission before a request's first byte. hyper's
//! side of a connection is not spawned but polled inside the request's own future: one task and one
//! wake-up an event. For that the socket registers the request's task itself, and hyper gets a waker
//! that does nothing: all that hyper would wake happens inside the poll that caused it.

mod connect;
mod connection;
mod pool;
mod rest;
mod socket;
mod stamping;
mod stamps;
mod term;
mod tls;
mod trust;
mod wire;

pub(crate) use connect::{ConnectError, Connector};
pub(crate) use connection::{Connection, HeadError};
pub(crate) use pool::{Pool, Taken};
pub(crate) use rest::Rest;
pub(crate) use stamping::kernel_stamps_are_on;
pub(crate) use stamps::{Read, Write};
pub(crate) use term::KeepAlive;
pub(crate) use tls::{TlsError, tls_config};
