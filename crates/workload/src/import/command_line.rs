//! Options of a command as people keep them: in a shell script, over several lines.

use serde_json::{Map, Value};

use super::{ImportError, SettingsFormat};

/// What begins a command, and whose it is. `benchmark_serving.py` is the older name of `vllm bench serve`.
const COMMANDS: [(&str, SettingsFormat); 5] = [
    ("vllm bench serve", SettingsFormat::VllmBenchServe),
    ("benchmark_serving.py", SettingsFormat::VllmBenchServe),
    ("benchmark_serving_multi_turn.py", SettingsFormat::VllmBenchServe),
    ("guidellm benchmark run", SettingsFormat::GuideLlm),
    ("guidellm benchmark", SettingsFormat::GuideLlm),
];

/// Short names of `benchmark_serving_multi_turn.py`; the others have none.
const SHORT: [(&str, &str); 9] = [
    ("-i", "input-file"),
    ("-o", "output-file"),
    ("-m", "model"),
    ("-u", "url"),
    ("-p", "num-clients"),
    ("-k", "max-active-conversations"),
    ("-n", "max-num-requests"),
    ("-e", "excel-output"),
    ("-v", "verbose"),
];

/// Where a shell ends one command.
const ENDS: [&str; 8] = ["|", "||", "&&", "&", ";", ">", ">>", "2>&1"];

/// A command's options by name; values are texts, or lists of them.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) format: SettingsFormat,
    pub(super) options: Map<String, Value>,
}

/// The first known command of a script, if it has one.
pub(super) fn find(text: &str) -> Result<Option<Command>, ImportError> {
    let joined = text.replace("\\\r\n", " ").replace("\\\n", " ");
    for line in joined.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let begin = COMMANDS
            .iter()
            .find_map(|(words, format)| Some((line.find(words)? + words.len(), *format)));
        if let Some((at, format)) = begin {
            let words = shlex::split(&line[at..])
                .ok_or_else(|| ImportError::Syntax("the command's quotes do not end".to_owned()))?;
            return Ok(Some(Command { format, options: options(words) }));
        }
    }
    Ok(None)
}

/// `--name value`, `--name=value`, `--name one two` and `--switch`.
fn options(words: Vec<String>) -> Map<String, Value> {
    let mut options = Map::new();
    let mut open: Option<(String, Vec<Value>)> = None;
    for word in words {
        if ENDS.contains(&word.as_str()) {
            break;
        }
        let long = SHORT.iter().find_map(|(short, long)| (*short == word).then_some(*long));
        if let Some(name) = long.or_else(|| word.strip_prefix("--")) {
            close(&mut options, open.take());
            open = Some(match name.split_once('=') {
                Some((name, value)) => (name.to_owned(), vec![Value::from(value)]),
                None => (name.to_owned(), Vec::new()),
            });
        } else if let Some((_, values)) = &mut open {
            values.push(Value::from(word));
        } else {
            _ = options.insert(word, Value::Bool(true));
        }
    }
    close(&mut options, open);
    options
}

/// An option that is given twice is a list of what it was given.
fn close(options: &mut Map<String, Value>, open: Option<(String, Vec<Value>)>) {
    let Some((name, mut values)) = open else { return };
    match options.shift_remove(&name) {
        Some(Value::Array(mut before)) => {
            before.append(&mut values);
            values = before;
        }
        Some(before) if !values.is_empty() => values.insert(0, before),
        Some(_) | None => {}
    }
    let value = match values.len() {
        0 => Value::Bool(true),
        1 => values.remove(0),
        _ => Value::Array(values),
    };
    _ = options.insert(name, value);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_script_is_read_up_to_the_end_of_its_command() {
        let script = "#!/bin/sh\n# vllm bench serve --model no\nset -e\n\
            HF_HUB_OFFLINE=1 vllm bench serve --model 'a b' \\\n  --ignore-eos \\\n  --goodput ttft:500 tpot:50 \\\n\
            --header x=1 --header y=2 --seed=7 2>&1 | tee log\necho --model other\n";
        let command = find(script).unwrap().unwrap();
        assert_eq!(command.format, SettingsFormat::VllmBenchServe);
        let expected = json!({
            "model": "a b", "ignore-eos": true, "goodput": ["ttft:500", "tpot:50"],
            "header": ["x=1", "y=2"], "seed": "7",
        });
        assert_eq!(Value::Object(command.options), expected);
    }

    #[test]
    fn what_is_no_command_is_none() {
        assert!(find("load: {type: constant}\n").unwrap().is_none());
        assert!(find("guidellm benchmark --data 'open").is_err());
    }
}
