//! `tokenstorm report`: what a results directory holds, for people and for tools.
//!
//! The files are read back into the value that the run handed over. Of a run that was cut off there is only its
//! journal: the figures are then made of that, as `recover` does, and the report says so.

use std::{
    io,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use coordinator::Stretches;
use report::{ReadError, StoredRun, Tool, locate};

use crate::{
    asked::asked,
    exit::{Exit, Stop},
    recover, say,
};

/// What `report` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ReportArgs {
    /// A run's results directory; of a folder of them the newest run
    #[arg(long, short, value_name = "DIR", default_value = "results")]
    input: PathBuf,
    /// The file to write, or with --compat the folder; `-` is stdout [default: in the results directory; stdout for md, json and csv]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The format [default: by the extension of --output, else html]
    #[arg(long, value_name = "FORMAT")]
    format: Option<ReportFormat>,
    /// Write the files of another tool instead
    #[arg(long, value_name = "TOOL", conflicts_with = "format")]
    compat: Option<CompatTool>,
}

/// What a report is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// One page for a browser
    Html,
    /// The same on paper
    Pdf,
    /// Text for a pull request
    Md,
    /// The summary, for programs
    Json,
    /// One line a metric and stage
    Csv,
    /// Every interval's histograms, for HdrHistogram tools
    #[value(alias = "hdr")]
    Hlog,
}

/// Whose files.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum CompatTool {
    /// The summary of ray-project's llmperf
    Llmperf,
    /// The result of `vllm bench serve`
    Vllm,
    /// The lifecycle metrics of inference-perf
    InferencePerf,
    /// llm-d's benchmark reports, one a stage
    LlmD,
}

impl CompatTool {
    fn tool(self) -> Tool {
        match self {
            Self::Llmperf => Tool::Llmperf,
            Self::Vllm => Tool::Vllm,
            Self::InferencePerf => Tool::InferencePerf,
            Self::LlmD => Tool::LlmD,
        }
    }
}

impl ReportFormat {
    fn of_extension(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "htm" => Some(Self::Html),
            "markdown" => Some(Self::Md),
            other => Self::from_str(other, true).ok(),
        }
    }

    /// Where it goes if nobody says; `None` is stdout.
    fn file(self) -> Option<&'static str> {
        match self {
            Self::Html => Some("report.html"),
            Self::Pdf => Some("report.pdf"),
            Self::Hlog => Some("intervals.hlog"),
            Self::Md | Self::Json | Self::Csv => None,
        }
    }
}

/// Writes the report, and names the run that it is of.
pub(crate) fn report(arguments: &ReportArgs) -> anyhow::Result<Exit> {
    let format = arguments.format()?;
    let located = locate(&arguments.input).map_err(unreadable)?;
    if let Some(runs) = located.newest_of {
        eprintln!("the newest of {runs} runs: {}", located.directory.display());
    }
    let run = stored(&located.directory)?;
    for gap in &run.gaps {
        eprintln!("not whole: {gap}");
    }
    if let Some(compat) = arguments.compat {
        return export(&run, compat.tool(), arguments.output.as_deref());
    }
    let output = arguments.output.clone();
    let output = output.or_else(|| Some(run.directory.join(format.file()?)));
    let output = output.filter(|path| path.as_os_str() != "-");
    if let Some(path) = &output {
        check_report_file(path)?;
    }
    let content = match format {
        ReportFormat::Hlog => return hlog(&run, output.as_deref()),
        ReportFormat::Html => report::html(&run)?.into_bytes(),
        ReportFormat::Pdf => report::pdf(&run)?,
        ReportFormat::Md => report::markdown(&run).into_bytes(),
        ReportFormat::Csv => report::csv(&run)?.into_bytes(),
        ReportFormat::Json => report::summary_json(&run.result)?.into_bytes(),
    };
    match output {
        Some(path) => {
            report::write_file(&path, &content)?;
            say(&format!("Report: {}", path.display()))?;
        }
        None => say(String::from_utf8_lossy(&content).trim_end())?,
    }
    Ok(Exit::Ok)
}

