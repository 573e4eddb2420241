//! Request bodies, made before they are due, off the lanes' threads.
//!
//! A lane orders a body well before its instant and collects it when the request starts; making text and
//! JSON on the lane's own thread would delay the stamps of the streams that it reads meanwhile. An order
//! that is not ready in time is a counted event (`queue_empty`), never a silent delay. How many orders wait
//! to be built is a gauge of its own: it grows before a body is late.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use client::Clock;
use metrics::TraceContext;
use tokio::sync::{mpsc, oneshot};
use workload::{Content, LengthCheck, Plan, Prompt, PromptSource, Target, Traces};

/// A request's bytes and what is known of them beforehand.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    /// Class and target (`Plan::cell`).
    pub(crate) cell: u16,
    /// What is posted.
    pub(crate) bytes: Bytes,
    /// Input tokens asked for.
    pub(crate) input_tokens: Option<u64>,
    /// Output tokens ordered.
    pub(crate) output_tokens: Option<u64>,
    /// Whether the data set had been used up before.
    pub(crate) wrapped: bool,
    /// Asked and counted tokens, where this prompt's were counted again.
    pub(crate) recount: Option<LengthCheck>,
    /// By what others know the request in traces, where it says so.
    pub(crate) context: Option<TraceContext>,
    /// How long the builder took.
    pub(crate) took: Duration,
    /// Of a session: what its next turn begins with.
    pub(crate) conversation: Option<Conversation>,
}

/// What was said in a session, up to what this request asks.
#[derive(Clone, Debug)]
pub(crate) struct Conversation {
    /// How many turns it has.
    pub(crate) turns: u32,
    /// This one, from 0.
    turn: u32,
    /// Messages as JSON, with commas between.
    messages: String,
}

impl Conversation {
    /// How many turns it has behind the first one; the first one's body tells.
    pub(crate) fn behind_the_first(&self) -> Option<u64> {
        (self.turn == 0).then(|| u64::from(self.turns.saturating_sub(1)))
    }

    /// With the answer to it.
    pub(crate) fn answered(self, said: &str) -> String {
        format!("{},{}", self.messages, client::message("assistant", said))
    }
}

/// Where bodies are ordered; cheap to copy.
#[derive(Clone, Debug)]
pub(crate) struct Bodies {
    orders: mpsc::UnboundedSender<Order>,
    /// Orders that no builder has taken yet.
    waiting: Arc<AtomicU64>,
}

struct Order {
    number: u64,
    /// Of a session, from 0.
    turn: u32,
    /// What was said before it.
    history: Option<String>,
    ready: Ready,
}

/// Who waits for it.
type Ready = oneshot::Sender<Result<Body, String>>;

/// When a body can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    /// Before it is due.
    Ahead,
    /// Once it is due: what it says was not known before.
    WhenDue,
}

/// A body that has been ordered.
#[derive(Debug)]
pub(crate) struct Ordered {
    pub(crate) made: Made,
    ready: oneshot::Receiver<Result<Body, String>>,
}

impl Bodies {
    /// Starts the builders' threads; they end with the last copy of the handle. Lanes order a bounded
    /// number of bodies ahead and what nobody waits for any more is not built, so the queue is bounded.
    pub(crate) fn start(plan: &Plan, prompts: Arc<PromptSource>) -> io::Result<Self> {
        let (orders, queue) = mpsc::unbounded_channel::<Order>();
        let queue = Arc::new(Mutex::new(queue));
        let waiting = Arc::new(AtomicU64::new(0));
        let targets: Arc<[Target]> = (0..plan.cells()).map(|cell| plan.target_of(cell)).collect();
        let sessions = if plan.sessions.is_some() { Kind::Turns } else { Kind::Single };
        let traces = plan.telemetry.trace_context.then(|| Traces::of(plan));
        for _ in 0..builders() {
            let (queue, waiting) = (Arc::clone(&queue), Arc::clone(&waiting));
            let (targets, prompts) = (Arc::clone(&targets), Arc::clone(&prompts));
            thread::Builder::new().name("bodies".to_owned()).spawn(move || {
                while let Some(order) = next(&queue) {
                    waiting.fetch_sub(1, Relaxed);
                    if !order.ready.is_closed() {
                        let mut built = build(&targets, &prompts, sessions, &order);
                        if let (Some(traces), Ok(body)) = (&traces, &mut built) {
                            body.context = Some(traces.turn(order.number, order.turn));
                        }
                        let _ = order.ready.send(built);
                    }
                }
            })?;
        }
        Ok(Self { orders, waiting })
    }

    /// Orders the body of a request, or of a session's first turn.
    pub(crate) fn order(&self, number: u64) -> Ordered {
        self.order_as(Made::Ahead, |ready| Order { number, turn: 0, history: None, ready })
    }

