//! Finds where records begin and end, in chunks cut anywhere.
//!
//! A data set of many megabytes is read once, front to back, to make an index of byte offsets; only one
//! record at a time is in memory. What a record means is not looked at here.

mod json;
mod lines;

/// Longest record; beyond it the file is not what it claims to be, and memory stays bounded.
pub(super) const LONGEST_RECORD: usize = 64 << 20;

/// One record, as it stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RawRecord<'a> {
    /// Byte offset of its first byte.
    pub(super) offset: u64,
    /// Line of its first byte, from 1.
    pub(super) line: u64,
    /// Its bytes, without the separator.
    pub(super) bytes: &'a [u8],
    /// Did a separator follow, or does the file end here?
    pub(super) is_terminated: bool,
}

/// How a file ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// After a record, as it should.
    Whole,
    /// Inside a record that begins at `offset`, or before the list was closed there.
    Cut {
        /// Byte offset of what is missing its end.
        offset: u64,
    },
}

/// The file is not of its kind at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ScanError {
    pub(super) line: u64,
    pub(super) offset: u64,
    pub(super) reason: String,
}

/// Cuts a file of one of the layouts into records.
#[derive(Debug)]
pub(super) enum Scanner {
    /// Records are lines.
    Lines(lines::Lines),
    /// Records are the values of one JSON list, or values one after the other.
    Json(json::Values),
}

impl Scanner {
    /// A record a line.
    pub(super) fn lines() -> Self {
        Self::Lines(lines::Lines::new(lines::Quotes::Plain))
    }

    /// A record a line, but for line ends inside quotes (RFC 4180).
    pub(super) fn csv() -> Self {
        Self::Lines(lines::Lines::new(lines::Quotes::Enclose))
    }

    /// The values of a JSON list.
    pub(super) fn json() -> Self {
        Self::Json(json::Values::new())
    }

    /// Feeds the next bytes of the file; hands over each record that they complete, in order.
    pub(super) fn push(
        &mut self,
        chunk: &[u8],
        on_record: &mut dyn FnMut(RawRecord<'_>),
    ) -> Result<(), ScanError> {
        match self {
            Self::Lines(lines) => lines.push(chunk, on_record),
            Self::Json(values) => values.push(chunk, on_record),
        }
    }

    /// The file has ended; a last line without an end is still a record.
    pub(super) fn finish(&mut self, on_record: &mut dyn FnMut(RawRecord<'_>)) -> Ending {
        match self {
            Self::Lines(lines) => lines.finish(on_record),
            Self::Json(values) => values.finish(),
        }
    }
}

#[cfg(test)]
mod tests;
