//! What observers see while a run goes on: one [`Live`] value a second, made from the ledger and the roster.
//!
//! It only reads, and costs the ledger no more than the merge of what came in since the last view: what it adds up over
//! the run it adds up itself, second by second, instead of folding the whole ledger each time.

mod turns;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use metrics::{
    Books, Interval, LIVE_DISTRIBUTIONS, LIVE_LATENCIES, Live, LiveBooks, LiveLatencies,
    LivePercentiles, LivePoint, LiveStage, LiveState, LiveWorker, Metric, Phase, Reason,
    ScopeRecord, SecondCounts, SparseHistogram, Status, Thresholds, Verdict, chunks_are_not_tokens,
    verdict_so_far,
};
use tokio::time::Instant;
use workload::{Drive, Plan};

use self::turns::Turns;
use crate::{Account, Ledger, Member, Role, Standing};

/// The latencies of the last seconds are of as many views.
const RECENT_VIEWS: usize = 10;
/// Older points are forgotten: the result has them.
const POINTS: usize = 1_200;
/// A worker that is so many seconds behind the others' reports is silent; three of silence make it lost.
const SILENT_AFTER_S: u32 = 2;

/// Where a run is, for who only waits for that.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Where the run is.
    pub phase: Phase,
    /// When run time was or will be zero.
    pub start: Option<Instant>,
    /// Workers heard, workers expected.
    pub workers: (usize, usize),
}

impl Progress {
    pub(crate) fn nothing_yet(expected: usize) -> Self {
        Self { phase: Phase::Forming, start: None, workers: (0, expected) }
    }
}

/// What the supervisor knows of the run.
#[derive(Clone, Debug)]
pub(crate) struct Fleet {
    pub(crate) phase: Phase,
    pub(crate) start: Option<Instant>,
    pub(crate) stopped_at: Option<Duration>,
    pub(crate) here: usize,
    pub(crate) members: Vec<Member>,
}

type Samples = BTreeMap<Metric, SparseHistogram>;

/// See the module's documentation.
pub(crate) struct Observer {
    plan: Arc<Plan>,
    expected: usize,
    fleet: Fleet,
    /// Every scope.
    all: ScopeRecord,
    /// Those of the headline.
    headline: ScopeRecord,
    /// Of the last views, the newest last.
    recent: VecDeque<Samples>,
    turns: Turns,
    /// Since the last point.
    since_point: Samples,
    points: Arc<Vec<LivePoint>>,
    /// The second before which there are points.
    told_to: u32,
}

impl Observer {
    /// Of a run that has so much behind it: nothing, unless another coordinator began it.
    pub(crate) fn new(plan: Arc<Plan>, expected: usize, ledger: &Ledger) -> Self {
        let fleet = Fleet {
            phase: Phase::Forming,
            start: None,
            stopped_at: None,
            here: 0,
            members: Vec::new(),
        };
        let mut observer = Self {
            turns: Turns::of(&plan),
            plan,
            expected,
            fleet,
            all: ScopeRecord::default(),
            headline: ScopeRecord::default(),
            recent: VecDeque::new(),
            since_point: Samples::new(),
            points: Arc::default(),
            told_to: ledger.last_second().map_or(0, |second| second + 1),
        };
        observer.add(ledger.total());
        observer
    }

    /// The supervisor tells where the run is.
    pub(crate) fn meet(&mut self, fleet: Fleet) {
        self.fleet = fleet;
    }

    /// Takes what was merged since the last view.
    pub(crate) fn take(&mut self, merged: &Interval, ledger: &Ledger) {
        self.add(merged);
        self.turns.take(&self.plan, merged);
        let samples = sparse(merged);
        join(&mut self.since_point, &samples);
        self.recent.push_back(samples);
        if self.recent.len() > RECENT_VIEWS {
            let _ = self.recent.pop_front();
        }
        let Some(last) = ledger.last_second().filter(|last| *last >= self.told_to) else { return };
        let seconds = self.told_to..last + 1;
        let counts = counts_of(&ledger.total().seconds, seconds.clone());
        let latencies = self.latencies(&self.since_point);
        self.told_to = seconds.end;
        self.since_point.clear();
        let points = Arc::make_mut(&mut self.points);
        points.push(LivePoint::new(seconds, &counts, latencies));
        if points.len() > POINTS {
            let _ = points.remove(0);
        }
    }

