//! A crowd of workers that measure nothing: each is a process with a connection of its own that says what a worker says,
//! and ships the same seventeen histograms of twenty streamed answers every second. It shows what a coordinator can take.
//!
//! Unlike workers they need next to no processor, so that a thousand of them fit on the machine of the coordinator. One process each,
//! because the cluster library stands one node a process. Their plan is an open loop of twenty even requests a second for each of them,
//! without a warm-up, so that their books are those of the plan.
//!
//! ```sh
//! TOKENSTORM_COOKIE=… cargo run --release -p tokenstorm-protocol --example crowd -- PORT MEMBERS
//! ```

mod deltas;

use std::{
    collections::VecDeque,
    error::Error,
    process::{Command, ExitCode},
    time::Duration,
};

use deltas::{REQUESTS, counts, record, template};
use metrics::Scope;
use protocol::{
    Armed, Assigned, Assignment, COORDINATOR_GROUP, ClassCovers, Cookie, CoordinatorMessage,
    Covers, HEARTBEAT_EVERY, Heartbeat, Hello, Node, PROTOCOL_VERSION, Part, Peer, Refusal,
    TimePing, Welcome, Wire, WorkerId, WorkerMessage, flush_delay, worker_group,
};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::{
    net::TcpStream,
    sync::mpsc,
    time::{Instant, interval, sleep, sleep_until},
};
use workload::Shard;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// As a real worker: what may wait for an acknowledgement, and for how long.
const UNDER_WAY: usize = 2;
const RESEND_AFTER: Duration = Duration::from_secs(2);
/// How long an answer may take. A thousand come at once.
const ANSWER: Duration = Duration::from_secs(10);
/// Between the starts of two members.
const APART: Duration = Duration::from_millis(30);
/// How often a new connection is looked after.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A coordinator that was not heard for so long is gone.
const SILENCE: Duration = Duration::from_secs(15);

fn main() -> Outcome<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Vec<u32> = arguments.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
    match numbers[..] {
        [port, members] => lead(port, members),
        [port, _, ordinal] => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(take_part(u16::try_from(port)?, ordinal))?;
            Ok(ExitCode::SUCCESS)
        }
        _ => Err("usage: crowd PORT MEMBERS".into()),
    }
}

