use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde_json::json;

use super::*;
use crate::{Config, Sources};

const RULES: SearchRules = SearchRules {
    from: 10.0,
    least: 0.01,
    most: 1e6,
    precision: 0.02,
    repeats: 5,
    probes: 200,
    whole: false,
};

fn sure(margin: f64) -> Reading {
    Reading::Margin { margin, half_width: Some(margin.abs() / 10.0) }
}

/// Searches with a function that says what each probe shows.
fn search(rules: SearchRules, mut probe: impl FnMut(f64) -> Reading) -> (Found, Search) {
    let mut search = Search::new(rules);
    loop {
        match search.next() {
            Next::Probe(level) => {
                let reading = probe(level);
                search.record(level, reading);
            }
            Next::Done(found) => return (found, search),
        }
    }
}

/// A service whose objectives hold up to a level exactly.
fn exact(capacity: f64) -> impl FnMut(f64) -> Reading {
    move |level| sure(1.0 - level / capacity)
}

#[test]
fn the_capacity_of_an_exact_service_lies_between_the_bounds() {
    for capacity in [0.3, 9.9, 10.1, 37.0, 4_711.0] {
        let (found, search) = search(RULES, exact(capacity));
        let (low, high) = (found.holds.unwrap(), found.fails.unwrap());
        assert!(low <= capacity && capacity <= high && high / low <= 1.0201, "{found:?}");
        assert_eq!((found.outcome, found.certain), (Outcome::Bracketed, true));
        assert!(search.probes() < 25, "{}", search.probes());
    }
}

#[test]
fn whole_levels_end_beside_each_other() {
    let rules = SearchRules { whole: true, least: 1.0, ..RULES };
    for capacity in 1..40 {
        let (found, _) = search(rules, exact(f64::from(capacity) + 0.5));
        assert_eq!(found.holds, Some(f64::from(capacity)));
        assert_eq!(found.fails, Some(f64::from(capacity + 1)));
    }
}

#[test]
fn a_search_without_an_end_on_one_side_says_so() {
    let rules = SearchRules { most: 50.0, ..RULES };
    let (found, _) = search(rules, exact(1_000.0));
    assert_eq!((found.outcome, found.holds, found.fails), (Outcome::AtLeast, Some(50.0), None));
    let (found, _) = search(RULES, |_| sure(-1.0));
    assert_eq!((found.outcome, found.holds), (Outcome::NoneHolds, None));
    let (found, _) = search(SearchRules { probes: 3, ..RULES }, exact(37.0));
    assert_eq!((found.outcome, found.holds), (Outcome::ProbesUsedUp, Some(20.0)));
}

#[test]
fn where_the_generator_gives_up_is_no_upper_bound() {
    let service = |level: f64| if level > 30.0 { Reading::NotOffered } else { sure(0.5) };
    let (found, _) = search(RULES, service);
    assert_eq!((found.outcome, found.fails), (Outcome::GeneratorLimit, None));
    assert!(found.holds.is_some_and(|level| level > 29.0 && level <= 30.0), "{found:?}");
    assert!(found.not_offered.is_some_and(|level| level > 30.0 && level < 31.0), "{found:?}");
}

#[test]
fn a_generator_that_offers_no_level_is_its_own_limit_and_no_service_that_fails() {
    for useless in [Reading::NotOffered, Reading::Spoilt] {
        let (found, _) = search(RULES, |_| useless);
        let limit = (Outcome::GeneratorLimit, None, None, Some(RULES.least));
        assert_eq!((found.outcome, found.holds, found.fails, found.not_offered), limit);
    }
}

#[test]
fn a_level_that_fails_is_told_though_a_lower_one_could_not_be_offered() {
    // 10 and 20 hold, 40 fails, and then the machine is busy: 28.3 and more are not offered any more.
    let mut service = exact(35.0);
    let mut probes = 0;
    let (found, _) = search(RULES, |level| {
        probes += 1;
        if probes > 3 && level > 25.0 { Reading::NotOffered } else { service(level) }
    });
    assert_eq!((found.outcome, found.fails), (Outcome::GeneratorLimit, Some(40.0)), "{found:?}");
    let not_offered = found.not_offered.unwrap();
    assert!(found.holds.unwrap() <= 25.0 && (25.0..26.0).contains(&not_offered), "{found:?}");
}

