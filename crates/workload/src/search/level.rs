//! One level: what its probes showed, and what that says of it.
//!
//! Near the capacity one run can say either, so a level is judged by all its probes together, and with the certainty that
//! they give. What a probe has suffered from outside (a worker that died, a generator that could not keep up) says nothing
//! of the service: such a probe is made again, and only what it suffers more than once is the level's.

/// A level that no probe can judge is tried so often at most.
const BLIND: usize = 2;
/// A level that so many probes could not offer is too much for the generator; one alone may have met a busy machine.
const NOT_OFFERED: usize = 2;
/// So many probes of one level that say nothing of the service, for whatever reason, are no accident.
const SPOILT: usize = 3;
/// Without an interval of its own a probe decides alone from this distance on: twice the limit, or half of it.
const FAR: f64 = 0.5;
/// One-sided 95 % quantiles of Student's t with 1, 2, … degrees of freedom.
const T95: [f64; 9] = [6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833];
/// That of the normal distribution.
const Z95: f64 = 1.645;
/// A 95 % interval reaches so many standard errors to either side.
const HALF_WIDTH: f64 = 1.96;

/// What a probe showed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reading {
    /// How far the objective that is nearest to its limit is from it, as a share of the limit: above 0 it is met.
    Margin {
        /// The share.
        margin: f64,
        /// Half of the margin's 95 % interval, where it is known.
        half_width: Option<f64>,
    },
    /// An objective had too few samples.
    Blind,
    /// The generator could not offer the level.
    NotOffered,
    /// Something befell the generator that has nothing to do with the level, such as the loss of a worker.
    Spoilt,
}

/// What is known of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The objectives hold.
    Holds {
        /// By more than chance explains.
        certain: bool,
    },
    /// They do not.
    Fails {
        /// By more than chance explains.
        certain: bool,
    },
    /// Too few samples.
    Blind,
    /// The generator could not offer it.
    NotOffered,
    /// Another probe is needed.
    Open,
}

/// One level with all that was seen of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Level {
    /// Requests per second, or in flight.
    pub level: f64,
    /// In the order of the probes.
    pub readings: Vec<Reading>,
}

impl Level {
    /// What its probes say, of which at most `repeats` are run.
    pub fn judgement(&self, repeats: usize) -> Judgement {
        let count = |wanted: Reading| self.readings.iter().filter(|r| **r == wanted).count();
        let (not_offered, spoilt) = (count(Reading::NotOffered), count(Reading::Spoilt));
        if not_offered >= NOT_OFFERED.min(repeats) {
            return Judgement::NotOffered;
        }
        let margins: Vec<(f64, Option<f64>)> = self
            .readings
            .iter()
            .filter_map(|reading| match reading {
                Reading::Margin { margin, half_width } => Some((*margin, *half_width)),
                Reading::Blind | Reading::NotOffered | Reading::Spoilt => None,
            })
            .collect();
        let useless = not_offered + spoilt;
        let (whole, is_no_accident) = (self.readings.len() - useless, useless >= SPOILT);
        if margins.is_empty() {
            return match whole >= BLIND.min(repeats) {
                true => Judgement::Blind,
                false if is_no_accident => Judgement::NotOffered,
                false => Judgement::Open,
            };
        }
        let (mean, reach) = mean_and_reach(&margins);
        let certain = mean.abs() > reach;
        match certain || whole >= repeats || is_no_accident {
            false => Judgement::Open,
            true if mean >= 0.0 => Judgement::Holds { certain },
            true => Judgement::Fails { certain },
        }
    }

    /// The mean margin of its probes.
    pub fn margin(&self) -> Option<f64> {
        let margins = self.readings.iter().filter_map(|reading| match reading {
            Reading::Margin { margin, .. } => Some(*margin),
            Reading::Blind | Reading::NotOffered | Reading::Spoilt => None,
        });
        let margins: Vec<f64> = margins.collect();
        (!margins.is_empty()).then(|| margins.iter().sum::<f64>() / margins.len() as f64)
    }
}

/// The mean of some margins, and how far from zero it must be to be no chance: by their own intervals and by how they
/// differ from each other, whichever is more.
fn mean_and_reach(margins: &[(f64, Option<f64>)]) -> (f64, f64) {
    let count = margins.len() as f64;
    let mean = margins.iter().map(|(margin, _)| margin).sum::<f64>() / count;
    let widths: Option<Vec<f64>> = margins.iter().map(|(_, width)| *width).collect();
    let own = widths.map(|widths| {
        let squares: f64 = widths.iter().map(|width| (width / HALF_WIDTH).powi(2)).sum();
        Z95 * squares.sqrt() / count
    });
    if margins.len() == 1 {
        return (mean, own.unwrap_or(FAR));
    }
    let squares: f64 = margins.iter().map(|(margin, _)| (margin - mean).powi(2)).sum();
    let error = (squares / (count - 1.0) / count).sqrt();
    // Two probes say little of how probes differ, where each says so itself.
    let quantile = match own {
        Some(_) => Z95,
        None => T95.get(margins.len() - 2).copied().unwrap_or(Z95),
    };
    (mean, own.unwrap_or(0.0).max(quantile * error))
}