/// Starts the members and waits for them.
fn lead(port: u32, members: u32) -> Outcome<ExitCode> {
    let program = std::env::current_exe()?;
    let mut started = Vec::new();
    for ordinal in 0..members {
        let arguments = [port, members, ordinal].map(|number| number.to_string());
        started.push(Command::new(&program).args(arguments).spawn()?);
        std::thread::sleep(APART);
    }
    let mut failed = 0;
    for mut member in started {
        failed += u32::from(!member.wait()?.success());
    }
    println!("{members} members, {failed} of them failed");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a member hears.
enum Word {
    Assigned(Box<Assignment>),
    Start { at_coordinator_ns: u64 },
    Acknowledged(u64),
    Heard { epoch: u64, term: u64 },
    Over,
}

/// Passes on what the coordinator says.
struct Ear;

impl Actor for Ear {
    type Msg = WorkerMessage;
    type State = mpsc::UnboundedSender<Word>;
    type Arguments = mpsc::UnboundedSender<Word>;

    async fn pre_start(
        &self,
        _me: ActorRef<Self::Msg>,
        words: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(words)
    }

    async fn handle(
        &self,
        _me: ActorRef<Self::Msg>,
        message: WorkerMessage,
        words: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let word = match message {
            WorkerMessage::Assign(Wire(assignment), reply) => {
                let assigned = Assigned { lanes: 1, tokenizer: None, warnings: Vec::new() };
                let _ = reply.send(Wire::new(Ok::<_, Refusal>(assigned)));
                Word::Assigned(Box::new(assignment?))
            }
            WorkerMessage::Arm(Wire(arm), reply) => {
                let armed = Armed { clock_offset_ns: 0, clock_error_ns: CLOCK_ERROR_NS };
                let _ = reply.send(Wire::new(Ok::<_, Refusal>(armed)));
                Word::Start { at_coordinator_ns: arm?.start_at_coordinator_ns }
            }
            WorkerMessage::Acknowledge(Wire(acknowledge)) => {
                Word::Acknowledged(acknowledge?.sequence)
            }
            WorkerMessage::Heartbeat(Wire(heartbeat)) => {
                let heartbeat = heartbeat?;
                let epoch = heartbeat.changes.iter().map(|change| change.epoch).max();
                Word::Heard { epoch: epoch.unwrap_or_default(), term: heartbeat.term }
            }
            WorkerMessage::Over(_) | WorkerMessage::Closed(_) | WorkerMessage::Abort(_) => {
                Word::Over
            }
            WorkerMessage::Records(_, reply) => {
                let _ = reply.send(Wire::new(Err(Refusal::for_good("no records are kept here"))));
                return Ok(());
            }
            // The plan's end comes first.
            WorkerMessage::Stop(_) | WorkerMessage::RecordsTaken(_) => return Ok(()),
        };
        let _ = words.send(word);
        Ok(())
    }
}

/// On one machine all clocks are the coordinator's.
const CLOCK_ERROR_NS: u64 = 50_000;

/// One member's life.
async fn take_part(port: u16, ordinal: u32) -> Outcome<()> {
    let cookie = std::env::var("TOKENSTORM_COOKIE")?;
    // Any odd multiplier gives each another one.
    let incarnation = (u64::from(ordinal) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let node = Node::start(&format!("member-{ordinal}"), &Cookie::new(&cookie)?).await?;
    let (heard, words) = mpsc::unbounded_channel();
    let (ear, _) = Actor::spawn(None, Ear, heard).await?;
    ractor::pg::join(worker_group(incarnation), vec![ear.get_cell()]);
    let door = Peer::<CoordinatorMessage>::of_group(COORDINATOR_GROUP);
    connect(&node, &door, port).await?;
    let clock = Clock::ask(&door, WorkerId { ordinal, incarnation }).await?;
    let hello = Hello {
        protocol: PROTOCOL_VERSION,
        build: env!("CARGO_PKG_VERSION").to_owned(),
        ordinal: Some(ordinal),
        incarnation,
        host: format!("member-{ordinal}"),
        processors: 1,
        epoch: 0,
        last_run: None,
    };
    let worker = register(&door, hello).await?;
    Member::new(worker, door, words, clock).serve().await
}

/// Dials until the coordinator's door is seen: of a thousand who come at once some are too late to prove themselves.
async fn connect(node: &Node, door: &Peer<CoordinatorMessage>, port: u16) -> Outcome<()> {
    while !door.is_connected() {
        let ended = node.ended_sessions();
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        node.join(stream, "127.0.0.1", None).await?;
        while !door.is_connected() && node.ended_sessions() == ended {
            sleep(LOOK_EVERY).await;
        }
    }
    Ok(())
}

async fn register(door: &Peer<CoordinatorMessage>, hello: Hello) -> Outcome<WorkerId> {
    loop {
        let ask = |reply| CoordinatorMessage::Register(Wire::new(hello.clone()), reply);
        match door.ask(ask, ANSWER).await {
            Ok(Wire(Ok(Welcome::Accepted { ordinal } | Welcome::Spare { ordinal }))) => {
                return Ok(WorkerId { ordinal, incarnation: hello.incarnation });
            }
            Ok(Wire(Ok(Welcome::Refused(refusal)))) if refusal.retry_after.is_none() => {
                return Err(refusal.reason.into());
            }
            Ok(Wire(Ok(Welcome::Dismissed))) => return Err("the last run is over".into()),
            Ok(Wire(Ok(Welcome::Refused(_))) | Wire(Err(_))) | Err(_) => {
                sleep(HEARTBEAT_EVERY).await;
            }
        }
    }
}

/// The coordinator's clock at an instant of ours.
#[derive(Clone, Copy)]
struct Clock {
    at: Instant,
    coordinator_ns: u64,
}

impl Clock {
    async fn ask(door: &Peer<CoordinatorMessage>, worker: WorkerId) -> Outcome<Self> {
        let ask = |reply| CoordinatorMessage::Time(Wire::new(TimePing { worker }), reply);
        let pong = door.ask(ask, ANSWER).await?.0?;
        Ok(Self { at: Instant::now(), coordinator_ns: pong.coordinator_ns })
    }

    fn instant(self, coordinator_ns: u64) -> Instant {
        self.at + Duration::from_nanos(coordinator_ns.saturating_sub(self.coordinator_ns))
    }
}

/// A member that has its place.
struct Member {
    worker: WorkerId,
    door: Peer<CoordinatorMessage>,
    words: mpsc::UnboundedReceiver<Word>,
    clock: Clock,
    /// What every second's delta holds.
    template: Part,
    class: Option<Shard>,
    end_second: u32,
    start: Option<Instant>,
    /// The last second at whose end it looked.
    looked: u32,
    told_to: u32,
    next_sequence: u64,
    under_way: VecDeque<Part>,
    heard_at: Instant,
    acknowledged_at: Instant,
    epoch: u64,
    term: u64,
}

impl Member {
    fn new(
        worker: WorkerId,
        door: Peer<CoordinatorMessage>,
        words: mpsc::UnboundedReceiver<Word>,
        clock: Clock,
    ) -> Self {
        Self {
            worker,
            door,
            words,
            clock,
            template: template(worker),
            class: None,
            end_second: 0,
            start: None,
            looked: 0,
            told_to: 0,
            next_sequence: 1,
            under_way: VecDeque::new(),
            heard_at: Instant::now(),
            acknowledged_at: Instant::now(),
            epoch: 0,
            term: 0,
        }
    }

    /// Until everything is on the coordinator's disk, or the coordinator says that it is over.
    async fn serve(mut self) -> Outcome<()> {
        let mut beats = interval(HEARTBEAT_EVERY);
        loop {
            let flush = self.next_flush();
            tokio::select! {
                word = self.words.recv() => {
                    let Some(word) = word else { return Err("the ear has gone".into()) };
                    if self.hear(word)? {
                        return Ok(());
                    }
                }
                _ = beats.tick() => self.beat()?,
                () = sleep_until(flush), if self.has_more() => self.flush()?,
            }
        }
    }

    fn next_flush(&self) -> Instant {
        let start = self.start.unwrap_or_else(Instant::now);
        start + Duration::from_secs(u64::from(self.looked) + 1) + flush_delay(self.worker.ordinal)
    }

    fn has_more(&self) -> bool {
        self.start.is_some() && self.told_to < self.end_second
    }

    /// Whether this member is done.
    fn hear(&mut self, word: Word) -> Outcome<bool> {
        self.heard_at = Instant::now();
        match word {
            Word::Assigned(assignment) => {
                self.class = assignment.shard;
                let end = assignment.plan.end().ok_or("the plan has no end")?;
                self.end_second = u32::try_from(end.as_secs())?;
            }
            Word::Start { at_coordinator_ns } => {
                self.start = Some(self.clock.instant(at_coordinator_ns));
            }
            Word::Acknowledged(sequence) => {
                self.acknowledged_at = Instant::now();
                while self.under_way.front().is_some_and(|part| part.sequence <= sequence) {
                    self.under_way.pop_front();
                }
                return Ok(self.under_way.is_empty() && self.told_to >= self.end_second);
            }
            Word::Heard { epoch, term } => {
                self.epoch = self.epoch.max(epoch);
                self.term = self.term.max(term);
            }
            Word::Over if self.told_to >= self.end_second => return Ok(true),
            Word::Over => return Err("the run was over before its end".into()),
        }
        Ok(false)
    }

    fn beat(&mut self) -> Outcome<()> {
        if self.heard_at.elapsed() > SILENCE && self.start.is_some() {
            return Err("no word of the coordinator".into());
        }
        if self.acknowledged_at.elapsed() > RESEND_AFTER {
            self.acknowledged_at = Instant::now();
            for part in &self.under_way {
                self.door.send(CoordinatorMessage::Snapshot(Wire::new(part.clone())))?;
            }
        }
        let heartbeat = Heartbeat {
            worker: self.worker,
            in_flight: REQUESTS,
            clock_offset_ns: 0,
            clock_error_ns: CLOCK_ERROR_NS,
            epoch: self.epoch,
            rounds_begun: 0,
            rounds_granted: 0,
            term: self.term,
        };
        Ok(self.door.send(CoordinatorMessage::Heartbeat(Wire::new(heartbeat)))?)
    }

    /// Tells of every second that is over and untold, unless two deltas wait for the disk.
    fn flush(&mut self) -> Outcome<()> {
        let run_time = self.start.map(|start| start.elapsed()).unwrap_or_default();
        self.looked = u32::try_from(run_time.as_secs())?;
        let now = self.looked.min(self.end_second);
        if self.under_way.len() >= UNDER_WAY || now <= self.told_to {
            // As a worker whose deltas wait: what comes meanwhile goes into the next one.
            return Ok(());
        }
        let part = self.part(Covers { from: self.told_to, to: now });
        self.told_to = now;
        self.next_sequence += 1;
        self.door.send(CoordinatorMessage::Snapshot(Wire::new(part.clone())))?;
        self.under_way.push_back(part);
        Ok(())
    }

    fn part(&self, covers: Covers) -> Part {
        let requests = REQUESTS * u64::from(covers.to - covers.from);
        let mut part = Part { sequence: self.next_sequence, ..self.template.clone() };
        let Some(end) = &mut part.end else { return part };
        end.covers = Some(covers);
        end.classes = self.class.into_iter().map(|class| ClassCovers { class, covers }).collect();
        end.scopes = vec![(Scope::default(), record(requests))];
        end.seconds = (covers.from..covers.to).map(|second| (second, counts())).collect();
        end.last = covers.to >= self.end_second;
        part
    }
}
