//! Gathers the workers' records of single requests, each one's after its last delta.
//!
//! The coordinator asks for a segment at a time, of a few workers at once, and asks for the next when the one before is
//! written down: its memory does not grow with the run. A segment is known by its number, so what was cut by a lost
//! connection goes on where it was. What could not be had is counted, never passed over, and no trouble with records
//! touches the run's figures.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use metrics::{RecordsKept, RecordsOfWorker};
use protocol::{
    FetchRecords, Peer, RecordSegment, RecordsAccount, RecordsTaken, Wire, WorkerId, WorkerMessage,
    worker_group,
};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::Instant,
};

use crate::{Roster, Standing, roster::Role};

/// Workers that are asked at the same time.
const ASKED_AT_ONCE: usize = 8;
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);
/// Between two questions for the same segment.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// How long a worker may give nothing.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a segment is asked for whose bytes are not those that were written.
const TRIES: u32 = 3;

/// Writes down what is gathered. It is called on a thread of its own.
pub trait RecordsSink: Send {
    /// Takes a segment: a whole member of a gzip file of JSON lines. How many lines it has.
    ///
    /// # Errors
    /// `InvalidData`: it is none. Others: it cannot be written, and so nothing can any more.
    fn take(&mut self, segment: &[u8]) -> io::Result<u64>;

    /// There are no more.
    ///
    /// # Errors
    /// The files cannot be completed.
    fn finish(&mut self) -> io::Result<()>;
}

/// The supervisor's end of a gathering.
pub(crate) struct Gather {
    /// Workers whose last delta is on disk.
    pub(crate) complete: mpsc::UnboundedSender<WorkerId>,
    /// Set when nobody wants to wait any longer.
    pub(crate) enough: watch::Sender<bool>,
}

/// A gathering that goes on.
pub(crate) struct Gathering(JoinHandle<Gathered>);

/// What was had of each worker, and what was not.
#[derive(Debug, Default)]
struct Gathered {
    fetched: BTreeMap<WorkerId, Fetched>,
    written: Written,
}

/// What a worker said of its records.
#[derive(Debug, Default)]
struct Fetched {
    account: Option<RecordsAccount>,
    problem: Option<String>,
}

/// What is in the files.
#[derive(Debug, Default)]
struct Written {
    records: BTreeMap<WorkerId, u64>,
    /// Segments that were no records.
    refused: BTreeMap<WorkerId, String>,
    problem: Option<String>,
}

impl Gathering {
    /// Begins: workers are asked as soon as they are complete.
    pub(crate) fn start(sink: Box<dyn RecordsSink>) -> (Gather, Self) {
        let (complete, completed) = mpsc::unbounded_channel();
        let (enough, is_enough) = watch::channel(false);
        let running = tokio::spawn(gather(completed, is_enough, sink));
        (Gather { complete, enough }, Self(running))
    }

    /// Waits for the end, after the last worker was named.
    pub(crate) async fn end(self, roster: &Roster, share: f64) -> RecordsKept {
        match self.0.await {
            Ok(gathered) => gathered.kept(roster, share),
            Err(error) => {
                let problem = Some(format!("gathering ended early: {error}"));
                RecordsKept { share, problem, ..RecordsKept::default() }
            }
        }
    }
}

async fn gather(
    mut completed: mpsc::UnboundedReceiver<WorkerId>,
    enough: watch::Receiver<bool>,
    sink: Box<dyn RecordsSink>,
) -> Gathered {
    let (segments, queue) = mpsc::channel(1);
    let writing = tokio::task::spawn_blocking(move || write_down(queue, sink));
    let turns = Arc::new(Semaphore::new(ASKED_AT_ONCE));
    let mut fetching = JoinSet::new();
    while let Some(worker) = completed.recv().await {
        let peer = Peer::of_group(worker_group(worker.incarnation));
        let source = Source { worker, peer, turns: Arc::clone(&turns), enough: enough.clone() };
        let segments = segments.clone();
        fetching.spawn(async move { (worker, source.fetch(segments).await) });
    }
    drop(segments);
    let mut fetched = BTreeMap::new();
    while let Some(joined) = fetching.join_next().await {
        fetched.extend(joined.ok());
    }
    let written = writing.await.unwrap_or_else(|error| Written {
        problem: Some(format!("writing them down failed: {error}")),
        ..Written::default()
    });
    Gathered { fetched, written }
}

/// Returns when all is written, or as soon as something cannot be.
fn write_down(
    mut queue: mpsc::Receiver<(WorkerId, RecordSegment)>,
    mut sink: Box<dyn RecordsSink>,
) -> Written {
    let mut written = Written::default();
    while let Some((worker, segment)) = queue.blocking_recv() {
        match sink.take(&segment.bytes) {
            Ok(records) => *written.records.entry(worker).or_default() += records,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let why = format!("segment {}: {error}", segment.segment);
                let _ = written.refused.entry(worker).or_insert(why);
            }
            Err(error) => {
                written.problem = Some(error.to_string());
                break;
            }
        }
    }
    drop(queue);
    if let Err(error) = sink.finish() {
        written.problem.get_or_insert(error.to_string());
    }
    written
}

