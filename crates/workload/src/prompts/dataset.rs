//! A data set on disk: an index of byte offsets in memory, each record read when it is asked for.

mod indexer;

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use metrics::Warning;
use sha2::{Digest, Sha256};

use super::file::{Columns, json_record, text_record};
use super::record::{Record, Unreadable};
use super::scan::{Ending, ScanError, Scanner};
use super::sharegpt::{conversation, exchanges};
use super::{InputFile, PromptError};
use crate::plan::{Api, FileFormat, Plan, PromptKind, PromptPlan};
use crate::random::{Purpose, Random};
use crate::tokenizer::Tokenizer;
use indexer::Indexer;

/// Bytes read at a time when the index is made.
const CHUNK: usize = 1 << 20;

/// How a record's bytes are understood.
#[derive(Clone, Copy, Debug)]
pub(super) enum Format {
    Text,
    Json(Api),
    /// The columns are known once the header is read.
    Csv(Option<Columns>),
    ShareGpt,
}

impl Format {
    /// `None`: the record is of no use.
    fn read(&self, text: &str) -> Result<Option<Record>, Unreadable> {
        match self {
            Self::Text => Ok(text_record(text)),
            Self::Json(api) => json_record(text, *api).map(Some),
            Self::Csv(Some(columns)) => columns.record(text).map(Some),
            Self::Csv(None) => Ok(None),
            Self::ShareGpt => conversation(text),
        }
    }
}

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    offset: u64,
    length: u32,
}

/// Tokens of a record, once counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) input: u32,
    /// Of the recorded reply; 0 where there is none.
    pub(super) reply: u32,
}

/// An opened data set.
#[derive(Debug)]
pub(super) struct Dataset {
    path: PathBuf,
    file: File,
    format: Format,
    spans: Vec<Span>,
    /// The order in which records are used; `None`: the file's.
    order: Option<Vec<u32>>,
    counts: Vec<OnceLock<Counts>>,
    bytes: u64,
    sha256: String,
}

impl Dataset {
    /// Reads the whole file once; keeps its index.
    pub(super) fn open(
        plan: &Plan,
        prompts: &PromptPlan,
        tokenizer: &Tokenizer,
    ) -> Result<(Self, Vec<Warning>), Vec<PromptError>> {
        let Some((path, format, scanner)) = layout(plan.target.api, prompts) else {
            return Err(Vec::new());
        };
        let read_error = |error: std::io::Error| {
            vec![PromptError::Read { path: path.clone(), reason: error.to_string() }]
        };
        // Asked before it is opened: opening a pipe waits for its writer.
        if !std::fs::metadata(&path).map_err(read_error)?.is_file() {
            let reason = "it is no regular file, and prompts are read again while the run goes on: write them to a file";
            return Err(vec![PromptError::Read { path: path.clone(), reason: reason.to_owned() }]);
        }
        let file = File::open(&path).map_err(read_error)?;
        let mut indexer = Indexer::new(plan.requests, prompts, &path, format, tokenizer);
        let scanned = scan_file(&file, scanner, &mut indexer).map_err(read_error)?;
        let index = indexer.finish(scanned.ending)?;
        let order = prompts.shuffle.then(|| permutation(index.spans.len(), plan.seed));
        let counts = index.spans.iter().map(|_| OnceLock::new()).collect();
        let (bytes, sha256) = (scanned.bytes, scanned.sha256);
        Ok((
            Self {
                path,
                file,
                format: index.format,
                spans: index.spans,
                order,
                counts,
                bytes,
                sha256,
            },
            index.warnings,
        ))
    }

    /// How many records it has; at least 1.
    pub(super) fn len(&self) -> u64 {
        self.spans.len() as u64
    }

    /// The file, to be compared between workers.
    pub(super) fn input_file(&self) -> InputFile {
        InputFile { path: self.path.clone(), bytes: self.bytes, sha256: self.sha256.clone() }
    }

    /// Which record request `number` uses: its place in the index.
    pub(super) fn place(&self, number: u64) -> usize {
        let place = usize::try_from(number % self.len()).unwrap_or(0);
        self.order.as_ref().map_or(place, |order| order[place] as usize)
    }

