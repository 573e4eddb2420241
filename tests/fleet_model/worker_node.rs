//! A worker of the model: the fleet's own lease, gate, claims and outbox, and lanes that only count.

use std::{sync::Arc, time::Duration};

use metrics::{Books, Interval, NotSent, Scope};
use protocol::{CoordinatorHeartbeat, Covers, Delta, Goodbye, Heartbeat, Limit, Part, WorkerId};
use worker::{Claim, ClockOffset, ClockSample, Gate, Lease, Outbox, Standing, best_of};
use workload::{Drive, Plan, Shard};

use crate::dice::Dice;
use crate::world::MS;

/// A clock that runs a little wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DriftingClock {
    pub(crate) ahead_ns: u64,
    pub(crate) drift_ppm: i64,
}

impl DriftingClock {
    pub(crate) fn at(&self, true_ns: u64) -> u64 {
        let drift = i128::from(true_ns) * i128::from(self.drift_ppm) / 1_000_000;
        u64::try_from(i128::from(true_ns) + i128::from(self.ahead_ns) + drift).unwrap_or(0)
    }
}

/// What a worker wants to say.
#[derive(Clone, Debug)]
pub(crate) enum Up {
    Heartbeat(Heartbeat),
    Part(Part),
    Goodbye(Goodbye),
}

/// What it is told.
#[derive(Clone, Debug)]
pub(crate) enum Down {
    Heartbeat(CoordinatorHeartbeat),
    Acknowledge(u64),
    Stop(Duration),
    Closed,
}

/// A class that is being offered.
struct Offering {
    claim: Claim,
    arrivals: std::iter::Peekable<workload::Arrivals>,
}

/// A slot of a closed loop that is being offered.
struct Slot {
    slot: u32,
    round: u64,
    /// Run time from which on it goes.
    from: Duration,
    inherited: bool,
    /// Until when it waits for its answer, true time.
    busy_until: u64,
}

/// One request, as lanes know it.
#[derive(Clone, Copy)]
struct Request {
    number: u64,
    scope: Scope,
    inherited: bool,
}

/// One request that the server has.
pub(crate) struct Sent {
    pub(crate) number: u64,
    pub(crate) by: WorkerId,
    pub(crate) inherited: bool,
    /// On the coordinator's clock, when the writer's lane was not frozen between check and write.
    pub(crate) checked_and_written_at: Option<u64>,
}

pub(crate) struct WorkerNode {
    pub(crate) id: WorkerId,
    pub(crate) clock: DriftingClock,
    pub(crate) paused_until: u64,
    pub(crate) alive: bool,
    lease: Lease,
    outbox: Outbox,
    /// Run time zero on its own clock.
    start_ns: u64,
    offset: Option<ClockOffset>,
    offered: Vec<Offering>,
    slots: Vec<Slot>,
    closed_loop: bool,
    /// Checked, not yet written: its lane was frozen in between.
    frozen: Vec<Request>,
    /// When each open request ends, true time.
    open: Vec<(u64, Scope)>,
    interval: Interval,
    covered_to: u32,
    said_last: bool,
    /// What its goodbye names, and when it stops.
    leaving: Option<(Limit, Duration)>,
    /// A rule has ended the load there.
    stopped_at: Option<Duration>,
    /// Whether its lanes are stopped between check and write now and then.
    pub(crate) freezes: bool,
    next_heartbeat: u64,
    last_heartbeat: u64,
    next_comparison: u64,
    last_resend: u64,
}

