//! What one lane of this machine costs and so can carry, kept between runs.
//!
//! `tokenstorm calibrate` measures it, `tokenstorm plan` counts workers with it. A load is cheap or dear by
//! two things: how many requests a second it starts, and how many events a second it reads. Both are kept
//! as CPU time of a lane, which unlike a rate does not depend on how fast the measured server was.

use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;

use serde_json::{Value, json};

const SCHEMA_VERSION: u64 = 1;
/// The part of a lane that a plan fills: the rest is for bursts and for a machine that others use too.
pub(crate) const FILLED: f64 = 0.5;
/// Tokens a second of a stream, where only the number of streams is known: a quick reader's.
pub(crate) const STREAM_TOKENS_PER_S: f64 = 20.0;

/// Figures of one machine and one build.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Calibration {
    pub(crate) version: String,
    pub(crate) processors: u64,
    pub(crate) measured_at_unix_s: u64,
    /// CPU of a lane for a request whose answer is one event.
    pub(crate) cpu_us_per_request: f64,
    /// CPU of a lane for an event that is a read of its own.
    pub(crate) cpu_us_per_event: f64,
    /// The measurements themselves, for people.
    pub(crate) measured: Value,
}

/// Why there is no usable calibration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoCalibration {
    #[error("this machine is not calibrated: `tokenstorm calibrate` takes half a minute")]
    None,
    #[error("the calibration is of {0}: run `tokenstorm calibrate` again")]
    OfAnother(String),
    #[error("{0} is no calibration: run `tokenstorm calibrate` again")]
    Broken(String),
}

/// A load by what it costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Demand {
    pub(crate) requests_per_s: f64,
    pub(crate) events_per_s: f64,
}

/// How many workers a load needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Need {
    /// Lanes that the load would fill entirely.
    pub(crate) lanes: f64,
    pub(crate) lanes_per_worker: NonZeroU32,
    pub(crate) workers: u64,
}

impl Calibration {
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "schemaVersion": SCHEMA_VERSION,
            "tokenstormVersion": self.version,
            "processors": self.processors,
            "measuredAtUnixSeconds": self.measured_at_unix_s,
            "cpuUsPerRequest": self.cpu_us_per_request,
            "cpuUsPerEvent": self.cpu_us_per_event,
            "oneLane": {
                "requestsPerSecond": 1e6 / self.cpu_us_per_request,
                "eventsPerSecond": self.events_per_s(),
                "streams": self.streams(),
                "streamTokensPerSecond": STREAM_TOKENS_PER_S,
            },
            "measured": self.measured,
        })
    }

    /// Events a second that would fill a lane.
    pub(crate) fn events_per_s(&self) -> f64 {
        1e6 / self.cpu_us_per_event
    }

    /// Streams of [`STREAM_TOKENS_PER_S`] that would fill a lane, whatever else limits them.
    pub(crate) fn streams(&self) -> u64 {
        (self.events_per_s() / STREAM_TOKENS_PER_S) as u64
    }

    fn from_json(value: &Value) -> Option<Self> {
        let positive =
            |key: &str| value.get(key)?.as_f64().filter(|us| us.is_finite() && *us > 0.0);
        if value.get("schemaVersion")?.as_u64()? != SCHEMA_VERSION {
            return None;
        }
        Some(Self {
            version: value.get("tokenstormVersion")?.as_str()?.to_owned(),
            processors: value.get("processors")?.as_u64()?,
            measured_at_unix_s: value.get("measuredAtUnixSeconds")?.as_u64()?,
            cpu_us_per_request: positive("cpuUsPerRequest")?,
            cpu_us_per_event: positive("cpuUsPerEvent")?,
            measured: value.get("measured").cloned().unwrap_or_default(),
        })
    }

    /// Workers of `lanes_per_worker` lanes like the measured one, each filled to [`FILLED`].
    pub(crate) fn need(&self, demand: Demand, lanes_per_worker: NonZeroU32) -> Need {
        let requests_us = demand.requests_per_s * self.cpu_us_per_request;
        let events_us = demand.events_per_s * self.cpu_us_per_event;
        let lanes = (requests_us + events_us) / 1e6;
        let workers = (lanes / (FILLED * f64::from(lanes_per_worker.get()))).ceil().max(1.0) as u64;
        Need { lanes, lanes_per_worker, workers }
    }

    /// The kept one, if it is of this build and this machine.
    pub(crate) fn load() -> Result<Self, NoCalibration> {
        let Some(path) = cache_file() else { return Err(NoCalibration::None) };
        let Ok(text) = std::fs::read_to_string(&path) else { return Err(NoCalibration::None) };
        let found = serde_json::from_str(&text).ok().and_then(|value| Self::from_json(&value));
        let found = found.ok_or_else(|| NoCalibration::Broken(path.display().to_string()))?;
        found.if_of(env!("CARGO_PKG_VERSION"), processors())
    }

    fn if_of(self, version: &str, processors: u64) -> Result<Self, NoCalibration> {
        if self.version != version {
            return Err(NoCalibration::OfAnother(format!("version {}", self.version)));
        }
        if self.processors != processors {
            let other = format!("a machine with {} processors", self.processors);
            return Err(NoCalibration::OfAnother(other));
        }
        Ok(self)
    }

    /// Keeps it for `plan`; where.
    ///
    /// # Errors
    /// The system's refusal, or that no cache folder is known.
    pub(crate) fn save(&self) -> std::io::Result<PathBuf> {
        let unknown = "neither XDG_CACHE_HOME nor HOME is set";
        let path = cache_file().ok_or_else(|| std::io::Error::other(unknown))?;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        // Renamed into place: a plan that is made meanwhile reads the old one or the new one.
        let part = path.with_extension(format!("{}.part", std::process::id()));
        std::fs::write(&part, format!("{:#}\n", self.to_json()))?;
        std::fs::rename(&part, &path)?;
        Ok(path)
    }
}

