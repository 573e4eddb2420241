//! Randomness that is the same on every machine and in every version.
//!
//! ChaCha8 is a fixed, seekable stream; the key comes from (seed, purpose) and the stream number is
//! the number of the request, so each request's draws are found without drawing those before it. A
//! library's "standard" generator and its distributions may change with an update, and a platform's
//! logarithm may differ in the last bit: the sampling formulas are therefore our own, on `libm`.

use std::f64::consts::TAU;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// What a stream of random numbers is for; two purposes never share a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Gaps between arrivals; one stream for the whole run.
    Arrivals = 1,
    /// Input lengths; a stream a request.
    InputLengths = 2,
    /// Words of a prompt; a stream a request, keyed by the prompt salt.
    Text = 3,
    /// Words of the common prefix; keyed by the prompt salt.
    CommonPrefix = 4,
    /// The order of the records of a data set.
    Shuffle = 5,
    /// Output lengths; a stream a request.
    OutputLengths = 6,
    /// Pauses between an answer and the slot's next request; a stream a request.
    ThinkTime = 7,
    /// Words of a block that requests of a trace share; a stream a block, keyed by the prompt salt.
    SharedBlock = 8,
    /// Groups of shared beginnings; a stream a request, a draw a level.
    PrefixGroups = 9,
    /// Traffic classes; a stream a request.
    Classes = 10,
    /// Targets; a stream a request.
    Targets = 11,
    /// Turns of a session; a stream a session.
    Turns = 12,
    /// Requests that are recorded; a stream a request.
    Records = 13,
    /// What the names of a run's traces are drawn from; a stream a salt.
    TraceKey = 20,
    /// Names of the run's own spans; stream 0 is the run, then a stream a stage.
    RunTrace = 21,
    /// Names of requests; a stream a request.
    Traces = 22,
}

/// A stream of random words.
#[derive(Clone, Debug)]
pub struct Random(ChaCha8Rng);