    /// The record at a place, read from the file.
    pub(super) fn record(&self, place: usize) -> Result<Record, PromptError> {
        let offset = self.spans[place].offset;
        let text = self.text(place)?;
        match self.format.read(&text) {
            Ok(Some(record)) => Ok(record),
            Ok(None) | Err(_) => Err(self.changed(format!("no record at byte {offset}"))),
        }
    }

    /// Every exchange of the conversation at a place; one at least.
    pub(super) fn exchanges(&self, place: usize) -> Result<Vec<(String, String)>, PromptError> {
        let text = self.text(place)?;
        let found = exchanges(&text);
        if found.is_empty() {
            let offset = self.spans[place].offset;
            return Err(self.changed(format!("no conversation at byte {offset}")));
        }
        Ok(found)
    }

    fn text(&self, place: usize) -> Result<String, PromptError> {
        let Span { offset, length } = self.spans[place];
        let mut bytes = vec![0; length as usize];
        self.file
            .read_exact_at(&mut bytes, offset)
            .map_err(|error| self.changed(error.to_string()))?;
        String::from_utf8(bytes).map_err(|_| self.changed(format!("no text at byte {offset}")))
    }

    /// Token counts of the record at a place, counted by `count` the first time.
    pub(super) fn counts<E>(
        &self,
        place: usize,
        count: impl FnOnce() -> Result<Counts, E>,
    ) -> Result<Counts, E> {
        if let Some(counts) = self.counts[place].get() {
            return Ok(*counts);
        }
        let counts = count()?;
        _ = self.counts[place].set(counts);
        Ok(counts)
    }

    fn changed(&self, reason: String) -> PromptError {
        PromptError::Changed { path: self.path.clone(), reason }
    }
}

/// The file, how its records are understood and how they are found; `None` for synthetic prompts.
fn layout(api: Api, prompts: &PromptPlan) -> Option<(PathBuf, Format, Scanner)> {
    match &prompts.kind {
        PromptKind::Synthetic => None,
        PromptKind::ShareGpt { path } => Some((path.clone(), Format::ShareGpt, Scanner::json())),
        PromptKind::File { path, format } => {
            let (understood, scanner) = match format {
                FileFormat::Text => (Format::Text, Scanner::lines()),
                FileFormat::JsonLines => (Format::Json(api), Scanner::lines()),
                FileFormat::JsonList => (Format::Json(api), Scanner::json()),
                FileFormat::Csv => (Format::Csv(None), Scanner::csv()),
            };
            Some((path.clone(), understood, scanner))
        }
    }
}

struct Scanned {
    ending: Result<Ending, ScanError>,
    bytes: u64,
    sha256: String,
}

/// Goes through the file once: hashes all of it, and indexes it up to where it is broken.
fn scan_file(
    mut file: &File,
    mut scanner: Scanner,
    indexer: &mut Indexer<'_>,
) -> std::io::Result<Scanned> {
    let (mut hash, mut bytes, mut refused) = (Sha256::new(), 0, None);
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = file.read(&mut chunk)?;
        if length == 0 {
            break;
        }
        hash.update(&chunk[..length]);
        bytes += length as u64;
        if refused.is_none() {
            refused = scanner.push(&chunk[..length], &mut |record| indexer.record(record)).err();
        }
    }
    let ending = match refused {
        Some(error) => Err(error),
        None => Ok(scanner.finish(&mut |record| indexer.record(record))),
    };
    Ok(Scanned { ending, bytes, sha256: hex(&hash.finalize()) })
}

/// SHA-256 of bytes at hand, in hex.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A permutation of the places 0 … `length` − 1 (Fisher and Yates, from the end).
fn permutation(length: usize, seed: u64) -> Vec<u32> {
    let mut random = Random::new(seed, Purpose::Shuffle, 0);
    let mut order: Vec<u32> = (0..u32::try_from(length).unwrap_or(u32::MAX)).collect();
    for last in (1..order.len()).rev() {
        let other = random.below(u32::try_from(last + 1).unwrap_or(u32::MAX)) as usize;
        order.swap(last, other);
    }
    order
}

/// The path as messages show it.
fn shown(path: &Path) -> std::path::Display<'_> {
    path.display()
}
