use super::*;
use crate::plan::{CapPolicy, Offered, Pause, Stage, StageKind, ThinkTime};
use proptest::prelude::*;

/// A plan of stages `(seconds, load)`, one after the other; everything else is of no matter here.
fn open_plan(process: ArrivalProcess, loads: &[(Option<f64>, Offered)]) -> Plan {
    let sources = crate::Sources {
        sets: ["target.endpoint=http://t/v1", "load.rate=1"].map(str::to_owned).to_vec(),
        ..crate::Sources::default()
    };
    let inputs = crate::PlanInputs { model: None, prompt_salt: 1 };
    let (mut plan, _) = Plan::from_config(&crate::Config::load(sources).unwrap(), &inputs).unwrap();
    let mut start = Duration::ZERO;
    plan.stages.clear();
    for (length_s, offered) in loads {
        let end = length_s.map(|length_s| start + Duration::from_secs_f64(length_s));
        plan.stages.push(Stage {
            name: "s".to_owned(),
            kind: StageKind::Hold,
            start,
            end,
            offered: *offered,
            arrivals: process,
            own: crate::plan::OwnRules::default(),
        });
        start = end.unwrap_or(start);
    }
    plan.drive = Drive::Open { cap: None, policy: CapPolicy::Hold };
    plan
}

fn constant(level: f64) -> Offered {
    Offered::Constant { level }
}

fn burst(level: f64, size: u32, width_ms: u64) -> Offered {
    Offered::Burst {
        level,
        size: NonZeroU32::new(size).unwrap(),
        width: Duration::from_millis(width_ms),
    }
}

fn dues_ms(plan: &Plan) -> Vec<f64> {
    plan.arrivals(Shard::WHOLE).map(|arrival| arrival.due.as_nanos() as f64 / 1e6).collect()
}

#[test]
fn constant_arrivals_by_hand() {
    // 4 a second for 1.5 s: 0, 250, …; the seventh would be due at 1500 ms, the stage's end.
    let plan = open_plan(ArrivalProcess::Even, &[(Some(1.5), constant(4.0))]);
    assert_eq!(dues_ms(&plan), [0.0, 250.0, 500.0, 750.0, 1000.0, 1250.0]);
    assert_eq!(plan.expected_arrivals(), Some(6));
    // Thirds are rounded to the nanosecond each, not summed: no error grows.
    let thirds = open_plan(ArrivalProcess::Even, &[(Some(1_000_000.0), constant(3.0))]);
    let last = thirds
        .arrivals(Shard::new(0, NonZeroU32::new(3_000_000).unwrap()).unwrap())
        .last()
        .unwrap();
    assert_eq!((last.number, last.due), (0, Duration::ZERO));
    assert_eq!(thirds.expected_arrivals(), Some(3_000_000));
    let second = thirds
        .arrivals(Shard::new(1, NonZeroU32::new(3_000_000).unwrap()).unwrap())
        .last()
        .unwrap();
    assert_eq!(second.due, Duration::from_nanos(333_333_333));
}

#[test]
fn a_rate_that_is_no_binary_fraction_is_still_exact() {
    // 0.1 a second for 300 s is 30 arrivals, each at a whole 10 s.
    let plan = open_plan(ArrivalProcess::Even, &[(Some(300.0), constant(0.1))]);
    let dues = dues_ms(&plan);
    assert_eq!(dues.len(), 30);
    assert!(dues.iter().enumerate().all(|(k, due)| *due == k as f64 * 10_000.0), "{dues:?}");
}

