//! The later turns of a session, one after the other, on the lane that began it.
//!
//! A turn's body holds what the server said before, so it cannot be made ahead as those of single requests are: it is
//! ordered when the turn before has ended, and built off the lane while the user thinks. What it asks is its own, and where
//! nobody thinks it is made before that, while the answer comes. Whatever ends a session early
//! (a turn without an answer, the end of the load, a task that is dropped) is booked once, by the guard that it is: its
//! open turn is in the books as any request is, and the turns behind it are *not reached*: never due, and counted as what
//! its first body said there would be, less what was due. So those of a session that is lost with its worker are counted too.

use std::{rc::Rc, time::Duration};

use metrics::{Notes, Scope};

use crate::{
    bodies::{Asked, Conversation, Made},
    booking::{Booking, Due},
    lane::{Lane, resumed},
    offer::ASK_AGAIN,
    request::{Permission, Turn, request},
};

/// A session that has begun.
pub(crate) struct Session {
    lane: Rc<Lane>,
    /// Of the first turn: the session's own figures stand with it.
    scope: Scope,
    number: u64,
    /// Turns that were answered.
    answered: u32,
    /// It was answered to its last turn.
    is_completed: bool,
}

impl Session {
    /// Books its beginning, with its first turn; `None` where the plan has single requests.
    pub(crate) fn begin(lane: &Rc<Lane>, number: u64, scope: Scope) -> Option<Self> {
        let _sessions = lane.plan.sessions.as_ref()?;
        let notes = Notes { sessions_begun: 1, ..Notes::default() };
        lane.recorder.borrow_mut().note(scope, &notes);
        Some(Self { lane: Rc::clone(lane), scope, number, answered: 0, is_completed: false })
    }

    /// Goes on after the first turn, until the last one is answered or one is not.
    pub(crate) async fn go_on(mut self, permission: Permission, first: Option<Turn>) {
        let mut last = first;
        while let Some(turn) = last.take() {
            self.answered += 1;
            if self.answered == turn.turns {
                self.is_completed = true;
                return;
            }
            last = self.next(permission, turn).await;
        }
    }

    /// The turn after this one, once its user has thought; `None` where it does not come to it, or is not answered.
    async fn next(&mut self, permission: Permission, before: Turn) -> Option<Turn> {
        let (lane, number, turn) = (Rc::clone(&self.lane), self.number, self.answered);
        let answered = lane.clock.now();
        let at = lane.plan.next_turn_at(number, turn, answered);
        let _in_time = lane.plan.stage_at(at)?;
        let made = if at > answered { Made::Ahead } else { Made::WhenDue };
        let before = (before.messages, before.next);
        let ordered = lane.bodies.order_turn(number, turn, before, made);
        let ready = thought(&lane, at).await?;
        let (scheduled, stage, permission) = granted(&lane, permission, ready).await?;
        // A stage that a rule has ended, or that has ended meanwhile, takes no more turns.
        if lane.ended_until(stage, scheduled).is_some() {
            return None;
        }
        let scope = Scope { stage, class: lane.plan.cell_of_turn(number, turn) };
        let due = Due { number, turn, scope, scheduled, permitted: scheduled };
        let booking = Booking::open(Rc::clone(&lane), due);
        request(&lane, booking, ordered, stage, permission).await.turn
    }
}

/// Orders what the next turn asks while this one is answered, where its user will not think: there is no other time for it.
pub(crate) fn ask_next(lane: &Lane, said: &Conversation) -> Option<Asked> {
    let (number, turn) = (said.number, said.turn + 1);
    let is_at_once = || lane.plan.next_turn_at(number, turn, Duration::ZERO).is_zero();
    (turn < said.turns && is_at_once()).then(|| lane.bodies.ask(number, turn))
}

impl Drop for Session {
    fn drop(&mut self) {
        let notes = match self.is_completed {
            true => Notes { sessions_completed: 1, ..Notes::default() },
            false => Notes { sessions_cut: 1, ..Notes::default() },
        };
        self.lane.recorder.borrow_mut().note(self.scope, &notes);
    }
}

/// Waits until a user has thought; when that was, or `None` where the load ends before. The instant at which the pause is
/// over is when the turn is due, as in a closed loop: see [`resumed`].
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
    let due = resumed(at, lane.clock.now());
    lane.early_end.offers(due).then_some(due)
}

