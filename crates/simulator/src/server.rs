//! One thread, one socket, one loop: the simulator as a value that can be started and stopped.
//!
//! It lives on a thread of its own with its own single-threaded runtime, so that it can run inside
//! the process that measures it without sharing a loop with it, and needs one core and no more.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, ToSocketAddrs};
use std::rc::Rc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::LocalSet;

use crate::clock::MonoTime;
use crate::config::{ConfigProblem, SimulatorConfig};
use crate::connection::ReadBuffers;
use crate::pacer::Pacer;
use crate::prompt::TokenCounter;
use crate::routes::serve;
use crate::served::Served;
use crate::service::Service;
use crate::truth::{RequestList, Truth};

const BACKLOG: i32 = 4_096;
/// Pause after a failed accept: without descriptors the next one fails as well.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(10);

/// Why the simulator cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// Settings that cannot work, all of them.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Config(Vec<ConfigProblem>),
    /// The address is not usable.
    #[error(
        "cannot listen on {listen}: {source}; set `simulator.listen` to a free address such as 127.0.0.1:0"
    )]
    Listen {
        /// The address as given.
        listen: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The tokenizer's file is not usable.
    #[error(
        "cannot read tokenizer {file}: {reason}; set `simulator.tokenizer` to a tokenizer.json"
    )]
    Tokenizer {
        /// The file as given.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The system refused a thread, a timer or a runtime.
    #[error("cannot start the simulator's thread: {0}")]
    Thread(#[from] io::Error),
}

/// An inference service to measure.
#[derive(Clone, Copy, Debug)]
pub struct Simulator;

impl Simulator {
    /// Starts a simulator on a thread of its own; it listens when this returns.
    ///
    /// # Errors
    /// Unusable settings, address or tokenizer file, or a system out of resources.
    pub fn start(config: SimulatorConfig) -> Result<Running, SimulatorError> {
        Self::start_for(config, None)
    }

    /// The same, and each request that its client traces is handed over when it is over; what the queue does not take is
    /// forgotten.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_telling(
        config: SimulatorConfig,
        served: SyncSender<Served>,
    ) -> Result<Running, SimulatorError> {
        Self::start_for(config, Some(served))
    }

    fn start_for(
        config: SimulatorConfig,
        served: Option<SyncSender<Served>>,
    ) -> Result<Running, SimulatorError> {
        config.validate().map_err(SimulatorError::Config)?;
        let counter = load_counter(&config)?;
        let listener = listen(&config.listen)
            .map_err(|source| SimulatorError::Listen { listen: config.listen.clone(), source })?;
        let addr = listener.local_addr()?;
        let (commands, inbox) = unbounded_channel();
        let (report_start, started) = sync_channel(1);
        let thread = std::thread::Builder::new().name("simulator".to_owned()).spawn(move || {
            let engine = Engine { config, counter, served };
            run(engine, listener, inbox, &report_start);
        })?;
        let running = Running { addr, commands, thread: Some(thread) };
        let died = || io::Error::other("it ended before it listened");
        started.recv().map_err(|_| died())??;
        Ok(running)
    }
}

/// A simulator at work. Dropping it stops it and waits for its thread.
#[derive(Debug)]
pub struct Running {
    addr: SocketAddr,
    commands: UnboundedSender<Command>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Command {
    Truth(RequestList, SyncSender<Truth>),
    Reset(SyncSender<()>),
    Stop,
}

impl Running {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://address:port`, without a path.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// What it saw so far, without the list of requests.
    ///
    /// # Panics
    /// If the simulator's thread panicked.
    pub fn truth(&self) -> Truth {
        self.ask(|reply| Command::Truth(RequestList::LeftOut, reply))
    }

    /// What it saw so far, each request included.
    ///
    /// # Panics
    /// If the simulator's thread panicked.
    pub fn truth_with_requests(&self) -> Truth {
        self.ask(|reply| Command::Truth(RequestList::Included, reply))
    }

    /// Forgets what it saw; its prefix cache and its Prometheus counters stay. Requests still open
    /// belong to the past: nothing of them is counted any more.
    ///
    /// # Panics
    /// If the simulator's thread panicked.
    pub fn reset(&self) {
        self.ask(Command::Reset);
    }

    /// Stops listening, drops all connections, and returns what was seen to the end.
    ///
    /// # Panics
    /// If the simulator's thread panicked.
    pub fn stop(self) -> Truth {
        self.truth()
    }

