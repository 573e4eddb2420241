//! Starts a coordinator and waits for its books.

use std::{
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use metrics::{Live, RecordsKept, StopReason, Warning};
use protocol::{COORDINATOR_GROUP, CoordinatorMessage, Input, PROTOCOL_VERSION, Peer, Record};
use ractor::{Actor, ActorRef};
use tokio::sync::{oneshot, watch};
use workload::Plan;

use crate::{
    CoordinatorClock, Ending, FleetSize, Inputs, JournalWriteError, Ledger, Membership, Progress,
    Recovered, Roster, Run, Start, StartInstant, Terms,
    clock::{Now, unix_now_ns},
    gathering::{Gathering, RecordsSink},
    journal_writer::JournalWriter,
    ledger_actor::Views,
    supervisor::{Finished, Resumed, Supervisor, SupervisorArguments, SupervisorMessage},
};

/// Two readings of one machine's clocks differ by less, NTP steps included.
const SAME_CLOCK_NS: u64 = 2_000_000_000;

/// What a coordinator needs to know.
#[derive(Clone, Debug)]
pub struct CoordinatorOptions {
    /// What is run; the same for every worker.
    pub plan: Plan,
    /// Workers to wait for.
    pub size: FleetSize,
    /// The files that the plan's prompts are made of, for workers that do not have them.
    pub inputs: Vec<Input>,
    /// How long to wait for them.
    pub join_timeout: Duration,
    /// How far ahead of its announcement the start lies: more than the slowest answer takes.
    pub start_ahead: Duration,
    /// Where the journal is created; must not exist.
    pub journal: PathBuf,
    /// This build; a worker of another one is refused.
    pub build: String,
    /// What was found before the load, for the result.
    pub prepared: Preparation,
    /// Which run it is of the many that this process leads: see [`protocol::Assignment::run`].
    pub run: Option<u64>,
}

/// What was found before the load. It is in the journal too: whoever writes the result in the end knows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Preparation {
    /// Requests that were sent to see whether the target answers.
    pub probe_requests: u64,
    /// Doubts, in words for the report.
    pub warnings: Vec<Warning>,
}

