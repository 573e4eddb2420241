//! Request bodies, made before they are due, off the lanes' threads.
//!
//! A lane orders a body well before its instant and collects it when the request starts; making text and
//! JSON on the lane's own thread would delay the stamps of the streams that it reads meanwhile. An order
//! that is not ready in time is a counted event (`queue_empty`), never a silent delay.

use std::{io, sync::Arc, thread, time::Duration};

use bytes::Bytes;
use client::Clock;
use tokio::sync::{mpsc, oneshot};
use workload::{LengthCheck, Plan, PromptSource, Target};

/// A request's bytes and what is known of them beforehand.
#[derive(Clone, Debug)]
pub(crate) struct Body {
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
    /// How long the builder took.
    pub(crate) took: Duration,
}

/// Where bodies are ordered; cheap to copy.
#[derive(Clone, Debug)]
pub(crate) struct Bodies {
    orders: mpsc::UnboundedSender<Order>,
}

struct Order {
    number: u64,
    ready: oneshot::Sender<Result<Body, String>>,
}

/// A body that has been ordered.
#[derive(Debug)]
pub(crate) struct Ordered {
    ready: oneshot::Receiver<Result<Body, String>>,
}

impl Bodies {
    /// Starts the builder's thread; it ends with the last copy of the handle. Lanes order a bounded
    /// number of bodies ahead and what nobody waits for any more is not built, so the queue is bounded.
    pub(crate) fn start(plan: Arc<Plan>, prompts: Arc<PromptSource>) -> io::Result<Self> {
        let (orders, mut queue) = mpsc::unbounded_channel::<Order>();
        thread::Builder::new().name("bodies".to_owned()).spawn(move || {
            while let Some(Order { number, ready }) = queue.blocking_recv() {
                if !ready.is_closed() {
                    let _ = ready.send(build(&plan.target, &prompts, number));
                }
            }
        })?;
        Ok(Self { orders })
    }

    /// Orders the body of a request.
    pub(crate) fn order(&self, number: u64) -> Ordered {
        let (ready, receiver) = oneshot::channel();
        let _ = self.orders.send(Order { number, ready });
        Ordered { ready: receiver }
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

const GONE: &str = "the thread that builds request bodies has ended";

fn build(target: &Target, prompts: &PromptSource, number: u64) -> Result<Body, String> {
    let begun_ns = Clock::monotonic_ns();
    let prompt = prompts.prompt(number).map_err(|error| error.to_string())?;
    let bytes = client::body(target, &prompt, target.model.as_deref())
        .map_err(|error| error.to_string())?;
    Ok(Body {
        bytes,
        input_tokens: prompt.input_tokens.map(u64::from),
        output_tokens: prompt.output_tokens.map(u64::from),
        recount: prompts.check(number).map_err(|error| error.to_string())?,
        wrapped: prompts.wraps_at().is_some_and(|records| number >= records),
        took: Duration::from_nanos(Clock::monotonic_ns().saturating_sub(begun_ns)),
    })
}
