//! Request bodies, made before they are due, off the lanes' threads.
//!
//! A lane orders a body well before its instant and collects it when the request starts; making text and
//! JSON on the lane's own thread would delay the stamps of the streams that it reads meanwhile. An order
//! that is not ready in time is a counted event (`queue_empty`), never a silent delay. How many orders wait
//! to be built is a gauge of its own: it grows before a body is late.
//!
//! A later turn of a session begins with what the server has said, so its body waits for that. What it asks does not: text,
//! tokens and JSON of the question can be made while the answer before it is streamed, and are then only put behind it.

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
    /// The session.
    pub(crate) number: u64,
    /// How many turns it has.
    pub(crate) turns: u32,
    /// This one, from 0.
    pub(crate) turn: u32,
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
    wanted: Wanted,
}

/// What is to be made, and who waits for it.
enum Wanted {
    /// A body.
    Body(Before, oneshot::Sender<Result<Body, String>>),
    /// As much of one as does not depend on what is said before it.
    Question(oneshot::Sender<Result<Question, String>>),
}

/// What there is already of a turn's body; nothing of a first one's.
#[derive(Default)]
struct Before {
    /// What was said before it.
    history: Option<String>,
    /// What it asks, ordered while the answer before it came.
    asked: Option<Asked>,
}

/// What a request asks.
#[derive(Debug)]
struct Question {
    /// Of a turn without its text, which is in the message.
    prompt: Prompt,
    /// Of a turn: what is asked, as JSON.
    message: Option<String>,
    /// How long the builder took.
    took: Duration,
}

/// A question that has been ordered.
#[derive(Debug)]
pub(crate) struct Asked(oneshot::Receiver<Result<Question, String>>);

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
        let kind = if plan.sessions.is_some() { Kind::Turns } else { Kind::Single };
        let traces = plan.telemetry.trace_context.then(|| Traces::of(plan));
        let builder = Builder { targets, prompts, kind, traces };
        for _ in 0..builders() {
            let (queue, waiting) = (Arc::clone(&queue), Arc::clone(&waiting));
            let builder = builder.clone();
            thread::Builder::new().name("bodies".to_owned()).spawn(move || {
                while let Some(order) = next(&queue) {
                    waiting.fetch_sub(1, Relaxed);
                    builder.serve(order);
                }
            })?;
        }
        Ok(Self { orders, waiting })
    }

    /// Orders the body of a request, or of a session's first turn.
    pub(crate) fn order(&self, number: u64) -> Ordered {
        self.order_body(number, 0, Before::default(), Made::Ahead)
    }

    /// Orders the body of a later turn, after what was said.
    pub(crate) fn order_turn(
        &self,
        number: u64,
        turn: u32,
        (history, asked): (String, Option<Asked>),
        made: Made,
    ) -> Ordered {
        self.order_body(number, turn, Before { history: Some(history), asked }, made)
    }

    /// Orders what a later turn asks, before it is known what it follows.
    pub(crate) fn ask(&self, number: u64, turn: u32) -> Asked {
        let (ready, receiver) = oneshot::channel();
        self.send(Order { number, turn, wanted: Wanted::Question(ready) });
        Asked(receiver)
    }

    fn order_body(&self, number: u64, turn: u32, before: Before, made: Made) -> Ordered {
        let (ready, receiver) = oneshot::channel();
        self.send(Order { number, turn, wanted: Wanted::Body(before, ready) });
        Ordered { made, ready: receiver }
    }

    fn send(&self, order: Order) {
        self.waiting.fetch_add(1, Relaxed);
        let _ = self.orders.send(order);
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

/// What a thread builds with.
#[derive(Clone)]
struct Builder {
    targets: Arc<[Target]>,
    prompts: Arc<PromptSource>,
    kind: Kind,
    traces: Option<Traces>,
}

impl Builder {
    /// Makes what somebody still waits for.
    fn serve(&self, Order { number, turn, wanted }: Order) {
        match wanted {
            Wanted::Body(before, ready) if !ready.is_closed() => {
                let _ = ready.send(self.body(number, turn, before));
            }
            Wanted::Question(ready) if !ready.is_closed() => {
                let _ = ready.send(self.question(number, turn));
            }
            Wanted::Body(..) | Wanted::Question(_) => {}
        }
    }

    /// What is asked, and of a turn its message.
    fn question(&self, number: u64, turn: u32) -> Result<Question, String> {
        let begun_ns = Clock::monotonic_ns();
        let mut prompt = self.prompts.turn(number, turn).map_err(|error| error.to_string())?;
        let message = match self.kind {
            Kind::Single => None,
            Kind::Turns => Some(message_of(&mut prompt)?),
        };
        Ok(Question { prompt, message, took: since(begun_ns) })
    }

    fn body(&self, number: u64, turn: u32, before: Before) -> Result<Body, String> {
        // A question is ordered before its body, so whoever makes it has begun, or is done.
        let made = before.asked.and_then(|asked| asked.0.blocking_recv().ok());
        let Question { mut prompt, message, took } =
            made.unwrap_or_else(|| self.question(number, turn))?;
        let begun_ns = Clock::monotonic_ns();
        let prompts = &self.prompts;
        let conversation = match message {
            None => None,
            Some(asked) => {
                let turns = prompts.turns(number).map_err(|error| error.to_string())?;
                let messages = put_after(before.history, asked, &mut prompt);
                Some(Conversation { number, turns, turn, messages })
            }
        };
        let cell = prompt.class;
        let target = self.targets.get(usize::from(cell)).ok_or("no such class")?;
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
            context: self.traces.as_ref().map(|traces| traces.turn(number, turn)),
            took: took + since(begun_ns),
        })
    }
}

