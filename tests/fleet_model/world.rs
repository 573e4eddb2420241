//! Time, network, chance and the server: what coordinator and workers live in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use coordinator::{Reading, Recovered};
use metrics::{Books, NotSent};
use protocol::{Limit, Loss, LossCause, Record, WorkerId};
use worker::ClockOffset;
use workload::{Config, Drive, OnWorkerLoss, Plan, PlanInputs, Shard, Sources};

use crate::coordinator_node::{CoordinatorNode, Disk};
use crate::dice::Dice;
use crate::worker_node::{Down, DriftingClock, Sent, Up, WorkerNode};

pub(crate) const MS: u64 = 1_000_000;
/// The grain of time.
const STEP: u64 = 20 * MS;
/// How long faults go on, and how long the world is let be after them.
const FAULTS: u64 = 34_000 * MS;
const PEACE: u64 = 40_000 * MS;
/// Run time zero.
const START: u64 = 3_000 * MS;
/// What the load lasts, seconds.
const DURATION_S: u64 = 30;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Faults {
    None,
    All,
}

/// A message on its way.
struct OnTheWay<T> {
    at: u64,
    order: u64,
    with: WorkerId,
    message: T,
}

/// What came of a round, or of several.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) due: u64,
    pub(crate) completed: u64,
    pub(crate) lost: u64,
    pub(crate) lost_in_flight: u64,
    pub(crate) not_sent: u64,
    pub(crate) no_lease: u64,
    pub(crate) no_owner: u64,
    pub(crate) sent_by_heirs: u64,
    pub(crate) rounds_by_heirs: u64,
    pub(crate) resumes: u64,
    pub(crate) losses: u64,
    pub(crate) goodbyes: u64,
    pub(crate) stops: u64,
    pub(crate) stage_stops: u64,
}

impl Outcome {
    pub(crate) fn add(&mut self, other: &Self) {
        self.due += other.due;
        self.completed += other.completed;
        self.lost += other.lost;
        self.lost_in_flight += other.lost_in_flight;
        self.not_sent += other.not_sent;
        self.no_lease += other.no_lease;
        self.no_owner += other.no_owner;
        self.sent_by_heirs += other.sent_by_heirs;
        self.rounds_by_heirs += other.rounds_by_heirs;
        self.resumes += other.resumes;
        self.losses += other.losses;
        self.goodbyes += other.goodbyes;
        self.stops += other.stops;
        self.stage_stops += other.stage_stops;
    }
}

pub(crate) struct World {
    dice: Dice,
    faults: Faults,
    now: u64,
    plan: Plan,
    clock: DriftingClock,
    coordinator: Option<CoordinatorNode>,
    returns_at: u64,
    disk: Disk,
    workers: Vec<WorkerNode>,
    /// Until when nothing passes, upwards or downwards.
    cut_until: BTreeMap<(WorkerId, bool), u64>,
    up: Vec<OnTheWay<Up>>,
    down: Vec<OnTheWay<Down>>,
    /// When the last message of a connection arrives: none overtakes another.
    arrives: BTreeMap<(WorkerId, bool), u64>,
    sent_messages: u64,
    server: Vec<Sent>,
    /// The latest end of any grant to a worker, on the coordinator's clock.
    granted_until: BTreeMap<WorkerId, u64>,
    resumes: u64,
    next_incarnation: u64,
}

/// A loop of either kind; of one stage, or of two of which the first may be ended alone.
fn load(dice: &mut Dice, rate: u64) -> String {
    let (key, level) = if dice.once_in(3) { ("concurrency", rate / 2) } else { ("rate", rate) };
    if dice.once_in(2) {
        return format!("load.{key}={level}");
    }
    let first = dice.between(8, 20);
    let rest = DURATION_S - first;
    let lower = level.div_ceil(2);
    format!(
        "stages=[{{{key}: {level}, duration: {first}, stopWhen: {{errorRate: 0.5}}}}, {{{key}: {lower}, duration: {rest}}}]"
    )
}