/// Waits for permission as long as there may be some: when a user who wants to ask from `due` on may, in which stage and
/// by what. As in a closed loop, nobody is late who had to wait for it.
async fn granted(
    lane: &Lane,
    first: Permission,
    mut due: Duration,
) -> Option<(Duration, u16, Permission)> {
    loop {
        let stage = lane.plan.stage_at(due).filter(|_| lane.early_end.offers(due))?;
        let permission = match first {
            Permission::Due(..) => Permission::Due(stage, due),
            round @ Permission::Round(_) => round,
        };
        if permission.is_granted(lane) {
            return Some((due, stage, permission));
        }
        let _ = tokio::time::timeout(ASK_AGAIN, lane.gate.granted()).await;
        due = lane.clock.now();
    }
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
        bodies::tests::ByHand,
        claims::Claim,
        lane::tests::{lane, plan},
        offer::{Load, offer},
    };

    /// It answers within milliseconds, and has settings of its own besides.
    fn server(own: &[(&str, Value)]) -> Running {
        let mut settings = json!({"fixed": true, "ttftMs": 1, "itlMs": 1});
        for (key, value) in own {
            settings[*key] = value.clone();
        }
        let config: SimulatorConfig = serde_json::from_value(settings).unwrap();
        Simulator::start(config).unwrap()
    }

    /// A closed loop that begins at once, and has settings of its own besides.
    fn users(
        count: u32,
        sessions: u32,
        own: &[(&'static str, Value)],
    ) -> Vec<(&'static str, Value)> {
        let mut keys = vec![
            ("load.concurrency", json!(count)),
            ("load.rampUp", json!(0)),
            ("benchmark.requests", json!(sessions)),
        ];
        keys.extend_from_slice(own);
        keys
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
        let server = server(&[]);
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
        let server = server(&[]);
        let own = [
            ("sessions.turns.distribution", json!("uniform")),
            ("sessions.turns.min", json!(1)),
            ("sessions.turns.max", json!(4)),
            ("sessions.thinkTime.distribution", json!("fixed")),
            ("sessions.thinkTime.mean", json!(0.005)),
        ];
        let keys = users(2, 6, &own);
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
        let server = server(&[("contextLength", json!(40))]);
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
        assert_eq!(notes.later_turns, 25, "known of each since its first turn");
        assert!((10..30).contains(&due), "cut after the first turn and before the last: {due}");
    }

    #[tokio::test]
    async fn the_turns_of_a_session_that_fails_at_once_are_known() {
        let server = server(&[("contextLength", json!(4))]);
        let keys = users(2, 4, &[("sessions.turns.mean", json!(3))]);
        let (turns, notes) = offered(&server, &keys).await;
        let due: Vec<u64> = turns.iter().map(|books| books.due).collect();
        assert_eq!(due, [4, 0, 0]);
        assert_eq!((notes.sessions_cut, notes.later_turns), (4, 8));
    }

    #[tokio::test]
    async fn a_turn_that_follows_at_once_could_not_be_made_ahead() {
        let server = server(&[]);
        let keys = users(1, 1, &[("sessions.turns.mean", json!(20))]);
        let (turns, notes) = offered(&server, &keys).await;
        assert_eq!(completed(&turns).iter().sum::<u64>(), 20);
        assert!(notes.queue_empty <= 1, "only the first one's may be late: {notes:?}");
    }

    /// What is ordered of a session of two turns whose first one a server answers after so long.
    async fn ordered(ttft_ms: u64, more: &[(&str, Value)]) -> Vec<(&'static str, u64, u32)> {
        let server = server(&[("ttftMs", json!(ttft_ms))]);
        let keys = [
            ("load.concurrency", json!(1)),
            ("load.rampUp", json!(0)),
            ("benchmark.requests", json!(1)),
            ("sessions.turns.mean", json!(2)),
        ];
        let mut lane = lane(plan(&server.base_url(), &[&keys[..], more].concat()));
        let mut by_hand = ByHand::of(&mut lane);
        let claim = Claim { class: Shard::WHOLE, from: Duration::ZERO, first_round: 0 };
        let tasks = LocalSet::new();
        let offering = async {
            let load = Load::prepare(&lane, claim).await;
            let mut pacer = TimerfdPacer::new(lane.clock).unwrap();
            offer(&lane, load, &mut pacer).await;
        };
        let making = async { [by_hand.make_next().await, by_hand.make_next().await].to_vec() };
        tasks
            .run_until(async {
                tokio::select! { orders = making => orders, () = offering => Vec::new() }
            })
            .await
    }

    #[tokio::test]
    async fn what_is_asked_at_once_is_made_before_the_answer_is_there() {
        // The first turn is not answered for an hour.
        let orders = ordered(3_600_000, &[]).await;
        assert_eq!(orders, [("body", 0, 0), ("question", 0, 1)]);
    }

    #[tokio::test]
    async fn who_thinks_leaves_time_for_the_whole_body() {
        let thinking = [
            ("sessions.thinkTime.distribution", json!("fixed")),
            ("sessions.thinkTime.mean", json!(0.01)),
        ];
        assert_eq!(ordered(1, &thinking).await, [("body", 0, 0), ("body", 0, 1)]);
    }

    #[tokio::test]
    async fn who_thinks_beyond_the_end_is_cut_at_once() {
        let server = server(&[]);
        let keys = [
            ("load.rate", json!(100)),
            ("benchmark.duration", json!(0.5)),
            ("benchmark.requests", json!(5)),
            ("sessions.turns.mean", json!(2)),
            ("sessions.thinkTime.distribution", json!("fixed")),
            ("sessions.thinkTime.mean", json!(600)),
        ];
        let (turns, notes) = offered(&server, &keys).await;
        assert_eq!(completed(&turns), [5, 0]);
        assert_eq!((notes.sessions_cut, notes.later_turns), (5, 5));
    }
}
