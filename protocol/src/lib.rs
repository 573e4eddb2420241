//! What the coordinator and its workers say to each other, and what the journal holds.
//!
//! Send (plan, shard, seed), not schedules; histograms, not percentiles. The bytes of this crate are
//! read by another process, or by the next one after a crash: whatever arrives decodes to a `Result`,
//! and a bad peer or a torn file is answered, never a panic.
//!
//! This is the only room with messages that leave a process.

#![deny(missing_docs)]

mod cluster;
#[cfg(test)]
mod golden;
mod journal;
mod lease;
mod messages;
mod ownership;
mod part;
mod peer;
mod records;
mod wire;

pub use cluster::{
    COORDINATOR_GROUP, CertificateError, Certificates, ClusterError, Cookie, CookieError,
    HANDSHAKE_DEADLINE, Node, Trust, TrustError,
};
pub use journal::{
    Journal, JournalError, JournalRecords, JournalTail, Record, append_frame, read_journal,
};
pub use lease::{DRIFT_PPM, Grant, HEARTBEAT_EVERY, LEASE, LONG_LEASE, Limit, grown_error_ns};
pub use messages::{
    Abort, Acknowledge, Arm, Armed, Assigned, Assignment, Chunk, Closed, CoordinatorHeartbeat,
    CoordinatorMessage, Fetch, Goodbye, Heartbeat, Hello, Input, MAX_CHUNK_BYTES, Over, Refusal,
    StageEnd, Stop, TimePing, TimePong, Welcome, WorkerId, WorkerMessage, worker_group,
};
pub use ownership::{Change, ClassCovers, Loss, LossCause, Move};
pub use part::{
    Assembly, Covers, Delta, IntervalEnd, MAX_PART_BYTES, Part, PartError, SAMPLES_OF_A_CLASS,
    ScopedHistogram, flush_delay, split,
};
pub use peer::{Peer, PeerError};
pub use records::{FetchRecords, RecordSegment, RecordsAccount, RecordsTaken};
pub use wire::{MAX_FRAME_BYTES, Wire, WireError, decode, encode};

/// The version of everything in this crate. Peers compare it before they say anything else; a
/// journal carries it in its first record. Raise it with any change of a message's shape.
pub const PROTOCOL_VERSION: u32 = 5;
