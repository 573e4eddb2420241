//! Chunked transfer coding (RFC 9112 §7.1): what a server's chunks hold, in any cut.
//!
//! Pure, and without a buffer: data is handed over as slices of what arrived. Strict, as a framing that
//! is guessed is a body that is invented: line ends are CRLF, sizes are hexadecimal digits. Extensions
//! and trailers say nothing that is measured and are passed over, within a limit.

/// Bytes of extensions and trailers that one body may have.
const UNREAD_LIMIT_BYTES: u32 = 16 << 10;

/// Digits of a size: more do not fit 64 bits.
const SIZE_DIGITS: u8 = 16;

/// The framing is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChunkError {
    #[error("the size of a chunk is not a number")]
    Size,
    #[error("the size of a chunk has more than {SIZE_DIGITS} digits")]
    Huge,
    #[error("a chunk is longer or shorter than its size says")]
    Length,
    #[error("a line of the chunked body does not end with CRLF")]
    LineEnd,
    #[error(
        "the extensions and trailers of the chunked body have more than {UNREAD_LIMIT_BYTES} bytes"
    )]
    TooMuch,
}

/// Where in the coding the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In a size, after so many digits.
    Size { digits: u8 },
    /// After a size, in spaces or extensions.
    Extension,
    /// At the LF after a size.
    SizeEnd,
    /// In data, with so many bytes to come.
    Data,
    /// At the CR after data.
    DataCr,
    /// At the LF after data.
    DataLf,
    /// At the beginning of a trailer, or of the empty line that ends the body.
    Trailer,
    /// In a trailer.
    TrailerText,
    /// At the LF of a trailer.
    TrailerLf,
    /// At the LF of the last line.
    LastLf,
    /// After the last line.
    End,
}

/// The decoder of one body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunked {
    place: Place,
    /// The size being read, then the bytes of the chunk that are to come.
    left: u64,
    unread: u32,
}

impl Chunked {
    pub(crate) fn new() -> Self {
        Self { place: Place::Size { digits: 0 }, left: 0, unread: 0 }
    }

