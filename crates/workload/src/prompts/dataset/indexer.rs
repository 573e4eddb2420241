//! Makes the index: looks at each record once, keeps where the usable ones stand, and says what is
//! wrong with the others.

use std::path::Path;

use metrics::Warning;

use super::{Format, Span, shown};
use crate::plan::{FileFormat, PromptKind, PromptPlan, SaltPlacement};
use crate::prompts::file::Columns;
use crate::prompts::record::Unreadable;
use crate::prompts::scan::{Ending, RawRecord, ScanError};
use crate::prompts::{Content, PromptError};
use crate::tokenizer::Tokenizer;

/// Problems that are written out; the others are counted.
const WRITTEN_OUT: usize = 5;

/// Bytes in a token, at the most, when a text is compared with a limit by its beginning alone.
const LONG_TOKEN_BYTES: usize = 8;

/// What became of a file.
pub(super) struct Index {
    pub(super) format: Format,
    pub(super) spans: Vec<Span>,
    pub(super) warnings: Vec<Warning>,
}

/// The index so far.
pub(super) struct Indexer<'a> {
    path: &'a Path,
    format: Format,
    tokenizer: &'a Tokenizer,
    /// Longer records are skipped.
    max_tokens: Option<u32>,
    /// With a limit on tokens, records beyond the number of requests are not counted for nothing.
    enough: usize,
    /// A prefix or salt can only be put before plain text.
    needs_text: bool,
    /// Records are values of a JSON list, which may stand in one line: they are told by number.
    is_list: bool,
    /// The header of a CSV file is unusable.
    has_no_columns: bool,
    spans: Vec<Span>,
    /// Records met, broken ones among them.
    met: u64,
    /// Whole records seen, usable or not.
    seen: u64,
    unusable: u64,
    too_long: u64,
    problems: Vec<PromptError>,
    more_problems: u64,
    /// Where a last record without an end was cut.
    cut_at: Option<u64>,
}

impl<'a> Indexer<'a> {
    pub(super) fn new(
        requests: Option<u64>,
        prompts: &PromptPlan,
        path: &'a Path,
        format: Format,
        tokenizer: &'a Tokenizer,
    ) -> Self {
        let requests = requests.filter(|_| prompts.max_input_tokens.is_some() && !prompts.shuffle);
        Self {
            path,
            format,
            tokenizer,
            max_tokens: prompts.max_input_tokens.map(std::num::NonZeroU32::get),
            enough: requests
                .and_then(|requests| usize::try_from(requests).ok())
                .unwrap_or(usize::MAX),
            needs_text: prompts.prefix_ratio > 0.0 || prompts.salt == SaltPlacement::Prepend,
            is_list: match &prompts.kind {
                PromptKind::ShareGpt { .. } => true,
                PromptKind::File { format, .. } => *format == FileFormat::JsonList,
                PromptKind::Synthetic => false,
            },
            has_no_columns: false,
            spans: Vec::new(),
            met: 0,
            seen: 0,
            unusable: 0,
            too_long: 0,
            problems: Vec::new(),
            more_problems: 0,
            cut_at: None,
        }
    }

    /// One record of the file.
    pub(super) fn record(&mut self, raw: RawRecord<'_>) {
        let is_blank = raw.bytes.iter().all(u8::is_ascii_whitespace);
        if is_blank || self.has_no_columns {
            return;
        }
        if let Format::Csv(None) = self.format {
            return self.header(&raw);
        }
        self.met += 1;
        match self.judge(&raw) {
            Ok(true) => {
                let length =
                    u32::try_from(raw.bytes.len()).expect("the scanner bounds a record's length");
                self.spans.push(Span { offset: raw.offset, length });
                self.seen += 1;
            }
            Ok(false) => self.seen += 1,
            Err(unreadable) if unreadable.is_cut && !raw.is_terminated && self.seen > 0 => {
                self.cut_at = Some(raw.offset);
            }
            Err(unreadable) => self.broken(self.place_of(&raw), unreadable.reason),
        }
    }

    /// The first record of a CSV file; without its columns the others mean nothing.
    fn header(&mut self, raw: &RawRecord<'_>) {
        match text_of(raw).and_then(Columns::from_header) {
            Ok(columns) => self.format = Format::Csv(Some(columns)),
            Err(unreadable) => {
                self.has_no_columns = true;
                self.broken(self.place_of(raw), unreadable.reason);
            }
        }
    }

