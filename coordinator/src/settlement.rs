//! What the plan made due, against what was answered: the gaps, each with its reason.
//!
//! `due` comes from the plan, not from what lanes reached. Going once through the schedule, each arrival
//! falls to the tenure that holds it. Its owner answers for it, unless nobody does: an arrival at or beyond
//! the limit of an owner that is gone was never sent by it (nor answered for, unless its last delta told of
//! that second), and one before a late heir's first second was
//! never its. What an owner answers for and did not answer died with it.
//!
//! A closed loop has no due times. There an owner that is gone answers for the rounds up to its limit.

use std::{collections::BTreeMap, time::Duration};

use metrics::{Books, Lost, NotSent, Scope};
use protocol::{Limit, LossCause, WorkerId};
use workload::{Drive, Plan, Shard};

use crate::{Account, Ledger, Ownership, Tenure};

/// The entries that make the books of a run whole, by worker: those of a worker that was lost, and those
/// that nobody answered for in its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settlement {
    /// What to add to each worker's books, and so to the sums.
    pub gaps: BTreeMap<WorkerId, BTreeMap<Scope, Books>>,
    /// What to take from them: booked as due, without permission, by who did not hear in time that the load had ended.
    pub beyond: BTreeMap<WorkerId, BTreeMap<Scope, u64>>,
}

/// Arrivals by worker, stage and class.
type Counts = BTreeMap<WorkerId, BTreeMap<Scope, u64>>;

/// What of the plan falls to whom.
#[derive(Debug, Default)]
struct Shares {
    /// The owner answers for it.
    owned: Counts,
    /// Nobody does; named is the one that was lost.
    no_owner: Counts,
}

impl Ledger {
    /// Settles the account of a run that was offered until `end`. Nothing before Arm.
    #[must_use]
    pub fn settle(&self, plan: &Plan, end: Duration) -> Settlement {
        let Some(ownership) = self.ownership() else { return Settlement::default() };
        let mut shares = match plan.drive {
            Drive::Open { .. } => self.open_loop(plan, ownership, end),
            Drive::Closed { slots, .. } => self.closed_loop(plan, ownership, slots.get()),
        };
        if matches!(plan.drive, Drive::Closed { .. }) {
            self.believe_goodbyes(plan, ownership, &mut shares);
        }
        let mut settlement = Settlement::default();
        let is_planned = |scope: &Scope| scope.class < plan.first_cells();
        let ended_early =
            plan.end().is_none_or(|planned| end < planned) || !self.stage_ends().is_empty();
        if matches!(plan.drive, Drive::Open { .. }) && ended_early {
            settlement.beyond = self.beyond(&shares, is_planned);
        }
        self.believe_reports(&mut shares);
        let nothing = BTreeMap::new();
        for (worker, account) in self.accounts() {
            let owned = shares.owned.get(worker).unwrap_or(&nothing);
            let beyond = settlement.beyond.get(worker).into_iter().flat_map(BTreeMap::values).sum();
            settlement.lose(*worker, account, owned, beyond, is_planned);
        }
        for (worker, scopes) in shares.no_owner {
            for (scope, count) in scopes.into_iter().filter(|(_, count)| *count > 0) {
                let not_sent = BTreeMap::from([(NotSent::NoOwner, count)]);
                settlement.add(worker, scope, &Books { due: count, not_sent, ..Books::default() });
            }
        }
        settlement
    }

    /// Closed loop: who left in order and has told of everything began no other round. What of a number of requests
    /// it left out, nobody began.
    fn believe_goodbyes(&self, plan: &Plan, ownership: &Ownership, shares: &mut Shares) {
        let by_number = plan.requests.is_some() && plan.end().is_none();
        for (worker, account) in self.accounts() {
            let left = ownership.loss(*worker).is_some_and(|loss| loss.cause == LossCause::Left);
            let Some(owned) = shares.owned.get_mut(worker).filter(|_| left && account.complete)
            else {
                continue;
            };
            for (scope, count) in owned {
                let told = account.books.get(scope).map_or(0, |books| books.due);
                let skipped = count.saturating_sub(told);
                *count -= skipped;
                if by_number {
                    *shares.no_owner.entry(*worker).or_default().entry(*scope).or_default() +=
                        skipped;
                }
            }
        }
    }

    /// A delta also has what was due after its last whole second. Where its worker had no permission any more
    /// and was lost then, that is answered, and not without an owner.
    fn believe_reports(&self, shares: &mut Shares) {
        for (worker, unowned) in &mut shares.no_owner {
            let Some(account) = self.accounts().get(worker) else { continue };
            for (scope, count) in unowned {
                let reported = account.books.get(scope).map_or(0, |books| books.due);
                let owned = shares.owned.get(worker).and_then(|scopes| scopes.get(scope));
                let beyond = reported.saturating_sub(owned.copied().unwrap_or_default());
                *count = count.saturating_sub(beyond);
            }
        }
    }