fn plan(dice: &mut Dice) -> Plan {
    let rate = dice.between(10, 60);
    let arrivals = if dice.once_in(2) { "even" } else { "poisson" };
    let on_loss = if dice.once_in(8) { "continue" } else { "takeover" };
    let sets = vec![
        "target.endpoint=http://t/v1".to_owned(),
        "target.model=m".to_owned(),
        load(dice, rate),
        format!("load.arrivals={arrivals}"),
        format!("benchmark.duration={DURATION_S}"),
        format!("benchmark.seed={}", dice.between(0, 1_000)),
        format!("fleet.onWorkerLoss={on_loss}"),
    ];
    let config =
        Config::load(Sources { sets, ..Sources::default() }).expect("a good configuration");
    let inputs = PlanInputs { model: None, prompt_salt: 1 };
    Plan::from_config(&config, &inputs).expect("a good plan").0
}

fn drifting(dice: &mut Dice) -> DriftingClock {
    let drift_ppm = i64::try_from(dice.between(0, 401)).expect("small") - 200;
    DriftingClock { ahead_ns: dice.between(0, 100_000 * MS), drift_ppm }
}

fn reading(offset: &ClockOffset, clock: &DriftingClock, now: u64) -> Reading {
    Reading { offset_ns: offset.offset_ns, error_ns: offset.error_at(clock.at(now)) }
}

impl World {
    pub(crate) fn new(mut dice: Dice, faults: Faults) -> Self {
        let plan = plan(&mut dice);
        let clock = drifting(&mut dice);
        let count = u32::try_from(dice.between(1, 6)).expect("small");
        let spares = u32::try_from(dice.between(0, 2)).expect("small");
        let mut world = Self {
            dice,
            faults,
            now: 0,
            plan,
            clock,
            coordinator: None,
            returns_at: 0,
            disk: Disk::default(),
            workers: Vec::new(),
            cut_until: BTreeMap::new(),
            up: Vec::new(),
            down: Vec::new(),
            arrives: BTreeMap::new(),
            sent_messages: 0,
            server: Vec::new(),
            granted_until: BTreeMap::new(),
            resumes: 0,
            next_incarnation: 1,
        };
        let shards: Vec<_> =
            Shard::split(std::num::NonZeroU32::new(count).expect("some")).map(Some).collect();
        let ranks: Vec<_> = (0..).zip(shards).map(|(n, shard)| world.join(n, shard)).collect();
        let spares: Vec<_> = (count..count + spares).map(|n| world.join(n, None)).collect();
        let start = world.clock.at(START);
        world.coordinator = Some(CoordinatorNode::armed(
            &world.plan,
            world.clock,
            &ranks,
            &spares,
            start,
            0,
            &mut world.disk,
        ));
        world
    }

    /// A new process with its clocks compared and the start known.
    fn join(&mut self, ordinal: u32, shard: Option<Shard>) -> (WorkerId, Reading) {
        let id = WorkerId { ordinal, incarnation: self.next_incarnation };
        self.next_incarnation += 1;
        let clock = drifting(&mut self.dice);
        let offset = WorkerNode::compare(&clock, &self.clock, &mut self.dice, self.now);
        let start = self.clock.at(START);
        let reading = reading(&offset, &clock, self.now);
        let mut node = WorkerNode::new(id, shard, clock, offset, start, &self.plan);
        node.freezes = self.faults == Faults::All;
        self.workers.push(node);
        (id, reading)
    }

    pub(crate) fn run(&mut self) {
        while self.now < FAULTS + PEACE {
            self.now += STEP;
            if self.faults == Faults::All && self.now < FAULTS {
                self.misfortune();
            }
            if self.now == FAULTS {
                self.heal();
            }
            self.carry();
            self.step_coordinator();
            self.step_workers();
        }
    }

