//! `tokenstorm worker`: offers its share of a run that a coordinator elsewhere leads.
//!
//! It dials until it is given a place, works, and ends with its run; of a coordinator that leads many runs it takes part
//! in each. One that the coordinator counted as lost comes back as a new incarnation. What comes next is decided by
//! [`worker::Career`]. The target's credentials are its own: none come over the network.

mod leaving;
mod waits;

use std::{io::BufRead, num::NonZeroU16, path::PathBuf, time::Duration};

use client::Credentials;
use observe::OtlpSettings;
use protocol::{Cookie, CoordinatorMessage, Node, Peer};
use tokio::sync::oneshot;
use worker::{Career, Dialer, Happening, Phase, Wait, Worker, WorkerEnd, WorkerOptions};

use crate::{
    benchmark::control_runtime,
    crew::this_machine,
    exit::{Exit, Stop},
    fleet_secrets::{SecretArgs, Secrets},
    interrupt::Interrupts,
    local_workers::Inherited,
    randomness,
    settings::{length, otel_variables, own_credentials},
    telemetry::{OfWorker, TelemetryArgs, say_problems},
};

/// What `worker` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct WorkerArgs {
    /// Where the coordinator listens
    #[arg(long, value_name = "HOST:PORT", env = "TOKENSTORM_COORDINATOR")]
    coordinator: String,
    /// This worker's place, such as a Kubernetes Job's completion index [default: one is given]
    #[arg(long, value_name = "N", env = "JOB_COMPLETION_INDEX")]
    ordinal: Option<u32>,
    /// What the result calls this worker by, such as its pod's name [default: the machine's name]
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    name: Option<String>,
    /// A benchmark whose credentials (headers, `target.apiKeyFile`) are used; nothing else of it is
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Variables to read beside the environment's, which win; never logged
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// Where data sets that are fetched from the coordinator are kept, and records until it has them [default: the user's cache folder]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Processors that it uses [default: all]
    #[arg(long, value_name = "N")]
    processors: Option<NonZeroU16>,
    /// How long to dial until there is a place
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = length)]
    join_timeout: Duration,
    /// Between the runs of a sweep or a capacity search: how long a coordinator that does not answer is waited for
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = length)]
    rejoin_timeout: Duration,
    /// After the first SIGTERM or Ctrl-C: how long open requests may take
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = length)]
    leave_within: Duration,
    /// Secrets come in the first line of standard input, and its end is this worker's
    #[arg(long, hide = true)]
    from_parent: bool,
    #[command(flatten)]
    telemetry: TelemetryArgs,
    #[command(flatten)]
    secrets: SecretArgs,
}

/// What it proves itself with: to the coordinator, and to the target.
struct Identity {
    secrets: Secrets,
    credentials: Credentials,
    /// Who is told of the requests that it sends.
    telemetry: Option<OtlpSettings>,
    /// The end of the process that started it, if one did.
    orphaned: oneshot::Receiver<()>,
}

/// What each of its lives has.
struct Own {
    credentials: Credentials,
    telling: Option<OfWorker>,
}

/// Takes part in a run, or in as many as its coordinator leads.
pub(crate) fn work(arguments: &WorkerArgs) -> anyhow::Result<Exit> {
    let (host, port) = host_and_port(&arguments.coordinator)?;
    let identity = arguments.identity()?;
    identity.secrets.suffice_for(&host)?;
    let runtime = control_runtime()?;
    let exit = runtime.block_on(async {
        let mut interrupts = Interrupts::listen()?;
        let Identity { secrets: Secrets { cookie, trust, .. }, credentials, telemetry, orphaned } =
            identity;
        let own = Own { credentials, telling: telemetry.as_ref().map(OfWorker::start) };
        let node = Node::start(&format!("worker-{:016x}", randomness::number()?), &cookie).await?;
        let dialer = Dialer { node: node.clone(), host, port, trust };
        let door = dialer.door();
        let mut chance = randomness::number()?;
        let dialing = tokio::spawn(dialer.keep_connected(move || {
            // Any odd multiplier spreads them: what counts is that each worker begins elsewhere.
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            chance >> 33
        }));
        let ended = tokio::select! {
            ended = arguments.serve(&door, &own, &mut interrupts) => ended,
            // An error is a worker that nobody started.
            Ok(()) = orphaned => Ok(Exit::Interrupted),
        };
        // What is closed from here on is closed by us, and no connection lost.
        dialing.abort();
        let _aborted = dialing.await;
        node.end().await;
        if let Some(telling) = own.telling {
            say_problems(&telling.finish().await);
        }
        ended
    });
    runtime.shutdown_background();
    exit
}

