//! Server-sent events out of a stream of bytes that may be cut anywhere.
//!
//! Follows the WHATWG rules for `text/event-stream` (HTML standard, §9.2.6) as far as they matter to
//! a client that never reconnects: line ends CR, LF and CRLF, comments, `event`, several `data` lines
//! joined by LF, a byte order mark, and an event that ends without a blank line is none. An event
//! whose lines lie whole in one chunk is handed over as a slice of that chunk, so in steady state
//! nothing is copied or allocated; memory is bounded by the limit on an event whatever is sent.

use memchr::{memchr, memchr2};

/// The longest line, and the longest event, that is accepted unless another limit is asked for.
pub const DEFAULT_LIMIT_BYTES: usize = 1 << 20;

/// Buffers that one long event has grown are given back when they exceed this.
const KEPT_BYTES: usize = 16 << 10;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// One event: what its `event` line named, and its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The value of the last `event` line; empty where there was none.
    pub name: &'a [u8],
    /// The `data` lines, joined by LF.
    pub data: &'a [u8],
}

/// The stream is no event stream that can be read in bounded memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// A line or the data of one event is longer than the limit.
    #[error("an event or a line of the stream is longer than {limit_bytes} bytes")]
    TooLong {
        /// The limit that it broke.
        limit_bytes: usize,
    },
}

/// The parser. Feed it with [`push`](Self::push); what is left when the stream ends is no event.
#[derive(Clone, Debug)]
pub struct Sse {
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
    /// Data of the event that is being read, where it could not stay in its chunk.
    data: Vec<u8>,
    has_data: bool,
    name: Vec<u8>,
    /// The last line ended with the chunk, in CR: a LF to come belongs to it.
    after_cr: bool,
    /// How much of a byte order mark the stream began with; `None` once that is decided.
    mark: Option<usize>,
    limit_bytes: usize,
    failed: Option<SseError>,
}

impl Default for Sse {
    fn default() -> Self {
        Self::with_limit(DEFAULT_LIMIT_BYTES)
    }
}

impl Sse {
    /// A parser with the default limit.
    pub fn new() -> Self {
        Self::default()
    }

    /// A parser that refuses a line, or an event's data, of more than `limit_bytes`.
    pub fn with_limit(limit_bytes: usize) -> Self {
        Self {
            line: Vec::new(),
            data: Vec::new(),
            has_data: false,
            name: Vec::new(),
            after_cr: false,
            mark: Some(0),
            limit_bytes,
            failed: None,
        }
    }

    /// Feeds one chunk, cut anywhere; hands over each event that it completed, in order.
    ///
    /// # Errors
    /// When a line or an event exceeds the limit; from then on always.
    pub fn push(
        &mut self,
        chunk: &[u8],
        mut on_event: impl FnMut(Message<'_>),
    ) -> Result<(), SseError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = self.lines(chunk, &mut on_event);
        self.failed = result.err();
        result
    }

    /// Whether bytes of an unfinished event are held, as after a stream that was cut.
    pub fn is_mid_event(&self) -> bool {
        self.has_data || !self.line.is_empty()
    }

    /// The memory held, in bytes: a small multiple of the limit at most.
    pub fn held_bytes(&self) -> usize {
        self.line.capacity() + self.data.capacity() + self.name.capacity()
    }

