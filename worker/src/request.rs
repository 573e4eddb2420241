//! One request, from its body to its books.

use std::{cell::Cell, time::Duration};

use client::{Clock, Failure, Progress};
use metrics::{FailureClass, NotSent, Notes};

use crate::{
    bodies::{Asked, Body, Conversation, Made, Ordered},
    booking::{Booking, Fate},
    lane::Lane,
    session::ask_next,
};

/// What became of a request, for who goes on after it.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) came: Came,
    /// Of a session: it was answered, and this is what was said so far.
    pub(crate) turn: Option<Turn>,
}

/// A turn that was answered.
#[derive(Debug)]
pub(crate) struct Turn {
    /// How many its session has.
    pub(crate) turns: u32,
    /// All messages so far, as JSON with commas between.
    pub(crate) messages: String,
    /// What the next one asks, where that was ordered while this one was answered.
    pub(crate) next: Option<Asked>,
}

/// How far a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// No connection could be opened for it, or only one on which the server never said anything.
    WithoutConnection,
    /// Anywhere else.
    Far,
}

/// By what a request is permitted: the plan names it the same on every clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    /// Open loop: by its stage, and when it is due.
    Due(u16, Duration),
    /// Closed loop: by the round of its slot.
    Round(u64),
}

impl Permission {
    /// Whether the lease covers it now.
    pub(crate) fn is_granted(self, lane: &Lane) -> bool {
        let now = Clock::boottime_ns();
        match self {
            Self::Due(stage, due) => lane.gate.may_write(stage, due, now),
            Self::Round(round) => lane.gate.may_write_round(round, now),
        }
    }
}

/// Sends what was ordered and books what becomes of it.
pub(crate) async fn request(
    lane: &Lane,
    mut booking: Booking,
    ordered: Ordered,
    stage: u16,
    permission: Permission,
) -> Ended {
    let ended = |came| Ended { came, turn: None };
    let mut body = match collect(&booking, ordered).await {
        Ok(body) => body,
        Err(reason) => {
            booking.broken(reason);
            // A closed loop whose bodies all fail must not keep the lane's thread for itself.
            tokio::task::yield_now().await;
            return ended(Came::Far);
        }
    };
    let ready = lane.clock.now();
    let end = lane.stage_end(stage);
    let before_end = |at| end.is_none_or(|end| at < end);
    // After the end it will not be sent: a generator that comes to it then has not kept up with it.
    if before_end(ready) {
        booking.started(ready);
    }
    // Asked in the socket's write, as near to the first byte as can be.
    let held_back = Cell::new(NotSent::StageEnded);
    let gate = || {
        let reason = match before_end(lane.clock.now()) {
            false => NotSent::StageEnded,
            true if permission.is_granted(lane) => return true,
            true => NotSent::NoLease,
        };
        held_back.set(reason);
        false
    };
    let (said, next) = (body.conversation.as_ref(), Cell::new(None));
    let on = |progress: Progress| {
        booking.progress(&progress);
        if let (Progress::Sent { .. }, Some(said)) = (&progress, said) {
            next.set(ask_next(lane, said));
        }
    };
    // Given away: a long prompt must not lie here while its answer comes.
    let bytes = std::mem::take(&mut body.bytes);
    let (client, kind) = lane.client_of(body.cell);
    match client.exchange_as(kind, body.context, bytes, gate, on).await {
        Ok(answer) => {
            let fate = booking.completed(ready, &body, &answer);
            let conversation = body.conversation.filter(|_| fate == Fate::Completed);
            let turn = conversation.zip(answer.text).map(|(conversation, said)| Turn {
                turns: conversation.turns,
                messages: conversation.answered(&said),
                next: next.take(),
            });
            Ended { came: Came::Far, turn }
        }
        Err(failure) => {
            let came = how_far(&failure);
            match failure.refused_by_gate {
                true => booking.not_sent(held_back.get()),
                false => booking.failed(failure),
            }
            ended(came)
        }
    }
}

/// Who is asked again at once, and takes connections only to close them, is asked for nothing else.
fn how_far(failure: &Failure) -> Came {
    match failure.class {
        FailureClass::Connect | FailureClass::Tls => Came::WithoutConnection,
        // It has waited already.
        FailureClass::Timeout => Came::Far,
        _ if failure.connection_answered || failure.refused_by_gate => Came::Far,
        _ => Came::WithoutConnection,
    }
}

async fn collect(booking: &Booking, mut ordered: Ordered) -> Result<Body, String> {
    let body = match ordered.at_hand() {
        Some(built) => built?,
        None => {
            if ordered.made == Made::Ahead {
                booking.note(&Notes { queue_empty: 1, ..Notes::default() });
            }
            ordered.collect().await?
        }
    };
    booking.built(body.took);
    if let Some(behind) = body.conversation.as_ref().and_then(Conversation::behind_the_first) {
        booking.note(&Notes { later_turns: behind, ..Notes::default() });
    }
    if body.wrapped {
        booking.note(&Notes { prompts_wrapped: 1, ..Notes::default() });
    }
    if let Some(recount) = body.recount {
        let inexact = u64::from(recount.asked != recount.counted);
        booking.note(&Notes { prompts_checked: 1, prompts_inexact: inexact, ..Notes::default() });
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
    };

    use bytes::Bytes;
    use client::{Client, ClientOptions};
    use serde_json::json;

    use super::*;
    use crate::lane::tests::plan;

    /// How far a request came whose server does this with its connection, and then closes it.
    async fn came(serve: impl FnOnce(&mut TcpStream) + Send + 'static) -> Came {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let serving = std::thread::spawn(move || serve(&mut listener.accept().unwrap().0));
        let target = plan(&address, &[("load.rate", json!(1))]).target;
        let client = Client::new(&target, ClientOptions::default(), Clock::start_now()).unwrap();
        let failure = client.exchange(Bytes::from_static(b"{}"), || true, |_| {}).await;
        serving.join().unwrap();
        how_far(&failure.unwrap_err())
    }

    #[tokio::test]
    async fn a_server_that_takes_connections_and_closes_them_is_as_good_as_none() {
        assert_eq!(came(|_| {}).await, Came::WithoutConnection);
        let mute = |tcp: &mut TcpStream| _ = tcp.read(&mut [0; 1024]).unwrap();
        assert_eq!(came(mute).await, Came::WithoutConnection);
    }

    #[tokio::test]
    async fn a_server_that_says_something_is_one() {
        let busy = |tcp: &mut TcpStream| {
            let _request = tcp.read(&mut [0; 1024]).unwrap();
            tcp.write_all(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n").unwrap();
        };
        assert_eq!(came(busy).await, Came::Far);
    }
}
