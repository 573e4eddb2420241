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
    /// No answer within the deadline.
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
    /// The question was dropped, here or there; the peer may well live.
    #[error("the question was dropped unanswered")]
    Dropped,
}

/// An actor that is spoken to through the codec, wherever it lives.
pub struct Peer<M> {
    cell: ActorCell,
    message: PhantomData<fn(M)>,
}

impl<M> Clone for Peer<M> {
    fn clone(&self) -> Self {
        Self { cell: self.cell.clone(), message: PhantomData }
    }
}

impl<M> fmt::Debug for Peer<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peer({})", self.cell.get_id())
    }
}

impl<M: Message> Peer<M> {
    /// `cell` must handle messages of type `M`; for an actor of another process nobody can check it.
    #[must_use]
    pub fn new(cell: ActorCell) -> Self {
        Self { cell, message: PhantomData }
    }

    /// The member of a process group, once it is there. After a broken connection the old one may still
    /// be seen for a while: connections are numbered, and the newest counts.
    #[must_use]
    pub fn in_group(group: &str) -> Option<Self> {
        let members = ractor::pg::get_members(&group.to_owned()).into_iter();
        members.max_by_key(|cell| (cell.get_id().node(), cell.get_id().pid())).map(Self::new)
    }

    /// Sends without an answer. `Ok` means "queued here", nothing more.
    ///
    /// # Errors
    /// [`PeerError::Gone`] when the actor or the session to it has ended.
    pub fn send(&self, message: M) -> Result<(), PeerError> {
        if self.cell.get_id().is_local() {
            let bytes = message.serialize().map_err(|_| PeerError::Gone)?;
            return self.cell.send_serialized(bytes).map_err(|_| PeerError::Gone);
        }
        ActorRef::<M>::from(self.cell.clone()).cast(message).map_err(|_| PeerError::Gone)
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
