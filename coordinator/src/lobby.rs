//! Where workers wait between the runs of a coordinator that leads many, one after the other.
//!
//! Each run has a door of its own, which ends with it. Without anybody at the door a worker would take the coordinator
//! for dead: it could not tell a pause of a minute from an end. So the lobby stands in the door's group from the first
//! run to the last. Of a group the newest member is spoken to, which is the door of a run wherever there is one (the lobby
//! is older than all of them); whoever asks for a place at any other time is told to wait, and after the last run that it
//! was the last.

use protocol::{COORDINATOR_GROUP, CoordinatorMessage, Refusal, TimePong, Welcome, Wire};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::watch;

use crate::{CoordinatorClock, roster::wait_for_the_next_run};

/// See the module's documentation.
#[derive(Debug)]
pub struct Lobby {
    keeper: ActorRef<CoordinatorMessage>,
    dismissed: watch::Sender<bool>,
}

impl Lobby {
    /// Before the first [`crate::Coordinator`] starts, so that the door of each is newer.
    ///
    /// # Errors
    /// Its actor cannot start.
    pub async fn start() -> Result<Self, ractor::SpawnErr> {
        let (dismissed, is_dismissed) = watch::channel(false);
        let (keeper, _) = Actor::spawn(None, Keeper, is_dismissed).await?;
        Ok(Self { keeper, dismissed })
    }

    /// Lets workers of other processes in.
    pub fn open(&self) {
        ractor::pg::join(COORDINATOR_GROUP.to_owned(), vec![self.keeper.get_cell()]);
    }

    /// From now on whoever asks for a place is told that there are no more runs.
    pub fn dismiss(&self) {
        let _ = self.dismissed.send(true);
    }
}

struct Keeper;

impl Actor for Keeper {
    type Msg = CoordinatorMessage;
    type State = watch::Receiver<bool>;
    type Arguments = watch::Receiver<bool>;

    async fn pre_start(
        &self,
        _me: ActorRef<Self::Msg>,
        is_dismissed: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(is_dismissed)
    }

    async fn handle(
        &self,
        _me: ActorRef<Self::Msg>,
        message: CoordinatorMessage,
        is_dismissed: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            CoordinatorMessage::Register(_, reply) => {
                let _ = reply.send(Wire::new(welcome(*is_dismissed.borrow())));
            }
            CoordinatorMessage::Time(_, reply) => {
                let pong = TimePong { coordinator_ns: CoordinatorClock.now_ns() };
                let _ = reply.send(Wire::new(pong));
            }
            CoordinatorMessage::Fetch(_, reply) => {
                let refusal = Refusal::for_good("that run is over");
                let _ = reply.send(Wire::new(Err(refusal)));
            }
            // Of a run that is over: its books are closed, and its worker hears nothing more.
            CoordinatorMessage::Heartbeat(_)
            | CoordinatorMessage::Snapshot(_)
            | CoordinatorMessage::Goodbye(_) => {}
        }
        Ok(())
    }
}

fn welcome(is_dismissed: bool) -> Welcome {
    if is_dismissed { Welcome::Dismissed } else { Welcome::Refused(wait_for_the_next_run()) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use protocol::{Hello, PROTOCOL_VERSION, Peer};

    use super::*;

    fn hello() -> Hello {
        Hello {
            protocol: PROTOCOL_VERSION,
            build: "b".to_owned(),
            ordinal: None,
            incarnation: 1,
            host: "h".to_owned(),
            processors: 1,
            epoch: 0,
            last_run: Some(7),
        }
    }

    #[tokio::test]
    async fn who_asks_between_two_runs_waits_and_after_the_last_one_goes() {
        let lobby = Lobby::start().await.unwrap();
        lobby.open();
        let door = Peer::<CoordinatorMessage>::of_group(COORDINATOR_GROUP);
        let answer = async || {
            let ask = |reply| CoordinatorMessage::Register(Wire::new(hello()), reply);
            door.ask(ask, Duration::from_secs(5)).await.unwrap().0.unwrap()
        };
        let Welcome::Refused(refusal) = answer().await else { panic!("there is no run") };
        assert!(refusal.retry_after.is_some(), "{refusal}");
        lobby.dismiss();
        assert_eq!(answer().await, Welcome::Dismissed);
    }
}
