//! The messages, each with its sender, receiver, reply, and what silence means.
//!
//! Variant names and field order are the wire format: add variants, never rename or reorder, and
//! raise [`crate::PROTOCOL_VERSION`] with any change of a content's shape.

use std::{path::PathBuf, time::Duration};

use metrics::NotSent;
use ractor::RpcReplyPort;
use ractor_cluster::RactorClusterMessage;
use serde::{Deserialize, Serialize};
use workload::{Plan, Shard};

use crate::{Change, FetchRecords, Grant, Limit, Part, RecordSegment, RecordsTaken, Wire};

/// The largest piece of an input file that one message carries (256 KiB).
pub const MAX_CHUNK_BYTES: usize = 256 << 10;

/// What a worker says to the coordinator.
#[derive(RactorClusterMessage)]
pub enum CoordinatorMessage {
    /// A worker asks for a place. Reply: a place or a refusal with words. Silence: ask again, with
    /// jittered back-off, until refused for good.
    #[rpc]
    Register(Wire<Hello>, RpcReplyPort<Wire<Welcome>>),
    /// A worker asks the time. Reply: the coordinator's monotonic clock. Silence: that sample is lost.
    #[rpc]
    Time(Wire<TimePing>, RpcReplyPort<Wire<TimePong>>),
    /// A worker lives, twice a second. No reply. Silence: the worker is suspect, then lost.
    Heartbeat(Wire<Heartbeat>),
    /// One part of an interval's delta, at most 256 KiB of histograms. Answered by
    /// [`WorkerMessage::Acknowledge`] once it is durable. Silence: it is sent again, byte for byte.
    Snapshot(Wire<Part>),
    /// A worker leaves in order and names its own limit; its last delta follows. No reply. Silence: it
    /// is missed after a while, as any other.
    Goodbye(Wire<Goodbye>),
    /// A worker asks for a piece of an input file, before Arm. Reply: at most [`MAX_CHUNK_BYTES`], or why
    /// not. Silence: ask again from the same offset.
    #[rpc]
    Fetch(Wire<Fetch>, RpcReplyPort<Wire<Result<Chunk, Refusal>>>),
}

/// What the coordinator says to a worker.
#[derive(RactorClusterMessage)]
pub enum WorkerMessage {
    /// The plan and the worker's rank; at most some 100 KiB. Reply: ready, or why not (a missing
    /// data set, for example). Silence: the run is not armed.
    #[rpc]
    Assign(Wire<Assignment>, RpcReplyPort<Wire<Result<Assigned, Refusal>>>),
    /// The instant at which run time is zero. Reply: accepted. Silence: the run is aborted.
    #[rpc]
    Arm(Wire<Arm>, RpcReplyPort<Wire<Result<Armed, Refusal>>>),
    /// All parts up to a number are on disk. No reply. Silence: the worker keeps them.
    Acknowledge(Wire<Acknowledge>),
    /// Offer nothing that is due at or after an instant, then drain. No reply. Silence: none follows.
    Stop(Wire<Stop>),
    /// Cancel every stream now, ship what is recorded, and end. No reply.
    Abort(Wire<Abort>),
    /// The coordinator lives, twice a second, and grants. No reply: the worker's own heartbeat says what
    /// it heard. Silence: the worker starts nothing once its last grant has run out, and ends 10 s later.
    Heartbeat(Wire<CoordinatorHeartbeat>),
    /// The books are closed: cancel what is open, and end. No reply. Silence: the worker misses its coordinator, and
    /// ends after a while.
    Over(Wire<Over>),
    /// This incarnation has been lost and stays so: cancel every stream, drop what is not acknowledged,
    /// and register as a new one. No reply. Silence: it is told again whenever it is heard.
    Closed(Wire<Closed>),
    /// One segment of this worker's records, after its last delta. Reply: the segment, at most some 256 KiB, or why not.
    /// Silence: it is asked for again.
    #[rpc]
    Records(Wire<FetchRecords>, RpcReplyPort<Wire<Result<RecordSegment, Refusal>>>),
    /// The coordinator has of its records what it will have: the worker may end. No reply. Silence: it waits for a while.
    RecordsTaken(Wire<RecordsTaken>),
}

/// One life of one worker: the place it takes and which process takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkerId {
    /// The worker's place in the fleet (a Job's completion index, or assigned); may have holes.
    pub ordinal: u32,
    /// Random for each process, so that a restarted worker is never taken for its predecessor.
    pub incarnation: u64,
}

impl std::fmt::Display for WorkerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "worker {} ({:08x})", self.ordinal, self.incarnation >> 32)
    }
}

/// The process group in which one incarnation's actor is found, in this process or another.
#[must_use]
pub fn worker_group(incarnation: u64) -> String {
    format!("tokenstorm.worker.{incarnation:016x}")
}

/// A worker introduces itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// [`crate::PROTOCOL_VERSION`] of the worker.
    pub protocol: u32,
    /// The worker's build, compared for equality.
    pub build: String,
    /// The ordinal that it claims, `None` to be given one.
    pub ordinal: Option<u32>,
    /// See [`WorkerId::incarnation`]; also names its group ([`worker_group`]).
    pub incarnation: u64,
    /// Host or pod name, for the report.
    pub host: String,
    /// Processors that the worker may use.
    pub processors: u16,
    /// The last change of owners that it has heard: a coordinator that took over the run goes on above it.
    pub epoch: u64,
    /// The last [`Assignment::run`] in which it has had its part: that run has no place for it any more, and it waits for
    /// the next one.
    pub last_run: Option<u64>,
}

