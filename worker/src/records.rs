//! Records of single requests: from the lanes to who takes them, without a lock or a wait on a lane.
//!
//! Of a request that is not drawn a lane notes nothing. Of one that is, it keeps what it would know anyway and the gaps
//! between its events; those that have ended gather in a batch of the lane's own, which is handed over whole. Who takes
//! them has one thread for all, at the control runtime's priority. When that cannot keep up, batches are dropped and
//! counted: memory is bounded, and no lane ever waits.

mod spool;

use std::{
    cell::{Cell, RefCell},
    io,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::Duration,
};

use metrics::RequestRecord;
use workload::Sampling;

pub(crate) use spool::{Spool, SpoolWriter};

/// Records that a lane hands over at once; fewer at a flush.
const BATCH: usize = 64;
/// What may wait to be taken, in bytes of memory.
const MOST_WAITING_BYTES: u64 = 64 << 20;
/// How often the end is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Takes records, one after the other, on a thread that no lane waits for.
pub(crate) trait RecordTaker: Send {
    /// Draws the requests whose records it is given.
    fn sampling(&self) -> Sampling;
    /// One request has ended.
    fn take(&mut self, record: &RequestRecord);
    /// No more will come, and so many never did: they were dropped on the way.
    fn close(&mut self, dropped: u64);
}

/// Where lanes hand records over; cheap to copy.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    sampling: Sampling,
    batches: Sender<Batch>,
    shared: Arc<Shared>,
}

/// Records that go together.
#[derive(Debug)]
struct Batch {
    records: Vec<RequestRecord>,
    bytes: u64,
}

/// What both ends of the queue see.
#[derive(Debug, Default)]
struct Shared {
    waiting_bytes: AtomicU64,
    dropped: AtomicU64,
    closing: AtomicBool,
}

impl Records {
    /// Starts the thread of those who take; `None` where nobody does.
    pub(crate) fn start(takers: Vec<Box<dyn RecordTaker>>) -> io::Result<Option<Self>> {
        let Some(sampling) = takers.iter().map(|taker| taker.sampling()).reduce(Sampling::or)
        else {
            return Ok(None);
        };
        let (batches, queue) = mpsc::channel();
        let shared = Arc::new(Shared::default());
        let seen = Arc::clone(&shared);
        let taking = move || take_all(&queue, &seen, takers);
        thread::Builder::new().name("records".to_owned()).spawn(taking)?;
        Ok(Some(Self { sampling, batches, shared }))
    }

    /// Nothing is handed over any more: what waits is still taken.
    pub(crate) fn close(&self) {
        self.shared.closing.store(true, Release);
    }

    /// One lane's end of it.
    pub(crate) fn tap(&self, lane: u16) -> RecordTap {
        let records = self.clone();
        RecordTap { records, lane, batch: RefCell::default(), bytes: Cell::default() }
    }

    fn hand_over(&self, batch: Batch) {
        let (count, bytes) = (batch.records.len() as u64, batch.bytes);
        let before = self.shared.waiting_bytes.fetch_add(bytes, Relaxed);
        let has_room = before.saturating_add(bytes) <= MOST_WAITING_BYTES;
        if !has_room || self.batches.send(batch).is_err() {
            self.shared.waiting_bytes.fetch_sub(bytes, Relaxed);
            self.shared.dropped.fetch_add(count, Relaxed);
        }
    }
}