impl WorkerArgs {
    fn identity(&self) -> anyhow::Result<Identity> {
        let (ended, orphaned) = oneshot::channel();
        if !self.from_parent {
            let secrets = self.secrets.load()?;
            let credentials = own_credentials(self.config.clone(), self.env_file.clone())?;
            let otel = otel_variables(self.env_file.as_deref())?;
            let telemetry = self.telemetry.source(None, otel).settings()?;
            return Ok(Identity { secrets, credentials, telemetry, orphaned });
        }
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line)?;
        let told = Inherited::read(&line).ok_or_else(|| {
            Stop::new(Exit::BadConfiguration, "standard input does not begin with the secrets")
        })?;
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            let _ = ended.send(());
        });
        let secrets = Secrets::of_this_machine(Cookie::new(&told.cookie)?);
        let telemetry = told.telemetry.settings()?;
        Ok(Identity { secrets, credentials: told.credentials, telemetry, orphaned })
    }

    fn options(&self, own: &Own, last_run: Option<u64>) -> anyhow::Result<WorkerOptions> {
        let options = this_machine(self.ordinal, own.credentials.clone())?;
        let listener = own.telling.as_ref().and_then(OfWorker::listener);
        let processors = self.processors.map_or(options.processors, NonZeroU16::get);
        let cache = self.cache.clone().or_else(cache_folder);
        let host = self.name.clone().unwrap_or_else(|| options.host.clone());
        Ok(WorkerOptions {
            processors,
            spool: cache.clone(),
            cache,
            host,
            listener,
            last_run,
            ..options
        })
    }

    /// One incarnation after the other, until there is no run to come.
    async fn serve(
        &self,
        door: &Peer<CoordinatorMessage>,
        own: &Own,
        interrupts: &mut Interrupts,
    ) -> anyhow::Result<Exit> {
        let mut career = Career::new(self.join_timeout, self.rejoin_timeout);
        let mut worker = None;
        loop {
            let happening = match career.phase().clone() {
                Phase::Gone(leaving) => return leaving::exit(leaving, &self.coordinator),
                Phase::Looking(wait) => {
                    let options = self.options(own, career.last_run())?;
                    let (placed, happening) = self.look(wait, options, door, interrupts).await?;
                    worker = placed;
                    happening
                }
                Phase::Working => match worker.take() {
                    Some(worker) => {
                        tracing::info!(coordinator = self.coordinator, "this worker has a place");
                        self.until_the_end(worker, door, interrupts).await
                    }
                    None => Happening::Ended { end: WorkerEnd::Failed, run: None },
                },
            };
            career.on(happening);
            if career.is_between_runs() {
                tracing::info!(coordinator = self.coordinator, "waiting for the next run");
            }
        }
    }

    /// Asks for a place for as long as it may.
    async fn look(
        &self,
        wait: Wait,
        options: WorkerOptions,
        door: &Peer<CoordinatorMessage>,
        interrupts: &mut Interrupts,
    ) -> anyhow::Result<(Option<Worker>, Happening)> {
        tokio::select! {
            found = Worker::start(options, door.clone()) => Ok(leaving::of_registration(found)?),
            () = waits::until_over(wait, door, &self.coordinator) => {
                Ok((None, Happening::WaitOver))
            }
            () = interrupts.next() => Ok((None, Happening::Told)),
        }
    }

    /// The first signal lets it leave in order, the second at once.
    async fn until_the_end(
        &self,
        worker: Worker,
        door: &Peer<CoordinatorMessage>,
        interrupts: &mut Interrupts,
    ) -> Happening {
        let (leave, run) = (worker.leaver(), worker.run());
        let ended = |end| Happening::Ended { end, run: *run.borrow() };
        let mut complete = std::pin::pin!(worker.complete());
        tokio::select! {
            end = &mut complete => return told_of_loss(ended(end)),
            () = waits::gone(door) => return ended(WorkerEnd::Orphaned),
            () = interrupts.next() => {}
        }
        eprintln!("leaving: others go on with its share; again to end at once");
        leave(self.leave_within);
        tokio::select! {
            _ = complete => Happening::LeftInOrder,
            () = waits::gone(door) => Happening::Told,
            () = interrupts.next() => Happening::Told,
        }
    }
}

/// Says what a user would wonder at.
fn told_of_loss(happening: Happening) -> Happening {
    if let Happening::Ended { end: WorkerEnd::Closed, .. } = happening {
        eprintln!("the coordinator counted this worker as lost: it comes back as a new one");
    }
    happening
}

/// Brackets around an IPv6 address are those of a URL.
fn host_and_port(text: &str) -> Result<(String, u16), Stop> {
    let split = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let bare = |host: &str| host.trim_start_matches('[').trim_end_matches(']').to_owned();
    split.map(|(host, port)| (bare(host), port)).filter(|(host, _)| !host.is_empty()).ok_or_else(
        || Stop::new(Exit::BadConfiguration, format!("--coordinator {text} is no HOST:PORT")),
    )
}

/// By the XDG base directory specification; a relative path there is to be ignored.
pub(crate) fn cache_folder() -> Option<PathBuf> {
    let absolute =
        |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(cache.join("tokenstorm").join("inputs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coordinator_is_a_host_and_a_port() {
        let read = |text| host_and_port(text).ok();
        assert_eq!(read("coordinator:4697"), Some(("coordinator".to_owned(), 4697)));
        assert_eq!(read("[::1]:80"), Some(("::1".to_owned(), 80)));
        for bad in ["coordinator", ":4697", "host:", "host:99999"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