#[test]
fn ramp_arrivals_by_hand() {
    // From 0 to 4 a second in 4 s: Λ(t) = t²/2, so arrival k is due at √(2k) s; Λ(4) = 8 arrivals.
    let rising =
        open_plan(ArrivalProcess::Even, &[(Some(4.0), Offered::Linear { from: 0.0, to: 4.0 })]);
    let by_hand =
        [0.0, 1414.213562, 2000.0, 2449.489743, 2828.427125, 3162.27766, 3464.101615, 3741.657387];
    assert_eq!(dues_ms(&rising), by_hand);
    // From 4 to 0 in 4 s: Λ(t) = 4t − t²/2; t = 4 − √(16 − 2k).
    let falling =
        open_plan(ArrivalProcess::Even, &[(Some(4.0), Offered::Linear { from: 4.0, to: 0.0 })]);
    let by_hand =
        [0.0, 258.342613, 535.898385, 837.72234, 1171.572875, 1550.510257, 2000.0, 2585.786438];
    assert_eq!(dues_ms(&falling), by_hand);
    // From 2 to 2 is constant.
    let flat =
        open_plan(ArrivalProcess::Even, &[(Some(2.0), Offered::Linear { from: 2.0, to: 2.0 })]);
    assert_eq!(dues_ms(&flat), [0.0, 500.0, 1000.0, 1500.0]);
}

#[test]
fn burst_arrivals_by_hand() {
    // 3 every 3/2 s, in 4 s: bursts at 0, 1.5 and 3 s.
    let at_once = open_plan(ArrivalProcess::Even, &[(Some(4.0), burst(2.0, 3, 0))]);
    assert_eq!(dues_ms(&at_once), [0.0, 0.0, 0.0, 1500.0, 1500.0, 1500.0, 3000.0, 3000.0, 3000.0]);
    // Spread over 300 ms: 100 ms apart. The last burst begins at 3 s; the stage ends at 3.15 s.
    let spread = open_plan(ArrivalProcess::Even, &[(Some(3.15), burst(2.0, 3, 300))]);
    assert_eq!(dues_ms(&spread), [0.0, 100.0, 200.0, 1500.0, 1600.0, 1700.0, 3000.0, 3100.0]);
    assert_eq!(spread.expected_arrivals(), Some(8));
}

#[test]
fn each_stage_starts_its_own_schedule_and_numbers_go_on() {
    let plan =
        open_plan(ArrivalProcess::Even, &[(Some(1.0), constant(1.5)), (Some(1.0), constant(2.0))]);
    let arrivals: Vec<(u64, u16, u128)> = plan
        .arrivals(Shard::WHOLE)
        .map(|arrival| (arrival.number, arrival.stage, arrival.due.as_millis()))
        .collect();
    assert_eq!(arrivals, [(0, 0, 0), (1, 0, 666), (2, 1, 1000), (3, 1, 1500)]);
}

#[test]
fn a_stage_without_load_has_no_arrivals() {
    for process in [ArrivalProcess::Even, ArrivalProcess::Poisson] {
        let plan = open_plan(process, &[(Some(5.0), constant(0.0)), (Some(1.0), constant(100.0))]);
        assert!(plan.arrivals(Shard::WHOLE).all(|arrival| arrival.stage == 1), "{process:?}");
    }
}

#[test]
fn a_number_of_requests_ends_an_endless_stage() {
    for process in [ArrivalProcess::Even, ArrivalProcess::Poisson] {
        let mut plan = open_plan(process, &[(Some(1.0), constant(10.0)), (None, constant(5.0))]);
        plan.requests = Some(25);
        let numbers: Vec<u64> = plan.arrivals(Shard::WHOLE).map(|arrival| arrival.number).collect();
        assert_eq!(numbers, (0..25).collect::<Vec<_>>(), "{process:?}");
        assert_eq!(plan.expected_arrivals(), Some(25));
    }
}

#[test]
fn poisson_has_its_mean_and_its_dispersion() {
    let plan = open_plan(ArrivalProcess::Poisson, &[(Some(2000.0), constant(50.0))]);
    let mut in_second = vec![0u32; 2000];
    for arrival in plan.arrivals(Shard::WHOLE) {
        in_second[usize::try_from(arrival.due.as_secs()).unwrap()] += 1;
    }
    let mean = in_second.iter().sum::<u32>() as f64 / 2000.0;
    let variance =
        in_second.iter().map(|count| (f64::from(*count) - mean).powi(2)).sum::<f64>() / 1999.0;
    // Standard error of the mean √(50/2000) = 0.16; of the dispersion √(2/2000) = 0.032. Four each.
    assert!((mean - 50.0).abs() < 0.64, "mean {mean}");
    assert!((variance / mean - 1.0).abs() < 0.13, "dispersion {}", variance / mean);
}

