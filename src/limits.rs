//! What this machine cannot carry, found before the load starts.
//!
//! A generator that runs out of descriptors, ports or memory fails requests that the server never saw,
//! and they would stand in the report as the server's. So what is asked for is held against the
//! process's limits first: where it cannot work the run is refused, where it may not work it is said.
//! The judgement is a pure function of what is needed and what there is.

use std::fmt;
use std::time::Duration;

use metrics::Warning;
use workload::{Config, Drive, HttpVersion, Pause, Plan, Stage};

/// A connection, its buffers, its task and its timeline.
const BYTES_PER_STREAM: u64 = 32 << 10;
/// A prompt as text and as a body: 4 to 5 bytes a token each.
const BYTES_PER_INPUT_TOKEN: u64 = 10;
/// Files and sockets beside the streams: journal, terminal, control runtime, probe.
const OTHER_DESCRIPTORS: u64 = 64;
/// A lane's runtime and timer.
const DESCRIPTORS_PER_LANE: u64 = 8;
/// An uncapped load is doubtful where answers that take so long would exhaust the machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the measured service lives, as far as it matters to limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// Behind an endpoint.
    Elsewhere,
    /// A simulator in this process: the other end of each connection is ours too.
    InThisProcess,
}

impl Service {
    /// As the configuration says.
    pub(crate) fn of(config: &Config) -> Self {
        if config.simulator().is_some() { Self::InThisProcess } else { Self::Elsewhere }
    }
}

/// Something of which each stream takes a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    Descriptors { limit: u64 },
    Ports { first: u64, last: u64 },
    Memory { bytes: u64 },
}

impl fmt::Display for Resource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Descriptors { limit } => {
                write!(out, "the limit of {limit} open files (raise it by `ulimit -Hn`)")
            }
            Self::Ports { first, last } => write!(
                out,
                "the local ports {first} to {last} for one destination \
                 (widen them by `sysctl net.ipv4.ip_local_port_range`, or begin at more addresses \
                 by `client.sourceAddresses`)"
            ),
            Self::Memory { bytes } => {
                write!(out, "the {} MiB of memory that are available", bytes >> 20)
            }
        }
    }
}

/// A limit of this machine that the plan exceeds for certain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{setting}` asks for {asked} requests in flight, this machine can carry {streams}: {resource}"
)]
pub(crate) struct LimitProblem {
    setting: &'static str,
    asked: u64,
    streams: u64,
    resource: Resource,
}

/// Warnings, or why the run cannot work here.
pub(crate) type Checked = Result<Vec<Warning>, Vec<LimitProblem>>;

/// Holds the plan, as one worker's, against this process's limits; raises the soft limit on open files
/// to the hard one first.
///
/// # Errors
/// Every limit that is certainly exceeded.
pub(crate) fn check(plan: &Plan, service: Service) -> Checked {
    judge(&Demand::of(plan), &rooms(plan, service))
}

/// How many streams are open at once.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Demand {
    /// So many, by a setting.
    Bounded { setting: &'static str, streams: u64 },
    /// As many as the answers take time; never more than `most`, and `at_once` from the first moment.
    Unbounded { peak_rate: f64, at_once: u64, most: u64 },
}

impl Demand {
    fn of(plan: &Plan) -> Self {
        let most = plan.expected_arrivals().or(plan.requests).unwrap_or(u64::MAX);
        match plan.drive {
            Drive::Closed { slots, pause, .. } => {
                let levels = |stage: &Stage| stage.offered.starting() != stage.offered.ending();
                let is_ramp = plan.stages.iter().any(levels);
                let setting = match pause {
                    Pause::Rounds { .. } => "load.rounds.size",
                    _ if is_ramp => "load.ramp.to",
                    _ => "load.concurrency",
                };
                Self::Bounded { setting, streams: most.min(slots.get().into()) }
            }
            Drive::Open { cap: Some(cap), .. } => {
                Self::Bounded { setting: "load.concurrency", streams: most.min(cap.get().into()) }
            }
            Drive::Open { cap: None, .. } => {
                let offered = plan.stages.iter().map(|stage| stage.offered);
                Self::Unbounded {
                    peak_rate: offered.clone().map(|load| load.highest()).fold(0.0, f64::max),
                    at_once: offered.map(|load| u64::from(load.together())).max().unwrap_or(0),
                    most,
                }
            }
        }
    }
}