impl fmt::Display for Need {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lanes, lanes_per_worker, workers } = self;
        write!(
            out,
            "{workers} like this machine: {lanes:.2} of a lane's CPU at the peak, {lanes_per_worker} to a worker, \
             each filled to {:.0} %",
            FILLED * 100.0
        )
    }
}

/// Lanes of a worker, as it chooses them itself where it is told no number: one processor is left to the rest
/// of the program, and more than eight lanes serve nobody.
pub(crate) fn lanes_per_worker(configured: Option<NonZeroU16>) -> NonZeroU32 {
    let spare = u16::try_from(processors().saturating_sub(1).min(8)).unwrap_or(0);
    configured.or(NonZeroU16::new(spare)).map_or(NonZeroU32::MIN, NonZeroU32::from)
}

pub(crate) fn processors() -> u64 {
    std::thread::available_parallelism().map_or(1, |processors| processors.get() as u64)
}

/// By the XDG base directory specification; a relative path there is to be ignored.
fn cache_file() -> Option<PathBuf> {
    let absolute =
        |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(cache.join("tokenstorm").join("calibration.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calibration() -> Calibration {
        Calibration {
            version: "1.2.3".to_owned(),
            processors: 4,
            measured_at_unix_s: 1_000,
            cpu_us_per_request: 50.0,
            cpu_us_per_event: 10.0,
            measured: json!({"paced": 1}),
        }
    }

    fn lanes(count: u32) -> NonZeroU32 {
        NonZeroU32::new(count).unwrap()
    }

    #[test]
    fn workers_are_filled_to_a_half() {
        // 1,000 · 50 µs + 64,000 · 10 µs = 0.69 s of CPU a second; a worker of one lane offers 0.5.
        let demand = Demand { requests_per_s: 1_000.0, events_per_s: 64_000.0 };
        let need = calibration().need(demand, lanes(1));
        assert!((need.lanes - 0.69).abs() < 1e-9, "{need:?}");
        assert_eq!(need.workers, 2);
        assert_eq!(calibration().need(demand, lanes(3)).workers, 1);
        let nothing = Demand { requests_per_s: 0.0, events_per_s: 0.0 };
        assert_eq!(calibration().need(nothing, lanes(3)).workers, 1, "somebody must do it");
    }

    #[test]
    fn json_and_back_is_the_same() {
        assert_eq!(Calibration::from_json(&calibration().to_json()), Some(calibration()));
        assert_eq!(calibration().to_json()["oneLane"]["streams"], json!(5_000));
    }

    #[test]
    fn what_is_no_calibration_is_refused() {
        let with = |key: &str, value: Value| {
            let mut json = calibration().to_json();
            json[key] = value;
            Calibration::from_json(&json)
        };
        assert_eq!(with("schemaVersion", json!(2)), None);
        assert_eq!(with("cpuUsPerEvent", json!(0)), None);
        assert_eq!(with("cpuUsPerRequest", json!("50")), None);
    }

    #[test]
    fn another_build_or_machine_has_other_figures() {
        assert_eq!(calibration().if_of("1.2.3", 4), Ok(calibration()));
        let told =
            |version, processors| calibration().if_of(version, processors).unwrap_err().to_string();
        assert!(told("1.2.4", 4).contains("version 1.2.3"));
        assert!(told("1.2.3", 2).contains("4 processors"));
    }
}