#[test]
fn poisson_follows_a_ramp() {
    // Λ(1000) = 50,000; by half of the time a quarter of it.
    let plan = open_plan(
        ArrivalProcess::Poisson,
        &[(Some(1000.0), Offered::Linear { from: 0.0, to: 100.0 })],
    );
    let early = plan.due_before(Shard::WHOLE, Duration::from_secs(500))[0];
    let all = plan.arrivals(Shard::WHOLE).count();
    assert!((12_500u64.abs_diff(early)) < 450, "{early}");
    assert!(50_000usize.abs_diff(all) < 900, "{all}");
}

#[test]
fn golden_poisson_arrivals() {
    // Fixed for ever: results of different versions are compared by the same seed.
    let plan = open_plan(ArrivalProcess::Poisson, &[(Some(10.0), constant(2.0))]);
    let first: Vec<u128> =
        plan.arrivals(Shard::WHOLE).take(4).map(|arrival| arrival.due.as_nanos()).collect();
    assert_eq!(first, GOLDEN_POISSON_NS);
}

/// Computed by a ChaCha8 of its own, written in Python from RFC 8439 with four double rounds.
const GOLDEN_POISSON_NS: [u128; 4] = [573_072_673, 1_337_047_677, 1_522_345_158, 1_763_970_749];

#[test]
fn ten_million_arrivals_are_cheap_to_skip() {
    // An even schedule is strided over in closed form: the last of 6 × 10^10 arrivals is found at once.
    let mut plan = open_plan(ArrivalProcess::Even, &[(Some(60_000.0), constant(1e6))]);
    plan.requests = None;
    let last_rank = NonZeroU32::new(4_000_000_000).unwrap();
    let arrivals = plan.arrivals(Shard::new(0, last_rank).unwrap());
    assert_eq!(arrivals.last().unwrap().number, 56_000_000_000);
}

#[test]
fn slots_start_staggered_or_with_the_ramp() {
    let mut plan = open_plan(ArrivalProcess::Even, &[(Some(10.0), constant(4.0))]);
    let slots = NonZeroU32::new(4).unwrap();
    plan.drive = Drive::Closed {
        slots,
        ramp_up: Duration::from_secs(2),
        ramp_up_source: crate::RampUp::Configured,
        pause: Pause::None,
    };
    let starts = |plan: &Plan| {
        (0..6).map(|slot| plan.slot_start(slot).map(|start| start.as_millis())).collect::<Vec<_>>()
    };
    assert_eq!(starts(&plan), [Some(0), Some(500), Some(1000), Some(1500), None, None]);
    // Warm-up of 10 s with 1 slot, then from 1 to 4 in 6 s: slots 1, 2, 3 at 10, 12, 14 s.
    let mut ramp = open_plan(
        ArrivalProcess::Even,
        &[
            (Some(10.0), constant(1.0)),
            (Some(6.0), Offered::Linear { from: 1.0, to: 4.0 }),
            (Some(5.0), constant(4.0)),
        ],
    );
    ramp.drive = plan.drive.clone();
    assert_eq!(starts(&ramp), [Some(0), Some(10_000), Some(12_000), Some(14_000), None, None]);
    assert_eq!(ramp.arrivals(Shard::WHOLE).count(), 0);
}

#[test]
fn closed_requests_are_numbered_by_round_and_slot() {
    let mut plan = open_plan(ArrivalProcess::Even, &[(None, constant(4.0))]);
    let slots = NonZeroU32::new(4).unwrap();
    plan.drive = Drive::Closed {
        slots,
        ramp_up: Duration::ZERO,
        ramp_up_source: crate::RampUp::Open,
        pause: Pause::None,
    };
    plan.requests = Some(10);
    assert_eq!(plan.closed_request(1, 2), Some(9));
    assert_eq!(plan.closed_request(2, 2), None);
    assert_eq!(plan.closed_request(4, 0), None);
    assert_eq!(plan.closed_request(0, u64::MAX), None);
    plan.drive = Drive::Open { cap: None, policy: CapPolicy::Hold };
    assert_eq!((plan.closed_request(0, 0), plan.slot_start(0)), (None, None));
}