/// Gives what comes to everybody who wants it, until all lanes are done.
fn take_all(queue: &Receiver<Batch>, shared: &Shared, mut takers: Vec<Box<dyn RecordTaker>>) {
    let draws: Vec<_> = takers.iter().map(|taker| taker.sampling()).collect();
    loop {
        // Looked at first: what was handed over before it was closed is in the queue.
        let closing = shared.closing.load(Acquire);
        let wait = if closing { Duration::ZERO } else { LOOK_EVERY };
        match queue.recv_timeout(wait) {
            Ok(batch) => {
                for record in &batch.records {
                    let wanted = takers.iter_mut().zip(&draws);
                    let wanted = wanted.filter(|(_, draws)| draws.takes(record.number));
                    wanted.for_each(|(taker, _)| taker.take(record));
                }
                shared.waiting_bytes.fetch_sub(batch.bytes, Relaxed);
            }
            Err(RecvTimeoutError::Timeout) if !closing => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    let dropped = shared.dropped.load(Relaxed);
    takers.iter_mut().for_each(|taker| taker.close(dropped));
}

/// One lane's end; it never leaves the lane's thread.
#[derive(Debug)]
pub(crate) struct RecordTap {
    records: Records,
    lane: u16,
    batch: RefCell<Vec<RequestRecord>>,
    bytes: Cell<u64>,
}

impl RecordTap {
    /// Is this request's record wanted?
    pub(crate) fn draws(&self, number: u64) -> bool {
        self.records.sampling.takes(number)
    }

    /// Number of the lane in its worker.
    pub(crate) fn lane(&self) -> u16 {
        self.lane
    }

    /// A request has ended.
    pub(crate) fn push(&self, record: RequestRecord) {
        self.bytes.set(self.bytes.get() + record.bytes());
        let mut batch = self.batch.borrow_mut();
        batch.push(record);
        let is_full = batch.len() >= BATCH;
        drop(batch);
        if is_full {
            self.flush();
        }
    }

    /// Hands over what there is.
    pub(crate) fn flush(&self) {
        let mut batch = self.batch.borrow_mut();
        if !batch.is_empty() {
            let records = std::mem::replace(&mut *batch, Vec::with_capacity(BATCH));
            self.records.hand_over(Batch { records, bytes: self.bytes.take() });
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Mutex;

    use metrics::{RequestOutcome, Scope};

    use super::*;

    /// A completed request.
    pub(crate) fn record(number: u64) -> RequestRecord {
        let at = |ms: u64| Duration::from_millis(number * 10 + ms);
        RequestRecord {
            number,
            turn: 0,
            scope: Scope::default(),
            lane: 0,
            scheduled: at(0),
            permitted: at(0),
            sent: Some(at(1)),
            connect: None,
            headers: Some(at(2)),
            first_token: Some(at(3)),
            first_output: Some(at(3)),
            last_token: Some(at(8)),
            ended: Some(at(9)),
            events: 3,
            gaps_us: vec![2_000, 3_000],
            input_tokens: Some(12),
            input_tokens_asked: Some(12),
            output_tokens: 3,
            streamed_tokens: 3,
            first_event_tokens: 1,
            output_tokens_ordered: Some(3),
            cached_tokens: None,
            outcome: RequestOutcome::Completed,
            status: Some(200),
        }
    }

    #[derive(Default)]
    pub(crate) struct Seen {
        records: Vec<RequestRecord>,
        closed_with: Option<u64>,
    }

    struct Taker {
        sampling: Sampling,
        seen: Arc<Mutex<Seen>>,
        gate: Option<Receiver<()>>,
    }

    impl RecordTaker for Taker {
        fn sampling(&self) -> Sampling {
            self.sampling
        }

        fn take(&mut self, record: &RequestRecord) {
            if let Some(gate) = &self.gate {
                let _ = gate.recv();
            }
            self.seen.lock().unwrap().records.push(record.clone());
        }

        fn close(&mut self, dropped: u64) {
            self.seen.lock().unwrap().closed_with = Some(dropped);
        }
    }

    fn taker(share: f64, gate: Option<Receiver<()>>) -> (Box<dyn RecordTaker>, Arc<Mutex<Seen>>) {
        let seen = Arc::<Mutex<Seen>>::default();
        let sampling = Sampling::new(42, share);
        (Box::new(Taker { sampling, seen: Arc::clone(&seen), gate }), seen)
    }

    /// Somebody who takes all.
    pub(crate) fn collecting() -> (Records, Arc<Mutex<Seen>>) {
        let (taker, seen) = taker(1.0, None);
        (Records::start(vec![taker]).unwrap().unwrap(), seen)
    }

    /// What he has at the end, by number, and how many were dropped.
    pub(crate) fn collected(records: &Records, seen: &Mutex<Seen>) -> (Vec<RequestRecord>, u64) {
        records.close();
        loop {
            let mut seen = seen.lock().unwrap();
            if let Some(dropped) = seen.closed_with {
                let mut all = std::mem::take(&mut seen.records);
                all.sort_by_key(|record| record.number);
                return (all, dropped);
            }
            drop(seen);
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn numbers(records: &[RequestRecord]) -> Vec<u64> {
        records.iter().map(|record| record.number).collect()
    }

    #[test]
    fn where_nobody_takes_there_is_nothing() {
        assert!(Records::start(Vec::new()).unwrap().is_none());
    }

    #[test]
    fn everybody_gets_what_he_draws_and_all_that_was_handed_over_before_the_end() {
        let ((all, of_all), (few, of_few)) = (taker(1.0, None), taker(0.2, None));
        let records = Records::start(vec![few, all]).unwrap().unwrap();
        let taps = [records.tap(0), records.tap(1)];
        for number in 0..1_000 {
            let tap = &taps[usize::try_from(number % 2).unwrap()];
            assert!(tap.draws(number));
            tap.push(record(number));
        }
        taps.iter().for_each(RecordTap::flush);
        let (all, dropped) = collected(&records, &of_all);
        assert_eq!((numbers(&all), dropped), ((0..1_000).collect(), 0));
        let drawn = Sampling::new(42, 0.2);
        let (few, _) = collected(&records, &of_few);
        assert_eq!(numbers(&few), (0..1_000).filter(|n| drawn.takes(*n)).collect::<Vec<_>>());
    }

    #[test]
    fn what_nobody_comes_to_take_is_dropped_and_counted() {
        let (open, gate) = mpsc::channel();
        let (slow, seen) = taker(1.0, Some(gate));
        let records = Records::start(vec![slow]).unwrap().unwrap();
        let tap = records.tap(0);
        // 1 MiB of gaps each, and the taker stands still: some 64 have room.
        for number in 0..200 {
            tap.push(RequestRecord { gaps_us: vec![1; 1 << 18], ..record(number) });
            tap.flush();
        }
        drop(open);
        let (taken, dropped) = collected(&records, &seen);
        assert_eq!(taken.len() as u64 + dropped, 200);
        assert!((60..=64).contains(&taken.len()), "{}", taken.len());
    }
}