    /// Is the record to be used?
    fn judge(&mut self, raw: &RawRecord<'_>) -> Result<bool, Unreadable> {
        let text = text_of(raw)?;
        let Some(record) = self.format.read(text)? else {
            self.unusable += 1;
            return Ok(false);
        };
        match record.content {
            Content::Text(text) => Ok(self.spans.len() < self.enough && self.fits(&text)?),
            Content::Messages(_) | Content::Body(_) if self.needs_text => Err(Unreadable::new(
                "`prefixRatio` and `prompts.salt` act on plain prompts, this is a list of messages or a request body",
            )),
            Content::Messages(_) | Content::Body(_) | Content::TokenIds(_) => Ok(true),
        }
    }

    /// Is the text within the limit? A token has at least a byte, so most texts need no counting.
    fn fits(&mut self, text: &str) -> Result<bool, Unreadable> {
        let Some(max) = self.max_tokens.filter(|max| text.len() > *max as usize) else {
            return Ok(true);
        };
        let beginning = beginning_of(text, (max as usize + 1) * LONG_TOKEN_BYTES);
        let count = |text: &str| {
            self.tokenizer.count(text).map_err(|error| Unreadable::new(error.to_string()))
        };
        // A text that is cut may count one token more at the cut.
        let is_within =
            count(beginning)? <= max.saturating_add(u32::from(beginning.len() < text.len()));
        let fits = is_within && (beginning.len() == text.len() || count(text)? <= max);
        self.too_long += u64::from(!fits);
        Ok(fits)
    }

    fn broken(&mut self, place: String, reason: String) {
        if self.problems.len() < WRITTEN_OUT {
            self.problems.push(PromptError::Broken { path: self.path.to_owned(), place, reason });
        } else {
            self.more_problems += 1;
        }
    }

    fn place_of(&self, raw: &RawRecord<'_>) -> String {
        if self.is_list {
            format!("record {} at byte {}", self.met, raw.offset)
        } else {
            format!("line {}", raw.line)
        }
    }

    /// The file has ended.
    pub(super) fn finish(
        mut self,
        ending: Result<Ending, ScanError>,
    ) -> Result<Index, Vec<PromptError>> {
        match ending {
            Ok(Ending::Whole) => {}
            Ok(Ending::Cut { offset }) => self.cut_at = Some(offset),
            Err(error) => {
                let before = if self.is_list && self.met > 0 {
                    format!("after record {}, ", self.met)
                } else {
                    String::new()
                };
                let place = format!("{before}line {}, byte {}", error.line, error.offset);
                self.broken(place, error.reason);
            }
        }
        if self.more_problems > 0 {
            self.problems
                .push(PromptError::More { path: self.path.to_owned(), count: self.more_problems });
        }
        if self.problems.is_empty() && self.spans.is_empty() {
            self.problems
                .push(PromptError::Empty { path: self.path.to_owned(), reason: self.why_empty() });
        }
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        let warnings = self.warnings();
        Ok(Index { format: self.format, spans: self.spans, warnings })
    }

    fn why_empty(&self) -> String {
        match (self.cut_at, self.unusable + self.too_long) {
            (Some(offset), 0) => {
                format!("no whole record: it ends inside the one that begins at byte {offset}")
            }
            (_, 0) => "it has no prompt".to_owned(),
            (_, skipped) => {
                format!("none of its {skipped} records can be used: {}", self.why_skipped())
            }
        }
    }

    fn why_skipped(&self) -> String {
        let unusable = format!("{} without a first human turn and a reply to it", self.unusable);
        let too_long = format!("{} longer than `prompts.inputLength.max`", self.too_long);
        match (self.unusable, self.too_long) {
            (_, 0) => unusable,
            (0, _) => too_long,
            (_, _) => format!("{unusable}, {too_long}"),
        }
    }

    fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if let Some(offset) = self.cut_at {
            let kept = self.spans.len();
            warnings.push(Warning::new(
                "dataset_truncated",
                format!("`{}` ends inside a record, at byte {offset}: {kept} records before it are used; fetch the file again if it should be whole", shown(self.path)),
            ));
        }
        let skipped = self.unusable + self.too_long;
        if skipped > 0 {
            warnings.push(Warning::new(
                "records_skipped",
                format!(
                    "{skipped} of {} records of `{}` are not used: {}",
                    self.seen,
                    shown(self.path),
                    self.why_skipped()
                ),
            ));
        }
        warnings
    }
}

fn text_of<'a>(raw: &RawRecord<'a>) -> Result<&'a str, Unreadable> {
    std::str::from_utf8(raw.bytes).map_err(|error| {
        let at = raw.offset + error.valid_up_to() as u64;
        Unreadable {
            reason: format!("not UTF-8 at byte {at}"),
            is_cut: error.error_len().is_none(),
        }
    })
}

/// At most `bytes` bytes of a text, cut between characters.
fn beginning_of(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