/// How many streams each resource carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Room {
    resource: Resource,
    streams: u64,
}

fn judge(demand: &Demand, rooms: &[Room]) -> Checked {
    match *demand {
        Demand::Bounded { setting, streams: asked } => {
            let short = rooms.iter().filter(|room| asked > room.streams);
            let problems: Vec<_> = short
                .map(|Room { resource, streams }| LimitProblem {
                    setting,
                    asked,
                    streams: *streams,
                    resource: *resource,
                })
                .collect();
            if !problems.is_empty() {
                return Err(problems);
            }
            Ok(rooms.iter().filter_map(|room| tight_memory(room, asked)).collect())
        }
        Demand::Unbounded { peak_rate, at_once, most } => Ok(rooms
            .iter()
            .filter(|room| most > room.streams)
            .filter_map(|room| doubt(room, peak_rate, at_once))
            .collect()),
    }
}

/// Memory is an estimate, so half of it is doubtful already.
fn tight_memory(room: &Room, asked: u64) -> Option<Warning> {
    let Resource::Memory { bytes } = room.resource else { return None };
    (asked > room.streams / 2).then(|| {
        let message = format!(
            "{asked} requests in flight take more than half of the {} MiB of memory that are \
             available, by estimate: lower `load.concurrency` if the run is slow or killed",
            bytes >> 20
        );
        Warning::new("limits", message)
    })
}

/// An uncapped load that ordinary answers could bring to this limit.
fn doubt(room: &Room, peak_rate: f64, at_once: u64) -> Option<Warning> {
    let Room { resource, streams } = room;
    let patience_s = *streams as f64 / peak_rate;
    let what = if at_once > *streams {
        format!("a burst of {at_once} requests")
    } else if patience_s < PATIENCE.as_secs_f64() {
        format!("answers that take longer than {patience_s:.1} s")
    } else {
        return None;
    };
    let message = format!(
        "nothing caps the requests in flight, and this machine can carry {streams}: {resource}; \
         {what} would fail here, not at the server: set `load.concurrency`"
    );
    Some(Warning::new("limits", message))
}

/// What this machine has; what cannot be read is passed over.
fn rooms(plan: &Plan, service: Service) -> Vec<Room> {
    let ends = match service {
        Service::Elsewhere => 1,
        Service::InThisProcess => 2,
    };
    let other = OTHER_DESCRIPTORS + DESCRIPTORS_PER_LANE * lanes(plan);
    let descriptors = simulator::raise_descriptor_limit().ok().map(|limit| Room {
        resource: Resource::Descriptors { limit },
        streams: limit.saturating_sub(other) / ends,
    });
    let ports = read("/proc/sys/net/ipv4/ip_local_port_range").and_then(|text| port_range(&text));
    let ports = ports.map(|room| with_sources(room, plan.client.source_addresses.len()));
    let memory = available_memory().map(|bytes| Room {
        resource: Resource::Memory { bytes },
        streams: bytes / (bytes_per_stream(plan) * ends),
    });
    let for_each_stream = match plan.client.http {
        HttpVersion::Http1 => [descriptors, ports],
        HttpVersion::Http2 { .. } => [None, None],
    };
    for_each_stream.into_iter().chain([memory]).flatten().collect()
}

fn lanes(plan: &Plan) -> u64 {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    plan.client.lanes.map_or(processors as u64, |lanes| lanes.get().into())
}

/// Of a data set only the bound on its records is known without reading it.
fn bytes_per_stream(plan: &Plan) -> u64 {
    let of = |prompts: &workload::PromptPlan| {
        let mean = prompts.mean_input_tokens() as u64;
        prompts.max_input_tokens.map_or(mean, |max| mean.min(max.get().into()))
    };
    let tokens = plan.prompts_by_class().into_iter().map(of).max().unwrap_or(0);
    BYTES_PER_STREAM + BYTES_PER_INPUT_TOKEN * tokens
}

/// Two numbers, both usable.
fn port_range(text: &str) -> Option<Room> {
    let mut ends = text.split_whitespace().map(str::parse);
    let (first, last): (u64, u64) = (ends.next()?.ok()?, ends.next()?.ok()?);
    let streams = (last + 1).saturating_sub(first);
    Some(Room { resource: Resource::Ports { first, last }, streams })
}