    /// Bounds were compared when the ledger merged the same.
    fn add(&mut self, merged: &Interval) {
        self.turns.add(&self.plan, merged);
        for (scope, record) in &merged.scopes {
            let _ = self.all.merge(record);
            if self.plan.headline(scope.stage) {
                let _ = self.headline.merge(record);
            }
        }
    }

    /// The view at this instant.
    pub(crate) fn view(&self, ledger: &Ledger, now: Instant) -> Live {
        let run_time = self.fleet.start.and_then(|start| now.checked_duration_since(start));
        let ends_at = self.plan.end().into_iter().chain(self.fleet.stopped_at).min();
        // A load that was stopped asks for nothing more, whatever the plan has left.
        let is_over = matches!(self.fleet.phase, Phase::Draining | Phase::Aborted | Phase::Final);
        let stage = run_time.filter(|_| !is_over).and_then(|at| self.plan.stage_at(at));
        let load = stage.zip(run_time).and_then(|(stage, at)| self.asked(stage, at));
        let is_open = matches!(self.plan.drive, Drive::Open { .. });
        let mut recent = Samples::new();
        self.recent.iter().for_each(|samples| join(&mut recent, samples));
        let samples = |metric| self.all.distribution(metric);
        let percentiles = |metric| samples(metric).map(LivePercentiles::from).unwrap_or_default();
        let sum = |metric| samples(metric).and_then(metrics::Distribution::sum).unwrap_or(0);
        let workers = self.workers(ledger);
        Live {
            name: self.plan.name.clone(),
            model: self.plan.target.model.clone().unwrap_or_default(),
            endpoint: self.plan.target.url.clone(),
            phase: self.fleet.phase,
            run_time_ms: run_time.map(milliseconds),
            ends_at_ms: ends_at.map(milliseconds),
            time_left_ms: ends_at
                .zip(run_time)
                .map(|(end, at)| milliseconds(end.saturating_sub(at))),
            stage: stage.and_then(|stage| self.stage(stage)),
            asked_per_s: load.filter(|_| is_open),
            asked_in_flight: load.filter(|_| !is_open),
            last: self.points.last().copied(),
            recent: self.latencies(&recent),
            recent_seconds: u32::try_from(self.recent.len()).unwrap_or(u32::MAX),
            so_far: LiveLatencies::of(percentiles, self.chunks_are_tokens()),
            turns: self.turns.view(),
            books: LiveBooks::from(&self.all.books),
            in_flight: workers.iter().map(|worker| worker.in_flight).sum(),
            output_tokens: ledger.total().seconds.values().map(|second| second.output_tokens).sum(),
            input_tokens: sum(Metric::InputTokens),
            verdict: self.verdict(ledger, &workers),
            workers_expected: u32::try_from(self.expected).unwrap_or(u32::MAX),
            workers_here: u32::try_from(self.fleet.here).unwrap_or(u32::MAX),
            workers,
            points: Arc::clone(&self.points),
            distributions: LIVE_DISTRIBUTIONS
                .into_iter()
                .filter_map(|metric| Some((metric, samples(metric)?.clone())))
                .collect(),
            ..Live::default()
        }
    }

    fn chunks_are_tokens(&self) -> bool {
        !chunks_are_not_tokens(&self.all.notes, &Thresholds::default())
    }

    fn latencies(&self, samples: &Samples) -> LiveLatencies {
        let of = |metric| samples.get(&metric).map(LivePercentiles::from).unwrap_or_default();
        LiveLatencies::of(of, self.chunks_are_tokens())
    }

    /// The level that the plan asks for: requests a second, or in flight.
    fn asked(&self, stage: u16, at: Duration) -> Option<f64> {
        let stage = self.plan.stages.get(usize::from(stage))?;
        Some(stage.level_at(at.saturating_sub(stage.start)))
    }