#[test]
fn a_single_probe_that_could_not_be_offered_is_made_again() {
    let mut service = exact(35.0);
    let mut probes = 0;
    let (found, search) = search(RULES, |level| {
        probes += 1;
        if probes == 4 { Reading::NotOffered } else { service(level) }
    });
    assert_eq!((found.outcome, found.not_offered), (Outcome::Bracketed, None), "{found:?}");
    assert!(found.holds.unwrap() <= 35.0 && found.fails.unwrap() >= 35.0, "{found:?}");
    assert!(search.levels().iter().any(|level| level.readings.contains(&Reading::NotOffered)));
    let level = |readings: &[Reading]| Level { level: 1.0, readings: readings.to_vec() };
    let judged = |readings: &[Reading]| level(readings).judgement(3);
    assert_eq!(judged(&[Reading::NotOffered]), Judgement::Open);
    assert_eq!(judged(&[Reading::NotOffered, sure(0.5)]), Judgement::Holds { certain: true });
    assert_eq!(judged(&[Reading::NotOffered; 2]), Judgement::NotOffered);
    let mixed = [Reading::Spoilt, Reading::NotOffered, Reading::Spoilt];
    assert_eq!(judged(&mixed), Judgement::NotOffered, "three that say nothing");
    assert_eq!(level(&[Reading::NotOffered]).judgement(1), Judgement::NotOffered, "once was asked");
}

proptest! {
    /// Whatever the probes show, in whatever order: each bound is a level that was judged so.
    #[test]
    fn bounds_are_levels_that_were_judged_so(seed: u64) {
        let mut dice = ChaCha8Rng::seed_from_u64(seed);
        let rules = SearchRules { repeats: 3, probes: 80, ..RULES };
        let (found, search) = search(rules, |level| match dice.next_u32() % 10 {
            0 | 1 => Reading::NotOffered,
            2 => Reading::Spoilt,
            3 => Reading::Blind,
            4 => sure(-0.7),
            _ => sure(1.0 - level / 37.0),
        });
        let of = |level: Option<f64>| {
            let judged = |level: f64| search.levels().iter().find(|known| known.level == level);
            level.map(|level| judged(level).unwrap().judgement(rules.repeats))
        };
        let is_failure = |known: &&Level| matches!(known.judgement(rules.repeats), Judgement::Fails { .. });
        let lowest_failure = search.levels().iter().find(is_failure).map(|known| known.level);
        prop_assert_eq!(found.fails, lowest_failure);
        prop_assert!(matches!(of(found.holds), None | Some(Judgement::Holds { .. })), "{:?}", found);
        prop_assert!(matches!(of(found.not_offered), None | Some(Judgement::NotOffered)), "{:?}", found);
        let rising: Vec<f64> = [found.holds, found.not_offered, found.fails].into_iter().flatten().collect();
        prop_assert!(rising.is_sorted_by(|low, high| low < high), "{:?}", found);
        match found.outcome {
            Outcome::NoneHolds => prop_assert_eq!(found.fails, Some(rules.least)),
            Outcome::GeneratorLimit => prop_assert!(found.not_offered.is_some()),
            Outcome::Bracketed => prop_assert!(found.holds.is_some() && found.fails.is_some()),
            Outcome::AtLeast | Outcome::TooFewSamples | Outcome::ProbesUsedUp => {}
        }
    }
}

#[test]
fn levels_with_too_few_samples_are_passed_and_never_held_for_met() {
    let mut exact_service = exact(100.0);
    let (found, _) =
        search(RULES, |level| if level < 30.0 { Reading::Blind } else { exact_service(level) });
    assert_eq!(found.outcome, Outcome::Bracketed);
    assert!(found.holds.is_some_and(|level| level > 97.0), "{found:?}");
    let (found, _) = search(RULES, |level| if level < 30.0 { Reading::Blind } else { sure(-1.0) });
    assert_eq!((found.outcome, found.holds), (Outcome::TooFewSamples, None));
}