/// One worker that has records.
struct Source {
    worker: WorkerId,
    peer: Peer<WorkerMessage>,
    turns: Arc<Semaphore>,
    enough: watch::Receiver<bool>,
}

/// Why a segment is not to be had.
enum Missing {
    /// This one alone.
    Segment(String),
    /// And none after it.
    All(String),
}

impl Source {
    /// Fetches all that there is; then the worker may end.
    async fn fetch(mut self, segments: mpsc::Sender<(WorkerId, RecordSegment)>) -> Fetched {
        let mut fetched = Fetched::default();
        let mut enough = self.enough.clone();
        tokio::select! {
            biased;
            Ok(_) = enough.wait_for(|enough| *enough) => {
                fetched.problem = Some("interrupted while its records were gathered".to_owned());
            }
            () = self.fetch_into(&segments, &mut fetched) => {}
        }
        let taken = RecordsTaken { worker: self.worker };
        if let Err(error) = self.peer.send(WorkerMessage::RecordsTaken(Wire::new(taken))) {
            tracing::debug!(worker = %self.worker, %error, "it was not told that it may end");
        }
        fetched
    }

    async fn fetch_into(
        &mut self,
        segments: &mpsc::Sender<(WorkerId, RecordSegment)>,
        fetched: &mut Fetched,
    ) {
        for number in 0.. {
            let turns = Arc::clone(&self.turns);
            // Held until the segment is with the writer: so many of them are in memory, and no more.
            let Ok(_turn) = turns.acquire().await else { return };
            match self.segment(number, fetched).await {
                Ok(segment) if segment.bytes.is_empty() => return,
                Ok(segment) => {
                    if segments.send((self.worker, segment)).await.is_err() {
                        return;
                    }
                }
                Err(Missing::Segment(why)) => {
                    fetched.problem.get_or_insert(why);
                }
                Err(Missing::All(why)) => {
                    fetched.problem.get_or_insert(why);
                    return;
                }
            }
        }
    }

    /// Asks until it is here and whole.
    async fn segment(&self, number: u32, fetched: &mut Fetched) -> Result<RecordSegment, Missing> {
        let deadline = Instant::now() + PATIENCE;
        let mut broken = 0;
        while Instant::now() < deadline {
            let fetch = FetchRecords { worker: self.worker, segment: number };
            let ask = |reply| WorkerMessage::Records(Wire::new(fetch), reply);
            let wait = match self.peer.ask(ask, ANSWER).await {
                Ok(Wire(Ok(Ok(segment)))) if segment.segment == number => {
                    fetched.account = Some(segment.account.clone());
                    if segment.is_whole() {
                        return Ok(segment);
                    }
                    broken += 1;
                    if broken == TRIES {
                        let why = format!(
                            "segment {number} is not as it was written: its checksum differs"
                        );
                        return Err(Missing::Segment(why));
                    }
                    ASK_AGAIN
                }
                Ok(Wire(Ok(Err(refusal)))) => match refusal.retry_after {
                    Some(wait) => wait,
                    // One that cannot be read is not the last; without any there is nothing.
                    None if fetched.account.is_some() => {
                        return Err(Missing::Segment(refusal.reason));
                    }
                    None => return Err(Missing::All(refusal.reason)),
                },
                Ok(Wire(Err(error))) => return Err(Missing::All(error.to_string())),
                Ok(Wire(Ok(Ok(_)))) | Err(_) => ASK_AGAIN,
            };
            tokio::time::sleep(wait).await;
        }
        let seconds = PATIENCE.as_secs();
        Err(Missing::All(format!("it gave nothing for {seconds} s")))
    }
}

impl Gathered {
    /// Those who had a part of the load and were never asked are named too.
    fn kept(mut self, roster: &Roster, share: f64) -> RecordsKept {
        for member in roster.members() {
            let lost = member.role == Role::Owner && member.standing != Standing::Complete;
            if lost {
                let problem = Some("it did not reach the end: its records are gone".to_owned());
                self.fetched.entry(member.id).or_insert(Fetched { account: None, problem });
            }
        }
        let Written { records: written, mut refused, problem } = self.written;
        let workers = self.fetched.into_iter().map(|(id, fetched)| {
            let account = fetched.account.unwrap_or_default();
            RecordsOfWorker {
                ordinal: id.ordinal,
                incarnation: id.incarnation,
                written: account.written,
                dropped_by_queue: account.dropped_by_queue,
                dropped_by_disk: account.dropped_by_disk,
                gathered: written.get(&id).copied().unwrap_or_default(),
                problem: fetched.problem.or(refused.remove(&id)).or(account.problem),
            }
        });
        RecordsKept { share, workers: workers.collect(), problem }
    }
}

#[cfg(test)]
mod tests;
