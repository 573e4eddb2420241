//! The values of a JSON list, found by counting brackets outside of strings.
//!
//! A list of 125 MB is never parsed as a whole: each value is cut out here and parsed alone. Values that
//! stand one after the other without a list around them are taken too.

use super::{Ending, LONGEST_RECORD, RawRecord, ScanError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before anything, or between values without a list.
    Outside,
    /// After `[` or `,`.
    BeforeValue,
    /// After a value of the list.
    AfterValue,
    /// In a string, at some depth of brackets.
    Text { escaped: bool },
    /// In an object or list.
    Nested,
    /// In a number or a word such as `null`.
    Scalar,
    /// After the list's `]`.
    End,
}

/// Which byte completed a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Completed {
    /// Its own last one.
    WithThis,
    /// The one after it, as with numbers.
    BeforeThis,
}

/// State between chunks.
#[derive(Debug)]
pub(crate) struct Values {
    place: Place,
    in_list: bool,
    /// A comma came last: a value must follow.
    owes_value: bool,
    depth: u32,
    begun: Vec<u8>,
    /// Where the value begins.
    start: u64,
    start_line: u64,
    /// Of the next byte.
    offset: u64,
    line: u64,
}

impl Values {
    pub(super) fn new() -> Self {
        Self {
            place: Place::Outside,
            in_list: false,
            owes_value: false,
            depth: 0,
            begun: Vec::new(),
            start: 0,
            start_line: 1,
            offset: 0,
            line: 1,
        }
    }

    pub(super) fn push(
        &mut self,
        chunk: &[u8],
        on_record: &mut dyn FnMut(RawRecord<'_>),
    ) -> Result<(), ScanError> {
        let mut value_start = 0;
        for (index, byte) in chunk.iter().copied().enumerate() {
            let was_inside = self.is_inside();
            let completes = self.step(byte)?;
            if !was_inside && self.is_inside() {
                (value_start, self.start, self.start_line) = (index, self.offset, self.line);
            }
            if let Some(completed) = completes {
                let end = index + usize::from(completed == Completed::WithThis);
                self.begun.extend_from_slice(&chunk[value_start..end]);
                on_record(RawRecord {
                    offset: self.start,
                    line: self.start_line,
                    bytes: &self.begun,
                    is_terminated: true,
                });
                self.begun.clear();
            }
            self.offset += 1;
            self.line += u64::from(byte == b'\n');
        }
        if self.is_inside() {
            self.begun.extend_from_slice(&chunk[value_start..]);
        }
        if self.begun.len() > LONGEST_RECORD {
            return Err(self.error(format!("a record is longer than {} MiB", LONGEST_RECORD >> 20)));
        }
        Ok(())
    }

    pub(super) fn finish(&mut self) -> Ending {
        match self.place {
            Place::End => Ending::Whole,
            Place::Outside if !self.in_list => Ending::Whole,
            _ if self.is_inside() => Ending::Cut { offset: self.start },
            _ => Ending::Cut { offset: self.offset },
        }
    }

    /// One byte; `Some` when it completes a value.
    fn step(&mut self, byte: u8) -> Result<Option<Completed>, ScanError> {
        match self.place {
            Place::Text { escaped: true } => self.place = Place::Text { escaped: false },
            Place::Text { escaped: false } if byte == b'\\' => {
                self.place = Place::Text { escaped: true }
            }
            Place::Text { escaped: false } if byte == b'"' && self.depth == 0 => {
                return Ok(Some(self.close(Completed::WithThis)));
            }
            Place::Text { escaped: false } if byte == b'"' => self.place = Place::Nested,
            Place::Text { escaped: false } => {}
            Place::Nested => return Ok(self.nested(byte)),
            Place::Scalar if matches!(byte, b',' | b']') || byte.is_ascii_whitespace() => {
                let completed = self.close(Completed::BeforeThis);
                self.between(byte)?;
                return Ok(Some(completed));
            }
            Place::Scalar => {}
            Place::Outside | Place::BeforeValue | Place::AfterValue | Place::End => {
                self.between(byte)?;
            }
        }
        Ok(None)
    }

    fn nested(&mut self, byte: u8) -> Option<Completed> {
        match byte {
            b'"' => self.place = Place::Text { escaped: false },
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth -= 1;
                if self.depth == 0 {
                    return Some(self.close(Completed::WithThis));
                }
            }
            _ => {}
        }
        None
    }

    fn close(&mut self, completed: Completed) -> Completed {
        self.place = if self.in_list { Place::AfterValue } else { Place::Outside };
        self.owes_value = false;
        completed
    }

    fn between(&mut self, byte: u8) -> Result<(), ScanError> {
        match (self.place, byte) {
            (_, b' ' | b'\t' | b'\r' | b'\n') => {}
            (Place::Outside, 0xef | 0xbb | 0xbf) if self.offset < 3 => {}
            (Place::Outside, b'[') if !self.in_list => {
                (self.in_list, self.place) = (true, Place::BeforeValue);
            }
            (Place::AfterValue, b',') => (self.place, self.owes_value) = (Place::BeforeValue, true),
            (Place::AfterValue, b']') => self.place = Place::End,
            (Place::BeforeValue, b']') if !self.owes_value => self.place = Place::End,
            (Place::Outside | Place::BeforeValue, b'{' | b'[') => {
                (self.place, self.depth) = (Place::Nested, 1);
            }
            (Place::Outside | Place::BeforeValue, b'"') => {
                self.place = Place::Text { escaped: false }
            }
            (Place::Outside | Place::BeforeValue, b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
                self.place = Place::Scalar;
            }
            (place, _) => return Err(self.error(unexpected(place, byte))),
        }
        Ok(())
    }

    fn is_inside(&self) -> bool {
        matches!(self.place, Place::Text { .. } | Place::Nested | Place::Scalar)
    }

    fn error(&self, reason: String) -> ScanError {
        ScanError { line: self.line, offset: self.offset, reason }
    }
}

fn unexpected(place: Place, byte: u8) -> String {
    let expected = match place {
        Place::Outside => "a JSON list or object",
        Place::BeforeValue => "a value of the list",
        Place::AfterValue => "a comma or the list's end",
        Place::End => "nothing after the list",
        Place::Text { .. } | Place::Nested | Place::Scalar => "more of the value",
    };
    let shown = char::from(byte);
    if shown.is_ascii_graphic() {
        format!("expected {expected}, found `{shown}`")
    } else {
        format!("expected {expected}, found byte {byte:#04x}")
    }
}