    /// What workers booked beyond what fell to them until the load ended. Nothing of it was sent, because nothing beyond
    /// that end was granted.
    fn beyond(
        &self,
        shares: &Shares,
        is_planned: impl Fn(&Scope) -> bool,
    ) -> BTreeMap<WorkerId, BTreeMap<Scope, u64>> {
        let mut beyond: BTreeMap<WorkerId, BTreeMap<Scope, u64>> = BTreeMap::new();
        for (worker, account) in self.accounts() {
            let planned = |scope: &Scope| {
                let of = |counts: &Counts| counts.get(worker)?.get(scope).copied();
                of(&shares.owned).unwrap_or(0) + of(&shares.no_owner).unwrap_or(0)
            };
            for (scope, books) in account.books.iter().filter(|(scope, _)| is_planned(scope)) {
                let without_lease = books.not_sent.get(&NotSent::NoLease).copied().unwrap_or(0);
                let taken = without_lease.min(books.due.saturating_sub(planned(scope)));
                if taken > 0 {
                    let _ = beyond.entry(*worker).or_default().insert(*scope, taken);
                }
            }
        }
        beyond
    }

    fn open_loop(&self, plan: &Plan, ownership: &Ownership, end: Duration) -> Shares {
        let by_root = by_root(ownership);
        let roots = by_root.len() as u64;
        let mut shares = Shares::default();
        let offered = plan.arrivals(Shard::WHOLE).take_while(|arrival| arrival.due < end);
        for arrival in offered.filter(|arrival| self.stage_ends().leave(arrival)) {
            let root = usize::try_from(arrival.number % roots).unwrap_or(usize::MAX);
            let mut tenures = by_root.get(root).into_iter().flatten();
            let of_it =
                |tenure: &&&Tenure| tenure.class.owns(arrival.number) && tenure.holds(arrival.due);
            let Some(tenure) = tenures.find(of_it) else { continue };
            let (side, whose) = match self.nobody_answers(ownership, tenure, arrival.due) {
                Some(lost) => (&mut shares.no_owner, lost),
                None => (&mut shares.owned, tenure.owner),
            };
            let scope = Scope { stage: arrival.stage, class: arrival.class };
            *side.entry(whose).or_default().entry(scope).or_default() += 1;
        }
        shares
    }

    /// Whose loss left this arrival to nobody; `None` where its owner answers for it.
    fn nobody_answers(
        &self,
        ownership: &Ownership,
        tenure: &Tenure,
        due: Duration,
    ) -> Option<WorkerId> {
        if let Some(loss) = ownership.loss(tenure.owner)
            && Limit::Due(due) >= loss.limit
            && (loss.cause == LossCause::Left || !self.told(tenure, due))
        {
            return Some(tenure.owner);
        }
        let taken_from = tenure.taken_from?;
        match self.first_answered(tenure) {
            First::Second(first) => (due < Duration::from_secs(first.into())).then_some(taken_from),
            First::Never => Some(taken_from),
            First::Unknown => None,
        }
    }

    /// Whether its owner has answered for this second before it was lost, if only to say that it had no
    /// permission to send.
    fn told(&self, tenure: &Tenure, due: Duration) -> bool {
        let account = self.accounts().get(&tenure.owner);
        let answered = account.and_then(|account| account.answered(tenure.class));
        answered.is_some_and(|covers| due < Duration::from_secs(covers.to.into()))
    }

    fn first_answered(&self, tenure: &Tenure) -> First {
        let account = self.accounts().get(&tenure.owner);
        match account.and_then(|account| account.answered(tenure.class)) {
            Some(covers) => First::Second(covers.from),
            None if account.is_some_and(|account| account.complete) => First::Never,
            None => First::Unknown,
        }
    }

    /// Counted are only rounds of tenures that end with their owner: those of a live one are due when they
    /// are, and in its books.
    fn closed_loop(&self, plan: &Plan, ownership: &Ownership, slots: u32) -> Shares {
        let mut shares = Shares::default();
        let by_number = plan.requests.filter(|_| plan.end().is_none());
        for tenure in ownership.tenures() {
            let loss = ownership.loss(tenure.owner);
            let never = tenure.taken_from.filter(|_| self.first_answered(tenure) == First::Never);
            let begun = match loss.map(|loss| loss.limit) {
                _ if never.is_some() => tenure.first_round,
                Some(Limit::Round(u64::MAX)) if by_number.is_none() => continue,
                Some(Limit::Round(round)) => round.max(tenure.first_round),
                Some(Limit::Due(_)) | None => continue,
            };
            let noticed = loss.map_or(Duration::ZERO, |loss| loss.noticed_at);
            let stage = plan.stage_at(noticed).unwrap_or_else(|| last_stage(plan));
            let rounds = Rounds { plan, class: tenure.class, slots };
            let owned = shares.owned.entry(tenure.owner).or_default();
            rounds.count_into(owned, stage, tenure.first_round, Some(begun));
            if by_number.is_some() {
                let whose = never.unwrap_or(tenure.owner);
                let left = shares.no_owner.entry(whose).or_default();
                rounds.count_into(left, stage, begun, tenure.until_round);
            }
        }
        shares
    }
}