    fn stage(&self, index: u16) -> Option<LiveStage> {
        let stage = self.plan.stages.get(usize::from(index))?;
        Some(LiveStage {
            name: stage.name.clone(),
            index,
            of: u16::try_from(self.plan.stages.len()).unwrap_or(u16::MAX),
            headline: self.plan.headline(index),
            ends_at_ms: stage.end.map(milliseconds),
        })
    }

    /// That of the rules, and what will be `lost` when the books are closed.
    fn verdict(&self, ledger: &Ledger, workers: &[LiveWorker]) -> Verdict {
        let mut stages: BTreeMap<u16, Books> = BTreeMap::new();
        for (scope, record) in &ledger.total().scopes {
            if self.plan.headline(scope.stage) {
                stages.entry(scope.stage).or_default().merge(&record.books);
            }
        }
        let name = |index: u16| {
            self.plan.stages.get(usize::from(index)).map_or("", |stage| &stage.name).to_owned()
        };
        let named = stages.iter().map(|(index, books)| (name(*index), books)).collect();
        let seconds = &ledger.total().seconds;
        let mut verdict = verdict_so_far(&self.all.books, &self.headline, named, seconds);
        for worker in workers.iter().filter(|worker| worker.state == LiveState::Lost) {
            verdict.status = verdict.status.max(Status::Suspect);
            verdict.reasons.push(Reason {
                code: "worker_lost".to_owned(),
                message: format!(
                    "worker {} ({}) is lost, and with it what it had in flight",
                    worker.ordinal, worker.host
                ),
                status: Status::Suspect,
            });
        }
        verdict
    }

    fn workers(&self, ledger: &Ledger) -> Vec<LiveWorker> {
        let furthest =
            ledger.accounts().values().map(|account| account.covered_to).max().unwrap_or(0);
        let row = |member: &Member| {
            let account = ledger.accounts().get(&member.id);
            self.worker(member, account, furthest)
        };
        self.fleet.members.iter().map(row).collect()
    }

    fn worker(&self, member: &Member, account: Option<&Account>, furthest: u32) -> LiveWorker {
        let mut books = Books::default();
        account.iter().flat_map(|a| a.books.values()).for_each(|scope| books.merge(scope));
        let all_due = self.all.books.due;
        LiveWorker {
            ordinal: member.id.ordinal,
            host: member.host.clone(),
            state: self.state(member, account, furthest),
            share: (all_due > 0).then(|| books.due as f64 / all_due as f64),
            books: LiveBooks::from(&books),
            in_flight: account.map_or(0, |a| a.in_flight),
            generator_lag_p99_us: account.and_then(|a| a.generator_lag.quantile(0.99)),
            ttft_p50_us: account.and_then(|a| a.ttft.quantile(0.5)),
            reported_to_s: account.map_or(0, |a| a.covered_to),
            cpu_ms: account.map_or(0, |a| milliseconds(a.cpu)),
        }
    }

    fn state(&self, member: &Member, account: Option<&Account>, furthest: u32) -> LiveState {
        let offers = member.role == Role::Owner && self.fleet.phase == Phase::Running;
        let told_to = account.map_or(0, |account| account.covered_to);
        match member.standing {
            Standing::Lost => LiveState::Lost,
            Standing::Complete => LiveState::Complete,
            Standing::Joined | Standing::Assigned | Standing::Armed
                if member.role == Role::Spare =>
            {
                LiveState::Spare
            }
            Standing::Joined | Standing::Assigned => LiveState::Joined,
            Standing::Armed if offers && told_to + SILENT_AFTER_S < furthest => LiveState::Silent,
            Standing::Armed => LiveState::Sending,
        }
    }
}

fn sparse(merged: &Interval) -> Samples {
    let mut samples = Samples::new();
    for record in merged.scopes.values() {
        for metric in LIVE_LATENCIES {
            if let Some(distribution) = record.distribution(metric) {
                samples.entry(metric).or_default().merge(&SparseHistogram::from(distribution));
            }
        }
    }
    samples
}

