use std::num::NonZeroU32;

use protocol::PROTOCOL_VERSION;

use super::*;

const FIRST: WorkerId = WorkerId { ordinal: 0, incarnation: 100 };
const SECOND: WorkerId = WorkerId { ordinal: 1, incarnation: 101 };

fn hello(id: WorkerId) -> Event {
    Event::Registered(Hello {
        protocol: PROTOCOL_VERSION,
        build: "b".to_owned(),
        ordinal: Some(id.ordinal),
        incarnation: id.incarnation,
        host: "h".to_owned(),
        processors: 2,
        epoch: 0,
        last_run: None,
    })
}

fn ready() -> Result<Assigned, Refusal> {
    Ok(Assigned { lanes: 1, tokenizer: None, warnings: Vec::new() })
}

fn run_of(expected: u32) -> Run {
    let size = FleetSize::exactly(NonZeroU32::new(expected).unwrap());
    Run::new(size, OnWorkerLoss::Takeover, "b".to_owned())
}

/// Two workers, brought as far as a phase.
fn run_in(phase: Phase) -> Run {
    let mut run = run_of(2);
    let script = [
        (Phase::Assigning, vec![hello(FIRST), hello(SECOND)]),
        (Phase::Armed, vec![Event::Assigned(FIRST, ready()), Event::Assigned(SECOND, ready())]),
        (
            Phase::Running,
            vec![Event::Armed(FIRST, Ok(())), Event::Armed(SECOND, Ok(())), Event::Started],
        ),
        (Phase::Draining, vec![Event::Interrupted(Some(Duration::from_secs(3)))]),
        (Phase::Aborted, vec![Event::Interrupted(Some(Duration::from_secs(4)))]),
        (Phase::Final, vec![Event::LastDelta(FIRST), Event::LastDelta(SECOND)]),
    ];
    for (reached, events) in script {
        if run.phase() == phase {
            break;
        }
        for event in events {
            run.on(event);
        }
        assert_eq!(run.phase(), reached);
    }
    run
}

#[test]
fn a_run_goes_its_way_and_each_command_comes_once() {
    let mut run = run_of(2);
    assert_eq!(run.on(hello(FIRST)), [Command::Welcome(Welcome::Accepted { ordinal: 0 })]);
    let full = run.on(hello(SECOND));
    assert!(
        matches!(&full[..], [Command::Welcome(_), Command::Assign(shards)] if shards.len() == 2)
    );
    assert!(run.on(Event::Assigned(FIRST, ready())).is_empty());
    assert_eq!(run.on(Event::Assigned(SECOND, ready())), [Command::Arm(vec![FIRST, SECOND])]);
    assert!(run.on(Event::Armed(FIRST, Ok(()))).is_empty());
    assert_eq!(run.on(Event::Armed(SECOND, Ok(()))), [Command::Grant]);
    assert!(run.on(Event::Started).is_empty());
    assert!(run.on(Event::LastDelta(FIRST)).is_empty());
    assert_eq!(run.on(Event::LastDelta(SECOND)), [Command::Finish(Ending::Completed)]);
}

#[test]
fn repeated_messages_change_nothing() {
    for (phase, event) in [
        (Phase::Assigning, Event::Assigned(FIRST, ready())),
        (Phase::Armed, Event::Armed(FIRST, Ok(()))),
        (Phase::Running, Event::LastDelta(FIRST)),
        (Phase::Running, Event::Started),
        (Phase::Final, Event::LastDelta(FIRST)),
    ] {
        let mut run = run_in(phase);
        run.on(event.clone());
        let before = format!("{run:?}");
        assert!(run.on(event.clone()).is_empty(), "{event:?} in {phase:?}");
        assert_eq!(format!("{run:?}"), before);
    }
}

#[test]
fn a_late_message_of_an_earlier_phase_changes_nothing() {
    for event in [Event::JoinDeadline, Event::Assigned(FIRST, ready()), Event::Started] {
        let mut run = run_in(Phase::Draining);
        let before = format!("{run:?}");
        assert!(run.on(event).is_empty());
        assert_eq!(format!("{run:?}"), before);
    }
}