    fn misfortune(&mut self) {
        let ids: Vec<_> = self.workers.iter().map(|worker| worker.id).collect();
        let victim = usize::try_from(self.dice.between(0, ids.len() as u64)).expect("small");
        // A crash just when a change is told, or about to be, is where it hurts.
        if self.disk.has_unsure_change() && self.dice.once_in(60) {
            return self.crash();
        }
        let (now, worker) = (self.now, &mut self.workers[victim]);
        match self.dice.next() % 4_000 {
            0..=3 => worker.alive = false,
            4..=15 => worker.paused_until = now + self.dice.between(50, 12_000) * MS,
            16..=31 => {
                let length = self.dice.between(50, 12_000) * MS;
                // Both ways, or one only.
                let ways: &[bool] = match self.dice.next() % 3 {
                    0 => &[true],
                    1 => &[false],
                    _ => &[true, false],
                };
                self.cut_until.extend(ways.iter().map(|way| ((ids[victim], *way), now + length)));
            }
            32..=33 => worker.leave(now),
            34..=37 => self.crash(),
            38..=49 => {
                if let Some(coordinator) = &mut self.coordinator {
                    coordinator.paused_until = now + self.dice.between(50, 8_000) * MS;
                }
            }
            50..=65 => self.come_back(victim),
            66..=69 => self.condemn(ids[victim]),
            70..=75 => {
                if let Some(coordinator) = &mut self.coordinator
                    && now >= coordinator.paused_until
                {
                    coordinator.rule_speaks(&self.plan, now, &mut self.disk);
                }
            }
            _ => {}
        }
    }

    /// The coordinator finds that what a worker said cannot be.
    fn condemn(&mut self, worker: WorkerId) {
        if let Some(coordinator) = &mut self.coordinator
            && self.now >= coordinator.paused_until
        {
            coordinator.condemn(worker, self.now, &mut self.disk);
            if self.dice.once_in(2) {
                // And cannot tell it so.
                let _ = self.cut_until.insert((worker, false), self.now + 5_000 * MS);
            }
        }
    }

    /// The process is killed, or its machine is: what was not synced may be lost, and so is what is
    /// under way to it.
    fn crash(&mut self) {
        if self.coordinator.take().is_some() {
            self.disk.crash(&mut self.dice);
            self.returns_at = self.now + self.dice.between(300, 9_000) * MS;
            self.up.clear();
            // What a worker's system has received by then may still be read, even after its successor's words.
            self.down.retain(|_| self.dice.once_in(2));
            for one in &mut self.down {
                one.at += self.dice.between(0, 12_000) * MS;
            }
        }
    }

    /// Somebody whose last life is over registers again; a spare, if there is a coordinator to ask.
    fn come_back(&mut self, victim: usize) {
        let (ordinal, alive) = (self.workers[victim].id.ordinal, self.workers[victim].alive);
        let awake = self.coordinator.as_ref().is_some_and(|one| self.now >= one.paused_until);
        let held = self.workers.iter().any(|one| one.alive && one.id.ordinal == ordinal);
        if alive || held || !awake {
            return;
        }
        let (id, reading) = self.join(ordinal, None);
        if let Some(coordinator) = &mut self.coordinator {
            coordinator.enrol(id, reading, self.now, &mut self.disk);
        }
    }

    fn heal(&mut self) {
        self.cut_until.clear();
        self.returns_at = self.returns_at.min(self.now);
        let now = self.now;
        self.workers
            .iter_mut()
            .for_each(|worker| worker.paused_until = worker.paused_until.min(now));
        if let Some(coordinator) = &mut self.coordinator {
            coordinator.paused_until = coordinator.paused_until.min(now);
        }
    }

    fn is_cut(&self, worker: WorkerId, upwards: bool) -> bool {
        self.cut_until.get(&(worker, upwards)).is_some_and(|until| self.now < *until)
    }

    /// When a message that is sent now arrives; `None`: never.
    fn on_the_way<T>(&mut self, with: WorkerId, upwards: bool, message: T) -> Option<OnTheWay<T>> {
        if self.is_cut(with, upwards) {
            return None;
        }
        let slow = if self.dice.once_in(50) { 400 } else { 15 };
        let delay = self.dice.between(1, slow) * MS;
        let last = self.arrives.entry((with, upwards)).or_default();
        *last = (self.now + delay).max(*last);
        self.sent_messages += 1;
        Some(OnTheWay { at: *last, order: self.sent_messages, with, message })
    }

    fn say_up(&mut self, with: WorkerId, said: Vec<Up>) {
        for message in said {
            let message = self.on_the_way(with, true, message);
            self.up.extend(message);
        }
    }

