//! `tokenstorm report`: what a results directory holds, for people and for tools.
//!
//! The files are read back into the value that the run handed over. Of a run that was cut off there is only its
//! journal: the figures are then made of that, as `recover` does, and the report says so.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use report::{ReadError, StoredRun, locate};

use crate::{
    exit::{Exit, Stop},
    recover, say,
};

/// What `report` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ReportArgs {
    /// A run's results directory; of a folder of them the newest run
    #[arg(long, short, value_name = "DIR", default_value = "results")]
    input: PathBuf,
    /// The file to write; `-` is stdout [default: report.html or report.pdf in the results directory; stdout for md, json and csv]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The format [default: by the extension of --output, else html]
    #[arg(long, value_name = "FORMAT")]
    format: Option<ReportFormat>,
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
    let content = match format {
        ReportFormat::Html => report::html(&run)?.into_bytes(),
        ReportFormat::Pdf => report::pdf(&run)?,
        ReportFormat::Md => report::markdown(&run).into_bytes(),
        ReportFormat::Json => report::summary_json(&run.result)?.into_bytes(),
        ReportFormat::Csv => report::csv(&run)?.into_bytes(),
    };
    let output = arguments.output.clone().or_else(|| match format {
        ReportFormat::Html => Some(run.directory.join("report.html")),
        ReportFormat::Pdf => Some(run.directory.join("report.pdf")),
        ReportFormat::Md | ReportFormat::Json | ReportFormat::Csv => None,
    });
    match output.filter(|path| path.as_os_str() != "-") {
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
            (None, None) => Ok(ReportFormat::Html),
            (None, Some(path)) => ReportFormat::of_extension(path).ok_or_else(|| {
                let line = format!(
                    "--output {}: the extension names no format; add --format html, pdf, md, json or csv",
                    path.display()
                );
                Stop::new(Exit::BadConfiguration, line)
            }),
        }
    }
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
