//! `tokenstorm import`: settings of another load generator as a configuration of this one.
//!
//! The configuration is the result, so it goes to stdout; what it could not hold goes to stderr, a line each.

use std::{
    fs::File,
    io::{Read, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::ValueEnum;
use workload::import::{SettingsFormat, import as translate};

use crate::{
    exit::{Exit, Stop},
    say,
};

/// What `import` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// A configuration of inference-perf, a scenario of GuideLLM, or a script with a `guidellm benchmark` or
    /// `vllm bench serve` command; `-` is stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Whose settings they are [default: as it looks]
    #[arg(long, value_name = "TOOL")]
    from: Option<From>,
    /// The test of a suite that holds several
    #[arg(long, value_name = "NAME")]
    test: Option<String>,
    /// Where the configuration goes; a file that exists is left alone [default: stdout]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// The tools whose settings are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum From {
    InferencePerf,
    Guidellm,
    Vllm,
}

impl From {
    fn format(self) -> SettingsFormat {
        match self {
            Self::InferencePerf => SettingsFormat::InferencePerf,
            Self::Guidellm => SettingsFormat::GuideLlm,
            Self::Vllm => SettingsFormat::VllmBenchServe,
        }
    }
}

/// Prints the configuration, and what is not in it.
pub(crate) fn import(arguments: &ImportArgs) -> anyhow::Result<Exit> {
    let shown = arguments.file.display();
    let refused = |reason: String| Stop::new(Exit::BadConfiguration, format!("{shown}: {reason}"));
    let text = read(&arguments.file).map_err(|error| refused(error.to_string()))?;
    let format = arguments.from.map(From::format);
    let imported = translate(&text, format, arguments.test.as_deref())
        .map_err(|error| refused(error.to_string()))?;
    match &arguments.output {
        None => say(imported.yaml.trim_end())?,
        Some(path) => write_new(path, &imported.yaml)?,
    }
    eprintln!("read as settings of {}", imported.format.name());
    for lost in &imported.lost {
        eprintln!("not carried over: {lost}");
    }
    Ok(Exit::Ok)
}

fn read(file: &Path) -> std::io::Result<String> {
    if file.as_os_str() != "-" {
        return std::fs::read_to_string(file);
    }
    let mut text = String::new();
    std::io::stdin().lock().read_to_string(&mut text)?;
    Ok(text)
}

fn write_new(path: &Path, yaml: &str) -> anyhow::Result<()> {
    if path.exists() {
        let line = format!("--output {} exists: choose another name", path.display());
        return Err(Stop::new(Exit::BadConfiguration, line).into());
    }
    let cannot = || format!("cannot write {}", path.display());
    let mut file = File::create_new(path)
        .map_err(|error| Stop::new(Exit::BadConfiguration, format!("{}: {error}", cannot())))?;
    file.write_all(yaml.as_bytes()).with_context(cannot)
}