/// When an heir began to answer for a class.
#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    /// Its deltas name this second.
    Second(u32),
    /// It is complete and never named the class: it did not hear of it in time.
    Never,
    /// It is gone, or still at it: what it may have sent is its.
    Unknown,
}

/// The rounds of a class's slots.
struct Rounds<'a> {
    plan: &'a Plan,
    class: Shard,
    slots: u32,
}

impl Rounds<'_> {
    /// Adds the requests in rounds `[from, to)`, each to its class.
    fn count_into(
        &self,
        counts: &mut BTreeMap<Scope, u64>,
        stage: u16,
        from: u64,
        to: Option<u64>,
    ) {
        if self.plan.first_cells() == 1 {
            *counts.entry(Scope { stage, class: 0 }).or_default() += self.count(from, to);
            return;
        }
        let last = self.plan.requests.map(|requests| requests.div_ceil(u64::from(self.slots)));
        let Some(to) = to.into_iter().chain(last).min() else { return };
        for slot in self.class.slots(self.slots) {
            for number in (from..to).map_while(|round| self.plan.closed_request(slot, round)) {
                let class = self.plan.cell_of(number);
                *counts.entry(Scope { stage, class }).or_default() += 1;
            }
        }
    }

    /// Requests in rounds `[from, to)`; without `to` up to the last one that the plan has.
    fn count(&self, from: u64, to: Option<u64>) -> u64 {
        let last = self.plan.requests.map(|requests| requests.div_ceil(u64::from(self.slots)));
        let Some(to) = to.into_iter().chain(last).min() else { return 0 };
        let of_slot = |slot: u32| {
            let limit = self.plan.requests.map(|requests| {
                requests.saturating_sub(u64::from(slot)).div_ceil(u64::from(self.slots))
            });
            to.min(limit.unwrap_or(u64::MAX)).saturating_sub(from)
        };
        self.class.slots(self.slots).map(of_slot).sum()
    }
}

impl Settlement {
    /// What a worker answers for and did not answer: what it had written first, as far as it said so. `beyond` of what it
    /// told was not due at all. Later turns of a session are in no plan: what was told of them is not what the plan made due.
    fn lose(
        &mut self,
        worker: WorkerId,
        account: &Account,
        owned: &BTreeMap<Scope, u64>,
        beyond: u64,
        is_planned: impl Fn(&Scope) -> bool,
    ) {
        let known = |scope: &Scope| account.books.get(scope);
        let planned = account.books.iter().filter(|(scope, _)| is_planned(scope));
        let told = planned.map(|(_, books)| books.due).sum::<u64>().saturating_sub(beyond);
        let mut unreached: u64 = owned.values().sum::<u64>().saturating_sub(told);
        let mut in_flight = account.in_flight;
        let scopes: std::collections::BTreeSet<Scope> =
            owned.keys().chain(account.books.keys()).copied().collect();
        for scope in scopes {
            let due = known(&scope).map_or(0, |books| books.due);
            let answered = known(&scope).map_or(0, Books::answered);
            let planned = owned.get(&scope).copied().unwrap_or_default();
            let more = planned.saturating_sub(due).min(unreached);
            unreached -= more;
            let open = due.saturating_sub(answered);
            let written = open.min(in_flight);
            in_flight -= written;
            let lost = Lost {
                in_flight_at_last_snapshot: written,
                due_after_last_snapshot: open - written + more,
            };
            self.add(worker, scope, &Books { due: more, lost, ..Books::default() });
        }
    }

    fn add(&mut self, worker: WorkerId, scope: Scope, books: &Books) {
        if books.due > 0 || books.lost.total() > 0 {
            self.gaps.entry(worker).or_default().entry(scope).or_default().merge(books);
        }
    }
}

/// Tenures by the class at Arm that theirs is part of.
fn by_root(ownership: &Ownership) -> Vec<Vec<&Tenure>> {
    let mut by_root = vec![Vec::new(); ownership.roots().get() as usize];
    for tenure in ownership.tenures() {
        by_root[(tenure.class.rank % ownership.roots().get()) as usize].push(tenure);
    }
    by_root
}

fn last_stage(plan: &Plan) -> u16 {
    u16::try_from(plan.stages.len().saturating_sub(1)).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;
