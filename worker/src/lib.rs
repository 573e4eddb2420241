//! Sends its share of the load and measures it.
//!
//! A worker is one control runtime and some lanes. A *lane* is an OS thread with a runtime of its own:
//! its schedule, its connections, its request tasks and its histograms never leave that thread while
//! the run measures, so a token costs no message and no lock. Everything else (registration, clocks,
//! snapshots) lives on the control runtime, where it can delay no stamp.

#![deny(missing_docs)]

mod ahead;
mod bodies;
mod booking;
mod career;
mod claims;
mod client_actor;
mod clock_sync;
mod crew;
mod dialer;
mod gate;
mod health;
mod inputs;
mod lane;
mod lease;
mod link;
mod listener;
mod offer;
mod outbox;
mod recorder_actor;
mod records;
mod request;
mod session;
mod start;
mod threads;
mod worker_actor;

pub use career::{Career, Happening, Leaving, Phase, Wait};
pub use claims::{Claim, Claims};
pub use client::Credentials;
pub use clock_sync::{ClockOffset, ClockSample, best_of};
pub use dialer::{Backoff, Dialer};
pub use gate::Gate;
pub use lease::{Lease, Standing};
pub use listener::{RequestListener, RequestsOf};
pub use outbox::Outbox;
pub use start::{Worker, WorkerEnd, WorkerError, WorkerOptions};
pub use worker_actor::client_options;
