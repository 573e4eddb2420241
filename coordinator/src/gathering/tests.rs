//! Workers that have records and give them, badly at times; in this process, through the codec.

use std::{num::NonZeroU32, sync::Mutex};

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::*;
use crate::{FleetSize, Member};

/// What a worker's shelf does to those who ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Gives what is asked for.
    Good,
    /// Is still writing when it is asked first, and answers every third question not at all.
    Cut,
    /// Has another segment 1 than it wrote.
    Broken,
    /// Cannot read segment 1.
    Unreadable,
    /// Has no records.
    Empty,
    /// Never says anything.
    Mute,
}

const SEGMENTS: u32 = 4;
const LINES: u32 = 10;

struct Shelf;

struct ShelfState {
    worker: WorkerId,
    manner: Manner,
    asked: u32,
    taken: Arc<Mutex<Vec<WorkerId>>>,
}

impl Actor for Shelf {
    type Msg = WorkerMessage;
    type State = ShelfState;
    type Arguments = ShelfState;

    async fn pre_start(
        &self,
        me: ActorRef<Self::Msg>,
        state: ShelfState,
    ) -> Result<ShelfState, ActorProcessingErr> {
        ractor::pg::join(worker_group(state.worker.incarnation), vec![me.get_cell()]);
        Ok(state)
    }

    async fn handle(
        &self,
        _me: ActorRef<Self::Msg>,
        message: WorkerMessage,
        state: &mut ShelfState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            WorkerMessage::Records(Wire(Ok(fetch)), reply) => {
                state.asked += 1;
                if let Some(answer) = state.answer(fetch.segment) {
                    let _ = reply.send(Wire::new(answer));
                }
            }
            WorkerMessage::RecordsTaken(Wire(Ok(taken))) => {
                state.taken.lock().unwrap().push(taken.worker);
            }
            _ => {}
        }
        Ok(())
    }
}

impl ShelfState {
    fn answer(&self, number: u32) -> Option<Result<RecordSegment, protocol::Refusal>> {
        let refusal = |retry_after| protocol::Refusal { reason: "no".to_owned(), retry_after };
        match (self.manner, number) {
            (Manner::Mute, _) => return None,
            (Manner::Empty, _) => return Some(Err(refusal(None))),
            (Manner::Cut, _) if self.asked == 1 => {
                return Some(Err(refusal(Some(Duration::from_millis(200)))));
            }
            (Manner::Cut, _) if self.asked.is_multiple_of(3) => return None,
            (Manner::Unreadable, 1) => return Some(Err(refusal(None))),
            _ => {}
        }
        let account = RecordsAccount {
            segments: SEGMENTS,
            written: u64::from(SEGMENTS * LINES),
            ..RecordsAccount::default()
        };
        if number >= SEGMENTS {
            return Some(Ok(RecordSegment {
                segment: number,
                account,
                ..RecordSegment::default()
            }));
        }
        let bytes = vec![u8::try_from(number).unwrap(); 9];
        let wrong = u32::from(self.manner == Manner::Broken && number == 1);
        let crc32c = crc32c::crc32c(&bytes) ^ wrong;
        Some(Ok(RecordSegment { segment: number, records: LINES, crc32c, bytes, account }))
    }
}

