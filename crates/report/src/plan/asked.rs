//! What would be asked of whom: targets, classes, and the prompts of each.

/// Where requests would go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedTarget {
    /// The complete URL; `None`: of a simulator that the run starts itself, or of each of several services.
    pub url: Option<String>,
    /// `chat` or `completions`.
    pub api: &'static str,
    /// Whether answers are asked for as streams.
    pub streamed: bool,
    /// The model; `None`: the server's list is asked when the run starts.
    pub model: Option<String>,
}

/// One of several services.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedService {
    /// Its name in results.
    pub name: String,
    /// Its share of the requests, or sessions, from 0 to 1.
    pub share: f64,
    /// The complete URL.
    pub url: String,
    /// The model there; `None`: the server's list is asked when the run starts.
    pub model: Option<String>,
}

/// A kind of requests.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedClass {
    /// Its name in results.
    pub name: String,
    /// Its share of the requests, or sessions, from 0 to 1.
    pub share: f64,
    /// The model, or adapter, where it is not the target's.
    pub model: Option<String>,
    /// What it asks.
    pub prompts: PlannedPrompts,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedPrompts {
    /// `synthetic`, `file` or `shareGPT`.
    pub kind: &'static str,
    /// The data set.
    pub file: Option<String>,
    /// Its usable records; after so many requests it starts again.
    pub records: Option<u64>,
    /// Whether its records are permuted.
    pub shuffled: bool,
    /// Whether its text is made different from run to run.
    pub salted: bool,
    /// Share of the input tokens that other prompts have too: one prefix common to all, or those of `prefixes`.
    pub prefix_ratio: f64,
    /// Beginnings that are shared in groups, the outermost level first; none where all share one.
    pub prefixes: Vec<PlannedPrefix>,
    /// Input lengths.
    pub input: PlannedLengths,
    /// Output lengths.
    pub output: PlannedLengths,
    /// What counts tokens.
    pub tokenizer: String,
}

/// A level of shared beginnings.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedPrefix {
    /// What it stands for: `tenant`.
    pub name: String,
    /// Groups in each group of the level above.
    pub groups: u32,
    /// How long a group's text is.
    pub size: PlannedPrefixSize,
    /// How unequal the groups are: group g is drawn in proportion to 1 / g^zipf.
    pub zipf: f64,
}

/// How long a shared beginning is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PlannedPrefixSize {
    /// So many tokens, beside the prompt's own length.
    Tokens(u32),
    /// That share of the prompt's own length.
    Share(f64),
}

/// A distribution of lengths in tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PlannedLengths {
    /// Drawn, and drawn again outside of the bounds.
    Drawn {
        /// `normal`, `lognormal`, `uniform`, `empirical` or `mixture`.
        distribution: &'static str,
        /// Mean.
        mean: f64,
        /// Standard deviation.
        stddev: f64,
        /// Shortest.
        min: u32,
        /// Longest.
        max: Option<u32>,
    },
    /// As the data set has them.
    Recorded {
        /// Longer ones are cut (output) or skipped (input).
        max: Option<u32>,
    },
}