    fn say_down(&mut self, said: Vec<(WorkerId, Down)>) {
        for (with, message) in said {
            if let Down::Heartbeat(beat) = &message
                && let Some(grant) = beat.grant
            {
                let length = u64::try_from(grant.length.as_nanos()).expect("short");
                let until = self.granted_until.entry(with).or_default();
                *until = (*until).max(grant.given_at_coordinator_ns + length);
            }
            let message = self.on_the_way(with, false, message);
            self.down.extend(message);
        }
    }

    /// Delivers what has arrived. Who is paused hears it on waking; what arrives at nobody is gone.
    fn carry(&mut self) {
        let now = self.now;
        let awake = self.coordinator.as_ref().is_none_or(|one| now >= one.paused_until);
        let mut up: Vec<_> =
            if awake { self.up.extract_if(.., |one| one.at <= now).collect() } else { Vec::new() };
        up.sort_by_key(|one| one.order);
        for one in up.into_iter().filter(|one| !self.is_cut(one.with, true)).collect::<Vec<_>>() {
            let Some(coordinator) = &mut self.coordinator else { continue };
            let said = coordinator.hear(one.message, now, &mut self.disk);
            self.say_down(said);
        }
        let runs: BTreeSet<_> =
            self.workers.iter().filter(|one| now >= one.paused_until).map(|one| one.id).collect();
        let mut down: Vec<_> =
            self.down.extract_if(.., |one| one.at <= now && runs.contains(&one.with)).collect();
        down.sort_by_key(|one| one.order);
        for one in down.into_iter().filter(|one| !self.is_cut(one.with, false)).collect::<Vec<_>>()
        {
            let worker = self.workers.iter_mut().find(|worker| worker.id == one.with);
            let Some(worker) = worker.filter(|worker| worker.alive) else { continue };
            let said = worker.hear(one.message, &self.plan, now);
            self.say_up(one.with, said);
        }
    }

    fn step_coordinator(&mut self) {
        if self.coordinator.is_none() && self.now >= self.returns_at {
            self.resumes += 1;
            self.coordinator = Some(CoordinatorNode::resumed(self.clock, self.now, &mut self.disk));
        }
        let Some(coordinator) = &mut self.coordinator else { return };
        if self.now >= coordinator.paused_until {
            let said = coordinator.step(&mut self.dice, self.now, &mut self.disk);
            self.say_down(said);
        }
    }

    fn step_workers(&mut self) {
        let end = Duration::from_secs(DURATION_S);
        let coordinator_ns = self.clock.at(self.now);
        let answers = self.coordinator.as_ref().is_some_and(|one| self.now >= one.paused_until);
        for index in 0..self.workers.len() {
            let id = self.workers[index].id;
            let cut = self.is_cut(id, true) || self.is_cut(id, false);
            let worker = &mut self.workers[index];
            if !worker.runs(self.now) {
                if !worker.alive && self.dice.once_in(50) {
                    worker.wake_closed(&mut self.server);
                }
                continue;
            }
            if answers && !cut {
                worker.compare_again(&self.clock, &mut self.dice, self.now);
            }
            let said = worker.step(
                &self.plan,
                end,
                &mut self.dice,
                coordinator_ns,
                self.now,
                &mut self.server,
            );
            self.say_up(id, said);
        }
    }

    /// The laws, against the server's own list.
    pub(crate) fn judge(&self) -> Result<Outcome, String> {
        let mut numbers = BTreeMap::new();
        for sent in &self.server {
            if let Some(first) = numbers.insert(sent.number, sent.by) {
                return Err(format!("{} was sent by {first} and by {}", sent.number, sent.by));
            }
            let until = self.granted_until.get(&sent.by).copied().unwrap_or_default();
            if sent.checked_and_written_at.is_some_and(|at| at >= until) {
                return Err(format!(
                    "{} was written by {} after its last grant",
                    sent.number, sent.by
                ));
            }
        }
        let coordinator = self.coordinator.as_ref().ok_or("the coordinator never came back")?;
        let books = self.books(coordinator)?;
        let mut again = Recovered::default();
        self.disk.records.iter().cloned().for_each(|record| again.take(record));
        if again.ledger.total() != coordinator.ledger.total() {
            return Err("the journal read again gives other books".to_owned());
        }
        self.outcome(&books)
    }