    fn ask<R>(&self, command: impl FnOnce(SyncSender<R>) -> Command) -> R {
        let (reply, answer) = sync_channel(1);
        let _unheard = self.commands.send(command(reply));
        answer.recv().expect("the simulator's thread answers until `Running` is dropped")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _already_ended = self.commands.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// Raises the soft limit on open files to the hard one: a stream is a descriptor. For programs,
/// since the limit is the whole process's. Returns the limit now in force.
///
/// # Errors
/// The system's refusal.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let (_soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}

fn load_counter(config: &SimulatorConfig) -> Result<TokenCounter, SimulatorError> {
    TokenCounter::load(config.tokenizer.as_deref()).map_err(|error| {
        let file = config.tokenizer.as_deref().unwrap_or_else(|| "".as_ref()).display().to_string();
        SimulatorError::Tokenizer { file, reason: error.to_string() }
    })
}

/// A listening socket whose connections are stamped by the kernel from their first byte on: they
/// inherit the option, and with it set here the kernel never stops stamping in between.
fn listen(address: &str) -> io::Result<StdListener> {
    let not_found = || io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
    let addr = address.to_socket_addrs()?.next().ok_or_else(not_found)?;
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    send_at_once(&socket);
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// A congestion control that paces (BBR) may hold a token back after the write that its truth stamps,
/// and sets a timer for each; Reno, which every Linux allows to everybody, does neither.
fn send_at_once(socket: &Socket) {
    if let Err(error) = setsockopt(socket, sockopt::TcpCongestion, &OsString::from("reno")) {
        tracing::debug!(%error, "the system's own congestion control stays");
    }
}

/// What the service is made of.
struct Engine {
    config: SimulatorConfig,
    counter: TokenCounter,
    served: Option<SyncSender<Served>>,
}

/// The simulator's thread.
fn run(
    engine: Engine,
    listener: StdListener,
    inbox: UnboundedReceiver<Command>,
    report_start: &SyncSender<io::Result<()>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(report_start, Err(error)),
    };
    LocalSet::new().block_on(&runtime, async {
        match open(engine, listener) {
            Err(error) => report(report_start, Err(error)),
            Ok((service, accepting)) => {
                report(report_start, Ok(()));
                attend(&service, accepting, inbox).await;
            }
        }
    });
}

fn report(report_start: &SyncSender<io::Result<()>>, outcome: io::Result<()>) {
    // Whoever started the simulator waits for this; if it died meanwhile, nobody is left to tell.
    let _unheard = report_start.send(outcome);
}

fn open(engine: Engine, listener: StdListener) -> io::Result<(Rc<Service>, TcpListener)> {
    let pacer = Pacer::new()?;
    let accepting = TcpListener::from_std(listener)?;
    let Engine { config, counter, served } = engine;
    Ok((Service::new(config, counter, pacer, served), accepting))
}

/// Everything the thread does, until it is told to stop.
async fn attend(
    service: &Rc<Service>,
    listener: TcpListener,
    mut inbox: UnboundedReceiver<Command>,
) {
    let pacing = Rc::clone(service);
    let _pacer = tokio::task::spawn_local(async move {
        let on_loop_lag = |lag| pacing.books.borrow_mut().loop_lag(lag);
        if let Err(error) = pacing.pacer.run(on_loop_lag).await {
            tracing::error!(%error, "the simulator's timer failed: no token is sent any more");
        }
    });
    let _acceptor = tokio::task::spawn_local(accept(Rc::clone(service), listener));
    while let Some(command) = inbox.recv().await {
        match command {
            // Who no longer waits for a reply needs none.
            Command::Truth(list, reply) => {
                let _unheard = reply.send(service.truth(list));
            }
            Command::Reset(reply) => {
                service.books.borrow_mut().reset();
                let _unheard = reply.send(());
            }
            Command::Stop => return,
        }
    }
}

async fn accept(service: Rc<Service>, listener: TcpListener) {
    let buffers = ReadBuffers::new();
    let mut back_off = service.pacer.alarm();
    loop {
        match listener.accept().await {
            Ok((stream, _peer)) => welcome(&service, stream, &buffers),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection: are there enough file descriptors?");
                back_off.until(MonoTime::now() + ACCEPT_BACK_OFF).await;
            }
        }
    }
}

fn welcome(service: &Rc<Service>, stream: TcpStream, buffers: &Rc<RefCell<ReadBuffers>>) {
    // A token must not wait for the last one's acknowledgement (Nagle).
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the client left before it was served");
        return;
    }
    let _connection =
        tokio::task::spawn_local(serve(Rc::clone(service), stream, Rc::clone(buffers)));
}
