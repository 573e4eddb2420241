//! How long the simulated engine takes: a handful of terms that real engines show, and no more.
//!
//! Prefill costs time per prompt token that is not cached, decoding slows down as the batch grows,
//! and both jitter. That is enough for load to have consequences (queueing, knees, cache effects)
//! while every term can be switched off, until `fixed` leaves two constants to check a client by.

use std::time::Duration;

use crate::config::SimulatorConfig;
use crate::seeded::Seeded;

/// Factors on a latency beyond these are cut off, so that one draw cannot stall a run.
const LARGEST_FACTOR: f64 = 20.0;

/// Latencies of prefill and decoding, in seconds inside, as [`Duration`] outside.
#[derive(Clone, Debug)]
pub(crate) struct LatencyModel {
    ttft_s: f64,
    ttft_per_token_s: f64,
    itl_s: f64,
    itl_per_sequence_s: f64,
    sigma: f64,
    /// Set when nothing varies: the exact value, without a detour through floating point per token.
    constant_itl: Option<Duration>,
}

impl LatencyModel {
    pub(crate) fn new(config: &SimulatorConfig) -> Self {
        let varying = |value: f64| if config.fixed { 0.0 } else { value };
        let itl_s = config.itl_ms / 1e3;
        let itl_per_sequence_s = varying(config.itl_per_sequence_us) / 1e6;
        let sigma = varying(config.jitter);
        let is_constant = itl_per_sequence_s == 0.0 && sigma == 0.0;
        Self {
            ttft_s: config.ttft_ms / 1e3,
            ttft_per_token_s: varying(config.ttft_per_input_token_us) / 1e6,
            itl_s,
            itl_per_sequence_s,
            sigma,
            constant_itl: is_constant.then(|| Duration::from_secs_f64(itl_s)),
        }
    }

    /// From admission to the first token, for a prompt with this many tokens to compute.
    pub(crate) fn ttft(&self, uncached_tokens: u64, jitter: &mut Seeded) -> Duration {
        let seconds = self.ttft_s + self.ttft_per_token_s * uncached_tokens as f64;
        Duration::from_secs_f64(seconds * self.factor(jitter))
    }

    /// From one token to the next, while `running` sequences (this one included) share the engine.
    pub(crate) fn itl(&self, running: usize, jitter: &mut Seeded) -> Duration {
        if let Some(constant) = self.constant_itl {
            return constant;
        }
        let others = running.saturating_sub(1) as f64;
        let seconds = self.itl_s + self.itl_per_sequence_s * others;
        Duration::from_secs_f64(seconds * self.factor(jitter))
    }

    /// Log-normal with mean 1: exp(σz − σ²/2).
    fn factor(&self, jitter: &mut Seeded) -> f64 {
        if self.sigma == 0.0 {
            return 1.0;
        }
        (self.sigma * jitter.normal() - self.sigma * self.sigma / 2.0).exp().min(LARGEST_FACTOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::Purpose;

    fn jitter() -> Seeded {
        Seeded::new(42, Purpose::Jitter, 0)
    }

    fn config() -> SimulatorConfig {
        SimulatorConfig { jitter: 0.0, ..SimulatorConfig::default() }
    }

    #[test]
    fn ttft_is_the_base_plus_what_the_uncached_tokens_cost() {
        let model = LatencyModel::new(&config());
        // 50 ms + 1,000 · 20 µs
        assert_eq!(model.ttft(1_000, &mut jitter()), Duration::from_millis(70));
        assert_eq!(model.ttft(0, &mut jitter()), Duration::from_millis(50));
    }

    #[test]
    fn itl_grows_with_every_other_running_sequence() {
        let model = LatencyModel::new(&config());
        assert_eq!(model.itl(1, &mut jitter()), Duration::from_millis(10));
        // 10 ms + 100 · 20 µs
        assert_eq!(model.itl(101, &mut jitter()), Duration::from_millis(12));
    }

    #[test]
    fn fixed_ignores_everything_but_the_two_constants() {
        let model =
            LatencyModel::new(&SimulatorConfig { fixed: true, ..SimulatorConfig::default() });
        assert_eq!(model.ttft(100_000, &mut jitter()), Duration::from_millis(50));
        assert_eq!(model.itl(10_000, &mut jitter()), Duration::from_millis(10));
    }

    #[test]
    fn jitter_keeps_the_mean_and_repeats_with_the_seed() {
        let model = LatencyModel::new(&SimulatorConfig { jitter: 0.3, ..config() });
        let draw = || {
            let mut seeded = jitter();
            (0..20_000).map(|_| model.itl(1, &mut seeded).as_secs_f64()).collect::<Vec<_>>()
        };
        let draws = draw();
        let mean_ms = draws.iter().sum::<f64>() / 20.0;
        // Standard error about 10 ms · 0.3 / √20,000 = 0.02 ms.
        assert!((mean_ms - 10.0).abs() < 0.1, "{mean_ms}");
        assert_eq!(draws, draw());
    }
}