    fn lines(
        &mut self,
        chunk: &[u8],
        on_event: &mut impl FnMut(Message<'_>),
    ) -> Result<(), SseError> {
        let mut rest = self.after_mark(chunk);
        // The event's only data line while it can stay where it is.
        let mut held: Option<&[u8]> = None;
        loop {
            if self.after_cr && !rest.is_empty() {
                self.after_cr = false;
                rest = rest.strip_prefix(b"\n").unwrap_or(rest);
            }
            let Some(end) = memchr2(b'\n', b'\r', rest) else { break };
            let (line, tail) = (&rest[..end], &rest[end + 1..]);
            self.after_cr = rest[end] == b'\r';
            rest = tail;
            self.check(self.line.len() + line.len())?;
            if self.line.is_empty() {
                self.line_in_chunk(line, &mut held, on_event)?;
            } else {
                self.line_in_pieces(line)?;
            }
        }
        if let Some(data) = held {
            self.add_data(data)?;
        }
        self.check(self.line.len() + rest.len())?;
        self.line.extend_from_slice(rest);
        Ok(())
    }

    /// A line that lies whole in the chunk.
    fn line_in_chunk<'chunk>(
        &mut self,
        line: &'chunk [u8],
        held: &mut Option<&'chunk [u8]>,
        on_event: &mut impl FnMut(Message<'_>),
    ) -> Result<(), SseError> {
        match field(line) {
            Field::End => self.dispatch(held.take(), on_event),
            Field::Data(data) if !self.has_data && held.is_none() => *held = Some(data),
            Field::Data(data) => {
                if let Some(first) = held.take() {
                    self.add_data(first)?;
                }
                self.add_data(data)?;
            }
            Field::Name(name) => self.set_name(name),
            Field::Other => {}
        }
        Ok(())
    }

    /// The last piece of a line that began in an earlier chunk; such a line is not blank.
    fn line_in_pieces(&mut self, piece: &[u8]) -> Result<(), SseError> {
        let mut line = std::mem::take(&mut self.line);
        line.extend_from_slice(piece);
        let result = match field(&line) {
            Field::Data(data) => self.add_data(data),
            Field::Name(name) => {
                self.set_name(name);
                Ok(())
            }
            Field::End | Field::Other => Ok(()),
        };
        self.line = emptied(line);
        result
    }

    fn set_name(&mut self, name: &[u8]) {
        self.name.clear();
        self.name.extend_from_slice(name);
    }

    fn add_data(&mut self, data: &[u8]) -> Result<(), SseError> {
        self.check(self.data.len() + 1 + data.len())?;
        if self.has_data {
            self.data.push(b'\n');
        }
        self.has_data = true;
        self.data.extend_from_slice(data);
        Ok(())
    }

    fn dispatch(&mut self, held: Option<&[u8]>, on_event: &mut impl FnMut(Message<'_>)) {
        if let Some(data) = held {
            on_event(Message { name: &self.name, data });
        } else if self.has_data {
            on_event(Message { name: &self.name, data: &self.data });
            self.data = emptied(std::mem::take(&mut self.data));
            self.has_data = false;
        }
        self.name = emptied(std::mem::take(&mut self.name));
    }

    fn check(&self, len: usize) -> Result<(), SseError> {
        if len <= self.limit_bytes {
            return Ok(());
        }
        Err(SseError::TooLong { limit_bytes: self.limit_bytes })
    }

    /// Takes a byte order mark off the stream's first three bytes, however they are cut.
    fn after_mark<'chunk>(&mut self, chunk: &'chunk [u8]) -> &'chunk [u8] {
        let Some(seen) = self.mark else { return chunk };
        let expected = &BYTE_ORDER_MARK[seen..];
        let same = expected.iter().zip(chunk).take_while(|(mark, byte)| mark == byte).count();
        if same == expected.len() {
            self.mark = None;
        } else if same == chunk.len() {
            self.mark = Some(seen + same);
        } else {
            // No mark after all: what looked like one is the beginning of the first line.
            self.mark = None;
            self.line.extend_from_slice(&BYTE_ORDER_MARK[..seen]);
            return chunk;
        }
        &chunk[same..]
    }
}

enum Field<'a> {
    /// A blank line: the event is complete.
    End,
    Data(&'a [u8]),
    Name(&'a [u8]),
    /// A comment, `id`, `retry`, or a field that nobody knows.
    Other,
}

/// Splits a line at its first colon and takes one space off the value.
fn field(line: &[u8]) -> Field<'_> {
    if line.is_empty() {
        return Field::End;
    }
    let (name, value) = match memchr(b':', line) {
        Some(colon) => (&line[..colon], &line[colon + 1..]),
        None => (line, &line[line.len()..]),
    };
    let value = value.strip_prefix(b" ").unwrap_or(value);
    match name {
        b"data" => Field::Data(value),
        b"event" => Field::Name(value),
        _ => Field::Other,
    }
}