fn join(to: &mut Samples, more: &Samples) {
    for (metric, samples) in more {
        to.entry(*metric).or_default().merge(samples);
    }
}

/// The counts of some seconds as those of one stretch.
fn counts_of(seconds: &BTreeMap<u32, SecondCounts>, wanted: std::ops::Range<u32>) -> SecondCounts {
    let mut counts = SecondCounts::default();
    seconds.range(wanted).for_each(|(_, second)| counts.followed_by(second));
    counts
}

fn milliseconds(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use metrics::{Distribution, Scope};
    use protocol::{Delta, WorkerId, split};
    use workload::{Config, PlanInputs, Sources};

    use super::*;

    const FIRST: WorkerId = WorkerId { ordinal: 0, incarnation: 10 };
    const SECOND: WorkerId = WorkerId { ordinal: 1, incarnation: 11 };

    fn plan() -> Arc<Plan> {
        let sets = ["target.endpoint=http://t/v1", "target.model=m", "load.rate=10"];
        let more = ["benchmark.duration=20", "benchmark.warmup=5"];
        let sets = sets.into_iter().chain(more).map(str::to_owned).collect();
        let config = Config::load(Sources { sets, ..Sources::default() }).unwrap();
        let inputs = PlanInputs { model: None, prompt_salt: 1 };
        Arc::new(Plan::from_config(&config, &inputs).unwrap().0)
    }

    fn member(id: WorkerId, role: Role, standing: Standing) -> Member {
        Member { id, host: "host".to_owned(), role, standing, assigned: None, clock: None }
    }

    fn running(start: Instant, members: Vec<Member>) -> Fleet {
        let here = members.iter().filter(|m| m.standing != Standing::Lost).count();
        Fleet { phase: Phase::Running, start: Some(start), stopped_at: None, here, members }
    }

    /// One second of a worker: ten requests due, nine completed in so many milliseconds.
    fn second(at: u32, ttft_ms: u64) -> Delta {
        let mut interval = Interval::default();
        let books = Books { due: 10, completed: 9, ..Books::default() };
        let mut record = ScopeRecord { books, ..ScopeRecord::default() };
        let mut ttft = Distribution::new(Metric::Ttft.kind());
        ttft.record_n(ttft_ms * 1_000, 9);
        record.distributions.insert(Metric::Ttft, ttft);
        interval.scopes.insert(Scope::default(), record);
        let counts = SecondCounts { due: 10, sent: 10, completed: 9, ..SecondCounts::default() };
        interval.seconds.insert(at, counts);
        let covers = Some(protocol::Covers { from: at, to: at + 1 });
        Delta { interval, covers, in_flight: 1, ..Delta::default() }
    }

    fn merge(ledger: &mut Ledger, worker: WorkerId, sequence: u64, delta: Delta) -> Interval {
        let part = split(worker, sequence, delta).remove(0);
        ledger.merge(&part).unwrap().unwrap().interval
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_that_all_have_told_is_a_point() {
        let mut ledger = Ledger::of(2);
        ledger.admit(FIRST);
        ledger.admit(SECOND);
        let mut observer = Observer::new(plan(), 2, &ledger);
        let start = Instant::now();
        let members = [FIRST, SECOND].map(|id| member(id, Role::Owner, Standing::Armed));
        observer.meet(running(start, members.to_vec()));

        let merged = merge(&mut ledger, FIRST, 1, second(0, 40));
        observer.take(&merged, &ledger);
        let early = observer.view(&ledger, start + Duration::from_secs(1));
        assert_eq!((early.last, early.points.len()), (None, 0), "the second has told nothing");

        let merged = merge(&mut ledger, SECOND, 1, second(0, 60));
        observer.take(&merged, &ledger);
        let live = observer.view(&ledger, start + Duration::from_millis(1_500));
        let last = live.last.unwrap();
        assert_eq!((last.second, last.seconds, last.due, last.completed), (0, 1, 20, 18));
        assert_eq!((last.latencies.ttft.count, last.latencies.ttft.p99_us), (18, None));
        // Nine of 40 ms and nine of 60: the ninth smallest is the median.
        assert!((40_000..40_100).contains(&live.so_far.ttft.p50_us.unwrap()));
        assert_eq!(live.recent.ttft.p50_us, live.so_far.ttft.p50_us);
        assert_eq!((live.books.due, live.books.open, live.in_flight), (20, 2, 2));
        assert_eq!((live.run_time_ms, live.time_left_ms), (Some(1_500), Some(23_500)));
        assert_eq!((live.asked_per_s, live.asked_in_flight), (Some(10.0), None));
        assert_eq!(live.stage.as_ref().map(|stage| stage.name.as_str()), Some("warmup"));
        assert_eq!(live.workers[1].share, Some(0.5));
        assert_eq!(live.distributions[&Metric::Ttft].count(), 18);
        assert_eq!(live.verdict.status, Status::Valid, "{:?}", live.verdict);
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_is_lost_or_silent_is_seen() {
        let mut ledger = Ledger::of(2);
        ledger.admit(FIRST);
        ledger.admit(SECOND);
        let mut observer = Observer::new(plan(), 2, &ledger);
        for at in 0..4_u32 {
            let merged = merge(&mut ledger, FIRST, u64::from(at) + 1, second(at, 40));
            observer.take(&merged, &ledger);
        }
        let start = Instant::now();
        let state = |observer: &Observer, ledger: &Ledger| {
            let live = observer.view(ledger, start + Duration::from_secs(4));
            (live.workers[1].state, live.verdict.status)
        };
        let armed = |id| member(id, Role::Owner, Standing::Armed);
        observer.meet(running(start, vec![armed(FIRST), armed(SECOND)]));
        assert_eq!(state(&observer, &ledger), (LiveState::Silent, Status::Valid));
        let lost = member(SECOND, Role::Owner, Standing::Lost);
        observer.meet(running(start, vec![armed(FIRST), lost]));
        assert_eq!(state(&observer, &ledger), (LiveState::Lost, Status::Suspect));
        let spare = member(SECOND, Role::Spare, Standing::Joined);
        observer.meet(running(start, vec![armed(FIRST), spare]));
        assert_eq!(state(&observer, &ledger), (LiveState::Spare, Status::Valid));
    }

    #[tokio::test(start_paused = true)]
    async fn a_load_that_was_stopped_asks_for_nothing_and_has_no_stage() {
        let mut ledger = Ledger::of(2);
        ledger.admit(FIRST);
        let mut observer = Observer::new(plan(), 1, &ledger);
        let start = Instant::now();
        let going = running(start, vec![member(FIRST, Role::Owner, Standing::Armed)]);
        let at = |observer: &Observer| observer.view(&ledger, start + Duration::from_secs(8));
        observer.meet(going.clone());
        assert_eq!((at(&observer).asked_per_s, at(&observer).stage.is_some()), (Some(10.0), true));
        let stopped_at = Some(Duration::from_secs(7));
        observer.meet(Fleet { phase: Phase::Draining, stopped_at, ..going });
        let live = at(&observer);
        assert_eq!((live.asked_per_s, live.asked_in_flight, live.stage), (None, None, None));
        assert_eq!((live.run_time_ms, live.ends_at_ms), (Some(8_000), Some(7_000)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_seconds_are_the_last_seconds() {
        let mut ledger = Ledger::of(2);
        ledger.admit(FIRST);
        let mut observer = Observer::new(plan(), 1, &ledger);
        for at in 0..15_u32 {
            let slow = if at < 5 { 900 } else { 50 };
            let merged = merge(&mut ledger, FIRST, u64::from(at) + 1, second(at, slow));
            observer.take(&merged, &ledger);
        }
        let live = observer.view(&ledger, Instant::now());
        assert_eq!((live.recent.ttft.count, live.so_far.ttft.count), (90, 135));
        assert!(live.recent.ttft.p90_us.unwrap() < 51_000 && live.recent_seconds == 10);
        assert!(live.so_far.ttft.p90_us.unwrap() > 800_000);
        assert_eq!((live.points.len(), live.points[14].second), (15, 14));
        assert_eq!((live.phase, live.run_time_ms), (Phase::Forming, None));
    }
}