    /// The run's books with their gaps, checked against the plan.
    fn books(&self, coordinator: &CoordinatorNode) -> Result<Books, String> {
        let end = coordinator.stopped_at.unwrap_or(Duration::from_secs(DURATION_S));
        let ledger = &coordinator.ledger;
        for worker in &self.workers {
            let Some(account) = ledger.accounts().get(&worker.id) else { continue };
            if worker.alive && worker.is_finished() != account.complete {
                return Err(format!("{} and the ledger do not agree on its end", worker.id));
            }
            if coordinator.membership.holds(worker.id) {
                return Err(format!("{} is neither complete nor lost", worker.id));
            }
        }
        let mut books = ledger.total().books();
        let settlement = ledger.settle(&self.plan, end);
        settlement.gaps.values().flat_map(BTreeMap::values).for_each(|gap| books.merge(gap));
        let beyond = settlement.beyond.values().flat_map(BTreeMap::values);
        beyond.for_each(|requests| books.take_back_without_lease(*requests));
        books.balance().map_err(|error| error.to_string())?;
        let due: BTreeSet<u64> = self.still_due(coordinator, end).collect();
        let planned = due.len() as u64;
        let closed = matches!(self.plan.drive, Drive::Closed { .. });
        if let Some(sent) = self.server.iter().find(|sent| !closed && !due.contains(&sent.number)) {
            return Err(format!("{} was sent by {} beyond an early end", sent.number, sent.by));
        }
        if !closed && books.due != planned {
            return Err(format!("{} are due in the books, {planned} in the plan", books.due));
        }
        let known = books.started() + books.lost.in_flight_at_last_snapshot;
        // How far a slot came that nobody can take over is known to nobody.
        let boundless = self.plan.on_worker_loss != OnWorkerLoss::Takeover
            && self.losses().any(|loss| loss.limit == Limit::Round(u64::MAX));
        let most = if boundless { u64::MAX } else { known + books.lost.due_after_last_snapshot };
        let seen = self.server.len() as u64;
        if !(known..=most).contains(&seen) {
            return Err(format!("the server has {seen}, the books {known} to {most}"));
        }
        Ok(books)
    }

    /// The arrivals that no rule has taken away.
    fn still_due(&self, coordinator: &CoordinatorNode, end: Duration) -> impl Iterator<Item = u64> {
        let ends = coordinator.ledger.stage_ends().clone();
        let all = self.plan.arrivals(Shard::WHOLE).take_while(move |arrival| arrival.due < end);
        all.filter(move |arrival| ends.leave(arrival)).map(|arrival| arrival.number)
    }

    fn losses(&self) -> impl Iterator<Item = &Loss> {
        self.disk.records.iter().filter_map(|record| match record {
            Record::Ownership { loss, .. } => loss.as_ref(),
            _ => None,
        })
    }

    fn written(&self, wanted: impl Fn(&Record) -> bool) -> u64 {
        self.disk.records.iter().filter(|record| wanted(record)).count() as u64
    }

    fn outcome(&self, books: &Books) -> Result<Outcome, String> {
        let not_sent = |why| books.not_sent.get(&why).copied().unwrap_or_default();
        let losses = self.losses().map(|loss| loss.cause);
        let closed = matches!(self.plan.drive, Drive::Closed { .. });
        let by_heirs = self.server.iter().filter(|sent| sent.inherited).count() as u64;
        let (left, lost): (Vec<_>, Vec<_>) = losses.partition(|cause| *cause == LossCause::Left);
        Ok(Outcome {
            due: books.due,
            completed: books.completed,
            lost: books.lost.total(),
            lost_in_flight: books.lost.in_flight_at_last_snapshot,
            not_sent: books.not_sent_total(),
            no_lease: not_sent(NotSent::NoLease),
            no_owner: not_sent(NotSent::NoOwner),
            rounds_by_heirs: if closed { by_heirs } else { 0 },
            sent_by_heirs: by_heirs,
            resumes: self.resumes,
            losses: lost.len() as u64,
            goodbyes: left.len() as u64,
            stops: self.written(|record| matches!(record, Record::StoppedByRule { .. })),
            stage_stops: self.written(|record| matches!(record, Record::StageStopped { .. })),
        })
    }
}
