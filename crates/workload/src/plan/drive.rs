//! Who decides when a request starts: the schedule, or the slots.

use std::num::NonZeroU32;
use std::time::Duration;

use super::build::Builder;
use super::stage_list::Listed;
use super::stages::{Level, RampShare};
use super::{CapPolicy, Drive, Pause, PlanError, RampUp, Stage, ThinkTime};
use crate::config::Config;
use crate::schedule::ScheduleFile;

/// Users of a closed loop over a data set, where none are configured.
const SHAREGPT_CONCURRENCY: u32 = 32;

impl Builder<'_> {
    pub(super) fn load(&mut self) -> Option<(Vec<Stage>, Drive, Option<ScheduleFile>)> {
        let config = self.config;
        if config.text("load.type") == Some("schedule") || config.has("load.schedule") {
            let (stages, schedule) = self.scheduled()?;
            return Some((stages, self.open_loop(), Some(schedule)));
        }
        let pause = self.pause();
        let listed = match config.stage_list() {
            Some(list) => self.listed(&list)?,
            None => {
                let level = self.level();
                self.warn_of_idle_keys(&[config]);
                let duration = self.duration();
                let parts = self.parts(level?, duration, RampShare::Half);
                Listed { parts, levels: level.into_iter().collect() }
            }
        };
        let is_open = matches!(listed.levels.first(), Some(Level::Rate(_)));
        let stages = self.lay_out(listed.parts, is_open);
        let drive = match listed.levels.first()? {
            Level::Rate(_) => self.open_loop(),
            Level::Slots(_) => self.closed_loop(&stages, pause)?,
        };
        (!stages.is_empty()).then_some((stages, drive, None))
    }

    /// `benchmark.duration`; without it a number of requests ends the run, and without both a minute.
    fn duration(&self) -> Option<Duration> {
        let configured = self.config.duration("benchmark.duration");
        configured
            .or_else(|| (!self.config.has("benchmark.requests")).then_some(Duration::from_secs(60)))
    }

    /// A rate makes an open loop, whatever else is set; slots alone a closed one.
    pub(super) fn level(&mut self) -> Option<Level> {
        let share_gpt = self.config.text("load.type") == Some("shareGPT");
        let rate = self.config.number("load.rate");
        let slots = self.whole("load.concurrency");
        let round = self.whole("load.rounds.size");
        match (round, share_gpt, rate, slots) {
            (Some(_), _, Some(_), _) | (Some(_), _, _, Some(_)) => {
                let second = if rate.is_some() { "load.rate" } else { "load.concurrency" };
                let advice = "a round's size is the number of users";
                self.refuse(PlanError::Excluded { first: "load.rounds", second, advice });
                None
            }
            (Some(round), _, None, None) => Some(Level::Slots(round)),
            (None, true, Some(_), _) => {
                let advice = "that is a closed loop; for an open one set `load.type: constant` and `prompts.dataset`";
                self.refuse(PlanError::Excluded {
                    first: "load.rate",
                    second: "load.type: shareGPT",
                    advice,
                });
                None
            }
            (None, true, None, _) => Some(Level::Slots(slots.unwrap_or(SHAREGPT_CONCURRENCY))),
            (None, false, Some(rate), _) => Some(Level::Rate(rate)),
            (None, false, None, Some(slots)) => Some(Level::Slots(slots)),
            (None, false, None, None) => {
                self.refuse(PlanError::NoLoad);
                None
            }
        }
    }

    fn whole(&self, key: &str) -> Option<u32> {
        self.config.integer(key).and_then(|number| u32::try_from(number).ok())
    }

    fn open_loop(&self) -> Drive {
        let list = self.config.stage_list();
        let of_first = list.and_then(|list| Some(self.config.of_stage(list.first()?)));
        let cap = of_first.as_ref().unwrap_or(self.config).integer("load.concurrency");
        let cap = cap.and_then(|cap| u32::try_from(cap).ok());
        let policy = match self.config.text("load.capPolicy") {
            Some("drop") => CapPolicy::Drop,
            _ => CapPolicy::Hold,
        };
        Drive::Open { cap: cap.and_then(NonZeroU32::new), policy }
    }

    fn closed_loop(&mut self, stages: &[Stage], pause: Pause) -> Option<Drive> {
        let highest = stages.iter().map(|stage| stage.offered.highest()).fold(0.0, f64::max);
        let slots = NonZeroU32::new(highest as u32)?;
        let starting = stages.first().map_or(0.0, |stage| stage.offered.starting());
        let configured = self.config.duration("load.rampUp");
        self.check_ramp_up(configured, stages);
        self.check_requests(stages);
        let ramp_up_source = match configured {
            Some(_) => RampUp::Configured,
            None if starting == 0.0 || matches!(pause, Pause::Rounds { .. }) => RampUp::NotNeeded,
            None => RampUp::Open,
        };
        let ramp_up = configured.unwrap_or_default();
        Some(Drive::Closed { slots, ramp_up, ramp_up_source, pause })
    }

    /// Slots that never start would be missing without a word.
    fn check_ramp_up(&mut self, configured: Option<Duration>, stages: &[Stage]) {
        let end = stages.last().and_then(|stage| stage.end);
        if let (Some(length), Some(whole)) = (configured, end)
            && length >= whole
        {
            self.refuse(PlanError::TooLong {
                key: "load.rampUp",
                length,
                whole_name: "the run",
                whole,
            });
        }
    }

    fn check_requests(&mut self, stages: &[Stage]) {
        let mut highest: f64 = 0.0;
        let becomes_fewer = stages.iter().any(|stage| {
            let (starting, ending) = (stage.offered.starting(), stage.offered.ending());
            let fewer = starting < highest || ending < starting;
            highest = highest.max(starting).max(ending);
            fewer
        });
        if becomes_fewer && self.config.has("benchmark.requests") {
            self.refuse(PlanError::RequestsOfFewerUsers);
        }
    }

    /// What a slot does between an answer and its next request.
    fn pause(&mut self) -> Pause {
        let every = self.config.duration("load.rounds.minSeconds");
        let size = self.config.has("load.rounds.size");
        let thinks = ["mean", "distribution", "stddev", "min", "max"]
            .iter()
            .any(|key| self.config.has(&format!("load.thinkTime.{key}")));
        match (size, every) {
            (true, Some(every)) => {
                if thinks {
                    let advice = "who goes in rounds waits for the next one";
                    let (first, second) = ("load.thinkTime", "load.rounds");
                    self.refuse(PlanError::Excluded { first, second, advice });
                }
                Pause::Rounds { every }
            }
            (true, None) => {
                self.refuse(PlanError::Needs {
                    what: "load.rounds",
                    needs: "`load.rounds.minSeconds`",
                });
                Pause::None
            }
            (false, Some(_)) => {
                self.refuse(PlanError::Needs { what: "load.rounds", needs: "`load.rounds.size`" });
                Pause::None
            }
            (false, None) if thinks => {
                self.think_time("load.thinkTime").map_or(Pause::None, Pause::Think)
            }
            (false, None) => Pause::None,
        }
    }

    /// The think time of a section of the table.
    pub(super) fn think_time(&mut self, section: &'static str) -> Option<ThinkTime> {
        let of = |key: &str| self.config.duration(&format!("{section}.{key}"));
        let (mean, stddev, min, max) = (of("mean"), of("stddev"), of("min"), of("max"));
        let distribution = self.config.text(&format!("{section}.distribution"));
        let missing = |needs| PlanError::Needs { what: section, needs };
        let found = match (distribution, mean, max) {
            (Some("uniform"), _, Some(max)) => {
                let min = min.unwrap_or_default();
                if min > max {
                    self.refuse(PlanError::ThinkTimeBounds { section, min, max });
                }
                Ok(ThinkTime::Uniform { min, max })
            }
            (Some("uniform"), _, None) => Err(missing("`max`, with `distribution: uniform`")),
            (_, None, _) => Err(missing("`mean`")),
            (Some("fixed"), Some(time), _) => Ok(ThinkTime::Fixed { time }),
            (Some("lognormal"), Some(mean), _) => match stddev.filter(|_| !mean.is_zero()) {
                Some(stddev) => Ok(ThinkTime::Lognormal { mean, stddev }),
                None => {
                    Err(missing("a `mean` above 0 and a `stddev`, with `distribution: lognormal`"))
                }
            },
            (_, Some(mean), _) => Ok(ThinkTime::Exponential { mean }),
        };
        found.map_err(|problem| self.refuse(problem)).ok()
    }

    /// Keys that are set and change nothing are a misunderstanding worth a word. `configs`: one for each load of
    /// the run; what one of them uses is not idle.
    pub(super) fn warn_of_idle_keys(&mut self, configs: &[&Config]) {
        let mut told: Vec<&str> = Vec::new();
        let uses = |config: &Config, key: &str| {
            config.has(key) && !idle(config).iter().any(|(idle, _)| *idle == key)
        };
        for (key, reason) in configs.iter().flat_map(|config| idle(config)) {
            if !told.contains(&key) && !configs.iter().any(|config| uses(config, key)) {
                told.push(key);
                self.warn("key_unused", format!("`{key}` has no effect: {reason}"));
            }
        }
    }
}