/// Counts of arrivals in so many windows of equal length: their mean and index of dispersion.
fn mean_and_dispersion(plan: &Plan, windows: usize) -> (f64, f64) {
    let window_ns = plan.end().unwrap().as_nanos() / windows as u128;
    let mut counts = vec![0u32; windows];
    for arrival in plan.arrivals(Shard::WHOLE) {
        let window = usize::try_from(arrival.due.as_nanos() / window_ns).unwrap();
        counts[window.min(windows - 1)] += 1;
    }
    let mean = counts.iter().sum::<u32>() as f64 / windows as f64;
    let squares = counts.iter().map(|count| (f64::from(*count) - mean).powi(2)).sum::<f64>();
    (mean, squares / (windows - 1) as f64 / mean)
}

#[test]
fn gamma_arrivals_have_the_mean_and_the_dispersion_of_their_burstiness() {
    // Of a renewal process the index of dispersion of counts goes to the squared coefficient of variation of
    // its gaps, here 1 / shape, in windows of many gaps: 500 of them. Standard errors: of the mean
    // √(500 / shape / 2000), of the dispersion √(2 / 2000) = 3.2 % of it. Five each.
    for burstiness in [0.25, 0.5, 4.0] {
        let gamma = ArrivalProcess::Gamma { burstiness };
        let plan = open_plan(gamma, &[(Some(20_000.0), constant(50.0))]);
        let (mean, dispersion) = mean_and_dispersion(&plan, 2000);
        let tolerance = 5.0 * (500.0 / burstiness / 2000.0_f64).sqrt();
        assert!((mean - 500.0).abs() < tolerance, "{burstiness}: mean {mean}");
        assert!((dispersion * burstiness - 1.0).abs() < 0.16, "{burstiness}: {dispersion}");
    }
}

#[test]
fn waves_have_their_rate_at_every_phase() {
    let second = |seconds| Duration::from_secs(seconds);
    let sine = Offered::Sine { level: 100.0, amplitude: 80.0, period: second(100) };
    let on_off = Offered::OnOff { level: 100.0, off_level: 20.0, on: second(30), off: second(70) };
    let exponential = Offered::Exponential { from: 10.0, to: 1000.0 };
    for (offered, tolerance) in [(sine, 0.04), (on_off, 0.04), (exponential, 0.08)] {
        for process in [ArrivalProcess::Even, ArrivalProcess::Poisson] {
            // Ten times 100 s; of the ramp 1000 s. Poisson counts of 10 s of all ten waves: 1 to 3 % each.
            let plan = open_plan(process, &[(Some(1000.0), offered)]);
            let is_wave = !matches!(offered, Offered::Exponential { .. });
            let phases = 10;
            let phase_s = if is_wave { 10.0 } else { 100.0 };
            let mut counts = vec![0.0; phases];
            for arrival in plan.arrivals(Shard::WHOLE) {
                let phase = (arrival.due.as_secs_f64() / phase_s) as usize % phases;
                counts[phase] += 1.0;
            }
            for (phase, count) in counts.iter().enumerate() {
                // The mean of the level over the phase, by steps of a hundredth.
                let level = |step: u32| {
                    let into = phase_s * (phase as f64 + (f64::from(step) + 0.5) / 100.0);
                    plan.stages[0].level_at(Duration::from_secs_f64(into))
                };
                let mean = (0..100).map(level).sum::<f64>() / 100.0;
                let expected = mean * 100.0;
                let difference = (count - expected).abs();
                assert!(
                    difference < tolerance * expected + 5.0 * expected.sqrt(),
                    "{offered:?} {process:?} phase {phase}: {count} for {expected}"
                );
            }
        }
    }
}