#[test]
fn a_doubtful_level_is_repeated_and_the_mean_decides() {
    let level = |readings: &[(f64, Option<f64>)]| Level {
        level: 1.0,
        readings: readings
            .iter()
            .map(|&(margin, half_width)| Reading::Margin { margin, half_width })
            .collect(),
    };
    let judged = |readings: &[(f64, Option<f64>)]| level(readings).judgement(3);
    assert_eq!(judged(&[(0.10, Some(0.05))]), Judgement::Holds { certain: true });
    assert_eq!(judged(&[(0.04, Some(0.05))]), Judgement::Open);
    // Three of ±0.05 are known to 0.05 / √3 · 1.645 / 1.96 = 0.024.
    assert_eq!(judged(&[(0.04, Some(0.05)); 3]), Judgement::Holds { certain: true });
    assert_eq!(judged(&[(0.02, Some(0.05)); 3]), Judgement::Holds { certain: false });
    // They differ by more than their own intervals say.
    let apart = [(0.3, Some(0.05)), (-0.2, Some(0.05)), (0.0, Some(0.05))];
    assert_eq!(judged(&apart), Judgement::Holds { certain: false });
    assert_eq!(judged(&[(-0.6, None)]), Judgement::Fails { certain: true });
    assert_eq!(judged(&[(-0.3, None)]), Judgement::Open);
}

#[test]
fn a_spoilt_probe_is_made_again_and_one_that_is_always_spoilt_is_not_offered() {
    let mut service = exact(37.0);
    let mut probes = 0;
    let (found, search) = search(RULES, |level| {
        probes += 1;
        if probes % 3 == 0 { Reading::Spoilt } else { service(level) }
    });
    assert_eq!(found.outcome, Outcome::Bracketed);
    assert!(found.holds.is_some_and(|level| level > 36.0), "{found:?}");
    let spoilt = |level: &Level| level.readings.contains(&Reading::Spoilt);
    assert!(search.levels().iter().any(spoilt), "{search:?}");
    let level = |readings: &[Reading]| Level { level: 1.0, readings: readings.to_vec() };
    let judged = |readings: &[Reading]| level(readings).judgement(3);
    assert_eq!(judged(&[Reading::Spoilt; 2]), Judgement::Open);
    assert_eq!(judged(&[Reading::Spoilt; 3]), Judgement::NotOffered);
    assert_eq!(judged(&[Reading::Spoilt, sure(0.5)]), Judgement::Holds { certain: true });
    let doubtful = Reading::Margin { margin: 0.1, half_width: Some(0.2) };
    let mut seen = vec![Reading::Spoilt, doubtful];
    assert_eq!(judged(&seen), Judgement::Open);
    seen.extend([Reading::Spoilt; 2]);
    assert_eq!(judged(&seen), Judgement::Holds { certain: false }, "it is tried no more");
}

/// Exponential variates from a seeded stream.
struct Dice(ChaCha8Rng);

impl Dice {
    fn exponential(&mut self, rate: f64) -> f64 {
        let uniform = (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        -(1.0 - uniform).ln() / rate
    }
}

/// Times in an M/M/c queue with first come, first served, over so many seconds of virtual time, in order of arrival:
/// (wait, stay).
fn queue(
    dice: &mut Dice,
    arrivals: f64,
    service: f64,
    servers: usize,
    seconds: f64,
) -> Vec<(f64, f64)> {
    let mut free = vec![0.0_f64; servers];
    let (mut now, mut times) = (0.0, Vec::new());
    loop {
        now += dice.exponential(arrivals);
        if now > seconds {
            return times;
        }
        let first = (0..servers).min_by(|one, other| free[*one].total_cmp(&free[*other])).unwrap();
        let begun = now.max(free[first]);
        free[first] = begun + dice.exponential(service);
        times.push((begun - now, free[first] - now));
    }
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() as f64 * share) as usize).min(sorted.len() - 1)]
}

/// A probe as a run would report it: a percentile of all, with an interval from ten stretches of time.
fn probe(mut samples: Vec<f64>, share: f64, limit: f64) -> Reading {
    let warm = samples.len() / 10;
    let mut samples = samples.split_off(warm);
    let stretch = samples.len() / 10;
    if stretch < 20 {
        return Reading::Blind;
    }
    let of = |part: &mut [f64]| {
        part.sort_by(f64::total_cmp);
        quantile(part, share)
    };
    let parts: Vec<f64> = samples.chunks_exact_mut(stretch).take(10).map(of).collect();
    let mean = parts.iter().sum::<f64>() / 10.0;
    let variance = parts.iter().map(|part| (part - mean).powi(2)).sum::<f64>() / 9.0;
    // Student's t with 9 degrees of freedom, two-sided.
    let half_width = 2.262 * (variance / 10.0).sqrt() / limit;
    Reading::Margin { margin: (limit - of(&mut samples)) / limit, half_width: Some(half_width) }
}

