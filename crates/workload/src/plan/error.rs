//! What can be wrong with a plan whose settings are each allowed.

use std::path::PathBuf;
use std::time::Duration;

use crate::schedule::ScheduleProblem;

/// One problem, in one line.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// There is nothing to send to.
    #[error("no target: set `target.endpoint` (or OPENAI_API_BASE), or add a `simulator` section")]
    NoEndpoint,
    /// The endpoint is no URL that can be posted to.
    #[error("`target.endpoint` is {shown}: {reason}")]
    Endpoint {
        /// The URL, without a user part.
        shown: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The URL's API is not the configured one.
    #[error("`target.api` is {api}, but `target.endpoint` ends in {path}: set one of them")]
    ApiConflict {
        /// As configured.
        api: &'static str,
        /// The end of the URL's path.
        path: &'static str,
    },
    /// A header that the client itself must set.
    #[error("`target.headers` has {name}, which is set by the client: remove it")]
    Header {
        /// Its name.
        name: String,
    },
    /// Neither rate nor concurrency.
    #[error("no load: set `load.rate` (open loop), `load.concurrency` (closed loop), or both")]
    NoLoad,
    /// A setting that needs something that is not set.
    #[error("`{what}` needs {needs}")]
    Needs {
        /// The setting.
        what: &'static str,
        /// What it needs.
        needs: &'static str,
    },
    /// Two settings that do not go together.
    #[error("`{first}` does not go with `{second}`: {advice}")]
    Excluded {
        /// A setting.
        first: &'static str,
        /// Another.
        second: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// Requests that the model refuses, every one of average length.
    #[error(
        "`prompts.inputLength.mean` and `prompts.outputLength.mean` make requests of {tokens} tokens, \
         more than the model's context of {context}: shorten them"
    )]
    BeyondContext {
        /// Input and output of a request of average length.
        tokens: u64,
        /// As the server says.
        context: u64,
    },
    /// A trace that the model refuses, all of it.
    #[error(
        "every row of `load.schedule` is longer than the model's context of {context}, the shortest with {tokens} tokens"
    )]
    RowsBeyondContext {
        /// Input and output of the shortest row.
        tokens: u64,
        /// As the server says.
        context: u64,
    },
    /// Something takes longer than what it is part of.
    #[error("`{key}` is {length:?}, longer than {whole_name} ({whole:?})")]
    TooLong {
        /// The key.
        key: &'static str,
        /// Its length.
        length: Duration,
        /// What it must fit in.
        whole_name: &'static str,
        /// How long that is.
        whole: Duration,
    },
    /// A level of a closed loop that is no number of users.
    #[error("`{key}` is {level}: a closed loop needs a whole number of requests in flight")]
    Fraction {
        /// The key.
        key: &'static str,
        /// Its value.
        level: f64,
    },
    /// Users who leave would leave requests of a number undone.
    #[error(
        "`benchmark.requests` does not go with a closed loop whose users become fewer: end it by the stages' durations"
    )]
    RequestsOfFewerUsers,
    /// A wave below zero.
    #[error(
        "`load.sine.amplitude` is {amplitude}, above `load.rate` ({rate}): the rate would fall below 0"
    )]
    Amplitude {
        /// The swing.
        amplitude: f64,
        /// The mean.
        rate: f64,
    },
    /// A distribution's bounds that leave nothing.
    #[error("`{section}.min` is {min:?}, above `{section}.max` ({max:?})")]
    ThinkTimeBounds {
        /// Whose.
        section: &'static str,
        /// Shortest.
        min: Duration,
        /// Longest.
        max: Duration,
    },
    /// A problem of one stage of a list, or of several that have it from one place.
    #[error("{stages}: {problem}")]
    OfStages {
        /// Which, in words.
        stages: String,
        /// What is wrong.
        problem: Box<PlanError>,
    },
    /// A file of rows that cannot be used.
    #[error("{0}")]
    Schedule(ScheduleProblem),
    /// Two stages of one name.
    #[error("`stages` has two entries named `{name}`: their results could not be told apart")]
    SameName {
        /// The name.
        name: String,
    },
    /// Open and closed loops in one list.
    #[error(
        "`stages` mixes an open loop (`{open}`, with a `rate`) and a closed one (`{closed}`, with \
         `concurrency` alone): make two runs of it"
    )]
    MixedLoops {
        /// A stage with a rate.
        open: String,
        /// A stage without.
        closed: String,
    },
    /// A cap of a stage's own.
    #[error(
        "stage `{stage}` has another cap on requests in flight than the first: set one `load.concurrency` for all"
    )]
    SeveralCaps {
        /// Its name.
        stage: String,
    },
    /// Answers must be long that the server was not asked to make so.
    #[error(
        "`answers.require: [length]` fails every answer that the model ends by itself: set `target.ignoreEos: true` \
         or `target.minTokens: true`"
    )]
    LengthNotAsked,
    /// Lengths that cannot be drawn.
    #[error("{}", .problem.in_words(.section))]
    Lengths {
        /// The section, or the part of a mixture.
        section: String,
        /// What is wrong with it.
        problem: LengthProblem,
    },
    /// A level of shared beginnings that cannot be made.
    #[error("`prompts.prefixes[{level}]` {problem}")]
    Prefix {
        /// Its place, from 0.
        level: usize,
        /// What is wrong, and what to do.
        problem: &'static str,
    },
    /// What would be written down.
    #[error(
        "`{key}` has {name}, which looks like a credential: put it into `target.headers` or `target.extraBody`"
    )]
    ClassSecret {
        /// Where it stands.
        key: String,
        /// Its name, never its value.
        name: String,
    },
    /// Two entries of a list that could not be told apart.
    #[error("`{key}` has two named `{name}`: give each a `name` of its own")]
    NamedAlike {
        /// The list.
        key: &'static str,
        /// The name.
        name: String,
    },
    /// Limits to single requests of one class.
    #[error(
        "`{path}.perRequest` is not counted by stage or class: set `slos.perRequest`, which holds for all requests"
    )]
    PartPerRequest {
        /// The section.
        path: String,
    },
    /// More pairs of class and target than are kept apart.
    #[error(
        "`classes` and `targets` make {cells} pairs, more than the {most} that are kept apart: use fewer"
    )]
    TooManyCells {
        /// How many.
        cells: usize,
        /// How many may be.
        most: usize,
    },
    /// A problem of one of several targets.
    #[error("`targets[{index}]`: {problem}")]
    OfTarget {
        /// Its place, from 0.
        index: usize,
        /// The problem.
        problem: Box<PlanError>,
    },
    /// A problem of a traffic class.
    #[error("{place}: {problem}")]
    OfClass {
        /// `classes[0]`.
        place: String,
        /// The problem.
        problem: Box<PlanError>,
    },
    /// A data set is needed and none is named.
    #[error("`prompts.type: {kind}` needs a file: set `{key}`")]
    NoFile {
        /// The kind of prompts.
        kind: &'static str,
        /// The key to set.
        key: &'static str,
    },
    /// Two different files.
    #[error("`{first}` and `{second}` name different files: set one of them")]
    TwoFiles {
        /// A key.
        first: &'static str,
        /// Another.
        second: &'static str,
    },
    /// A file name whose ending tells no format.
    #[error("`prompts.file` is `{}`: its name must end in .txt, .jsonl, .json or .csv", path.display())]
    FileFormat {
        /// The file.
        path: PathBuf,
    },
    /// Two different shares of a common prefix.
    #[error("`load.prefixRatio` is {load} and `prompts.prefixRatio` is {prompts}: set one of them")]
    TwoPrefixRatios {
        /// One.
        load: f64,
        /// The other.
        prompts: f64,
    },
    /// A prefix of a text that is given cannot be all of it.
    #[error(
        "`prefixRatio` is 1: before the text of a data set the common prefix must be less than the whole"
    )]
    WholePrefix,
    /// An objective that means nothing.
    #[error("`{path}` {problem}")]
    Slo {
        /// Where it stands.
        path: String,
        /// What is wrong, and what to do.
        problem: String,
    },
}