#[test]
fn an_unknown_worker_changes_nothing_in_any_phase() {
    let stranger = WorkerId { ordinal: 0, incarnation: 1 };
    for phase in Phase::ALL {
        for event in [Event::LastDelta(stranger), Event::Lost(stranger)] {
            assert!(run_in(phase).on(event).is_empty(), "{phase:?}");
        }
    }
}

#[test]
fn who_comes_too_late_is_told_so() {
    for phase in Phase::ALL.into_iter().skip(1) {
        let stranger = WorkerId { ordinal: 7, incarnation: 7 };
        let commands = run_in(phase).on(hello(stranger));
        assert!(matches!(&commands[..], [Command::Welcome(Welcome::Refused(_))]), "{phase:?}");
    }
}

#[test]
fn an_incomplete_fleet_ends_at_the_deadline() {
    let mut run = run_of(2);
    run.on(hello(FIRST));
    let commands = run.on(Event::JoinDeadline);
    assert!(
        matches!(commands.last(), Some(Command::Finish(Ending::NotStarted(why))) if why.contains("only 1"))
    );
}

#[test]
fn a_worker_that_refuses_the_plan_ends_the_run_with_its_words() {
    let mut run = run_in(Phase::Assigning);
    let refusal = Refusal::for_good("no such file: prompts.jsonl");
    let commands = run.on(Event::Assigned(SECOND, Err(refusal)));
    assert!(
        matches!(commands.last(), Some(Command::Finish(Ending::Refused(why))) if why.contains("prompts.jsonl"))
    );
}

#[test]
fn a_silent_worker_at_the_start_ends_the_run() {
    let mut run = run_in(Phase::Armed);
    run.on(Event::Armed(FIRST, Ok(())));
    assert!(matches!(run.on(Event::Started).last(), Some(Command::Finish(Ending::NotStarted(_)))));
}

#[test]
fn the_first_interrupt_drains_and_the_second_cancels() {
    let mut run = run_in(Phase::Running);
    let at = Duration::from_secs(9);
    assert_eq!(run.on(Event::Interrupted(Some(at))), [Command::Stop { at }]);
    assert!(matches!(&run.on(Event::Interrupted(Some(at)))[..], [Command::Cancel(_)]));
    assert!(run.on(Event::Interrupted(Some(at))).is_empty());
    run.on(Event::LastDelta(FIRST));
    let commands = run.on(Event::LastDelta(SECOND));
    assert_eq!(commands, [Command::Finish(Ending::Interrupted)]);
}

#[test]
fn a_rule_ends_the_load_once_and_the_run_as_planned() {
    let mut run = run_in(Phase::Running);
    let at = Duration::from_secs(9);
    assert_eq!(run.on(Event::RuleSpoke(at)), [Command::Stop { at }]);
    assert!(run.on(Event::RuleSpoke(at)).is_empty());
    run.on(Event::LastDelta(FIRST));
    assert_eq!(run.on(Event::LastDelta(SECOND)), [Command::Finish(Ending::Completed)]);
}

#[test]
fn an_interrupt_before_the_start_ends_the_run_as_interrupted() {
    for phase in [Phase::Forming, Phase::Assigning, Phase::Armed] {
        let commands = run_in(phase).on(Event::Interrupted(None));
        assert_eq!(commands.last(), Some(&Command::Finish(Ending::Interrupted)), "{phase:?}");
    }
}

#[test]
fn a_lost_worker_is_not_waited_for_and_marks_the_run() {
    let mut run = run_in(Phase::Running);
    assert!(run.on(Event::Lost(FIRST)).is_empty());
    let commands = run.on(Event::LastDelta(SECOND));
    assert!(
        matches!(&commands[..], [Command::Finish(Ending::Degraded(why))] if why.contains("worker 0"))
    );
}

