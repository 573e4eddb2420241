//! Where the configurations of the sides are not alike, by dotted key.

use std::collections::{BTreeMap, BTreeSet};

use report::{ConfigurationDifference, StoredRun};
use serde_json::Value;
use workload::{
    Config, Sources,
    config::{KEYS, looks_like_credential},
};

use super::sides::Side;

/// Every run has a text of its own.
const EXPECTED: [&str; 1] = ["benchmark.promptSalt"];

/// What differs, and a line for each configuration that cannot be read. Repeats are alike but for their text; of a side
/// whose runs are not, every run's value is shown.
pub(super) fn differences(sides: &[&Side]) -> (Vec<ConfigurationDifference>, Vec<String>) {
    let mut unread = Vec::new();
    let mut by_side = Vec::new();
    for side in sides {
        let mut of_runs = Vec::new();
        for run in &side.runs {
            match flat(&run.stored) {
                Ok(settings) => of_runs.push(settings),
                Err(reason) => unread.push(reason),
            }
        }
        by_side.push(of_runs);
    }
    if !unread.is_empty() {
        return (Vec::new(), unread);
    }
    let keys: BTreeSet<&String> = by_side.iter().flatten().flat_map(BTreeMap::keys).collect();
    let difference = |key: &&String| {
        let values: Vec<Option<String>> = by_side.iter().map(|runs| together(runs, key)).collect();
        let differs = values.windows(2).any(|pair| pair[0] != pair[1]);
        differs.then(|| ConfigurationDifference { key: (*key).clone(), values })
    };
    (keys.iter().filter_map(difference).collect(), unread)
}

/// The value that all runs of a side have, or all of theirs.
fn together(runs: &[BTreeMap<String, String>], key: &str) -> Option<String> {
    let mut values: Vec<&str> =
        runs.iter().map(|settings| settings.get(key).map_or("–", String::as_str)).collect();
    values.dedup();
    match values.as_slice() {
        ["–"] | [] => None,
        several => Some(several.join(" | ")),
    }
}

/// The settings of a run by dotted key.
fn flat(run: &StoredRun) -> Result<BTreeMap<String, String>, String> {
    let path = run.directory.join("config.yaml");
    let sources = Sources { file: Some(path), ..Sources::default() };
    let config = Config::load(sources).map_err(|problems| {
        let problem = problems.first().map(ToString::to_string).unwrap_or_default();
        format!(
            "{}: where the configurations differ is not known, its config.yaml cannot be read: {problem}",
            run.result.facts.id
        )
    })?;
    let mut settings = BTreeMap::new();
    for key in KEYS.iter().filter(|key| !EXPECTED.contains(&key.path)) {
        if let Some(value) = config.get(key.path) {
            flatten(key.path, value, &mut settings);
        }
    }
    Ok(settings)
}

fn flatten(path: &str, value: &Value, settings: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                flatten(&format!("{path}.{name}"), member, settings);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (place, item) in items.iter().enumerate() {
                flatten(&format!("{path}[{place}]"), item, settings);
            }
        }
        plain => {
            let name = path.rsplit('.').next().unwrap_or(path);
            let shown = match plain {
                _ if looks_like_credential(name) => "[redacted]".to_owned(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            drop(settings.insert(path.to_owned(), shown));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_are_named_by_their_way_and_credentials_are_not_shown() {
        let mut settings = BTreeMap::new();
        let value = json!({"a": {"rate": 5}, "list": [1, 2], "x-api-key": "k", "stages": [{"name": "one"}]});
        flatten("load", &value, &mut settings);
        let shown: Vec<String> =
            settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(
            shown,
            [
                "load.a.rate=5",
                "load.list=[1,2]",
                "load.stages[0].name=one",
                "load.x-api-key=[redacted]"
            ]
        );
    }

    #[test]
    fn of_repeats_one_value_stands_for_all_that_are_alike() {
        let run = |rate: &str| BTreeMap::from([("load.rate".to_owned(), rate.to_owned())]);
        assert_eq!(together(&[run("5"), run("5")], "load.rate").as_deref(), Some("5"));
        assert_eq!(together(&[run("5"), run("6")], "load.rate").as_deref(), Some("5 | 6"));
        assert_eq!(together(&[run("5")], "load.ramp"), None);
    }
}
