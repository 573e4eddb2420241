//! The configuration: any file is refused with words or becomes a configuration; what is written of it as run is read
//! again as the same; and a plan that comes of it travels.
#![no_main]

use fuzz::{decoded, with_file};
use libfuzzer_sys::fuzz_target;
use workload::config::REDACTED;
use workload::{Config, ConfigError, Plan, PlanInputs, Sources};

fn load(text: &[u8]) -> Result<Config, Vec<ConfigError>> {
    with_file(text, |path| {
        Config::load(Sources { file: Some(path.to_owned()), ..Sources::default() })
    })
}

/// A refusal says why, each time.
fn hear<E: std::fmt::Display>(problems: &[E]) {
    assert!(!problems.is_empty(), "refused without a word");
    assert!(problems.iter().all(|problem| !problem.to_string().is_empty()), "an empty reason");
}

fn plan(config: &Config) {
    let inputs = PlanInputs { model: None, prompt_salt: 7 };
    match Plan::from_config(config, &inputs) {
        Ok((plan, _warnings)) => {
            let bytes = protocol::encode(&plan).expect("a plan can be encoded");
            let _plan: Plan = decoded(&bytes).expect("a plan of our own can be decoded");
        }
        Err(problems) => hear(&problems),
    }
}

fuzz_target!(|text: &[u8]| {
    let config = match load(text) {
        Ok(config) => config,
        Err(problems) => return hear(&problems),
    };
    plan(&config);
    let as_run = config.to_yaml();
    // A secret is not written, and what stands in its place is refused.
    if as_run.contains(REDACTED) {
        return;
    }
    let again = load(as_run.as_bytes())
        .unwrap_or_else(|problems| panic!("{problems:?} in the configuration as run:\n{as_run}"));
    assert_eq!(again.to_yaml(), as_run, "the configuration as run is another one");
});
