//! Lines, and the records of CSV, which are lines but for line ends inside quotes.

use super::{Ending, LONGEST_RECORD, RawRecord, ScanError};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What a quote means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quotes {
    /// A character like any other.
    Plain,
    /// Line ends inside belong to the record.
    Enclose,
}

/// State between chunks.
#[derive(Debug)]
pub(crate) struct Lines {
    quotes: Quotes,
    in_quotes: bool,
    /// The record so far, from earlier chunks.
    begun: Vec<u8>,
    /// Where it begins.
    offset: u64,
    line: u64,
    /// Line ends inside the record so far.
    inner_lines: u64,
}

impl Lines {
    pub(super) fn new(quotes: Quotes) -> Self {
        Self { quotes, in_quotes: false, begun: Vec::new(), offset: 0, line: 1, inner_lines: 0 }
    }

    pub(super) fn push(
        &mut self,
        chunk: &[u8],
        on_record: &mut dyn FnMut(RawRecord<'_>),
    ) -> Result<(), ScanError> {
        let mut start = 0;
        for (place, byte) in chunk.iter().enumerate() {
            match byte {
                b'"' if self.quotes == Quotes::Enclose => self.in_quotes = !self.in_quotes,
                b'\n' if self.in_quotes => self.inner_lines += 1,
                b'\n' => {
                    self.begun.extend_from_slice(&chunk[start..place]);
                    start = place + 1;
                    self.hand_over(true, on_record);
                }
                _ => {}
            }
        }
        self.begun.extend_from_slice(&chunk[start..]);
        if self.begun.len() > LONGEST_RECORD {
            let reason = format!("a record is longer than {} MiB", LONGEST_RECORD >> 20);
            return Err(ScanError { line: self.line, offset: self.offset, reason });
        }
        Ok(())
    }

    pub(super) fn finish(&mut self, on_record: &mut dyn FnMut(RawRecord<'_>)) -> Ending {
        if self.in_quotes {
            return Ending::Cut { offset: self.offset };
        }
        if !self.begun.is_empty() {
            self.hand_over(false, on_record);
        }
        Ending::Whole
    }

    fn hand_over(&mut self, is_terminated: bool, on_record: &mut dyn FnMut(RawRecord<'_>)) {
        let length = self.begun.len() as u64 + u64::from(is_terminated);
        let mark = if self.offset == 0 && self.begun.starts_with(BYTE_ORDER_MARK) {
            BYTE_ORDER_MARK.len()
        } else {
            0
        };
        let bytes = &self.begun[mark..];
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        on_record(RawRecord {
            offset: self.offset + mark as u64,
            line: self.line,
            bytes,
            is_terminated,
        });
        self.offset += length;
        self.line += 1 + self.inner_lines;
        self.inner_lines = 0;
        self.begun.clear();
    }
}