fn since(begun_ns: u64) -> Duration {
    Duration::from_nanos(Clock::monotonic_ns().saturating_sub(begun_ns))
}

/// The question as a message, taken out of the prompt.
fn message_of(prompt: &mut Prompt) -> Result<String, String> {
    let Content::Text(asked) = &prompt.content else {
        return Err("a prompt that is no plain text begins no conversation".to_owned());
    };
    let message = client::message("user", asked);
    prompt.content = Content::Messages(String::new());
    Ok(message)
}

/// Puts what is asked after what was said before, and counts it no more: half of that is the server's.
fn put_after(history: Option<String>, asked: String, prompt: &mut Prompt) -> String {
    let messages = match history {
        None => asked,
        Some(before) => {
            prompt.input_tokens = None;
            format!("{before},{asked}")
        }
    };
    prompt.content = Content::Messages(format!("[{messages}]"));
    messages
}

#[cfg(test)]
pub(crate) mod tests {
    use std::rc::Rc;

    use serde_json::{Value, json};

    use super::*;
    use crate::lane::{
        Lane,
        tests::{lane, plan},
    };

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

    /// Orders that nobody takes but the test, and who makes what is ordered.
    pub(crate) struct ByHand {
        builder: Builder,
        queue: mpsc::UnboundedReceiver<Order>,
    }

    impl ByHand {
        /// Of a lane of sessions, in place of its own threads.
        pub(crate) fn of(lane: &mut Rc<Lane>) -> Self {
            let (orders, queue) = mpsc::unbounded_channel();
            let builder = builder(&lane.plan);
            Rc::get_mut(lane).unwrap().bodies = Bodies { orders, waiting: Arc::default() };
            Self { builder, queue }
        }

        /// Waits for the next order and makes it; what it was, for which session and turn.
        pub(crate) async fn make_next(&mut self) -> (&'static str, u64, u32) {
            let order = self.queue.recv().await.unwrap();
            let kind = match order.wanted {
                Wanted::Body(..) => "body",
                Wanted::Question(_) => "question",
            };
            let told = (kind, order.number, order.turn);
            served(&self.builder, order);
            told
        }
    }

    fn builder(plan: &Plan) -> Builder {
        let prompts = Arc::new(PromptSource::open(plan).unwrap().0);
        let targets = (0..plan.cells()).map(|cell| plan.target_of(cell)).collect();
        Builder { targets, prompts, kind: Kind::Turns, traces: None }
    }

    /// On a thread of its own, as builders are: they may wait for each other.
    fn served(builder: &Builder, order: Order) {
        thread::scope(|threads| threads.spawn(|| builder.serve(order)).join().unwrap());
    }

    #[test]
    fn what_a_turn_asks_is_what_was_made_while_it_was_not_known_what_it_follows() {
        let with_salt = |salt: u64| {
            let keys = [
                ("load.rate", json!(1)),
                ("sessions.turns.mean", json!(3)),
                ("benchmark.promptSalt", json!(salt)),
            ];
            builder(&plan("http://127.0.0.1:9", &keys))
        };
        let (first, other) = (with_salt(1), with_salt(2));
        let (ready, asked) = oneshot::channel();
        served(&first, Order { number: 7, turn: 1, wanted: Wanted::Question(ready) });
        let after = |builder: &Builder, asked: Option<Asked>| {
            let history = Some(client::message("assistant", "said"));
            let (ready, mut built) = oneshot::channel();
            let wanted = Wanted::Body(Before { history, asked }, ready);
            served(builder, Order { number: 7, turn: 1, wanted });
            let body: Body = built.try_recv().unwrap().unwrap();
            (body.bytes, body.output_tokens, body.conversation.map(|said| said.messages))
        };
        let alone = after(&first, None);
        assert_ne!(after(&other, None), alone, "another text");
        // Who puts it behind the history would have asked otherwise, and was not asked.
        assert_eq!(after(&other, Some(Asked(asked))), alone);
    }

    #[test]
    fn a_question_that_was_never_made_is_made_with_its_body() {
        let keys: [(&str, Value); 2] = [("load.rate", json!(1)), ("sessions.turns.mean", json!(2))];
        let builder = builder(&plan("http://127.0.0.1:9", &keys));
        let (_, asked) = oneshot::channel();
        let (ready, mut built) = oneshot::channel();
        let before = Before { history: Some("{}".to_owned()), asked: Some(Asked(asked)) };
        served(&builder, Order { number: 0, turn: 1, wanted: Wanted::Body(before, ready) });
        assert!(built.try_recv().unwrap().is_ok());
    }

    #[tokio::test]
    async fn what_nobody_can_build_waits() {
        let (orders, _queue) = mpsc::unbounded_channel();
        let bodies = Bodies { orders, waiting: Arc::default() };
        let _ordered = [bodies.order(0), bodies.order(1)];
        assert_eq!(bodies.waiting(), 2);
    }
}
