//! What the supervisor is told: by the door, the ledger, the journal, its own tasks and the user.

use std::time::Duration;

use metrics::StopReason;
use protocol::{
    Armed, Assigned, Goodbye, Heartbeat, Hello, Refusal, StageEnd, Welcome, Wire, WorkerId,
};
use ractor::{Message, RpcReplyPort};

use crate::{Event, gathering::Gather};

/// What the supervisor is told. Local: these never leave the process.
pub(crate) enum SupervisorMessage {
    /// From the door.
    Register(Hello, RpcReplyPort<Wire<Welcome>>),
    /// From the door.
    Heartbeat(Heartbeat),
    /// From the door.
    Goodbye(Goodbye),
    /// Something that only [`crate::Run`] has to know.
    Happened(Event),
    /// A worker has read its inputs, or refuses.
    Assigned(WorkerId, Result<Assigned, Refusal>),
    /// The worker's clock as used for its start.
    Armed(WorkerId, Result<Armed, Refusal>),
    /// From the ledger.
    LastDelta(WorkerId),
    /// From the ledger: what this worker said cannot be.
    Broken(WorkerId),
    /// A change of owners is on disk.
    Written(u64),
    /// A worker's ceiling of rounds is on disk.
    RoundsWritten(WorkerId, u64),
    /// From the ledger: a rule of the plan ends the load.
    RuleSpoke(StopReason),
    /// The end of the load by a rule is on disk.
    StopWritten(Duration),
    /// The end of stages by a rule of theirs, decided for this run time, is on disk.
    StageStopWritten(Duration, Vec<StageEnd>),
    /// From the ledger.
    JournalFailed(String),
    /// From the user.
    Interrupt,
    /// Time to look for silence.
    Watch,
    /// Workers of other processes may come from now on.
    Opened,
    /// Somebody gathers records: who is complete is named to him, and the door stays open until he is done.
    Gather(Gather),
}

impl Message for SupervisorMessage {}