/// Counts of a random process scatter about what a shape has in a window, as much as about a constant rate: of Poisson
/// arrivals the mean of (count − expected)² / expected is 1, of gamma ones 1 / shape, in windows of many gaps.
#[test]
fn random_arrivals_scatter_about_every_shape_as_their_process_says() {
    let seconds = Duration::from_secs;
    let one = |offered| vec![(Some(10_000.0), offered)];
    let steps = (1..=10).map(|step| (Some(1_000.0), constant(f64::from(step) * 20.0))).collect();
    let shapes = [
        one(constant(80.0)),
        one(Offered::Linear { from: 40.0, to: 160.0 }),
        one(Offered::Exponential { from: 40.0, to: 200.0 }),
        one(Offered::Sine { level: 100.0, amplitude: 60.0, period: seconds(200) }),
        one(Offered::OnOff { level: 120.0, off_level: 60.0, on: seconds(50), off: seconds(30) }),
        steps,
    ];
    // Windows of 10 s that begin and end with those of the shapes.
    const WINDOWS: usize = 1_000;
    for (shape, loads) in shapes.iter().enumerate() {
        for (process, dispersion) in [
            (ArrivalProcess::Poisson, 1.0),
            (ArrivalProcess::Gamma { burstiness: 0.5 }, 2.0),
            (ArrivalProcess::Gamma { burstiness: 4.0 }, 0.25),
        ] {
            let plan = open_plan(process, loads);
            let even = open_plan(ArrivalProcess::Even, loads);
            let counts = |plan: &Plan| {
                let mut counts = vec![0.0_f64; WINDOWS];
                for arrival in plan.arrivals(Shard::WHOLE) {
                    counts[usize::try_from(arrival.due.as_secs() / 10).unwrap()] += 1.0;
                }
                counts
            };
            // Even arrivals have what Λ gains in a window, to one.
            let (found, expected) = (counts(&plan), counts(&even));
            let (all, of_all): (f64, f64) = (found.iter().sum(), expected.iter().sum());
            let error = (of_all * dispersion).sqrt();
            assert!(
                (all - of_all).abs() < 5.0 * error,
                "shape {shape} {process:?}: {all} of {of_all}"
            );
            let squares = found.iter().zip(&expected).map(|(f, e)| (f - e).powi(2) / e);
            let scatter = squares.sum::<f64>() / WINDOWS as f64 / dispersion;
            // Standard error √(2 / 1000) = 4.5 %; five of them, and what rounding to whole arrivals adds.
            assert!((scatter - 1.0).abs() < 0.25, "shape {shape} {process:?}: {scatter}");
        }
    }
}

#[test]
fn the_rows_of_a_file_are_dealt_out_whole() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows.csv");
    let rows = (0..500).fold("scheduled_offset_s\n".to_owned(), |text, row| {
        text + &format!("{}\n", f64::from(row * row % 97) / 1_000.0 + f64::from(row) / 5.0)
    });
    std::fs::write(&file, rows).unwrap();
    let sets =
        ["target.endpoint=http://t/v1".to_owned(), format!("load.schedule={}", file.display())];
    let sources = crate::Sources { sets: sets.to_vec(), ..crate::Sources::default() };
    let inputs = crate::PlanInputs { model: None, prompt_salt: 1 };
    let (mut plan, _) = Plan::from_config(&crate::Config::load(sources).unwrap(), &inputs).unwrap();
    plan.read_schedule().unwrap();
    let whole: Vec<Arrival> = plan.arrivals(Shard::WHOLE).collect();
    assert_eq!(whole.len(), 500);
    for workers in [1, 2, 7] {
        let shards = Shard::split(NonZeroU32::new(workers).unwrap());
        let mut union: Vec<Arrival> = shards.flat_map(|shard| plan.arrivals(shard)).collect();
        union.sort_by_key(|arrival| arrival.number);
        assert_eq!(union, whole, "{workers} workers");
    }
}