/// The buffer, empty, with the memory that is worth keeping.
fn emptied(mut buffer: Vec<u8>) -> Vec<u8> {
    buffer.clear();
    if buffer.capacity() > KEPT_BYTES {
        buffer.shrink_to(KEPT_BYTES);
    }
    buffer
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    type Events = Vec<(Vec<u8>, Vec<u8>)>;

    fn parse<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Events {
        let (mut sse, mut events) = (Sse::new(), Events::new());
        for chunk in chunks {
            sse.push(chunk, |event| events.push((event.name.to_vec(), event.data.to_vec())))
                .unwrap();
        }
        events
    }

    /// The standard's text, line by line over the whole stream at once: slow and plain.
    fn by_the_book(stream: &[u8]) -> Events {
        let stream = stream.strip_prefix(BYTE_ORDER_MARK).unwrap_or(stream);
        let mut lines = vec![Vec::new()];
        let mut bytes = stream.iter().copied().peekable();
        while let Some(byte) = bytes.next() {
            match byte {
                b'\r' => {
                    let _lf = bytes.next_if_eq(&b'\n');
                    lines.push(Vec::new());
                }
                b'\n' => lines.push(Vec::new()),
                _ => lines.last_mut().unwrap().push(byte),
            }
        }
        let _unfinished = lines.pop();
        let (mut events, mut name, mut data) = (Events::new(), Vec::new(), Vec::new());
        for line in lines {
            if line.is_empty() {
                if let Some((_lf, text)) = data.split_last() {
                    events.push((name.clone(), Vec::<u8>::from(text)));
                }
                name.clear();
                data.clear();
                continue;
            }
            let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
            let value = line.get(colon + 1..).unwrap_or_default();
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match &line[..colon] {
                b"event" => name = value.to_vec(),
                b"data" => data.extend(value.iter().copied().chain([b'\n'])),
                _ => {}
            }
        }
        events
    }

    fn messages(data: &[&str]) -> Events {
        data.iter().map(|data| (Vec::new(), data.as_bytes().to_vec())).collect()
    }

    #[test]
    fn all_three_line_ends_end_a_line() {
        let expected = messages(&["a", "b", "c"]);
        assert_eq!(parse([b"data: a\n\ndata: b\r\rdata: c\r\n\r\n".as_slice()]), expected);
    }

    #[test]
    fn data_lines_are_joined_and_one_space_is_taken_off() {
        assert_eq!(parse([b"data:  a\ndata:b\ndata\n\n".as_slice()]), messages(&[" a\nb\n"]));
    }

    #[test]
    fn comments_ids_and_unknown_fields_are_passed_over() {
        assert_eq!(
            parse([b": ping\n\nid: 7\nretry: 1\nfoo: x\ndata: a\n\n".as_slice()]),
            messages(&["a"])
        );
    }

    #[test]
    fn an_event_has_the_name_it_was_given_and_no_other() {
        let events = parse([b"event: error\ndata: a\n\nevent: x\n\ndata: b\n\n".as_slice()]);
        assert_eq!(events, [(b"error".to_vec(), b"a".to_vec()), (Vec::new(), b"b".to_vec())]);
    }

    #[test]
    fn an_event_without_its_blank_line_is_none() {
        let mut sse = Sse::new();
        sse.push(b"data: a\n\ndata: half", |event| assert_eq!(event.data, b"a")).unwrap();
        assert!(sse.is_mid_event());
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_line() {
        assert_eq!(parse([b"\xEF\xBB\xBFdata: a\n\n".as_slice()]), messages(&["a"]));
        assert_eq!(parse([b"\xEF\xBB".as_slice(), b"\xBFdata: a\n\n"]), messages(&["a"]));
        assert_eq!(parse([b"\xEF\xBB".as_slice(), b"data: a\n\n"]), messages(&[]));
    }

    #[test]
    fn a_line_of_100_mb_is_refused_in_bounded_memory() {
        let (mut sse, chunk) = (Sse::new(), vec![b'x'; 64 << 10]);
        let results: Vec<_> = (0..1_600).map(|_| sse.push(&chunk, |_| {})).collect();
        assert_eq!(
            results.last(),
            Some(&Err(SseError::TooLong { limit_bytes: DEFAULT_LIMIT_BYTES }))
        );
        assert!(sse.held_bytes() <= 2 * DEFAULT_LIMIT_BYTES, "{} bytes are held", sse.held_bytes());
    }

    #[test]
    fn an_event_of_many_lines_is_refused_in_bounded_memory() {
        let mut sse = Sse::new();
        let refused = (0..1_000_000).any(|_| sse.push(b"data: 0123456789\n", |_| {}).is_err());
        assert!(refused);
        assert!(sse.held_bytes() <= 4 * DEFAULT_LIMIT_BYTES, "{} bytes are held", sse.held_bytes());
    }

    #[test]
    fn what_a_long_event_has_grown_is_given_back() {
        let mut sse = Sse::new();
        for piece in [b"data: ".as_slice(), &vec![b'x'; 500_000], b"\n", b"\n"] {
            sse.push(piece, |event| assert_eq!(event.data.len(), 500_000)).unwrap();
        }
        assert!(sse.held_bytes() <= 3 * KEPT_BYTES, "{} bytes are held", sse.held_bytes());
    }

    /// Bytes that stumble over every rule far more often than random ones.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"data: ".to_vec()),
            Just(b"data:".to_vec()),
            Just(b"event: error".to_vec()),
            Just(b":".to_vec()),
            Just(b" ".to_vec()),
            Just(b"\n".to_vec()),
            Just(b"\n\n".to_vec()),
            Just(b"\r\n".to_vec()),
            Just(b"\r".to_vec()),
            Just(BYTE_ORDER_MARK.to_vec()),
            Just("größe 🦀".as_bytes().to_vec()),
            vec(any::<u8>(), 0..8),
        ];
        vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    fn cut<'a>(stream: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
        let (mut chunks, mut rest, mut sizes) = (Vec::new(), stream, sizes.iter().cycle());
        while !rest.is_empty() {
            let (chunk, tail) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
            chunks.push(chunk);
            rest = tail;
        }
        chunks
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_events_of_the_standard(
            stream in stream(), sizes in vec(1usize..12, 1..8),
        ) {
            let expected = by_the_book(&stream);
            prop_assert_eq!(&parse([stream.as_slice()]), &expected);
            prop_assert_eq!(&parse(cut(&stream, &sizes)), &expected);
            prop_assert_eq!(&parse(stream.chunks(1)), &expected);
        }

        #[test]
        fn garbage_neither_panics_nor_holds_more_than_its_bound(
            chunks in vec(vec(any::<u8>(), 0..200), 0..40),
        ) {
            let mut sse = Sse::with_limit(256);
            for chunk in &chunks {
                let _ = sse.push(chunk, |_| {});
                prop_assert!(sse.held_bytes() <= 8 * 256);
            }
        }
    }
}
