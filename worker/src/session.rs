//! The later turns of a session, one after the other, on the lane that began it.
//!
//! A turn's body holds what the server said before, so it cannot be made ahead as those of single requests are: it is
//! ordered when the turn before has ended, and built off the lane while the user thinks. Whatever ends a session early
//! (a turn without an answer, the end of the load, a task that is dropped) is booked once, by the guard that it is: its
//! open turn is in the books as any request is, and the turns behind it are *not reached*, never due.

use std::{rc::Rc, sync::Arc, time::Duration};

use metrics::{Notes, Scope};

use crate::{
    booking::{Booking, Due},
    lane::Lane,
    offer::ASK_AGAIN,
    request::{Permission, Turn, request},
};

/// A session that has begun.
pub(crate) struct Session {
    lane: Rc<Lane>,
    /// Of the first turn: the session's own figures stand with it.
    scope: Scope,
    number: u64,
    /// How many turns it has; 0 until its first body is built.
    turns: u32,
    /// Turns that were due.
    begun: u32,
    /// Turns that were answered.
    answered: u32,
}

impl Session {
    /// Books its beginning, with its first turn; `None` where the plan has single requests.
    pub(crate) fn begin(lane: &Rc<Lane>, number: u64, scope: Scope) -> Option<Self> {
        let _sessions = lane.plan.sessions.as_ref()?;
        let notes = Notes { sessions_begun: 1, ..Notes::default() };
        lane.recorder.borrow_mut().note(scope, &notes);
        Some(Self { lane: Rc::clone(lane), scope, number, turns: 0, begun: 1, answered: 0 })
    }

    /// Goes on after the first turn, until the last one is answered or one is not.
    pub(crate) async fn go_on(mut self, permission: Permission, first: Option<Turn>) {
        let mut last = first;
        while let Some(turn) = last.take() {
            self.turns = turn.turns;
            self.answered += 1;
            if self.answered < self.turns {
                last = self.next(permission, turn).await;
            }
        }
    }

    /// The turn after this one, once its user has thought; `None` where it does not come to it, or is not answered.
    async fn next(&mut self, permission: Permission, before: Turn) -> Option<Turn> {
        let (lane, number, turn) = (Rc::clone(&self.lane), self.number, self.answered);
        let at = lane.plan.next_turn_at(number, turn, lane.clock.now());
        let _in_time = lane.plan.stage_at(at)?;
        let ordered = lane.bodies.order_turn(number, turn, Arc::from(before.messages));
        let scheduled = thought(&lane, at).await?;
        let stage = lane.plan.stage_at(scheduled)?;
        let permission = match permission {
            Permission::Due(..) => Permission::Due(stage, scheduled),
            round @ Permission::Round(_) => round,
        };
        granted(&lane, permission, scheduled).await?;
        // A stage that a rule has ended, or that has ended meanwhile, takes no more turns.
        if lane.ended_until(stage, scheduled).is_some() {
            return None;
        }
        let scope = Scope { stage, class: lane.plan.cell_of_turn(number, turn) };
        self.begun += 1;
        let due = Due { scope, scheduled, permitted: scheduled };
        let booking = Booking::open(Rc::clone(&lane), due);
        request(&lane, booking, ordered, stage, permission, None).await.turn
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let whole = self.turns > 0 && self.answered == self.turns;
        let notes = match whole {
            true => Notes { sessions_completed: 1, ..Notes::default() },
            false => Notes {
                sessions_cut: 1,
                turns_not_reached: self.turns.saturating_sub(self.begun).into(),
                ..Notes::default()
            },
        };
        self.lane.recorder.borrow_mut().note(self.scope, &notes);
    }
}