impl ReportArgs {
    fn format(&self) -> Result<ReportFormat, Stop> {
        let file = self.output.as_deref().filter(|path| path.as_os_str() != "-");
        match (self.format, file) {
            (Some(format), _) => Ok(format),
            (None, Some(path)) if self.compat.is_none() => ReportFormat::of_extension(path)
                .ok_or_else(|| {
                    let line = format!(
                        "--output {}: the extension names no format; add --format html, pdf, md, json, csv or hlog",
                        path.display()
                    );
                    Stop::new(Exit::BadConfiguration, line)
                }),
            (None, _) => Ok(ReportFormat::Html),
        }
    }
}

/// Whether a report can be written there; what a run left is never overwritten.
pub(crate) fn check_report_file(path: &Path) -> Result<(), Stop> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let problem = if report::is_of_a_run(path) {
        "a file of that run, which stays as it is; choose another name".to_owned()
    } else if path.is_dir() {
        "it is a directory; name a file".to_owned()
    } else if path.exists() && !path.is_file() {
        return Ok(()); // A pipe or a device, whose folder is nobody's matter.
    } else if !folder.is_dir() {
        format!("there is no directory {}", folder.display())
    } else if let Err(error) = rustix::fs::access(folder, rustix::fs::Access::WRITE_OK) {
        format!("cannot write in {}: {}", folder.display(), io::Error::from(error))
    } else {
        return Ok(());
    };
    let line = format!("--output {}: {problem}", path.display());
    Err(Stop::new(Exit::BadConfiguration, line))
}

/// The interval histograms, as they are read: a long run has more of them than anybody wants to hold.
fn hlog(run: &StoredRun, output: Option<&Path>) -> anyhow::Result<Exit> {
    let stretches = Stretches::open(&run.directory.join("journal")).map_err(|error| {
        let line = format!("{error}: the intervals are in no other file of a run");
        Stop::new(Exit::BadConfiguration, line)
    })?;
    let stretches = stretches.map(|stretch| stretch.map_err(io::Error::other));
    match output {
        Some(path) => {
            report::write_streamed(path, |file| report::hdr_log(run, stretches, file))?;
            say(&format!("Histograms: {}", path.display()))?;
        }
        None => match report::hdr_log(run, stretches, &mut io::stdout().lock()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            written => written?,
        },
    }
    Ok(Exit::Ok)
}

/// Another tool's files, in a folder of their own; what they cannot tell goes to stderr.
fn export(run: &StoredRun, tool: Tool, output: Option<&Path>) -> anyhow::Result<Exit> {
    let export = report::export(run, &asked(run), tool)?;
    if output.is_some_and(|path| path.as_os_str() == "-") {
        let ([file], []) = (export.files.as_slice(), export.of_records.as_slice()) else {
            let line = format!("--output -: {} has several files; name a folder", tool.name());
            return Err(Stop::new(Exit::BadConfiguration, line).into());
        };
        say(file.text.trim_end())?;
    } else {
        let beside = run.directory.join("compat").join(tool.name());
        let folder = output.unwrap_or(&beside);
        std::fs::create_dir_all(folder).map_err(|error| {
            let line = format!("cannot make the folder {}: {error}", folder.display());
            Stop::new(Exit::BadConfiguration, line)
        })?;
        for file in &export.files {
            let path = folder.join(&file.name);
            report::write_file(&path, file.text.as_bytes())?;
            say(&format!("Export: {}", path.display()))?;
        }
        for list in &export.of_records {
            let path = folder.join(&list.name);
            report::write_streamed(&path, |file| list.write(&run.result, file))?;
            say(&format!("Export: {}", path.display()))?;
        }
    }
    for line in &export.left_out {
        eprintln!("not in it: {line}");
    }
    Ok(Exit::Ok)
}

/// The run of a directory: of its files, else of its journal.
pub(crate) fn stored(directory: &Path) -> anyhow::Result<StoredRun> {
    match StoredRun::read(directory) {
        Err(ReadError::Unfinished(_)) => {
            let result = recover::result_of_journal(directory)?;
            let gap =
                "the run was cut off: the figures are those of its journal, as far as it goes";
            Ok(StoredRun::of(directory, result, vec![gap.to_owned()]))
        }
        read => Ok(read.map_err(unreadable)?),
    }
}

fn unreadable(error: ReadError) -> Stop {
    Stop::new(Exit::BadConfiguration, error)
}