/// Counts what it is given; its disk has room for so many segments.
struct Files {
    room: usize,
    segments: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl RecordsSink for Files {
    fn take(&mut self, segment: &[u8]) -> io::Result<u64> {
        let mut segments = self.segments.lock().unwrap();
        if segments.len() == self.room {
            return Err(io::ErrorKind::StorageFull.into());
        }
        segments.push(segment.to_vec());
        Ok(LINES.into())
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Outcome {
    kept: RecordsKept,
    taken: Vec<WorkerId>,
    segments: Vec<Vec<u8>>,
}

/// Workers of these manners, one after the other complete; incarnations of each test are its own.
async fn gathered(first: u64, room: usize, manners: &[Manner]) -> Outcome {
    let (taken, segments) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<Vec<_>>>::default());
    let sink = Files { room, segments: Arc::clone(&segments) };
    let (gather, gathering) = Gathering::start(Box::new(sink));
    for (incarnation, manner) in (first..).zip(manners) {
        let ordinal = u32::try_from(incarnation - first).unwrap();
        let worker = WorkerId { ordinal, incarnation };
        let taken = Arc::clone(&taken);
        let state = ShelfState { worker, manner: *manner, asked: 0, taken };
        let (_shelf, _) = Actor::spawn(None, Shelf, state).await.unwrap();
        gather.complete.send(worker).unwrap();
    }
    drop(gather.complete);
    let roster = Roster::new(FleetSize::exactly(NonZeroU32::MIN), "b".to_owned());
    let kept = gathering.end(&roster, 1.0).await;
    // The word that they may end is in their mailboxes.
    for _ in 0..3_000 {
        if taken.lock().unwrap().len() == manners.len() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (taken, segments) = (taken.lock().unwrap().clone(), segments.lock().unwrap().clone());
    Outcome { kept, taken, segments }
}

#[tokio::test]
async fn all_that_workers_have_is_gathered_and_they_may_end() {
    let outcome = gathered(9_000_100, 100, &[Manner::Good, Manner::Good, Manner::Good]).await;
    assert!(outcome.kept.is_complete(), "{:?}", outcome.kept);
    assert_eq!(
        (outcome.kept.gathered(), outcome.segments.len(), outcome.taken.len()),
        (120, 12, 3)
    );
}

#[tokio::test]
async fn what_was_cut_goes_on_with_the_segment_that_is_missing() {
    let outcome = gathered(9_000_200, 100, &[Manner::Cut]).await;
    assert!(outcome.kept.is_complete(), "{:?}", outcome.kept);
    let expected: Vec<Vec<u8>> = (0..4_u8).map(|number| vec![number; 9]).collect();
    assert_eq!(outcome.segments, expected, "each once, in order");
}

#[tokio::test]
async fn a_segment_that_is_not_what_was_written_is_left_out_and_told() {
    for (first, manner) in [(9_000_300, Manner::Broken), (9_000_310, Manner::Unreadable)] {
        let outcome = gathered(first, 100, &[manner]).await;
        let worker = &outcome.kept.workers[0];
        assert_eq!((worker.written, worker.gathered), (40, 30), "{manner:?}: the others are there");
        assert!(worker.problem.is_some() && !outcome.kept.is_complete());
        assert_eq!(outcome.segments.len(), 3);
    }
}

#[tokio::test]
async fn a_full_disk_ends_the_gathering_and_everybody_may_go() {
    let outcome = gathered(9_000_400, 5, &[Manner::Good, Manner::Good, Manner::Empty]).await;
    assert_eq!((outcome.kept.gathered(), outcome.segments.len()), (50, 5));
    assert!(outcome.kept.problem.is_some() && !outcome.kept.is_complete());
    assert_eq!(outcome.taken.len(), 3);
}

#[tokio::test]
async fn who_waits_no_longer_gets_what_is_there() {
    let (taken, segments) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<Vec<_>>>::default());
    let (gather, gathering) = Gathering::start(Box::new(Files { room: 9, segments }));
    let worker = WorkerId { ordinal: 0, incarnation: 9_000_500 };
    let state = ShelfState { worker, manner: Manner::Mute, asked: 0, taken };
    let (_shelf, _) = Actor::spawn(None, Shelf, state).await.unwrap();
    gather.complete.send(worker).unwrap();
    drop(gather.complete);
    gather.enough.send(true).unwrap();
    let roster = Roster::new(FleetSize::exactly(NonZeroU32::MIN), "b".to_owned());
    let kept = gathering.end(&roster, 1.0).await;
    assert!(kept.workers[0].problem.as_ref().unwrap().contains("interrupted"), "{kept:?}");
}

#[tokio::test]
async fn a_worker_that_was_lost_is_named() {
    let (gather, gathering) =
        Gathering::start(Box::new(Files { room: 9, segments: Arc::default() }));
    drop(gather);
    let member = |ordinal, role, standing| Member {
        id: WorkerId { ordinal, incarnation: 1 },
        host: "h".to_owned(),
        role,
        standing,
        assigned: None,
        clock: None,
    };
    let members =
        vec![member(0, Role::Owner, Standing::Lost), member(1, Role::Spare, Standing::Joined)];
    let roster = Roster::resumed(FleetSize::exactly(NonZeroU32::MIN), "b".to_owned(), members);
    let kept = gathering.end(&roster, 0.5).await;
    assert_eq!((kept.workers.len(), kept.workers[0].ordinal), (1, 0));
    assert!(kept.workers[0].problem.as_ref().unwrap().contains("gone"));
}