/// Waits until a user has thought; when that was, or `None` where the load ends before. The instant at which the pause is
/// over is when the turn is due, as in a closed loop.
async fn thought(lane: &Lane, at: Duration) -> Option<Duration> {
    while lane.clock.now() < at {
        if !lane.early_end.offers(at) {
            return None;
        }
        tokio::select! {
            () = tokio::time::sleep(lane.clock.until(at)) => {}
            () = lane.early_end.changed() => {}
        }
    }
    let now = lane.clock.now();
    lane.early_end.offers(now).then_some(now)
}

/// Waits for permission as long as there may be some.
async fn granted(lane: &Lane, permission: Permission, scheduled: Duration) -> Option<()> {
    while !permission.is_granted(lane) {
        let now = lane.clock.now();
        if !lane.early_end.offers(scheduled) || lane.plan.stage_at(now).is_none() {
            return None;
        }
        let _ = tokio::time::timeout(ASK_AGAIN, lane.gate.granted()).await;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use client::TimerfdPacer;
    use metrics::{Books, FailureClass};
    use serde_json::{Value, json};
    use sha2::{Digest, Sha256};
    use simulator::{Running, Simulator, SimulatorConfig};
    use tokio::task::LocalSet;
    use workload::{Content, PromptSource, Shard};

    use super::*;
    use crate::{
        claims::Claim,
        lane::tests::{lane, plan},
        offer::{Load, offer},
    };

    fn server(settings: Value) -> Running {
        let config: SimulatorConfig = serde_json::from_value(settings).unwrap();
        Simulator::start(config).unwrap()
    }

    /// Offers a whole plan; its books by turn, and what was noted.
    async fn offered(server: &Running, keys: &[(&str, Value)]) -> (Vec<Books>, Notes) {
        let lane = lane(plan(&server.base_url(), keys));
        let claim = Claim { class: Shard::WHOLE, from: Duration::ZERO, first_round: 0 };
        let tasks = LocalSet::new();
        let offering = async {
            let load = Load::prepare(&lane, claim).await;
            let mut pacer = TimerfdPacer::new(lane.clock).unwrap();
            offer(&lane, load, &mut pacer).await;
        };
        tasks.run_until(offering).await;
        let interval = lane.recorder.borrow_mut().take();
        interval.books().balance().unwrap();
        let (mut turns, mut notes) =
            (vec![Books::default(); lane.plan.cells().into()], Notes::default());
        for (scope, record) in &interval.scopes {
            turns[lane.plan.cell(scope.class).turn].merge(&record.books);
            notes.merge(&record.notes);
        }
        (turns, notes)
    }

    fn completed(turns: &[Books]) -> Vec<u64> {
        turns.iter().map(|books| books.completed).collect()
    }

    #[tokio::test]
    async fn every_session_of_an_open_loop_has_its_turns() {
        let server = server(json!({"fixed": true, "ttftMs": 1, "itlMs": 1}));
        let keys = [
            ("load.rate", json!(20)),
            ("benchmark.duration", json!(2)),
            ("benchmark.requests", json!(10)),
            ("sessions.turns.mean", json!(3)),
        ];
        let (turns, notes) = offered(&server, &keys).await;
        assert_eq!(completed(&turns), [10, 10, 10]);
        assert_eq!(
            (notes.sessions_begun, notes.sessions_completed, notes.sessions_cut),
            (10, 10, 0)
        );
        history_is_what_was_answered(&server, &keys, 10);
    }

    #[tokio::test]
    async fn a_user_of_a_closed_loop_has_one_session_after_the_other() {
        let server = server(json!({"fixed": true, "ttftMs": 1, "itlMs": 1}));
        let keys = [
            ("load.concurrency", json!(2)),
            ("load.rampUp", json!(0)),
            ("benchmark.requests", json!(6)),
            ("sessions.turns.distribution", json!("uniform")),
            ("sessions.turns.min", json!(1)),
            ("sessions.turns.max", json!(4)),
            ("sessions.thinkTime.distribution", json!("fixed")),
            ("sessions.thinkTime.mean", json!(0.005)),
        ];
        let (turns, notes) = offered(&server, &keys).await;
        assert_eq!((notes.sessions_begun, notes.sessions_completed), (6, 6));
        let turns = completed(&turns);
        assert_eq!(turns[0], 6);
        assert!(turns.is_sorted_by(|one, other| one >= other), "{turns:?}");
        assert_eq!(turns.iter().sum::<u64>(), server.truth().completed);
        history_is_what_was_answered(&server, &keys, 6);
    }

    /// Every body that the server saw is what a conversation with it must be, to the byte: put together here from the
    /// prompts and from the server's own answers, which are a function of the bodies.
    fn history_is_what_was_answered(server: &Running, keys: &[(&str, Value)], sessions: u64) {
        let plan = plan(&server.base_url(), keys);
        let prompts = PromptSource::open(&plan).unwrap().0;
        let requests = server.truth_with_requests().requests.unwrap();
        let tokens_of = |hash: &str| {
            let seen = requests.iter().find(|request| request.body_sha256 == hash);
            seen.unwrap_or_else(|| panic!("the server never saw this history")).output_tokens
        };
        let mut bodies = 0;
        for number in 0..sessions {
            let mut messages = Vec::new();
            for turn in 0..prompts.turns(number).unwrap() {
                let mut prompt = prompts.turn(number, turn).unwrap();
                let Content::Text(text) = &prompt.content else { panic!("no text") };
                messages.push(json!({"role": "user", "content": text}));
                prompt.content = Content::Messages(json!(messages).to_string());
                let body = client::body(&plan.target, &prompt, None).unwrap();
                let hash: [u8; 32] = Sha256::digest(&body).into();
                let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
                let said =
                    simulator::answer_text(SimulatorConfig::default().seed, hash, tokens_of(&hex));
                assert!(!said.is_empty());
                messages.push(json!({"role": "assistant", "content": said}));
                bodies += 1;
            }
        }
        assert_eq!(bodies, requests.len(), "nothing else was asked");
    }

    #[tokio::test]
    async fn a_session_whose_turn_fails_is_cut_and_the_others_are_not_reached() {
        let server = server(json!({"fixed": true, "ttftMs": 1, "itlMs": 1, "contextLength": 40}));
        let keys = [
            ("load.rate", json!(20)),
            ("benchmark.duration", json!(2)),
            ("benchmark.requests", json!(5)),
            ("sessions.turns.mean", json!(6)),
            ("prompts.inputLength.mean", json!(8)),
            ("prompts.outputLength.mean", json!(8)),
        ];
        // Context grows with each turn until the server refuses it with status 400.
        let (turns, notes) = offered(&server, &keys).await;
        assert_eq!((notes.sessions_begun, notes.sessions_completed, notes.sessions_cut), (5, 0, 5));
        let due: u64 = turns.iter().map(|books| books.due).sum();
        let failed: u64 = turns
            .iter()
            .map(|books| books.failed.get(&FailureClass::Status(400)).copied().unwrap_or(0))
            .sum();
        assert_eq!(failed, 5);
        assert_eq!(due + notes.turns_not_reached, 30, "every turn was due or not reached");
        assert!(notes.turns_not_reached > 0);
    }

    #[tokio::test]
    async fn who_thinks_beyond_the_end_is_cut_at_once() {
        let server = server(json!({"fixed": true, "ttftMs": 1, "itlMs": 1}));
        let keys = [
            ("load.rate", json!(10)),
            ("benchmark.duration", json!(0.5)),
            ("sessions.turns.mean", json!(2)),
            ("sessions.thinkTime.distribution", json!("fixed")),
            ("sessions.thinkTime.mean", json!(600)),
        ];
        let (turns, notes) = offered(&server, &keys).await;
        assert_eq!(completed(&turns), [5, 0]);
        assert_eq!((notes.sessions_cut, notes.turns_not_reached), (5, 5));
    }
}
