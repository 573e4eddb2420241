//! The door: the only actor of a coordinator that workers can reach.
//!
//! It opens each message, sends it on to who decides, and answers the clock itself. What does not decode
//! is refused or dropped with a log line; nobody else is disturbed.

use std::sync::Arc;

use protocol::{CoordinatorMessage, Refusal, TimePong, Welcome, Wire};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::{CoordinatorClock, Inputs, ledger_actor::LedgerMessage, supervisor::SupervisorMessage};

/// See the module's documentation.
pub(crate) struct Door;

/// Whom the door knows.
pub(crate) struct Rooms {
    pub(crate) supervisor: ActorRef<SupervisorMessage>,
    pub(crate) ledger: ActorRef<LedgerMessage>,
    pub(crate) clock: CoordinatorClock,
    pub(crate) inputs: Arc<Inputs>,
}

impl Actor for Door {
    type Msg = CoordinatorMessage;
    type State = Rooms;
    type Arguments = Rooms;

    async fn pre_start(
        &self,
        _me: ActorRef<Self::Msg>,
        rooms: Rooms,
    ) -> Result<Rooms, ActorProcessingErr> {
        Ok(rooms)
    }

    async fn handle(
        &self,
        _me: ActorRef<Self::Msg>,
        message: CoordinatorMessage,
        rooms: &mut Rooms,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            CoordinatorMessage::Register(Wire(Ok(hello)), reply) => {
                rooms.supervisor.cast(SupervisorMessage::Register(hello, reply))?;
            }
            CoordinatorMessage::Register(Wire(Err(error)), reply) => {
                let refusal = Refusal::for_good(format!("registration is unreadable: {error}"));
                let _ = reply.send(Wire::new(Welcome::Refused(refusal)));
            }
            CoordinatorMessage::Time(Wire(Ok(_)), reply) => {
                let pong = TimePong { coordinator_ns: rooms.clock.now_ns() };
                let _ = reply.send(Wire::new(pong));
            }
            CoordinatorMessage::Heartbeat(Wire(Ok(heartbeat))) => {
                rooms.supervisor.cast(SupervisorMessage::Heartbeat(heartbeat))?;
            }
            CoordinatorMessage::Snapshot(Wire(Ok(part))) => {
                // Its end is that of the books: what comes later is nobody's, and no fault of this one.
                let _ = rooms.ledger.cast(LedgerMessage::Part(part));
            }
            CoordinatorMessage::Goodbye(Wire(Ok(goodbye))) => {
                rooms.supervisor.cast(SupervisorMessage::Goodbye(goodbye))?;
            }
            CoordinatorMessage::Fetch(Wire(fetch), reply) => {
                let inputs = rooms.inputs.clone();
                // A disk may be slow, and others wait at the door.
                tokio::task::spawn_blocking(move || {
                    let chunk = match fetch {
                        Ok(fetch) => inputs.chunk(&fetch),
                        Err(error) => Err(Refusal::for_good(error.to_string())),
                    };
                    let _ = reply.send(Wire::new(chunk));
                });
            }
            CoordinatorMessage::Time(Wire(Err(error)), _)
            | CoordinatorMessage::Goodbye(Wire(Err(error)))
            | CoordinatorMessage::Heartbeat(Wire(Err(error)))
            | CoordinatorMessage::Snapshot(Wire(Err(error))) => {
                tracing::warn!(%error, "a message of a worker is unreadable and was dropped");
            }
        }
        Ok(())
    }
}