/// Keys that are set and that this load has no use for.
fn idle(config: &Config) -> Vec<(&'static str, &'static str)> {
    let shape = config.text("load.type").unwrap_or("constant");
    let ramp = config.text("load.ramp.shape").unwrap_or("linear");
    let open = config.has("load.rate");
    let capped = open && config.has("load.concurrency");
    let arrivals = config.text("load.arrivals");
    let think = config.text("load.thinkTime.distribution").unwrap_or("exponential");
    let closed_alone = "`load.rate` makes an open loop, whose schedule waits for nobody";
    let open_alone = "in a closed loop arrivals follow the answers";
    let no_ramp = "`load.type` is not `ramp`";
    let no_burst = "`load.type` is not `burst`";
    let no_sine = "`load.type` is not `sine`";
    let no_on_off = "`load.type` is not `onOff`";
    let all = [
        ("load.ramp.from", shape != "ramp", no_ramp),
        ("load.ramp.to", shape != "ramp", no_ramp),
        ("load.ramp.over", shape != "ramp", no_ramp),
        ("load.ramp.shape", shape != "ramp", no_ramp),
        ("load.ramp.steps", shape != "ramp" || ramp != "steps", "`load.ramp.shape` is not `steps`"),
        ("load.burst.size", shape != "burst", no_burst),
        ("load.burst.width", shape != "burst", no_burst),
        ("load.sine.amplitude", shape != "sine", no_sine),
        ("load.sine.period", shape != "sine", no_sine),
        ("load.onOff.on", shape != "onOff", no_on_off),
        ("load.onOff.off", shape != "onOff", no_on_off),
        ("load.onOff.offRate", shape != "onOff", no_on_off),
        ("load.rampUp", open, "`load.rate` makes an open loop, whose schedule needs no stagger"),
        (
            "load.thinkTime.mean",
            open || think == "uniform",
            if open { closed_alone } else { "a uniform time has `min` and `max`" },
        ),
        ("load.thinkTime.distribution", open, closed_alone),
        (
            "load.thinkTime.stddev",
            open || think != "lognormal",
            if open { closed_alone } else { "`load.thinkTime.distribution` is not `lognormal`" },
        ),
        (
            "load.thinkTime.min",
            open || think != "uniform",
            if open { closed_alone } else { "`load.thinkTime.distribution` is not `uniform`" },
        ),
        (
            "load.thinkTime.max",
            open || think != "uniform",
            if open { closed_alone } else { "`load.thinkTime.distribution` is not `uniform`" },
        ),
        ("load.arrivals", !open, open_alone),
        (
            "load.burstiness",
            !open || shape == "burst" || matches!(arrivals, Some("even" | "poisson")),
            if open { "`load.arrivals` is not `gamma`" } else { open_alone },
        ),
        ("load.scheduleFormat", true, "there is no `load.schedule`"),
        ("load.timeScale", true, "there is no `load.schedule`"),
        (
            "load.capPolicy",
            !capped,
            "there is no cap: that needs `load.rate` and `load.concurrency`",
        ),
    ];
    let set = all.into_iter().filter(|(key, is_idle, _)| *is_idle && config.has(key));
    set.map(|(key, _, reason)| (key, reason)).collect()
}