impl WorkerNode {
    pub(crate) fn new(
        id: WorkerId,
        shard: Option<Shard>,
        clock: DriftingClock,
        offset: ClockOffset,
        start_at_coordinator_ns: u64,
        plan: &Plan,
    ) -> Self {
        let gate = Arc::new(Gate::default());
        gate.know_stages(plan.stages.len());
        let lease = Lease::new(id, shard, gate);
        let mut node = Self {
            id,
            clock,
            paused_until: 0,
            alive: true,
            outbox: Outbox::new(id),
            start_ns: offset.to_ours(start_at_coordinator_ns),
            offset: Some(offset),
            offered: Vec::new(),
            slots: Vec::new(),
            closed_loop: matches!(plan.drive, Drive::Closed { .. }),
            frozen: Vec::new(),
            open: Vec::new(),
            interval: Interval::default(),
            covered_to: 0,
            said_last: false,
            leaving: None,
            stopped_at: None,
            freezes: false,
            next_heartbeat: 0,
            last_heartbeat: 0,
            next_comparison: 0,
            last_resend: 0,
            lease,
        };
        let held = node.lease.claims().held().to_vec();
        node.offer(plan, held);
        node
    }

    /// Compares clocks, each way taking its own time.
    pub(crate) fn compare(
        clock: &DriftingClock,
        coordinator: &DriftingClock,
        dice: &mut Dice,
        now: u64,
    ) -> ClockOffset {
        let samples: Vec<_> = (0..4)
            .map(|_| {
                let (there, back) =
                    (dice.between(50_000, 5_000_000), dice.between(50_000, 5_000_000));
                ClockSample {
                    asked_ns: clock.at(now),
                    answered_ns: clock.at(now + there + back),
                    coordinator_ns: coordinator.at(now + there),
                }
            })
            .collect();
        best_of(&samples).expect("there are samples")
    }

    pub(crate) fn compare_again(&mut self, coordinator: &DriftingClock, dice: &mut Dice, now: u64) {
        if now >= self.next_comparison {
            self.next_comparison = now + 3_000 * MS;
            self.offset = Some(Self::compare(&self.clock, coordinator, dice, now));
        }
    }

    pub(crate) fn runs(&self, now: u64) -> bool {
        self.alive && now >= self.paused_until
    }

    pub(crate) fn run_time(&self, now: u64) -> Duration {
        Duration::from_nanos(self.clock.at(now).saturating_sub(self.start_ns))
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.said_last
    }

    fn offer(&mut self, plan: &Plan, claims: Vec<Claim>) {
        if matches!(plan.drive, Drive::Closed { .. }) {
            return self.offer_slots(plan, &claims);
        }
        self.offered.extend(claims.into_iter().map(|claim| {
            let mut arrivals = plan.arrivals(claim.class).peekable();
            while arrivals.next_if(|arrival| arrival.due < claim.from).is_some() {}
            Offering { claim, arrivals }
        }));
    }

    /// As [`Self::offer`], of slots.
    fn offer_slots(&mut self, plan: &Plan, claims: &[Claim]) {
        let Drive::Closed { slots, .. } = plan.drive else { return };
        self.slots.extend(claims.iter().flat_map(|claim| {
            claim.class.slots(slots.get()).map(|slot| Slot {
                slot,
                round: claim.first_round,
                from: claim.from,
                inherited: !claim.from.is_zero(),
                busy_until: 0,
            })
        }));
    }

    pub(crate) fn hear(&mut self, message: Down, plan: &Plan, now: u64) -> Vec<Up> {
        match message {
            Down::Heartbeat(beat) => {
                let taken = self.lease.hear(&beat, self.offset, self.run_time(now));
                if !self.said_last {
                    self.offer(plan, taken);
                }
                Vec::new()
            }
            Down::Acknowledge(sequence) => {
                self.outbox.acknowledge(sequence).into_iter().map(Up::Part).collect()
            }
            Down::Stop(at) => {
                self.stopped_at = Some(self.stopped_at.map_or(at, |known| known.min(at)));
                Vec::new()
            }
            Down::Closed => {
                // What was checked and is not written yet may still go out: the lane is frozen there.
                self.lease.gate().shut();
                self.alive = false;
                Vec::new()
            }
        }
    }

    /// Says that it leaves, and at which limit.
    pub(crate) fn leave(&mut self, now: u64) {
        if self.leaving.is_none() && !self.said_last {
            if self.closed_loop {
                let stop = self.run_time(now) + Duration::from_secs(2);
                self.leaving = Some((self.lease.gate().leave_rounds(), stop));
                return;
            }
            let stop = self.run_time(now) + Duration::from_millis(200);
            let limit = Limit::Due(stop);
            self.leaving = Some((limit, stop));
            self.lease.gate().leave_at(limit);
        }
    }