/// Why there is no result at all.
#[derive(Debug, thiserror::Error)]
pub enum CoordinatorError {
    /// No journal, no run.
    #[error(transparent)]
    Journal(#[from] JournalWriteError),
    /// Nothing to go on with.
    #[error("the run of this journal had not begun: start it anew")]
    NotBegun,
    /// Nothing left to do.
    #[error("the run of this journal is over: its books are closed")]
    Over,
    /// The plan goes by a file that is not there any more, or cannot be used.
    #[error("{0}")]
    Schedule(workload::ScheduleProblem),
    /// An actor could not be started.
    #[error("the coordinator could not start: {0}")]
    Start(#[from] ractor::SpawnErr),
    /// An actor failed: a fault of this program.
    #[error("the coordinator failed; see the log above")]
    Failed,
}

fn first(problems: Vec<workload::ScheduleProblem>) -> CoordinatorError {
    problems.into_iter().next().map_or(CoordinatorError::Failed, CoordinatorError::Schedule)
}

/// Where a run stands as its actors start.
struct State {
    run: Run,
    ledger: Ledger,
    membership: Membership,
    resumed: Option<Resumed>,
    prepared: Preparation,
}

/// How long things may take.
struct Waits {
    join: Duration,
    start_ahead: Duration,
}

/// The run time now, of a run that another coordinator began: by the clock that both have if they ran on one
/// machine since its last boot, else by the wall clocks.
fn run_time_since(start: Start, now_ns: u64, unix_ns: i64) -> Duration {
    let by_wall = u64::try_from(unix_ns.saturating_sub(start.unix_ns)).unwrap_or_default();
    let by_clock = now_ns.checked_sub(start.coordinator_ns);
    let close = by_clock.filter(|by_clock| by_clock.abs_diff(by_wall) < SAME_CLOCK_NS);
    Duration::from_nanos(close.unwrap_or(by_wall))
}

fn nanoseconds(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}

/// A run that is going on.
pub struct Coordinator {
    supervisor: ActorRef<SupervisorMessage>,
    door: ActorRef<CoordinatorMessage>,
    progress: watch::Receiver<Progress>,
    live: watch::Receiver<Arc<Live>>,
    finished: oneshot::Receiver<Finished>,
    prepared: Preparation,
    /// Gathers records, and of which share of the requests they are.
    gathering: Option<(Gathering, f64)>,
}

/// What a run leaves: the merged books and who kept them.
#[derive(Debug)]
pub struct Merged {
    /// How it ended.
    pub ending: Ending,
    /// Everything that was merged.
    pub ledger: Ledger,
    /// The fleet.
    pub roster: Roster,
    /// Run time zero as Unix time in nanoseconds; `None` when no load was offered.
    pub start_unix_ns: Option<i64>,
    /// The run time at which the load was stopped early.
    pub stopped_at: Option<Duration>,
    /// The rule that did it; `None` where somebody else did.
    pub stop_reason: Option<StopReason>,
    /// What was found before it.
    pub prepared: Preparation,
    /// What was kept of single requests, if anything was to be.
    pub records: Option<RecordsKept>,
}

impl Coordinator {
    /// Opens the journal and the door; workers may register from now on.
    ///
    /// # Errors
    /// The journal cannot be created.
    pub async fn start(options: CoordinatorOptions) -> Result<Self, CoordinatorError> {
        let mut journal = JournalWriter::create(&options.journal)?;
        let plan = Arc::new(options.plan);
        let first = journal.append(&Record::Plan {
            protocol: PROTOCOL_VERSION,
            plan: Box::new(Plan::clone(&plan)),
            created_unix_ns: unix_now_ns(),
        })?;
        let Preparation { probe_requests, warnings } = options.prepared.clone();
        let _ = journal.append(&Record::Prepared { probe_requests, warnings })?;
        JournalWriter::wait_for(journal.durable(), first).await?;
        // Until workers of other processes are let in, one that is expected alone has no heir.
        let alone = options.size == FleetSize::exactly(NonZeroU32::MIN);
        let terms = Terms::of(&plan);
        let terms = if alone { terms.without_heirs() } else { terms };
        let stages = u16::try_from(plan.stages.len()).unwrap_or(u16::MAX);
        let state = State {
            run: Run::new(options.size, plan.on_worker_loss, options.build).of_many(options.run),
            ledger: Ledger::of(stages).with_cells(plan.cells()),
            membership: Membership::new(plan.on_worker_loss, terms, CoordinatorClock.now_ns()),
            resumed: None,
            prepared: options.prepared,
        };
        let waits = Waits { join: options.join_timeout, start_ahead: options.start_ahead };
        Self::run(plan, options.inputs, options.size, waits, journal, state).await
    }

    /// Goes on with the run of a journal whose coordinator is gone, within the 10 s for which its workers
    /// wait. The load has gone on meanwhile as far as their leases reached.
    ///
    /// # Errors
    /// Its coordinator still lives; the run had not begun, or is over; the journal cannot be used.
    pub async fn resume(
        journal: &Path,
        build: String,
        inputs: Vec<Input>,
    ) -> Result<Self, CoordinatorError> {
        let mut recovered = Recovered::default();
        let mut writer = JournalWriter::resume(journal, |record| recovered.take(record))?;
        let (Some(mut plan), Some(start)) = (recovered.plan.clone(), recovered.start) else {
            return Err(CoordinatorError::NotBegun);
        };
        if recovered.ended {
            return Err(CoordinatorError::Over);
        }
        plan.read_schedule().map_err(first)?;
        let Now { coordinator_ns: now_ns, unix_ns, .. } = Now::read();
        let run_time = run_time_since(start, now_ns, unix_ns);
        let start_ns = now_ns.saturating_sub(nanoseconds(run_time));
        let terms = Terms::of(&plan);
        let workers: Vec<_> = recovered.at_work(terms, recovered.granted_until(run_time)).collect();
        let ownership = recovered.ledger.ownership().cloned().ok_or(CoordinatorError::NotBegun)?;
        let (epoch, owners) = (ownership.epoch(), ownership.roots());
        // Who comes back, or comes to help, is a spare: as many as own the load.
        let size = FleetSize { expected: owners, minimum: owners, spares: owners.get() };
        let resumed = writer.append(&Record::Resumed { at_unix_ns: unix_ns, epoch })?;
        JournalWriter::wait_for(writer.durable(), resumed).await?;
        let members = recovered.members();
        let on_loss = plan.on_worker_loss;
        let mut membership = Membership::resumed(
            on_loss,
            terms,
            u64::from(recovered.resumed) + 1,
            ownership,
            StartInstant { agreed_ns: start.coordinator_ns, own_ns: start_ns },
            workers,
            now_ns,
        );
        membership.end_stages(Duration::MAX, &recovered.ledger.stage_ends().to_tell());
        let state = State {
            run: Run::resumed(Roster::resumed(size, build, members), on_loss, recovered.stopped_at),
            membership,
            ledger: recovered.ledger,
            resumed: Some(Resumed {
                start_ns,
                start_unix_ns: start.unix_ns,
                stopped_at: recovered.stopped_at,
                stop_reason: recovered.stop_reason,
            }),
            prepared: recovered.prepared,
        };
        let waits = Waits { join: Duration::ZERO, start_ahead: Duration::ZERO };
        Self::run(Arc::new(*plan), inputs, size, waits, writer, state).await
    }

    async fn run(
        plan: Arc<Plan>,
        inputs: Vec<Input>,
        size: FleetSize,
        waits: Waits,
        journal: JournalWriter,
        state: State,
    ) -> Result<Self, CoordinatorError> {
        let expected = size.expected.get() as usize;
        let (progress, progress_seen) = watch::channel(Progress::nothing_yet(expected));
        let (live, live_seen) = watch::channel(Arc::default());
        let (finish, finished) = oneshot::channel();
        let (open, opened) = oneshot::channel();
        let arguments = SupervisorArguments {
            plan,
            inputs: Arc::new(Inputs::new(inputs)),
            run: state.run,
            ledger: state.ledger,
            membership: state.membership,
            resumed: state.resumed,
            clock: CoordinatorClock,
            journal,
            views: Views { progress, live },
            expected,
            join_timeout: waits.join,
            start_ahead: waits.start_ahead,
            open,
            finished: finish,
        };
        let (supervisor, _) = Actor::spawn(None, Supervisor, arguments).await?;
        let door = opened.await.map_err(|_| CoordinatorError::Failed)?;
        Ok(Self {
            supervisor,
            door,
            progress: progress_seen,
            live: live_seen,
            finished,
            prepared: state.prepared,
            gathering: None,
        })
    }

    /// Has the workers' records of single requests gathered, each one's after its last delta, for who writes them down.
    /// To be called before anybody is let in; `share` of the requests are recorded.
    pub fn gather_records(&mut self, share: f64, sink: Box<dyn RecordsSink>) {
        let (gather, gathering) = Gathering::start(sink);
        let _ = self.supervisor.cast(SupervisorMessage::Gather(gather));
        self.gathering = Some((gathering, share));
    }

    /// Lets workers of other processes in, through this process's node.
    pub fn open_to_the_cluster(&self) {
        // Told first: whoever comes through the door finds it done.
        let _ = self.supervisor.cast(SupervisorMessage::Opened);
        ractor::pg::join(COORDINATOR_GROUP.to_owned(), vec![self.door.get_cell()]);
    }

    /// Where workers of this process register.
    #[must_use]
    pub fn door(&self) -> Peer<CoordinatorMessage> {
        Peer::new(self.door.get_cell())
    }

    /// How far the run has come.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// A view of the run, replaced once a second.
    #[must_use]
    pub fn live(&self) -> watch::Receiver<Arc<Live>> {
        self.live.clone()
    }

    /// Asks for an end: the first time with a drain, the second time at once.
    pub fn interrupter(&self) -> impl Fn() + Send + Sync + use<> {
        let supervisor = self.supervisor.clone();
        move || {
            let _ = supervisor.cast(SupervisorMessage::Interrupt);
        }
    }

    /// Waits for the end of the run, and for its records.
    ///
    /// # Errors
    /// An actor failed.
    pub async fn finished(self) -> Result<Merged, CoordinatorError> {
        let Finished { ending, ledger, roster, start_unix_ns, stopped_at, stop_reason } =
            self.finished.await.map_err(|_| CoordinatorError::Failed)?;
        let records = match self.gathering {
            Some((gathering, share)) => Some(gathering.end(&roster, share).await),
            None => None,
        };
        self.supervisor.stop(None);
        let prepared = self.prepared;
        Ok(Merged {
            ending,
            ledger,
            roster,
            start_unix_ns,
            stopped_at,
            stop_reason,
            prepared,
            records,
        })
    }
}

#[cfg(test)]
mod tests {
    use metrics::{Books, Interval, Scope, ScopeRecord};
    use protocol::{Delta, WorkerId, append_frame, split};
    use workload::{Config, PlanInputs, Sources};

    use super::*;

    const FIRST: WorkerId = WorkerId { ordinal: 0, incarnation: 10 };
    const SECOND: WorkerId = WorkerId { ordinal: 1, incarnation: 11 };
    const S: u64 = 1_000_000_000;

    fn plan() -> Plan {
        let sets = ["target.endpoint=http://t/v1", "target.model=m", "load.rate=10"];
        let more = ["benchmark.duration=20", "benchmark.drain=0"];
        let sets = sets.into_iter().chain(more).map(str::to_owned).collect();
        let config = Config::load(Sources { sets, ..Sources::default() }).unwrap();
        Plan::from_config(&config, &PlanInputs { model: None, prompt_salt: 1 }).unwrap().0
    }

    /// 5 s of a run; the first worker has told of 20 requests, the second of none.
    fn journal(path: &Path, end: Option<Record>) {
        let now_ns = CoordinatorClock.now_ns();
        let offset = |worker| Record::ClockOffset { worker, offset_ns: 0, error_ns: 0 };
        let books = Books { due: 20, completed: 20, ..Books::default() };
        let mut interval = Interval::default();
        interval.scopes.insert(Scope::default(), ScopeRecord { books, ..ScopeRecord::default() });
        let delta = Delta { interval, ..Delta::default() };
        let records = [
            Record::Plan {
                protocol: PROTOCOL_VERSION,
                plan: Box::new(plan()),
                created_unix_ns: unix_now_ns(),
            },
            Record::Roster(vec![(FIRST, "a".to_owned()), (SECOND, "b".to_owned())]),
            Record::Arm {
                start_at_coordinator_ns: now_ns - 5 * S,
                start_unix_ns: unix_now_ns() - i64::try_from(5 * S).unwrap(),
            },
            offset(FIRST),
            offset(SECOND),
            Record::Part(split(FIRST, 1, delta).remove(0)),
        ];
        let mut bytes = Vec::new();
        for record in records.iter().chain(&end) {
            append_frame(&mut bytes, record).unwrap();
        }
        std::fs::write(path, bytes).unwrap();
    }

    #[tokio::test]
    async fn a_run_whose_workers_never_come_back_is_ended_with_exact_books() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        journal(&path, None);
        let resumed = Coordinator::resume(&path, "b".to_owned(), Vec::new()).await.unwrap();
        let merged = resumed.finished().await.unwrap();
        assert!(
            matches!(&merged.ending, Ending::Degraded(why) if why.contains("took over") || why.contains("take over"))
        );
        let mut books = merged.ledger.total().books();
        let gaps = merged.ledger.settle(&plan(), Duration::from_secs(20)).gaps;
        gaps.values().flatten().for_each(|(_, gap)| books.merge(gap));
        books.balance().unwrap();
        // Both may have sent up to 7.5 s and more; the first answered for 20 of that.
        assert_eq!((books.due, books.completed), (200, 20));
        assert!(books.lost.total() >= 55 && books.not_sent_total() > 0, "{books:?}");
    }

    #[tokio::test]
    async fn a_run_that_is_over_or_had_not_begun_is_not_gone_on_with() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        journal(&path, Some(Record::End));
        let over = Coordinator::resume(&path, "b".to_owned(), Vec::new()).await;
        assert!(matches!(over, Err(CoordinatorError::Over)));
        std::fs::write(&path, []).unwrap();
        let empty = Coordinator::resume(&path, "b".to_owned(), Vec::new()).await;
        assert!(matches!(empty, Err(CoordinatorError::NotBegun)));
    }

    #[test]
    fn run_time_is_by_the_shared_clock_where_there_is_one() {
        let start = Start { coordinator_ns: 100 * S, unix_ns: 0 };
        let unix_ns = i64::try_from(30 * S).unwrap();
        assert_eq!(run_time_since(start, 131 * S, unix_ns), Duration::from_secs(31));
        assert_eq!(run_time_since(start, 7 * S, unix_ns), Duration::from_secs(30), "another boot");
    }
}