    /// Feeds bytes, cut anywhere, and hands over the data among them. Returns what follows the body's
    /// end, empty before it.
    pub(crate) fn push<'bytes>(
        &mut self,
        mut bytes: &'bytes [u8],
        mut on_data: impl FnMut(&'bytes [u8]),
    ) -> Result<&'bytes [u8], ChunkError> {
        while self.place != Place::End {
            if self.place == Place::Data {
                let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                let (data, rest) = bytes.split_at(here);
                if !data.is_empty() {
                    on_data(data);
                }
                bytes = rest;
                self.left -= here as u64;
                if self.left > 0 {
                    return Ok(bytes);
                }
                self.place = Place::DataCr;
            }
            let Some((byte, rest)) = bytes.split_first() else { return Ok(bytes) };
            bytes = rest;
            self.place = self.after(*byte)?;
        }
        Ok(bytes)
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.place == Place::End
    }

    /// The place after a byte of the framing.
    fn after(&mut self, byte: u8) -> Result<Place, ChunkError> {
        Ok(match (self.place, byte) {
            (Place::Size { digits }, _) => return self.size(digits, byte),
            (Place::Extension, b'\r') => Place::SizeEnd,
            (Place::Extension, b'\n') => return Err(ChunkError::LineEnd),
            (Place::Extension, _) => self.unread(Place::Extension)?,
            (Place::SizeEnd, b'\n') if self.left == 0 => Place::Trailer,
            (Place::SizeEnd, b'\n') => Place::Data,
            (Place::DataCr, b'\r') => Place::DataLf,
            (Place::DataCr, _) => return Err(ChunkError::Length),
            (Place::DataLf, b'\n') => Place::Size { digits: 0 },
            (Place::Trailer, b'\r') => Place::LastLf,
            (Place::TrailerText, b'\r') => Place::TrailerLf,
            (Place::Trailer | Place::TrailerText, b'\n') => return Err(ChunkError::LineEnd),
            (Place::Trailer | Place::TrailerText, _) => self.unread(Place::TrailerText)?,
            (Place::TrailerLf, b'\n') => Place::Trailer,
            (Place::LastLf, b'\n') => Place::End,
            (Place::SizeEnd | Place::DataLf | Place::TrailerLf | Place::LastLf, _) => {
                return Err(ChunkError::LineEnd);
            }
            (Place::Data | Place::End, _) => self.place,
        })
    }

    fn size(&mut self, digits: u8, byte: u8) -> Result<Place, ChunkError> {
        let digit = char::from(byte).to_digit(16);
        match (digit, byte) {
            (Some(_), _) if digits == SIZE_DIGITS => Err(ChunkError::Huge),
            (Some(digit), _) => {
                let before = if digits == 0 { 0 } else { self.left };
                self.left = (before << 4) | u64::from(digit);
                Ok(Place::Size { digits: digits + 1 })
            }
            (None, _) if digits == 0 => Err(ChunkError::Size),
            (None, b'\r') => Ok(Place::SizeEnd),
            (None, b';' | b' ' | b'\t') => Ok(Place::Extension),
            (None, _) => Err(ChunkError::Size),
        }
    }

    fn unread(&mut self, place: Place) -> Result<Place, ChunkError> {
        self.unread += 1;
        if self.unread > UNREAD_LIMIT_BYTES { Err(ChunkError::TooMuch) } else { Ok(place) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// What a body in pieces comes to: its data and what follows it.
    fn decode(pieces: &[&[u8]]) -> Result<(Vec<u8>, Vec<u8>, bool), ChunkError> {
        let (mut chunked, mut data, mut after) = (Chunked::new(), Vec::new(), Vec::new());
        for piece in pieces {
            after.extend_from_slice(chunked.push(piece, |bytes| data.extend_from_slice(bytes))?);
        }
        Ok((data, after, chunked.is_ended()))
    }

    #[test]
    fn sizes_extensions_and_trailers_are_no_data() {
        let body = b"4;a=\"b\"\r\nWiki\r\n00A \r\npedia in c\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\nnext";
        let (data, after, ended) = decode(&[body]).unwrap();
        assert_eq!((data.as_slice(), after.as_slice()), (&b"Wikipedia in c"[..], &b"next"[..]));
        assert!(ended);
    }

    #[test]
    fn a_body_that_goes_on_has_not_ended() {
        for body in ["", "4", "4\r\nWi", "4\r\nWiki\r\n", "0\r\n", "0\r\nX: 1\r\n", "0\r\n\r"] {
            let (_, after, ended) = decode(&[body.as_bytes()]).unwrap();
            assert!(!ended && after.is_empty(), "{body:?}");
        }
    }

    #[test]
    fn what_is_no_framing_is_refused() {
        for (body, error) in [
            ("x\r\n", ChunkError::Size),
            ("\r\n", ChunkError::Size),
            ("-1\r\n", ChunkError::Size),
            ("4z\r\n", ChunkError::Size),
            ("00000000000000004\r\n", ChunkError::Huge),
            ("4\nWiki", ChunkError::Size),
            ("4;x\nWiki", ChunkError::LineEnd),
            ("4\r\nWikipedia", ChunkError::Length),
            ("4\r\nWiki\n", ChunkError::Length),
            ("4\rx", ChunkError::LineEnd),
            ("0\r\nX: 1\n\n", ChunkError::LineEnd),
        ] {
            assert_eq!(decode(&[body.as_bytes()]).unwrap_err(), error, "{body:?}");
        }
    }

    #[test]
    fn the_largest_size_is_one_and_its_data_is_waited_for() {
        let (data, _, ended) = decode(&[b"ffffffffffffffff\r\nabc"]).unwrap();
        assert!(data == b"abc" && !ended);
    }

    #[test]
    fn endless_extensions_and_trailers_are_cut_off() {
        let long = "x".repeat(UNREAD_LIMIT_BYTES as usize + 1);
        for body in [format!("1;{long}"), format!("0\r\n{long}")] {
            assert_eq!(decode(&[body.as_bytes()]).unwrap_err(), ChunkError::TooMuch);
        }
    }

    proptest! {
        /// A body's data does not depend on how it was chunked, nor on how the chunks were cut.
        #[test]
        fn cuts_change_nothing(chunks in vec(vec(any::<u8>(), 1..40), 0..6), cuts in vec(0usize..400, 0..8)) {
            let mut body = Vec::new();
            for chunk in &chunks {
                body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                body.extend_from_slice(chunk);
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"0\r\n\r\nafter");
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(body.len())).collect();
            cuts.extend([0, body.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|cut| &body[cut[0]..cut[1]]).collect();
            let (data, after, ended) = decode(&pieces).unwrap();
            prop_assert!(ended);
            prop_assert_eq!(data, chunks.concat());
            prop_assert_eq!(after, b"after".to_vec());
        }

        /// Whatever arrives, and however it is cut, the outcome is the same and nothing panics.
        #[test]
        fn nonsense_is_refused_the_same_in_any_cut(body in "[0-9a-f;\r\nx ]{0,40}", cut in 0usize..40) {
            let (one, two) = body.as_bytes().split_at(cut.min(body.len()));
            prop_assert_eq!(decode(&[one, two]), decode(&[body.as_bytes()]));
        }
    }
}