/// Why lengths cannot be drawn.
#[derive(Clone, Debug, PartialEq)]
pub enum LengthProblem {
    /// Bounds that leave out the mean.
    Mean {
        /// The mean.
        mean: f64,
        /// The bounds, as text.
        bounds: String,
    },
    /// Bounds that leave nothing.
    Bounds {
        /// Shortest.
        min: u32,
        /// Longest.
        max: u32,
    },
    /// A distribution without what it takes.
    Needs {
        /// The distribution.
        word: &'static str,
        /// What it needs.
        needs: &'static str,
    },
    /// A part of a mixture without a distribution.
    Part {
        /// What it needs.
        needs: &'static str,
    },
    /// A distribution with what belongs to another.
    Excluded {
        /// The distribution.
        word: String,
        /// The key of another.
        name: &'static str,
    },
    /// A file that cannot be used.
    File {
        /// Its path.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A line of a file that is no length.
    Line {
        /// Its path.
        path: String,
        /// From 1.
        number: u64,
        /// Its beginning.
        line: String,
    },
    /// A file all of whose lengths are outside of the bounds.
    NoneInside {
        /// Its path.
        path: String,
        /// The bounds, as text.
        bounds: String,
    },
}

impl LengthProblem {
    fn in_words(&self, section: &str) -> String {
        match self {
            Self::Mean { mean, bounds } => format!(
                "`{section}.mean` is {mean}, outside of {bounds}: the mean must lie between `min` and `max`"
            ),
            Self::Bounds { min, max } => {
                format!("`{section}.min` is {min}, above `{section}.max` ({max})")
            }
            Self::Needs { word, needs } => {
                format!("`{section}.distribution: {word}` needs {needs}")
            }
            Self::Part { needs } => format!("`{section}` needs {needs}"),
            Self::Excluded { word, name } => format!(
                "`{section}.{name}` does not go with lengths that are {word}: remove one of them"
            ),
            Self::File { path, reason } => format!("`{section}.file` {path}: {reason}"),
            Self::Line { path, number, line } => format!(
                "`{section}.file` {path}, line {number}: `{line}` is no length from 1 to 10000000, nor `length,count`"
            ),
            Self::NoneInside { path, bounds } => {
                format!("`{section}.file` {path} has no length inside of {bounds}")
            }
        }
    }
}