/// M/M/1: the stay is exponential with rate μ − λ, so its p95 is ln 20 / (μ − λ), which is the limit at λ = μ − ln 20 / limit.
#[test]
fn the_capacity_of_one_server_is_found_within_five_percent_on_ten_seeds() {
    let (service, limit) = (100.0, 0.1);
    let answer = service - 20_f64.ln() / limit;
    for seed in 0..10 {
        let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed));
        let (found, _) = search(RULES, |level| {
            let times = queue(&mut dice, level, service, 1, 300.0);
            probe(times.into_iter().map(|(_, stay)| stay).collect(), 0.95, limit)
        });
        let holds = found.holds.unwrap();
        assert!((holds / answer - 1.0).abs() < 0.05, "seed {seed}: {holds}, not {answer}");
        assert_eq!(found.outcome, Outcome::Bracketed);
    }
}

/// Erlang's C: the chance that all c servers are busy.
fn erlang_c(load: f64, servers: usize) -> f64 {
    let blocked =
        (1..=servers).fold(1.0, |blocked, n| load * blocked / (n as f64 + load * blocked));
    let used = load / servers as f64;
    blocked / (1.0 - used + used * blocked)
}

/// M/M/8: P(wait > t) = C · e^(−(cμ − λ)·t); the p95 of the wait is the limit where that is 5 %.
#[test]
fn the_capacity_of_eight_servers_is_found_within_five_percent_on_ten_seeds() {
    let (service, servers, limit) = (10.0, 8, 0.05);
    let slow = |rate: f64| {
        erlang_c(rate / service, servers) * (-(servers as f64 * service - rate) * limit).exp()
    };
    let (mut low, mut high) = (1.0, 79.9);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if slow(middle) < 0.05 { low = middle } else { high = middle }
    }
    for seed in 100..110 {
        let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed));
        let (found, _) = search(RULES, |level| {
            let times = queue(&mut dice, level, service, servers, 300.0);
            probe(times.into_iter().map(|(wait, _)| wait).collect(), 0.95, limit)
        });
        let holds = found.holds.unwrap();
        assert!((holds / low - 1.0).abs() < 0.05, "seed {seed}: {holds}, not {low}");
    }
}

/// D/D/1 with a gentle slope: even without any interval the answer is right, for more probes.
#[test]
fn a_service_without_intervals_is_searched_as_well() {
    let service =
        |level: f64| Reading::Margin { margin: 0.2 * (1.0 - level / 55.0), half_width: None };
    let (found, search) = search(RULES, service);
    assert!(found.holds.unwrap() <= 55.0 && found.fails.unwrap() >= 55.0, "{found:?}");
    assert!(search.probes() < 60);
}

#[test]
fn the_knee_is_where_power_is_greatest() {
    // 1/10, 5/11, 8/15, 9/40
    assert_eq!(knee(&[(1.0, 10.0), (5.0, 11.0), (8.0, 15.0), (9.0, 40.0)]), Some(2));
    assert_eq!(knee(&[(0.0, 10.0)]), None);
}

#[test]
fn a_configuration_says_what_is_looked_for() {
    let config = |keys: &[(&str, serde_json::Value)]| {
        let flags = keys.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        Config::load(Sources { flags, ..Sources::default() }).unwrap()
    };
    let slos = ("slos", json!({"ttft": {"p95": 1}}));
    let users = config(&[slos.clone(), ("load.concurrency", json!(8))]);
    let (by, rules) = SearchRules::of(&users).unwrap();
    assert_eq!((by, rules.from, rules.least, rules.whole), (SearchBy::Concurrency, 8.0, 1.0, true));
    let both = config(&[slos.clone(), ("load.concurrency", json!(8)), ("load.rate", json!(3.5))]);
    assert_eq!(SearchRules::of(&both).unwrap().0, SearchBy::Rate);
    let wrong = config(&[
        ("load.rate", json!(9)),
        ("search.most", json!(5)),
        ("sweep.grid", json!({"a": [1]})),
    ]);
    let problems = SearchRules::of(&wrong).unwrap_err();
    assert_eq!(
        problems,
        [SearchError::NoObjective, SearchError::Several("sweep.grid"), SearchError::Bounds]
    );
}
