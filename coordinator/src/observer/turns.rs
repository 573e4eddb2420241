//! The turns of sessions as observers see them: what each waits for its first token.
//!
//! A delta's scopes are of cells, and a cell is of a turn: nothing more has to be told by workers.

use std::collections::VecDeque;

use metrics::{Distribution, Interval, LiveTurn, LiveTurns, Metric, SparseHistogram};
use workload::Plan;

use super::RECENT_VIEWS;

/// One turn; the last one stands for all that follow.
struct Samples {
    name: String,
    so_far: Distribution,
    /// Of the last views, the newest last.
    recent: VecDeque<SparseHistogram>,
}

/// All of a plan's turns; none where requests stand alone.
pub(super) struct Turns(Vec<Samples>);

impl Turns {
    pub(super) fn of(plan: &Plan) -> Self {
        let samples = |name| Samples {
            name,
            so_far: Distribution::new(Metric::Ttft.kind()),
            recent: VecDeque::new(),
        };
        Self(plan.turn_names().into_iter().map(samples).collect())
    }

    /// Adds to what is so far. Bounds were compared when the ledger merged the same.
    pub(super) fn add(&mut self, plan: &Plan, merged: &Interval) {
        for (turn, ttft) in by_turn(plan, merged) {
            if let Some(samples) = self.0.get_mut(turn) {
                let _ = samples.so_far.merge(ttft);
            }
        }
    }

    /// What came in since the last view is the newest of the last seconds.
    pub(super) fn take(&mut self, plan: &Plan, merged: &Interval) {
        for samples in &mut self.0 {
            samples.recent.push_back(SparseHistogram::default());
            if samples.recent.len() > RECENT_VIEWS {
                let _ = samples.recent.pop_front();
            }
        }
        for (turn, ttft) in by_turn(plan, merged) {
            let newest = self.0.get_mut(turn).and_then(|samples| samples.recent.back_mut());
            if let Some(newest) = newest {
                newest.merge(&SparseHistogram::from(ttft));
            }
        }
    }

    /// Each turn, and all behind the first; a turn alone is what all requests are.
    pub(super) fn view(&self) -> Option<LiveTurns> {
        let (_first, behind) = self.0.split_first().filter(|(_, behind)| !behind.is_empty())?;
        let each = self.0.iter().map(|samples| {
            LiveTurn::new(&samples.name, &joined(&samples.recent), samples.so_far.clone())
        });
        let mut so_far = Distribution::new(Metric::Ttft.kind());
        behind.iter().for_each(|samples| _ = so_far.merge(&samples.so_far));
        let recent = joined(behind.iter().flat_map(|samples| &samples.recent));
        let later = LiveTurn::new("later turns", &recent, so_far);
        Some(LiveTurns { each: each.collect(), later })
    }
}

fn by_turn<'a>(
    plan: &'a Plan,
    merged: &'a Interval,
) -> impl Iterator<Item = (usize, &'a Distribution)> {
    merged.scopes.iter().filter_map(|(scope, record)| {
        Some((plan.cell(scope.class).turn, record.distribution(Metric::Ttft)?))
    })
}

fn joined<'a>(parts: impl IntoIterator<Item = &'a SparseHistogram>) -> SparseHistogram {
    let mut whole = SparseHistogram::default();
    parts.into_iter().for_each(|part| whole.merge(part));
    whole
}

#[cfg(test)]
mod tests {
    use metrics::{Scope, ScopeRecord};
    use workload::{Config, PlanInputs, Sources};

    use super::*;

    fn plan(sets: &[&str]) -> Plan {
        let base = ["target.endpoint=http://t/v1", "target.model=m", "load.rate=10"];
        let sets = base.iter().chain(sets).map(|&set| set.to_owned()).collect();
        let config = Config::load(Sources { sets, ..Sources::default() }).unwrap();
        Plan::from_config(&config, &PlanInputs { model: None, prompt_salt: 1 }).unwrap().0
    }

    /// Ten first tokens of a turn (from 0), each after so many milliseconds.
    fn told(plan: &Plan, turn: u32, ttft_ms: u64) -> Interval {
        let mut ttft = Distribution::new(Metric::Ttft.kind());
        ttft.record_n(ttft_ms * 1_000, 10);
        let mut record = ScopeRecord::default();
        assert!(record.distributions.insert(Metric::Ttft, ttft).is_none());
        let mut interval = Interval::default();
        let scope = Scope { stage: 0, class: plan.cell_of_turn(0, turn) };
        assert!(interval.scopes.insert(scope, record).is_none());
        interval
    }

    #[test]
    fn the_first_turn_and_the_later_ones_are_apart() {
        let plan = plan(&["sessions.turns.mean=3"]);
        let mut turns = Turns::of(&plan);
        for (turn, ttft_ms) in [(0, 50), (1, 100), (2, 200), (2, 200)] {
            let merged = told(&plan, turn, ttft_ms);
            turns.add(&plan, &merged);
            turns.take(&plan, &merged);
        }
        let view = turns.view().unwrap();
        let names: Vec<_> = view.each.iter().map(|turn| turn.name.as_str()).collect();
        assert_eq!(names, ["turn 1", "turn 2", "turn 3"]);
        let counts = view.each.iter().map(|turn| (turn.so_far.count, turn.recent.count));
        assert_eq!(counts.collect::<Vec<_>>(), [(10, 10), (10, 10), (20, 20)]);
        assert!((50_000..50_100).contains(&view.each[0].so_far.p50_us.unwrap()));
        // Ten of 100 ms and twenty of 200.
        assert_eq!((view.later.so_far.count, view.later.ttft.count()), (30, 30));
        assert!((200_000..200_400).contains(&view.later.recent.p50_us.unwrap()));
    }

    #[test]
    fn what_is_older_than_the_last_seconds_is_only_in_so_far() {
        let plan = plan(&["sessions.turns.mean=2"]);
        let mut turns = Turns::of(&plan);
        let merged = told(&plan, 1, 70);
        turns.add(&plan, &merged);
        turns.take(&plan, &merged);
        for _ in 0..RECENT_VIEWS {
            turns.take(&plan, &Interval::default());
        }
        let view = turns.view().unwrap();
        assert_eq!((view.later.recent.count, view.later.so_far.count), (0, 10));
    }

    #[test]
    fn requests_that_stand_alone_and_sessions_of_one_turn_have_none() {
        assert_eq!(Turns::of(&plan(&[])).view(), None);
        let one = plan(&[
            "sessions.turns.mean=1",
            "sessions.turns.distribution=fixed",
            "sessions.turns.max=1",
        ]);
        assert_eq!(Turns::of(&one).view(), None);
    }
}
