//! What a run asked for, as far as formats of others state it.
//!
//! The figures of a run say what was measured. Others' files also say what was ordered (lengths, rate, concurrency), which
//! only the plan knows; whoever has it fills this in. What it does not say is left out of the files.

/// What was ordered; all of it may be unknown.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Asked {
    /// Tokens of a prompt; `None` where kinds of requests differ, or where it is not known.
    pub input: Option<AskedLength>,
    /// Tokens of an answer.
    pub output: Option<AskedLength>,
    /// Where the prompts' text came from.
    pub source: TextSource,
    /// Shape of the gaps between arrivals, 1 of a Poisson process; `None` of other arrivals.
    pub burstiness: Option<f64>,
    /// Most requests in flight: a cap, or the slots of a closed loop.
    pub max_concurrency: Option<u32>,
    /// Whether answers decide when a request starts.
    pub is_closed_loop: Option<bool>,
    /// By the stage's index in the plan.
    pub stages: Vec<AskedStage>,
    /// The command's exit code for this result.
    pub exit_code: Option<u8>,
}

/// The load of a stage.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct AskedStage {
    /// Requests per second, where it is one level.
    pub rate: Option<f64>,
    /// Requests in flight in a closed loop, where it is one level.
    pub concurrency: Option<f64>,
}

/// A distribution of lengths in tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AskedLength {
    /// Its form.
    pub form: LengthForm,
    /// Mean.
    pub mean: f64,
    /// Standard deviation.
    pub stddev: f64,
    /// Shortest.
    pub min: u32,
    /// Longest.
    pub max: Option<u32>,
}

/// The form of a distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum LengthForm {
    Fixed,
    Normal,
    Uniform,
    Other,
}

/// Where text comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TextSource {
    /// Made of words at random.
    Random,
    /// Records of a file.
    Sampled,
    /// Not known.
    #[default]
    Unknown,
}

impl Asked {
    /// The load of a stage of the plan.
    pub(super) fn stage(&self, index: u16) -> AskedStage {
        self.stages.get(usize::from(index)).copied().unwrap_or_default()
    }

    /// Requests per second of an open loop: as ordered, where all these stages have one level, else as they were due.
    pub(super) fn rate(&self, stages: &[u16], due: Option<f64>) -> Option<f64> {
        if self.is_closed_loop != Some(false) {
            return None;
        }
        let mut ordered = stages.iter().map(|&index| self.stage(index).rate);
        let first = ordered.next().flatten();
        if first.is_some() && ordered.all(|rate| rate == first) { first } else { due }
    }
}