    /// One step of a worker that runs: lanes, recorder and link, in an order of chance.
    pub(crate) fn step(
        &mut self,
        plan: &Plan,
        end: Duration,
        dice: &mut Dice,
        coordinator_now_ns: u64,
        now: u64,
        server: &mut Vec<Sent>,
    ) -> Vec<Up> {
        let boottime = self.clock.at(now);
        if self.lease.standing(boottime) == Standing::Over {
            self.alive = false;
            return Vec::new();
        }
        for request in std::mem::take(&mut self.frozen) {
            self.write(request, None, dice, now, server);
        }
        let mut said = Vec::new();
        let flush_first = dice.once_in(2);
        if flush_first {
            said.extend(self.flush(now, end));
        }
        self.run_lanes(end, dice, coordinator_now_ns, now, server);
        self.run_slots(plan, end, dice, coordinator_now_ns, now, server);
        if !flush_first {
            said.extend(self.flush(now, end));
        }
        let (done, open): (Vec<_>, Vec<_>) = self.open.drain(..).partition(|(at, _)| *at <= now);
        self.open = open;
        for (_, scope) in done {
            self.books(scope).completed += 1;
        }
        said.extend(self.speak(now));
        said
    }

    fn books(&mut self, scope: Scope) -> &mut Books {
        &mut self.interval.scopes.entry(scope).or_default().books
    }

    fn limit(&self, end: Duration) -> Duration {
        let leaves = self.leaving.map(|(_, stop)| stop);
        leaves.into_iter().chain(self.stopped_at).fold(end, Duration::min)
    }

    fn run_lanes(
        &mut self,
        end: Duration,
        dice: &mut Dice,
        coordinator_now_ns: u64,
        now: u64,
        server: &mut Vec<Sent>,
    ) {
        if self.clock.at(now) < self.start_ns {
            return;
        }
        let (run_time, limit) = (self.run_time(now), self.limit(end));
        let mut due = Vec::new();
        for offering in &mut self.offered {
            let inherited = !offering.claim.from.is_zero();
            while let Some(arrival) =
                offering.arrivals.next_if(|arrival| arrival.due <= run_time && arrival.due < limit)
            {
                due.push((arrival, inherited));
            }
        }
        let ends = |stage| self.lease.gate().stage_end(stage);
        due.retain(|(arrival, _)| ends(arrival.stage).is_none_or(|end| arrival.due < end));
        for (arrival, inherited) in due {
            let scope = Scope { stage: arrival.stage, class: arrival.class };
            self.books(scope).due += 1;
            if !self.lease.gate().may_write(arrival.stage, arrival.due, self.clock.at(now)) {
                *self.books(scope).not_sent.entry(NotSent::NoLease).or_default() += 1;
            } else {
                let request = Request { number: arrival.number, scope, inherited };
                self.write_or_freeze(request, dice, coordinator_now_ns, now, server);
            }
        }
    }

