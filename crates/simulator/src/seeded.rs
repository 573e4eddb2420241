//! Randomness that repeats: one generator per purpose and request, from the simulator's seed.
//!
//! ChaCha8 keyed by (seed, purpose) with the request as its stream: adding a fault never changes the
//! jitter, and request 7 is the same whether or not request 6 came. A library's "standard"
//! generator may change its output between versions, so none is used.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// What a generator is for; part of its key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    Jitter = 1,
    Faults = 2,
    Text = 3,
    Length = 4,
}

/// A reproducible source of draws.
#[derive(Clone, Debug)]
pub(crate) struct Seeded(ChaCha8Rng);

impl Seeded {
    pub(crate) fn new(seed: u64, purpose: Purpose, stream: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8] = purpose as u8;
        let mut generator = ChaCha8Rng::from_seed(key);
        generator.set_stream(stream);
        Self(generator)
    }

    pub(crate) fn bits(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// Uniform in [0, 1), on the 2⁵³ multiples of 2⁻⁵³.
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal, by Box and Muller (1958).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_key_same_draws_and_another_stream_other_draws() {
        let draw = |purpose, stream| Seeded::new(42, purpose, stream).bits();
        assert_eq!(draw(Purpose::Text, 1), draw(Purpose::Text, 1));
        assert_ne!(draw(Purpose::Text, 1), draw(Purpose::Text, 2));
        assert_ne!(draw(Purpose::Text, 1), draw(Purpose::Length, 1));
    }

    #[test]
    fn normal_draws_have_mean_0_and_variance_1() {
        let mut seeded = Seeded::new(42, Purpose::Jitter, 0);
        let draws: Vec<f64> = (0..20_000).map(|_| seeded.normal()).collect();
        let mean = draws.iter().sum::<f64>() / 20_000.0;
        let variance = draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / 20_000.0;
        // Standard error of the mean is 1/√20,000 = 0.007, of the variance √(2/20,000) = 0.01.
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.04, "{mean} {variance}");
    }
}
