//! What it costs to walk a schedule of ten million arrivals, for the one who counts them all and for one of
//! eight workers: CPU time and peak memory, each case in a process of its own, as a table in Markdown.
//!
//! `cargo run --release -p tokenstorm-workload --example schedule`

use std::io::Write;
use std::num::NonZeroU32;
use std::process::Command;

use workload::{Config, Plan, PlanInputs, Shard, Sources};

const ARRIVALS: u32 = 10_000_000;
const WORKERS: NonZeroU32 = NonZeroU32::new(8).unwrap();

/// What is walked, and its settings beside a rate of 10,000 a second.
const CASES: [(&str, &[&str]); 7] = [
    ("even", &[]),
    ("Poisson", &["load.arrivals=poisson"]),
    ("gamma, burstiness 0.5", &["load.burstiness=0.5"]),
    ("Poisson in a sine", &["load.arrivals=poisson", "load.type=sine", "load.sine.period=60"]),
    (
        "Poisson, ramp by factors",
        &[
            "load.arrivals=poisson",
            "load.type=ramp",
            "load.ramp.shape=exponential",
            "load.ramp.from=10",
            "load.ramp.over=1000",
        ],
    ),
    ("on and off", &["load.type=onOff", "load.onOff={on: 10, off: 5, offRate: 100}"]),
    ("a CSV of ten million rows", &[]),
];

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, case, of] = &arguments[..] {
        return one(case.parse()?, of.parse()?);
    }
    println!(
        "| schedule | arrivals | CPU of all, s | CPU of one of 8 workers, s | peak memory, MB |"
    );
    println!("| --- | --- | --- | --- | --- |");
    for (case, (name, _)) in CASES.iter().enumerate() {
        let run = |of: u32| {
            let out =
                Command::new(&arguments[0]).args([case.to_string(), of.to_string()]).output()?;
            let text = String::from_utf8(out.stdout)?;
            let figures: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            <[String; 3]>::try_from(figures)
                .map_err(|_| Failure::from(String::from_utf8_lossy(&out.stderr)))
        };
        let [arrivals, all_s, _] = run(1)?;
        let [_, worker_s, memory] = run(WORKERS.get())?;
        println!("| {name} | {arrivals} | {all_s} | {worker_s} | {memory} |");
    }
    Ok(())
}

/// Walks one schedule as one of so many workers, and prints arrivals, CPU seconds and peak memory in MB.
fn one(case: usize, of: u32) -> Result<(), Failure> {
    let (_, sets) = CASES.get(case).ok_or("there is no such case")?;
    let folder = std::env::temp_dir().join(format!("tokenstorm-schedule-{}", std::process::id()));
    let mut all = vec!["target.endpoint=http://h".to_owned()];
    all.extend(sets.iter().map(|set| (*set).to_owned()));
    if case + 1 == CASES.len() {
        std::fs::create_dir_all(&folder)?;
        let path = folder.join("rows.csv");
        write_rows(&path)?;
        all.push(format!("load.schedule={}", path.display()));
    } else {
        all.extend(["load.rate=10000".to_owned(), "benchmark.duration=1000".to_owned()]);
    }
    let begun_ns = cpu_ns()?;
    let sources = Sources { sets: all, ..Sources::default() };
    let config = Config::load(sources).map_err(|problems| format!("{problems:?}"))?;
    let inputs = PlanInputs { model: None, prompt_salt: 0 };
    let planned = Plan::from_config(&config, &inputs).map_err(|problems| format!("{problems:?}"));
    _ = std::fs::remove_dir_all(&folder);
    let (plan, _) = planned?;
    let shard = Shard::new(of - 1, NonZeroU32::new(of).ok_or("0 workers")?).ok_or("no shard")?;
    let (count, latest) = plan
        .arrivals(shard)
        .fold((0_u64, 0), |(count, _), arrival| (count + 1, arrival.due.as_nanos()));
    let spent_s = (cpu_ns()? - begun_ns) as f64 / 1e9;
    if latest == 0 {
        return Err("an empty schedule".into());
    }
    println!("{count} {spent_s:.2} {:.0}", peak_kib()? * 1.024e-3);
    Ok(())
}

fn write_rows(path: &std::path::Path) -> Result<(), Failure> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    writeln!(file, "scheduled_offset_s,input_tokens,output_tokens")?;
    for row in 0..ARRIVALS {
        writeln!(file, "{:.4},{},{}", f64::from(row) / 1e4, 100 + row % 900, 10 + row % 90)?;
    }
    Ok(file.flush()?)
}

/// CPU time of this thread, the only one (proc(5), `schedstat`).
fn cpu_ns() -> Result<u64, Failure> {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(told.split_whitespace().next().ok_or("no CPU time is told")?.parse()?)
}

/// The most memory that was resident at once (proc(5), `status`).
fn peak_kib() -> Result<f64, Failure> {
    let told = std::fs::read_to_string("/proc/self/status")?;
    let peak = told.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"));
    Ok(peak.ok_or("no peak is told")?.trim().parse()?)
}