#[test]
fn slots_rest_in_a_smaller_stage_and_go_on_in_a_larger_one() {
    let seconds = Duration::from_secs;
    let mut plan = open_plan(
        ArrivalProcess::Even,
        &[
            (Some(10.0), constant(4.0)),
            (Some(10.0), constant(2.0)),
            (Some(10.0), constant(6.0)),
            (Some(10.0), Offered::Linear { from: 6.0, to: 1.0 }),
        ],
    );
    plan.drive = Drive::Closed {
        slots: NonZeroU32::new(6).unwrap(),
        ramp_up: seconds(4),
        ramp_up_source: crate::RampUp::Configured,
        pause: Pause::None,
    };
    let resumes = |slot, at| plan.slot_resumes(slot, seconds(at)).map(|at| at.as_secs());
    assert_eq!([0, 1, 2, 3].map(|slot| resumes(slot, 0)), [Some(0), Some(1), Some(2), Some(3)]);
    assert_eq!([resumes(1, 12), resumes(2, 12), resumes(3, 19)], [Some(12), Some(20), Some(21)]);
    // Slots 2 to 5 are new in the third stage: staggered over 4 s.
    assert_eq!([resumes(4, 0), resumes(5, 0)], [Some(22), Some(23)]);
    // Slot 5 leaves when the falling ramp passes 5, 2 s after its start; slot 0 stays to the end.
    assert_eq!(
        [resumes(5, 31), resumes(5, 32), resumes(1, 39), resumes(0, 39)],
        [Some(31), None, Some(39), Some(39)]
    );
    assert_eq!([resumes(0, 40), resumes(6, 0)], [None, None]);
}

fn thinking(pause: Pause) -> Plan {
    let mut plan = open_plan(ArrivalProcess::Even, &[(Some(10.0), constant(1.0))]);
    plan.drive = Drive::Closed {
        slots: NonZeroU32::MIN,
        ramp_up: Duration::ZERO,
        ramp_up_source: crate::RampUp::Configured,
        pause,
    };
    plan
}

#[test]
fn think_times_have_their_mean_and_deviation() {
    let seconds = Duration::from_secs;
    for (time, mean, deviation) in [
        (ThinkTime::Fixed { time: seconds(3) }, 3.0, 0.0),
        (ThinkTime::Exponential { mean: seconds(3) }, 3.0, 3.0),
        (ThinkTime::Lognormal { mean: seconds(3), stddev: seconds(2) }, 3.0, 2.0),
        (ThinkTime::Uniform { min: seconds(1), max: seconds(5) }, 3.0, 4.0 / 12f64.sqrt()),
    ] {
        let plan = thinking(Pause::Think(time));
        let drawn: Vec<f64> = (0..50_000)
            .map(|number| (plan.asks_again(number, seconds(7)) - seconds(7)).as_secs_f64())
            .collect();
        let found = drawn.iter().sum::<f64>() / 50_000.0;
        let squares = drawn.iter().map(|drawn| (drawn - found).powi(2)).sum::<f64>();
        // Five standard errors of the mean are 2.2 % of the deviation.
        assert!((found - mean).abs() <= 0.023 * deviation, "{time:?}: {found}");
        let spread = (squares / 49_999.0).sqrt();
        assert!((spread - deviation).abs() <= 0.05 * deviation, "{time:?}: {spread}");
    }
}

#[test]
fn who_goes_in_rounds_waits_for_the_next() {
    let plan = thinking(Pause::Rounds { every: Duration::from_secs(10) });
    let asks = |answered_ms| plan.asks_again(3, Duration::from_millis(answered_ms)).as_millis();
    assert_eq!(
        [asks(0), asks(1), asks(9_999), asks(10_000), asks(25_000)],
        [10_000, 10_000, 10_000, 20_000, 30_000]
    );
    let at_once = thinking(Pause::None);
    assert_eq!(at_once.asks_again(3, Duration::from_millis(5)), Duration::from_millis(5));
}

fn processes() -> impl Strategy<Value = ArrivalProcess> {
    prop_oneof![
        Just(ArrivalProcess::Even),
        Just(ArrivalProcess::Poisson),
        (0.1f64..10.0).prop_map(|burstiness| ArrivalProcess::Gamma { burstiness }),
    ]
}