/// The answer to [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Welcome {
    /// The worker has this place; an assignment follows.
    Accepted {
        /// The place.
        ordinal: u32,
    },
    /// The worker has no place.
    Refused(Refusal),
    /// The worker has this place and no part of the load, until somebody is lost; an assignment follows.
    Spare {
        /// The place.
        ordinal: u32,
    },
    /// The coordinator has led the last of its runs: there is nothing to wait for.
    Dismissed,
}

/// A refusal in words for the one who is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// One clear line.
    pub reason: String,
    /// When to ask again; `None`: never.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal for good.
    pub fn for_good(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), retry_after: None }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)
    }
}

/// A question for the coordinator's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimePing {
    /// Who asks.
    pub worker: WorkerId,
}

/// The coordinator's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimePong {
    /// Nanoseconds on the coordinator's monotonic clock when the question was answered.
    pub coordinator_ns: u64,
}

/// A sign of life, twice a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Who lives.
    pub worker: WorkerId,
    /// Requests written and not finished.
    pub in_flight: u64,
    /// Coordinator's clock minus the worker's, nanoseconds.
    pub clock_offset_ns: i64,
    /// Half the round trip of the sample that gave the offset, nanoseconds.
    pub clock_error_ns: u64,
    /// The last change of owners that it has heard.
    pub epoch: u64,
    /// Closed loop: rounds begun by the slot that is furthest ahead.
    pub rounds_begun: u64,
    /// Closed loop: the round up to which it holds a grant, so that a coordinator which took over the run knows.
    pub rounds_granted: u64,
    /// The latest coordinator that it has heard ([`CoordinatorHeartbeat::term`]): no grant of an earlier one will
    /// be taken any more, so only then is `rounds_granted` all that it holds.
    pub term: u64,
}

/// The coordinator's sign of life, twice a second, and what it permits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoordinatorHeartbeat {
    /// To whom.
    pub worker: WorkerId,
    /// Permission to send; none before everybody is armed, nor to a worker that was unheard.
    pub grant: Option<Grant>,
    /// Every change of owners that this worker has not been heard to know, with its own moves.
    pub changes: Vec<Change>,
    /// Which coordinator of the run says it, from 0: each that takes it over is one more. A grant of an earlier one,
    /// left in a socket, is not taken.
    pub term: u64,
    /// Stages that rules have ended. They ride with the grant, so that nobody has permission beyond an end that it has not
    /// heard of.
    pub stage_ends: Vec<StageEnd>,
}

/// A rule has ended a stage before its time; the next one begins as planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageEnd {
    /// Index in the plan.
    pub stage: u16,
    /// Nothing of it that is due at or after this run time is offered.
    pub at: Duration,
}

/// A worker is no longer part of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// Which incarnation.
    pub worker: WorkerId,
}

/// The run is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Over {
    /// Why no load was offered at all; `None` of a run that had its books.
    pub called_off: Option<String>,
}

/// A worker leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goodbye {
    /// Who.
    pub worker: WorkerId,
    /// It writes nothing at or beyond this.
    pub limit: Limit,
    /// Why, for the report.
    pub reason: String,
}

/// A file that the plan's prompts are made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// As the plan names it.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, 64 hexadecimal digits.
    pub sha256: String,
}

/// A question for a piece of an input file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// Who asks.
    pub worker: WorkerId,
    /// Which file, by its SHA-256: nothing else on the coordinator's disk can be asked for.
    pub sha256: String,
    /// From which byte on.
    pub offset: u64,
}

/// A piece of an input file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Its first byte's place.
    pub offset: u64,
    /// The bytes; empty at the file's end.
    pub bytes: Vec<u8>,
}

/// The worker's part of the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// The place that the worker has; it may hear of it here first.
    pub worker: WorkerId,
    /// The same for every worker.
    pub plan: Box<Plan>,
    /// Which arrivals, slots and sessions are this worker's; `None` for a spare.
    pub shard: Option<Shard>,
    /// Every file that the plan's prompts are made of. The worker looks at the path, then in its cache, and
    /// else fetches it; what has another hash is not used.
    pub inputs: Vec<Input>,
    /// Which run of a coordinator that leads many, one after the other, by a random number: after its part the worker
    /// registers for the next one. `None` of the only one: then it ends.
    pub run: Option<u64>,
}

/// A worker has read its inputs and can be armed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assigned {
    /// Lanes that it will use.
    pub lanes: u16,
    /// The tokenizer that counts and makes its prompts, by name.
    pub tokenizer: Option<String>,
    /// Doubts about its inputs, in words for the report.
    pub warnings: Vec<metrics::Warning>,
}

/// The instant at which run time is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arm {
    /// On the coordinator's monotonic clock; the worker converts it with its own offset.
    pub start_at_coordinator_ns: u64,
}

/// The worker will start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Armed {
    /// Coordinator's clock minus the worker's as used for the conversion, nanoseconds.
    pub clock_offset_ns: i64,
    /// Half the round trip of that sample, nanoseconds.
    pub clock_error_ns: u64,
}

/// Everything up to `sequence` is on the coordinator's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledge {
    /// Whose parts.
    pub worker: WorkerId,
    /// The last durable number.
    pub sequence: u64,
}

/// An early end of the offered load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// Nothing due at or after this run time is offered.
    pub at: Duration,
    /// How long open streams are followed after it.
    pub grace: Duration,
    /// As what that is booked which was due before and had to wait.
    pub reason: NotSent,
}

/// The end, now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abort {
    /// Why, for the worker's log.
    pub reason: String,
}