    /// Each slot that has its answer asks again, as far as rounds are granted.
    fn run_slots(
        &mut self,
        plan: &Plan,
        end: Duration,
        dice: &mut Dice,
        coordinator_now_ns: u64,
        now: u64,
        server: &mut Vec<Sent>,
    ) {
        let (run_time, limit) = (self.run_time(now), self.limit(end));
        if self.clock.at(now) < self.start_ns || run_time >= limit {
            return;
        }
        let scope = Scope { stage: plan.stage_at(run_time).unwrap_or_default(), class: 0 };
        if self.lease.gate().stage_end(scope.stage).is_some_and(|end| run_time >= end) {
            return;
        }
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            let number = plan.closed_request(slot.slot, slot.round);
            let Some(number) = number.filter(|_| run_time >= slot.from && now >= slot.busy_until)
            else {
                continue;
            };
            if !self.lease.gate().may_write_round(slot.round, self.clock.at(now)) {
                continue;
            }
            slot.round += 1;
            slot.busy_until = now + dice.between(1, 900) * MS;
            let request = Request { number, scope, inherited: slot.inherited };
            self.books(scope).due += 1;
            self.write_or_freeze(request, dice, coordinator_now_ns, now, server);
        }
    }

    fn write_or_freeze(
        &mut self,
        request: Request,
        dice: &mut Dice,
        coordinator_now_ns: u64,
        now: u64,
        server: &mut Vec<Sent>,
    ) {
        if self.freezes && dice.once_in(200) {
            self.frozen.push(request);
            self.paused_until = now + dice.between(1, 6_000) * MS;
        } else {
            self.write(request, Some(coordinator_now_ns), dice, now, server);
        }
    }

    fn write(
        &mut self,
        request: Request,
        checked_and_written_at: Option<u64>,
        dice: &mut Dice,
        now: u64,
        server: &mut Vec<Sent>,
    ) {
        let Request { number, scope, inherited } = request;
        server.push(Sent { number, by: self.id, inherited, checked_and_written_at });
        self.open.push((now + dice.between(1, 3_000) * MS, scope));
    }

    /// What it sends before its lane wakes again, after it was closed: late, but nobody else's.
    pub(crate) fn wake_closed(&mut self, server: &mut Vec<Sent>) {
        for Request { number, inherited, .. } in std::mem::take(&mut self.frozen) {
            let by = self.id;
            server.push(Sent { number, by, inherited, checked_and_written_at: None });
        }
    }

    fn flush(&mut self, now: u64, end: Duration) -> Vec<Up> {
        let run_time = self.run_time(now);
        let second = u32::try_from(run_time.as_secs()).expect("runs are short");
        let over = run_time >= self.limit(end) && self.open.is_empty() && self.frozen.is_empty();
        let limit = self.limit(end);
        // Every lane has gone through what was due.
        let through = self
            .offered
            .iter_mut()
            .all(|offering| offering.arrivals.peek().is_none_or(|arrival| arrival.due >= limit));
        let last = over && through;
        let to = if last { second + 1 } else { second };
        if self.said_last || to <= self.covered_to {
            return Vec::new();
        }
        let covers = Covers { from: self.covered_to, to };
        self.covered_to = to;
        self.said_last = last;
        let delta = Delta {
            covers: Some(covers),
            classes: self.lease.claims().covers(covers),
            interval: std::mem::take(&mut self.interval),
            in_flight: self.open.len() as u64,
            last,
            ..Delta::default()
        };
        self.outbox.offer(delta).expect("equal bounds").into_iter().map(Up::Part).collect()
    }

    fn speak(&mut self, now: u64) -> Vec<Up> {
        let asks = self.lease.gate().wants_rounds() && now >= self.last_heartbeat + 20 * MS;
        if now < self.next_heartbeat && !asks {
            return Vec::new();
        }
        self.last_heartbeat = now;
        self.next_heartbeat = now + 500 * MS;
        let boottime = self.clock.at(now);
        let heartbeat = Heartbeat {
            worker: self.id,
            in_flight: self.open.len() as u64,
            clock_offset_ns: self.offset.map_or(0, |offset| offset.offset_ns),
            clock_error_ns: self.offset.map_or(u64::MAX, |offset| offset.error_at(boottime)),
            epoch: self.lease.claims().epoch(),
            rounds_begun: self.lease.gate().rounds_begun(),
            rounds_granted: self.lease.gate().rounds_granted(),
            term: self.lease.term(),
        };
        let mut said = vec![Up::Heartbeat(heartbeat)];
        if let Some((limit, _)) = self.leaving {
            said.push(Up::Goodbye(Goodbye { worker: self.id, limit, reason: "leaves".to_owned() }));
        }
        if now >= self.last_resend + 2_000 * MS {
            self.last_resend = now;
            said.extend(self.outbox.unacknowledged().cloned().map(Up::Part));
        }
        said
    }
}