fn loads() -> impl Strategy<Value = Vec<(Option<f64>, Offered)>> {
    let offered = prop_oneof![
        (0.0f64..300.0).prop_map(constant),
        (0.0f64..300.0, 0.1f64..300.0).prop_map(|(from, to)| Offered::Linear { from, to }),
        (0.5f64..300.0, 1u32..20).prop_map(|(level, size)| burst(level, size, 1)),
        (0.1f64..300.0, 0.1f64..300.0).prop_map(|(from, to)| Offered::Exponential { from, to }),
        (0.5f64..300.0, 0.0f64..=1.0, 1u64..3000).prop_map(|(level, share, ms)| {
            Offered::Sine { level, amplitude: level * share, period: Duration::from_millis(ms) }
        }),
        (0.5f64..300.0, 0.0f64..300.0, 1u64..2000, 1u64..2000).prop_map(
            |(level, off_level, on, off)| {
                let (on, off) = (Duration::from_millis(on), Duration::from_millis(off));
                Offered::OnOff { level, off_level, on, off }
            }
        ),
    ];
    prop::collection::vec(
        (0.001f64..5.0, offered).prop_map(|(length, offered)| (Some(length), offered)),
        1..4,
    )
}

proptest! {
    #[test]
    fn the_union_of_all_shards_is_the_whole(loads in loads(), process in processes(), other in processes(), workers in 1u32..7, lanes in 1u32..4) {
        let mut plan = open_plan(process, &loads);
        plan.stages.iter_mut().skip(1).step_by(2).for_each(|stage| stage.arrivals = other);
        let whole: Vec<Arrival> = plan.arrivals(Shard::WHOLE).collect();
        let mut union = Vec::new();
        for worker in Shard::split(NonZeroU32::new(workers).unwrap()) {
            let lane_count = NonZeroU32::new(lanes).unwrap();
            for lane in (0..lanes).map(|lane| worker.lane(lane, lane_count)) {
                union.extend(plan.arrivals(lane));
            }
        }
        union.sort_by_key(|arrival| arrival.number);
        prop_assert_eq!(union, whole);
    }

    #[test]
    fn due_instants_never_decrease_and_stay_in_their_stage(loads in loads(), process in processes(), other in processes()) {
        let mut plan = open_plan(process, &loads);
        plan.stages.iter_mut().skip(1).step_by(2).for_each(|stage| stage.arrivals = other);
        let mut before = Duration::ZERO;
        for (number, arrival) in plan.arrivals(Shard::WHOLE).enumerate() {
            prop_assert_eq!(arrival.number, u64::try_from(number).unwrap());
            prop_assert!(arrival.due >= before);
            prop_assert!(plan.stages[usize::from(arrival.stage)].holds(arrival.due));
            prop_assert_eq!(plan.stage_at(arrival.due), Some(arrival.stage));
            before = arrival.due;
        }
    }

    #[test]
    fn counts_of_what_is_due_agree_with_the_schedule(loads in loads(), workers in 1u32..5, steps in 1u64..20) {
        let plan = open_plan(ArrivalProcess::Poisson, &loads);
        let count = NonZeroU32::new(workers).unwrap();
        let mut counts = plan.due_counts(count);
        let mut sums = std::collections::BTreeMap::new();
        let end = plan.end().unwrap();
        for step in 1..=steps {
            let until = end.mul_f64(step as f64 / steps as f64);
            for (rank, stage, arrivals) in counts.advance(until) {
                *sums.entry((rank, stage)).or_insert(0) += arrivals;
            }
            for shard in Shard::split(count) {
                for (stage, due) in plan.due_before(shard, until).into_iter().enumerate() {
                    let stage = u16::try_from(stage).unwrap();
                    prop_assert_eq!(sums.get(&(shard.rank, stage)).copied().unwrap_or(0), due);
                }
            }
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_arrivals_and_another_seed_others(seed in any::<u64>()) {
        let mut plan = open_plan(ArrivalProcess::Poisson, &[(Some(1.0), constant(100.0))]);
        plan.seed = seed;
        let dues = |plan: &Plan| plan.arrivals(Shard::WHOLE).map(|arrival| arrival.due).collect::<Vec<_>>();
        prop_assert_eq!(dues(&plan), dues(&plan.clone()));
        let mut other = plan.clone();
        other.seed = seed.wrapping_add(1);
        prop_assert_ne!(dues(&plan), dues(&other));
    }
}
