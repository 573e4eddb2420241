//! Forms the fleet, arms it, keeps the books.
//!
//! What to do is decided by two plain state machines, [`Run`] (phases) and [`Ledger`] (books); the
//! actors around them only carry messages. A coordinator process has three: the *door*, the only actor
//! that workers can reach; the *supervisor*, which drives [`Run`]; and the *ledger actor*, which writes
//! every part to the journal before it acknowledges it.

#![deny(missing_docs)]

mod clock;
mod conclusion;
mod door;
mod gathering;
mod inputs;
mod journal_writer;
mod lease;
mod ledger;
mod ledger_actor;
mod listener;
mod lobby;
mod membership;
mod observer;
mod outliers;
mod ownership;
mod recovery;
mod result;
mod roster;
mod run;
mod settlement;
mod stage_ends;
mod start;
mod stop_rules;
mod stretches;
mod supervisor;

pub use clock::CoordinatorClock;
pub use gathering::RecordsSink;
pub use inputs::Inputs;
pub use journal_writer::JournalWriteError;
pub use lease::{LOOK_EVERY, Leases, Reach, Reading, StartInstant, Terms, limit_of_predecessor};
pub use ledger::{Acceptance, Account, Ledger};
pub use listener::{ListenError, Listener, Protection};
pub use lobby::Lobby;
pub use membership::{Heard, Look, Membership};
pub use observer::Progress;
pub use ownership::{Heirs, Ownership, Tenure};
pub use recovery::{Enrolled, Recovered, Start};
pub use roster::{FleetSize, Member, Role, Roster, Standing};
pub use run::{Command, Ending, Event, Phase, Run};
pub use settlement::Settlement;
pub use stage_ends::StageEnds;
pub use start::{Coordinator, CoordinatorError, CoordinatorOptions, Merged, Preparation};
pub use stretches::{StretchError, Stretches};
