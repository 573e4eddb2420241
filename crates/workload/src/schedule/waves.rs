//! Integrals of the shapes that grow by a factor or come in waves, and their inverses. Seconds and
//! arrivals, since a stage's start.

use std::f64::consts::TAU;
use std::time::Duration;

/// Steps of a search before it takes what it has: halving alone reaches the last bit of a double in fewer.
const STEPS: u32 = 64;

/// Λ of a level that goes from `from` to `to` by the same factor in equal times, over `seconds`: with
/// g = ln(to / from), from · seconds · (e^g − 1) / g.
pub(super) fn exponential_integral(from: f64, to: f64, seconds: f64) -> f64 {
    let growth = libm::log(to / from);
    if growth == 0.0 { from * seconds } else { from * seconds * libm::expm1(growth) / growth }
}

/// When Λ reaches `x`: seconds / g · ln(1 + x · g / (from · seconds)).
pub(super) fn exponential_inverse(from: f64, to: f64, seconds: f64, x: f64) -> f64 {
    let growth = libm::log(to / from);
    if growth == 0.0 {
        return x / from;
    }
    // A falling load's Λ is bounded; the logarithm of what rounding puts beyond it would be no number.
    let inside = (x * growth / (from * seconds)).max(-1.0 + f64::EPSILON);
    seconds / growth * libm::log1p(inside)
}

/// level + amplitude · sin(2π·t / period).
pub(super) struct Sine {
    level: f64,
    amplitude: f64,
    /// Radians per second.
    speed: f64,
}

impl Sine {
    pub(super) fn new(level: f64, amplitude: f64, period: Duration) -> Self {
        Self { level, amplitude, speed: TAU / period.as_secs_f64() }
    }

    /// level · t + amplitude / ω · (1 − cos ωt), the difference of cosines as 2·sin²(ωt/2).
    pub(super) fn integral(&self, t: f64) -> f64 {
        let half = libm::sin(self.speed * t / 2.0);
        self.level * t + 2.0 * self.amplitude / self.speed * half * half
    }

    /// By Newton's steps, halved where they would leave the bounds: Λ lies between level · t and that plus
    /// 2 · amplitude / ω.
    pub(super) fn inverse(&self, x: f64) -> f64 {
        let mut high = x / self.level;
        let mut low = ((x - 2.0 * self.amplitude / self.speed) / self.level).max(0.0);
        let mut t = f64::midpoint(low, high);
        for _ in 0..STEPS {
            let above = self.integral(t) - x;
            if above > 0.0 {
                high = t;
            } else {
                low = t;
            }
            let rate = self.level + self.amplitude * libm::sin(self.speed * t);
            let newton = t - above / rate;
            let next =
                if newton > low && newton < high { newton } else { f64::midpoint(low, high) };
            if next == t || high - low < 1e-12 {
                break;
            }
            t = next;
        }
        t
    }
}

/// Two levels in turn.
pub(super) struct OnOff {
    level: f64,
    off_level: f64,
    on_s: f64,
    off_s: f64,
}

impl OnOff {
    pub(super) fn new(level: f64, off_level: f64, on: Duration, off: Duration) -> Self {
        Self { level, off_level, on_s: on.as_secs_f64(), off_s: off.as_secs_f64() }
    }

    /// Arrivals of one time on and one off.
    fn cycle(&self) -> f64 {
        self.level * self.on_s + self.off_level * self.off_s
    }

    pub(super) fn integral(&self, t: f64) -> f64 {
        let cycles = (t / (self.on_s + self.off_s)).floor();
        let into = t - cycles * (self.on_s + self.off_s);
        let on = into.min(self.on_s);
        cycles * self.cycle() + self.level * on + self.off_level * (into - on).max(0.0)
    }

    /// While nothing arrives Λ stands still; its end is the instant of what comes next.
    pub(super) fn inverse(&self, x: f64) -> f64 {
        let cycles = (x / self.cycle()).floor();
        let into = x - cycles * self.cycle();
        let of_on = self.level * self.on_s;
        let began = cycles * (self.on_s + self.off_s);
        if into < of_on {
            return began + into / self.level;
        }
        let into_off =
            if self.off_level > 0.0 { (into - of_on) / self.off_level } else { self.off_s };
        began + self.on_s + into_off
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waves_by_hand() {
        // From 1 to e in 1 s: Λ(t) = e^t − 1; it reaches 1 at ln 2.
        let e = std::f64::consts::E;
        assert!((exponential_integral(1.0, e, 1.0) - (e - 1.0)).abs() < 1e-12);
        assert!((exponential_inverse(1.0, e, 1.0, 1.0) - 2f64.ln()).abs() < 1e-12);
        assert_eq!(exponential_inverse(4.0, 4.0, 9.0, 2.0), 0.5);
        // 10 ± 10 over 2 s: the first half wave has 10 + 2 · 10 / π, the second 10 − that.
        let sine = Sine::new(10.0, 10.0, Duration::from_secs(2));
        assert!((sine.integral(1.0) - (10.0 + 20.0 / std::f64::consts::PI)).abs() < 1e-12);
        assert!((sine.integral(2.0) - 20.0).abs() < 1e-12);
        // 5 a second for 2 s, nothing for 3: the tenth (from 0) opens the second time on, at 5 s.
        let on_off = OnOff::new(5.0, 0.0, Duration::from_secs(2), Duration::from_secs(3));
        assert_eq!(
            (on_off.integral(2.0), on_off.integral(5.0), on_off.integral(6.0)),
            (10.0, 10.0, 15.0)
        );
        assert_eq!(
            (on_off.inverse(9.0), on_off.inverse(10.0), on_off.inverse(15.0)),
            (1.8, 5.0, 6.0)
        );
        let both = OnOff::new(5.0, 1.0, Duration::from_secs(2), Duration::from_secs(3));
        assert_eq!((both.inverse(11.0), both.inverse(13.0)), (3.0, 5.0));
    }

    proptest! {
        #[test]
        fn the_inverse_undoes_the_integral(
            level in 0.1f64..1e4, share in 0.0f64..=1.0, period_s in 0.01f64..1e5, to in 0.1f64..1e4, t in 0.0f64..1e5,
        ) {
            let seconds = t + 1.0;
            let near = |back: f64, x: f64, integral: &dyn Fn(f64) -> f64| (integral(back) - x).abs() < 1e-6 * (1.0 + x);
            let sine = Sine::new(level, level * share, Duration::from_secs_f64(period_s));
            let x = sine.integral(t);
            prop_assert!(near(sine.inverse(x), x, &|t| sine.integral(t)), "sine");
            let half = Duration::from_secs_f64(period_s / 2.0);
            let on_off = OnOff::new(level, level * share, half, half);
            let x = on_off.integral(t);
            prop_assert!(near(on_off.inverse(x), x, &|t| on_off.integral(t)), "on/off");
            let x = exponential_integral(level, to, seconds) * share * 0.999;
            let back = exponential_inverse(level, to, seconds, x);
            let again = exponential_integral(level, level * libm::pow(to / level, back / seconds), back);
            prop_assert!((again - x).abs() < 1e-6 * (1.0 + x), "exponential: {} {}", again, x);
        }
    }
}