    /// Orders the body of a later turn, after what was said.
    pub(crate) fn order_turn(
        &self,
        number: u64,
        turn: u32,
        history: String,
        made: Made,
    ) -> Ordered {
        let history = Some(history);
        self.order_as(made, |ready| Order { number, turn, history, ready })
    }

    fn order_as(&self, made: Made, order: impl FnOnce(Ready) -> Order) -> Ordered {
        let (ready, receiver) = oneshot::channel();
        self.waiting.fetch_add(1, Relaxed);
        let _ = self.orders.send(order(ready));
        Ordered { made, ready: receiver }
    }

    /// Bodies that all lanes of the worker have ordered and no builder has begun.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.load(Relaxed)
    }
}

impl Ordered {
    /// The body if it is ready: the usual case, without a wait.
    pub(crate) fn at_hand(&mut self) -> Option<Result<Body, String>> {
        match self.ready.try_recv() {
            Ok(built) => Some(built),
            Err(oneshot::error::TryRecvError::Empty) => None,
            Err(oneshot::error::TryRecvError::Closed) => Some(Err(GONE.to_owned())),
        }
    }

    /// Waits for it.
    pub(crate) async fn collect(self) -> Result<Body, String> {
        self.ready.await.unwrap_or_else(|_| Err(GONE.to_owned()))
    }
}

/// Most threads that build; recorded text has to be tokenized when it is used first.
const MOST_BUILDERS: usize = 4;

fn builders() -> usize {
    thread::available_parallelism().map_or(1, |processors| processors.get().min(MOST_BUILDERS))
}

/// The next order, for whichever builder is free.
fn next(queue: &Mutex<mpsc::UnboundedReceiver<Order>>) -> Option<Order> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv()
}

const GONE: &str = "the thread that builds request bodies has ended";

/// What a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It stands alone.
    Single,
    /// A turn of a session.
    Turns,
}

fn build(
    targets: &[Target],
    prompts: &PromptSource,
    kind: Kind,
    order: &Order,
) -> Result<Body, String> {
    let begun_ns = Clock::monotonic_ns();
    let (number, turn) = (order.number, order.turn);
    let mut prompt = prompts.turn(number, turn).map_err(|error| error.to_string())?;
    let conversation = match kind {
        Kind::Single => None,
        Kind::Turns => Some(put_after(order, prompts, &mut prompt)?),
    };
    let cell = prompt.class;
    let target = targets.get(usize::from(cell)).ok_or("no such class")?;
    let bytes = client::body(target, &prompt, target.model.as_deref())
        .map_err(|error| error.to_string())?;
    Ok(Body {
        cell,
        bytes,
        input_tokens: prompt.input_tokens.map(u64::from),
        output_tokens: prompt.output_tokens.map(u64::from),
        recount: match turn {
            0 => prompts.check(number).map_err(|error| error.to_string())?,
            _ => None,
        },
        wrapped: prompts.has_wrapped(number),
        conversation,
        context: None,
        took: Duration::from_nanos(Clock::monotonic_ns().saturating_sub(begun_ns)),
    })
}

/// Puts what is asked after what was said before, and counts it no more: half of that is the server's.
fn put_after(
    order: &Order,
    prompts: &PromptSource,
    prompt: &mut Prompt,
) -> Result<Conversation, String> {
    let Content::Text(asked) = &prompt.content else {
        return Err("a prompt that is no plain text begins no conversation".to_owned());
    };
    let asked = client::message("user", asked);
    let messages = match &order.history {
        None => asked,
        Some(before) => {
            prompt.input_tokens = None;
            format!("{before},{asked}")
        }
    };
    prompt.content = Content::Messages(format!("[{messages}]"));
    let turns = prompts.turns(order.number).map_err(|error| error.to_string())?;
    Ok(Conversation { turns, turn: order.turn, messages })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::lane::tests::{lane, plan};

    #[tokio::test]
    async fn what_no_builder_has_begun_is_counted_once() {
        let lane = lane(plan("http://127.0.0.1:9", &[("load.rate", json!(1))]));
        let orders: Vec<_> = (0..200).map(|number| lane.bodies.order(number)).collect();
        assert!(lane.bodies.waiting() <= 200);
        for ordered in orders {
            ordered.collect().await.unwrap();
        }
        assert_eq!(lane.bodies.waiting(), 0);
    }

    #[tokio::test]
    async fn what_nobody_can_build_waits() {
        let (orders, _queue) = mpsc::unbounded_channel();
        let bodies = Bodies { orders, waiting: Arc::default() };
        let _ordered = [bodies.order(0), bodies.order(1)];
        assert_eq!(bodies.waiting(), 2);
    }
}