/// Each source address has all the ports.
fn with_sources(room: Room, addresses: usize) -> Room {
    let addresses = u64::try_from(addresses).unwrap_or(u64::MAX).max(1);
    Room { streams: room.streams.saturating_mul(addresses), ..room }
}

/// What the kernel says is available, within the limit of our control group.
fn available_memory() -> Option<u64> {
    let available = mem_available(&read("/proc/meminfo")?)?;
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limits = limits.into_iter().filter_map(|path| read(path)?.trim().parse().ok());
    Some(limits.fold(available, u64::min))
}

/// `MemAvailable:   16265060 kB`, in bytes.
fn mem_available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_address_has_the_ports_again() {
        assert_eq!(with_sources(PORTS, 0), PORTS);
        assert_eq!(with_sources(PORTS, 3).streams, 3 * PORTS.streams);
    }

    const FILES: Room = Room { resource: Resource::Descriptors { limit: 1_024 }, streams: 944 };
    const PORTS: Room =
        Room { resource: Resource::Ports { first: 32_768, last: 60_999 }, streams: 28_232 };
    const MEMORY: Room = Room { resource: Resource::Memory { bytes: 1 << 30 }, streams: 30_000 };

    fn bounded(streams: u64) -> Demand {
        Demand::Bounded { setting: "load.concurrency", streams }
    }

    #[test]
    fn what_fits_is_passed_over_in_silence() {
        assert_eq!(judge(&bounded(944), &[FILES, PORTS, MEMORY]), Ok(Vec::new()));
    }

    #[test]
    fn every_limit_that_is_exceeded_is_named_with_the_setting() {
        let problems = judge(&bounded(40_000), &[FILES, PORTS, MEMORY]).unwrap_err();
        let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "`load.concurrency` asks for 40000 requests in flight, this machine can carry 944: \
                 the limit of 1024 open files (raise it by `ulimit -Hn`)",
                "`load.concurrency` asks for 40000 requests in flight, this machine can carry 28232: \
                 the local ports 32768 to 60999 for one destination \
                 (widen them by `sysctl net.ipv4.ip_local_port_range`, or begin at more addresses \
                 by `client.sourceAddresses`)",
                "`load.concurrency` asks for 40000 requests in flight, this machine can carry 30000: \
                 the 1024 MiB of memory that are available",
            ]
        );
    }

    #[test]
    fn half_of_the_memory_is_a_doubt_half_of_the_files_is_none() {
        let warnings = judge(&bounded(15_001), &[PORTS, MEMORY]).unwrap();
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].message.contains("1024 MiB"), "{warnings:?}");
        assert_eq!(judge(&bounded(15_000), &[PORTS, MEMORY]), Ok(Vec::new()));
    }

    #[test]
    fn an_uncapped_load_is_doubtful_where_ordinary_answers_exhaust_a_limit() {
        let uncapped = |peak_rate, at_once, most| Demand::Unbounded { peak_rate, at_once, most };
        // 944 streams at 31.4 a second last for 30.06 s, at 31.5 for 29.97 s.
        let calm = uncapped(31.4, 1, u64::MAX);
        assert_eq!(judge(&calm, &[FILES]), Ok(Vec::new()));
        let hasty = judge(&uncapped(31.5, 1, u64::MAX), &[FILES]).unwrap();
        assert!(hasty[0].message.contains("longer than 30.0 s"), "{hasty:?}");
        let few = uncapped(1_000.0, 1, 944);
        assert_eq!(judge(&few, &[FILES]), Ok(Vec::new()), "there are not more requests than room");
        let burst = judge(&uncapped(1.0, 945, 10_000), &[FILES]).unwrap();
        assert!(burst[0].message.contains("a burst of 945 requests"), "{burst:?}");
    }

    #[test]
    fn the_kernels_texts_are_read() {
        assert_eq!(port_range("32768\t60999\n"), Some(PORTS));
        assert_eq!(port_range("none"), None);
        let meminfo = "MemTotal:       24 kB\nMemAvailable:   16 kB\nBuffers: 1 kB\n";
        assert_eq!(mem_available(meminfo), Some(16_384));
        assert_eq!(mem_available("MemTotal: 24 kB\n"), None);
    }
}
