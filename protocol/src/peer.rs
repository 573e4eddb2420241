//! The other side of a conversation, in this process or another.
//!
//! A run on one machine must be the same path as a run on a hundred. Sends between actors of one
//! process would skip the codec, so a local peer is spoken to in bytes as well: its mailbox gets the
//! encoded message and decodes it as if it had come over the network.

use std::{fmt, marker::PhantomData, time::Duration};

use ractor::{ActorCell, ActorRef, BytesConvertable, Message, RpcReplyPort};

/// Why a peer could not be spoken to. A silent peer is [`PeerError::NoAnswer`], never a hang.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// The actor or its session has ended.
    #[error("the peer is gone")]
    Gone,
    /// Nobody of its name is connected now; that may change.
    #[error("the peer is not connected")]
    NotConnected,
    /// No answer within the deadline.
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
    /// The question was dropped, here or there; the peer may well live.
    #[error("the question was dropped unanswered")]
    Dropped,
}

/// An actor that is spoken to through the codec, wherever it lives.
pub struct Peer<M> {
    place: Place,
    message: PhantomData<fn(M)>,
}

/// Where it is found.
#[derive(Clone, Debug)]
enum Place {
    /// This actor, and no other ever.
    Actor(ActorCell),
    /// Whoever is in this process group when it is spoken to: after a broken connection the next one.
    Group(String),
}

impl<M> Clone for Peer<M> {
    fn clone(&self) -> Self {
        Self { place: self.place.clone(), message: PhantomData }
    }
}

impl<M> fmt::Debug for Peer<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peer({:?})", self.place)
    }
}

impl<M: Message> Peer<M> {
    /// `cell` must handle messages of type `M`; for an actor of another process nobody can check it.
    #[must_use]
    pub fn new(cell: ActorCell) -> Self {
        Self { place: Place::Actor(cell), message: PhantomData }
    }

    /// The member of a process group, looked up each time that it is spoken to, so that a peer outlives its
    /// connection.
    #[must_use]
    pub fn of_group(group: impl Into<String>) -> Self {
        Self { place: Place::Group(group.into()), message: PhantomData }
    }

    /// Whether it could be spoken to now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.cell().is_ok()
    }

    /// After a broken connection the old member may still be seen for a while: connections are numbered, and
    /// the newest counts.
    fn cell(&self) -> Result<ActorCell, PeerError> {
        match &self.place {
            Place::Actor(cell) => Ok(cell.clone()),
            Place::Group(group) => {
                let members = ractor::pg::get_members(group).into_iter();
                let newest = members.max_by_key(|one| (one.get_id().node(), one.get_id().pid()));
                newest.ok_or(PeerError::NotConnected)
            }
        }
    }

    /// Sends without an answer. `Ok` means "queued here", nothing more.
    ///
    /// # Errors
    /// [`PeerError::Gone`] when the actor or the session to it has ended, [`PeerError::NotConnected`] when nobody
    /// is in its group, or only one who has just ended.
    pub fn send(&self, message: M) -> Result<(), PeerError> {
        let cell = self.cell()?;
        if cell.get_id().is_local() {
            let bytes = message.serialize().map_err(|_| PeerError::Gone)?;
            return cell.send_serialized(bytes).map_err(|_| self.ended());
        }
        ActorRef::<M>::from(cell).cast(message).map_err(|_| self.ended())
    }

    /// What it means that whoever was found has ended: of a group another one may come.
    fn ended(&self) -> PeerError {
        match self.place {
            Place::Actor(_) => PeerError::Gone,
            Place::Group(_) => PeerError::NotConnected,
        }
    }

    /// Sends a question and waits for its answer.
    ///
    /// # Errors
    /// [`PeerError::NoAnswer`] after `deadline`, [`PeerError::Dropped`] when the question was dropped.
    pub async fn ask<T>(
        &self,
        question: impl FnOnce(RpcReplyPort<T>) -> M,
        deadline: Duration,
    ) -> Result<T, PeerError>
    where
        T: BytesConvertable + Send + 'static,
    {
        let (answer, received) = ractor::concurrency::oneshot();
        self.send(question((answer, deadline).into()))?;
        match ractor::concurrency::timeout(deadline, received).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(_)) => Err(PeerError::Dropped),
            Err(_) => Err(PeerError::NoAnswer(deadline)),
        }
    }
}
