//! An answer by its bytes alone: how many events, and whether it has ended. Pure.
//!
//! An event ends with an empty line, and no other two line feeds in a row are in such an answer: lines of
//! the head and of the chunks end with a carriage return too. The answer's last bytes are always the
//! same, and nothing follows them before the next request is sent.

use memchr::memmem::Finder;

const STATUS: &[u8] = b"HTTP/1.1 200";
const END: &[u8; 21] = b"data: [DONE]\n\n\r\n0\r\n\r\n";

/// What can be made ready once for all streams.
pub(super) struct Scanner(Finder<'static>);

impl Scanner {
    pub(super) fn new() -> Self {
        Self(Finder::new(b"\n\n"))
    }
}

/// What one read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) events: u64,
    pub(super) is_end: bool,
}

/// How far an answer has been read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AnswerScan {
    read: usize,
    /// The last bytes of earlier reads, the latest at the end.
    tail: [u8; END.len()],
}

impl AnswerScan {
    /// Takes a read's bytes; after the end it is ready for the next answer.
    ///
    /// # Errors
    /// The bytes, where an answer begins with another status.
    pub(super) fn push(&mut self, scanner: &Scanner, bytes: &[u8]) -> Result<Seen, String> {
        self.check_status(bytes)?;
        let is_cut = self.tail.ends_with(b"\n") && bytes.starts_with(b"\n");
        let events = scanner.0.find_iter(bytes).count() as u64 + u64::from(is_cut);
        self.read += bytes.len();
        self.remember(bytes);
        let is_end = self.tail == *END;
        if is_end {
            *self = Self::default();
        }
        Ok(Seen { events, is_end })
    }

    fn check_status(&self, bytes: &[u8]) -> Result<(), String> {
        let Some(expected) = STATUS.get(self.read..) else { return Ok(()) };
        let compared = expected.len().min(bytes.len());
        if bytes[..compared] == expected[..compared] {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned())
    }

    fn remember(&mut self, bytes: &[u8]) {
        match bytes.last_chunk() {
            Some(last) => self.tail = *last,
            None => {
                self.tail.rotate_left(bytes.len());
                let from = self.tail.len() - bytes.len();
                self.tail[from..].copy_from_slice(bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
        b\r\ndata: {r}\n\n\r\nb\r\ndata: {1}\n\n\r\nb\r\ndata: {2}\n\n\r\n1c\r\ndata: {u}\n\n\r\n\
        e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";

    #[test]
    fn any_chunking_gives_the_same_events_and_one_end_for_each_answer() {
        let two = ANSWER.repeat(2);
        for piece in 1..=ANSWER.len() {
            let (scanner, mut scan) = (Scanner::new(), AnswerScan::default());
            let (mut events, mut ends) = (0, 0);
            // A read never holds the end of one answer and the start of the next.
            for answer in two.chunks(ANSWER.len()) {
                for part in answer.chunks(piece) {
                    let seen = scan.push(&scanner, part).unwrap();
                    events += seen.events;
                    ends += u32::from(seen.is_end);
                }
            }
            assert_eq!((events, ends), (10, 2), "pieces of {piece}");
        }
    }

    #[test]
    fn another_status_is_an_error_that_shows_it() {
        let (scanner, mut scan) = (Scanner::new(), AnswerScan::default());
        assert!(scan.push(&scanner, b"HTTP/1.").is_ok());
        assert!(scan.push(&scanner, b"1 503 Service").unwrap_err().contains("503"));
    }
}