#[test]
fn a_worker_that_is_done_before_the_timer_rings_is_not_forgotten() {
    let mut run = run_in(Phase::Armed);
    for worker in [FIRST, SECOND] {
        run.on(Event::Armed(worker, Ok(())));
        assert!(run.on(Event::LastDelta(worker)).is_empty());
    }
    assert_eq!(run.on(Event::Started), [Command::Finish(Ending::Completed)]);
}

#[test]
fn a_journal_that_fails_while_an_interrupted_run_drains_does_not_hide_the_interrupt() {
    let mut run = run_in(Phase::Draining);
    let commands = run.on(Event::JournalFailed(None, "disk full".to_owned()));
    assert_eq!(commands.last(), Some(&Command::Finish(Ending::Interrupted)));
}

#[test]
fn the_planned_end_is_a_drain() {
    let mut run = run_in(Phase::Running);
    assert!(run.on(Event::LoadEnded).is_empty());
    assert_eq!(run.phase(), Phase::Draining);
}

#[test]
fn a_journal_that_fails_ends_the_run_with_what_is_merged() {
    let mut run = run_in(Phase::Running);
    let commands =
        run.on(Event::JournalFailed(Some(Duration::from_secs(5)), "disk full".to_owned()));
    assert_eq!(commands.last(), Some(&Command::Finish(Ending::Degraded("disk full".to_owned()))));
    assert!(run.on(Event::DrainDeadline).is_empty());
}

#[test]
fn who_does_not_finish_its_drain_is_not_waited_for_for_ever() {
    let mut run = run_in(Phase::Running);
    run.on(Event::LastDelta(FIRST));
    assert!(matches!(&run.on(Event::DrainDeadline)[..], [Command::Finish(Ending::Degraded(_))]));
}

/// Two workers and room for as many spares, brought to the start.
fn running(on_loss: OnWorkerLoss, spares: u32) -> Run {
    let size = FleetSize { spares, ..FleetSize::exactly(NonZeroU32::new(2).unwrap()) };
    let mut run = Run::new(size, on_loss, "b".to_owned());
    for event in [hello(FIRST), hello(SECOND)] {
        run.on(event);
    }
    for worker in [FIRST, SECOND] {
        run.on(Event::Assigned(worker, ready()));
    }
    for worker in [FIRST, SECOND] {
        run.on(Event::Armed(worker, Ok(())));
    }
    run.on(Event::Started);
    run
}

const SPARE: WorkerId = WorkerId { ordinal: 2, incarnation: 102 };

#[test]
fn a_spare_gets_the_plan_and_the_start_whenever_it_comes() {
    let mut run = running(OnWorkerLoss::Takeover, 1);
    let commands = run.on(hello(SPARE));
    let welcome = Command::Welcome(Welcome::Spare { ordinal: 2 });
    assert_eq!(commands, [welcome, Command::Assign(vec![(SPARE, None)])]);
    assert_eq!(run.on(Event::Assigned(SPARE, ready())), [Command::Arm(vec![SPARE])]);
    assert!(run.on(Event::Armed(SPARE, Ok(()))).is_empty(), "the others have their leases");
    // It owns nothing: nobody waits for it.
    run.on(Event::LastDelta(FIRST));
    assert_eq!(run.on(Event::LastDelta(SECOND)), [Command::Finish(Ending::Completed)]);
}

#[test]
fn a_spare_that_took_over_is_waited_for() {
    let mut run = running(OnWorkerLoss::Takeover, 1);
    run.on(hello(SPARE));
    run.on(Event::Assigned(SPARE, ready()));
    run.on(Event::Armed(SPARE, Ok(())));
    assert!(run.on(Event::Lost(SECOND)).is_empty());
    assert!(run.on(Event::Inherited(vec![SPARE])).is_empty());
    assert!(run.on(Event::LastDelta(FIRST)).is_empty());
    let commands = run.on(Event::LastDelta(SPARE));
    assert!(matches!(&commands[..], [Command::Finish(Ending::Degraded(_))]));
}

