//! What the turns of sessions wait for their first token, while the run goes on.
//!
//! A later turn carries all that was said before it, and the server may have that in its cache: a percentile over all turns is
//! one of a mixture that shifts while sessions grow, and may move though no turn became slower.

use serde::Serialize;

use super::LivePercentiles;
use crate::distribution::Distribution;
use crate::sparse::SparseHistogram;

/// The TTFT of a turn, or of several.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveTurn {
    /// `turn 1`.
    pub name: String,
    /// Of the last seconds.
    pub recent: LivePercentiles,
    /// From the start.
    pub so_far: LivePercentiles,
    /// The same as a histogram. Not served as JSON.
    #[serde(skip)]
    pub ttft: Distribution,
}

impl LiveTurn {
    /// From its samples.
    pub fn new(name: impl Into<String>, recent: &SparseHistogram, ttft: Distribution) -> Self {
        let (recent, so_far) = (LivePercentiles::from(recent), LivePercentiles::from(&ttft));
        Self { name: name.into(), recent, so_far, ttft }
    }
}

/// Turns apart.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveTurns {
    /// The first first; at least two. The last stands for all that follow it, where its name says so.
    pub each: Vec<LiveTurn>,
    /// All behind the first together.
    pub later: LiveTurn,
}