impl Random {
    /// Stream `stream` for `purpose` under `seed`.
    ///
    /// The 32-byte key is the seed and the purpose, little-endian, and 16 fixed bytes.
    pub fn new(seed: u64, purpose: Purpose, stream: u64) -> Self {
        let mut key = *b"................tokenstorm key 1";
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&(purpose as u64).to_le_bytes());
        let mut generator = ChaCha8Rng::from_seed(key);
        generator.set_stream(stream);
        Self(generator)
    }

    /// Moves to draw number `draw` of this stream; each draw is two 32-bit words.
    pub fn seek(&mut self, draw: u64) {
        self.0.set_word_pos(u128::from(draw) * 2);
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in (0, 1]: 53 random bits, plus one, over 2^53; never 0, so it has a logarithm.
    pub fn unit(&mut self) -> f64 {
        ((self.bits() >> 11) + 1) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in 0 … `bound` − 1, by the high half of a product (its bias is below `bound` / 2^64).
    pub fn below(&mut self, bound: u32) -> u32 {
        let high = (u128::from(self.bits()) * u128::from(bound)) >> 64;
        u32::try_from(high)
            .expect("the high half of a product with a 32-bit bound is below that bound")
    }

    /// The same for a larger bound; 0 for a bound of 0.
    pub fn below_u64(&mut self, bound: u64) -> u64 {
        let high = (u128::from(self.bits()) * u128::from(bound)) >> 64;
        u64::try_from(high)
            .expect("the high half of a product with a 64-bit bound is below that bound")
    }

    /// An index, drawn by weights, none of which is negative; `None` where they sum to nothing. One draw,
    /// whatever their number.
    pub fn weighted(&mut self, weights: impl Iterator<Item = f64> + Clone) -> Option<usize> {
        let sum: f64 = weights.clone().sum();
        // In (0, sum]: a part of weight 0 is never reached.
        let mut left = self.unit() * sum;
        let mut last = None;
        for (index, weight) in weights.enumerate().filter(|(_, weight)| *weight > 0.0) {
            last = Some(index);
            if left <= weight {
                break;
            }
            left -= weight;
        }
        last
    }

    /// Exponential with mean 1, by inversion: −ln u.
    pub fn exponential(&mut self) -> f64 {
        -libm::log(self.unit())
    }

    /// Gamma with this shape (above 0) and mean `shape`, by Marsaglia and Tsang, "A simple method for
    /// generating gamma variables" (2000); below a shape of 1 by their boost from shape + 1. The number of
    /// draws varies: what must be found by seeking needs a stream of its own.
    pub fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let boost = libm::pow(self.unit(), 1.0 / shape);
            return self.gamma(shape + 1.0) * boost;
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / libm::sqrt(9.0 * d);
        loop {
            let normal = self.normal();
            let root = 1.0 + c * normal;
            if root <= 0.0 {
                continue;
            }
            let (cube, square) = (root * root * root, normal * normal);
            let unit = self.unit();
            let surely = unit < 1.0 - 0.0331 * square * square;
            if surely || libm::log(unit) < 0.5 * square + d * (1.0 - cube + libm::log(cube)) {
                return d * cube;
            }
        }
    }

    /// Standard normal, by the cosine half of Box and Muller's transform (1958): two draws a value,
    /// so that the n-th value has a fixed place in the stream.
    pub fn normal(&mut self) -> f64 {
        let radius = libm::sqrt(2.0 * self.exponential());
        radius * libm::cos(TAU * self.unit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeking_finds_the_same_draws_as_drawing() {
        let mut drawn = Random::new(42, Purpose::Arrivals, 0);
        let draws: Vec<u64> = (0..100).map(|_| drawn.bits()).collect();
        let mut sought = Random::new(42, Purpose::Arrivals, 0);
        for draw in [99, 0, 31, 32, 33, 7] {
            sought.seek(draw);
            assert_eq!(sought.bits(), draws[usize::try_from(draw).unwrap()], "draw {draw}");
        }
    }

    #[test]
    fn golden_draws() {
        // Computed by a ChaCha8 of its own, written in Python from RFC 8439 with four double rounds.
        let mut random = Random::new(42, Purpose::InputLengths, 5);
        assert_eq!(
            [random.bits(), random.bits(), random.bits()],
            [0xd2db_8d1f_3e3e_0551, 0xb68f_3d7b_2824_d7f8, 0xc6c7_95bc_4078_5b94]
        );
        random.seek(0);
        assert!((random.normal() - -0.143_037_523_029_422_77).abs() < 1e-15);
        random.seek(0);
        assert_eq!(random.below(1000), 823);
    }

    #[test]
    fn purposes_streams_and_seeds_do_not_share_bits() {
        let first = |seed, purpose, stream| Random::new(seed, purpose, stream).bits();
        let firsts = [
            first(42, Purpose::InputLengths, 0),
            first(42, Purpose::Text, 0),
            first(42, Purpose::InputLengths, 1),
            first(43, Purpose::InputLengths, 0),
        ];
        let distinct: std::collections::BTreeSet<u64> = firsts.into_iter().collect();
        assert_eq!(distinct.len(), firsts.len());
    }

    #[test]
    fn a_draw_below_a_bound_stays_below_it() {
        let mut random = Random::new(1, Purpose::Text, 9);
        let mut seen = [0u32; 7];
        for _ in 0..7_000 {
            seen[usize::try_from(random.below(7)).unwrap()] += 1;
        }
        assert!(seen.iter().all(|count| (850..1150).contains(count)), "{seen:?}");
        assert_eq!(random.below(1), 0);
    }

    #[test]
    fn exponential_and_normal_have_their_moments() {
        let mut random = Random::new(7, Purpose::InputLengths, 3);
        let draws = 100_000;
        let (mut sum, mut sum_normal, mut squares_normal) = (0.0, 0.0, 0.0);
        for _ in 0..draws {
            sum += random.exponential();
            let normal = random.normal();
            sum_normal += normal;
            squares_normal += normal * normal;
        }
        let mean = |total: f64| total / f64::from(draws);
        // Five standard errors: 5 / √100,000 = 0.016.
        assert!((mean(sum) - 1.0).abs() < 0.016);
        assert!(mean(sum_normal).abs() < 0.016);
        assert!((mean(squares_normal) - 1.0).abs() < 0.03);
    }

    #[test]
    fn gamma_has_its_mean_its_variance_and_at_1_is_exponential() {
        for shape in [0.25, 0.9, 1.0, 4.0, 30.0] {
            let mut random = Random::new(11, Purpose::Arrivals, 0);
            let draws: Vec<f64> = (0..200_000).map(|_| random.gamma(shape)).collect();
            let mean = draws.iter().sum::<f64>() / 200_000.0;
            let variance = draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / 199_999.0;
            // Five standard errors of the mean, √(shape / n); of the variance √((2 + 6 / shape) / n) of it.
            assert!((mean - shape).abs() < 5.0 * (shape / 200_000.0).sqrt(), "{shape}: {mean}");
            let tolerance = 5.0 * ((2.0 + 6.0 / shape) / 200_000.0).sqrt();
            assert!((variance / shape - 1.0).abs() < tolerance, "{shape}: {variance}");
        }
    }
}
