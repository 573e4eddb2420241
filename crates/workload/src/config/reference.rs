//! Writes `docs/configuration.md` from the table of keys.

use std::fmt::Write;

use super::key::{Key, Kind};
use super::keys::KEYS;
use super::maps::Needed;

const OPENING: &str = "\
# Configuration

<!-- Written by the program from its own table of keys: `UPDATE_DOCS=1 cargo test -p tokenstorm-workload reference`. -->

A run is configured by a YAML file (`--config FILE`), environment variables, `--set key=value` and flags. Where several set the
same key, the flag wins, then `--set`, then the environment, then the file.

- Each key has an environment variable: `load.ramp.over` is `TOKENSTORM__LOAD__RAMP__OVER`, in any case. `OPENAI_API_BASE` names
  the endpoint where nothing else does.
- `--set load.rate=80` sets any key; `--set target.headers.x-team=blue` one entry of a map.
- Durations are numbers of seconds, or texts such as `500ms`, `90s`, `5m`, `1h30m`.
- Relative paths in a file start at the file's folder, those on the command line or in the environment at the working directory.
- A key that is not in this table, a value of another type or out of range, settings that do not fit each other: everything wrong is
  listed at once, in the order in which it stands, nothing is sent, and the exit code is 2. What cannot be
  read counts as not set, and what only follows from that is not listed beside it. A file that cannot be used ends it the same way; files
  are opened last, and of several of them the first may be told alone.
- A setting that has no effect beside the others is told by the warning `key_unused`, with the reason; the run goes on without it.
- An API key never stands in a configuration: it comes from `OPENAI_API_KEY`, or from the file that `target.apiKeyFile` names.
- The configuration as run is written to `config.yaml` beside the results, secrets redacted; it can be run again, where it had secrets with these given anew (`--set target.headers.x-api-key=…`).
";

/// What each section is about.
const SECTIONS: &[(&str, &str)] = &[
    ("benchmark", "The run as a whole."),
    ("target", "What is measured."),
    ("targets", "Several services at once."),
    ("classes", "Several kinds of requests at once; results are given for each and in total."),
    (
        "load",
        "How much is offered, and in which shape. `rate` alone is an open loop; `rate` with `concurrency` an open loop with a cap on requests in flight; `concurrency` alone a closed loop.",
    ),
    ("stages", "Several loads in one run, one after the other."),
    ("sessions", "Conversations of several turns; on where any of these keys is set."),
    (
        "prompts",
        "What is asked. Lengths are in tokens of the content alone, counted by `prompts.tokenizer`.",
    ),
    ("answers", "What an answer must have to count as completed."),
    ("slos", "What the run must reach."),
    (
        "stopWhen",
        "What ends the load before its time. The warm-up is left alone. The result says which rule spoke, when, and with which figures.",
    ),
    ("metrics", "What is shown and what is collected beside the load."),
    ("records", "Single requests, beside the figures that they come to."),
    ("recordOptions", "How they are recorded."),
    ("telemetry", "What OpenTelemetry is told: docs/telemetry.md."),
    ("price", "What tokens cost, for `tokenstorm plan`."),
    ("client", "How a worker sends."),
    ("fleet", "How workers act together."),
    (
        "sweep",
        "Many runs of one configuration. `--sweep FILE` names a file of points or a grid instead; `--resume-sweep DIR` goes on with a sweep that was cut off, by the `config.yaml` there unless `--config` is given.",
    ),
    ("search", "How `--find-capacity` looks for the highest load whose `slos` hold."),
    (
        "simulator",
        "With this section, be it empty (`simulator: {}`), the run starts a simulated inference service and measures that; it excludes `target.endpoint`. The same settings are flags of `tokenstorm simulate`.",
    ),
];

/// The reference of all keys, in Markdown.
pub fn reference() -> String {
    let mut text = OPENING.to_owned();
    for (section, about) in SECTIONS {
        _ = write!(
            text,
            "\n## {section}\n\n{about}\n\n| key | takes | default | meaning |\n|---|---|---|---|\n"
        );
        let inner = format!("{section}.");
        let of_section = |key: &&Key| key.path == *section || key.path.starts_with(&inner);
        for key in KEYS.iter().filter(of_section) {
            row(&mut text, key.path, &key.kind, key.default, key.meaning);
            if let Kind::Maps(members) = key.kind {
                for member in members {
                    let path = format!("{}[].{}", key.path, member.name);
                    let default = match member.needed {
                        Needed::Yes => "(needed)",
                        Needed::Else(default) => default,
                    };
                    row(&mut text, &path, &member.kind, default, member.meaning);
                }
            }
        }
    }
    text
}

fn row(text: &mut String, path: &str, kind: &Kind, default: &str, meaning: &str) {
    _ = writeln!(text, "| `{path}` | {} | {default} | {meaning} |", takes(kind));
}

/// A table's cell: shorter than [`Kind::allowed`] where the opening has said it.
fn takes(kind: &Kind) -> String {
    match kind {
        Kind::Duration { min_s, max_s } => {
            format!("a duration from {min_s} s to {}", long_duration(*max_s))
        }
        Kind::Maps(_) => "a list of maps:".to_owned(),
        other => other.allowed(),
    }
}

fn long_duration(seconds: f64) -> String {
    if seconds >= 86_400.0 {
        format!("{} d", seconds / 86_400.0)
    } else {
        format!("{} h", seconds / 3600.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_in_docs_is_the_tables() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, reference()).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == reference(),
            "docs/configuration.md is old: UPDATE_DOCS=1 cargo test -p tokenstorm-workload reference"
        );
    }

    #[test]
    fn every_key_is_in_the_reference_once() {
        let text = reference();
        for key in KEYS {
            assert_eq!(text.matches(&format!("| `{}` |", key.path)).count(), 1, "{}", key.path);
            assert!(!key.meaning.contains('|') && !key.default.contains('|'), "{}", key.path);
        }
    }
}