#[test]
fn a_spare_that_is_lost_or_cannot_run_the_plan_changes_nothing() {
    for event in [
        Event::Lost(SPARE),
        Event::Assigned(SPARE, Err(Refusal::for_good("no such file"))),
        Event::Armed(SPARE, Err(Refusal::for_good("no clock"))),
    ] {
        let mut run = running(OnWorkerLoss::Abort, 1);
        run.on(hello(SPARE));
        assert!(run.on(event.clone()).is_empty(), "{event:?}");
        assert_eq!((run.phase(), run.ending.clone()), (Phase::Running, Ending::Completed));
    }
}

#[test]
fn with_abort_a_loss_ends_the_run() {
    let mut run = running(OnWorkerLoss::Abort, 0);
    let commands = run.on(Event::Lost(SECOND));
    assert!(matches!(&commands[..], [Command::Cancel(why)] if why.contains("onWorkerLoss")));
    assert!(run.on(Event::Lost(SECOND)).is_empty());
    let commands = run.on(Event::LastDelta(FIRST));
    assert!(matches!(&commands[..], [Command::Finish(Ending::Degraded(_))]));
}

#[test]
fn who_leaves_in_order_is_waited_for_and_marks_the_run() {
    let mut run = running(OnWorkerLoss::Takeover, 0);
    assert!(run.on(Event::Left(SECOND)).is_empty());
    assert!(run.on(Event::LastDelta(FIRST)).is_empty());
    let commands = run.on(Event::LastDelta(SECOND));
    assert!(
        matches!(&commands[..], [Command::Finish(Ending::Degraded(why))] if why.contains("left"))
    );
}

#[test]
fn at_the_deadline_a_fleet_of_the_minimum_starts() {
    let size = FleetSize {
        expected: NonZeroU32::new(3).unwrap(),
        minimum: NonZeroU32::new(2).unwrap(),
        spares: 0,
    };
    let mut run = Run::new(size, OnWorkerLoss::Takeover, "b".to_owned());
    run.on(hello(FIRST));
    run.on(hello(SECOND));
    let commands = run.on(Event::JoinDeadline);
    assert!(matches!(&commands[..], [Command::Assign(parts)] if parts.len() == 2));
    assert_eq!(run.phase(), Phase::Assigning);
}

#[test]
fn a_worker_lost_while_others_are_awaited_leaves_an_empty_place() {
    let mut run = run_of(2);
    run.on(hello(FIRST));
    assert!(run.on(Event::Lost(FIRST)).is_empty());
    assert_eq!(run.on(hello(SECOND)).len(), 1, "not full");
    let back = WorkerId { incarnation: 200, ..FIRST };
    let commands = run.on(hello(back));
    assert!(
        matches!(&commands[..], [Command::Welcome(_), Command::Assign(parts)] if parts.len() == 2)
    );
}

#[test]
fn a_resumed_run_that_was_stopped_only_drains() {
    let size = FleetSize::exactly(std::num::NonZeroU32::MIN);
    let roster = || Roster::resumed(size, "b".to_owned(), Vec::new());
    let phase = |stopped| Run::resumed(roster(), OnWorkerLoss::Takeover, stopped).phase();
    assert_eq!(phase(None), Phase::Running);
    assert_eq!(phase(Some(Duration::from_secs(5))), Phase::Draining);
}

#[test]
fn who_comes_when_one_of_many_runs_drains_waits_for_the_next() {
    let answer = |run: Option<u64>| {
        let mut run = run_in(Phase::Draining).of_many(run);
        let mut commands = run.on(hello(WorkerId { ordinal: 5, incarnation: 105 }));
        match commands.remove(0) {
            Command::Welcome(Welcome::Refused(refusal)) => refusal,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(answer(None), Refusal::for_good("the run is over"));
    assert!(answer(Some(7)).retry_after.is_some());
}
