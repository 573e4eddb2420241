//! Where the body of an answer ends (RFC 9112 §6.3).

use super::Fault;
use super::chunked::Chunked;

/// How a body is delimited, and how far it has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// So many bytes are to come.
    Length(u64),
    Chunked(Chunked),
    /// It ends with its connection.
    UntilClose,
    /// It has ended, and its connection with it.
    Closed,
}

impl Framing {
    /// Of an answer that has no body.
    pub(crate) const NONE: Self = Self::Length(0);

    /// Takes bytes as they arrived and hands over those of the body. Returns how many follow its end.
    pub(crate) fn push<'bytes>(
        &mut self,
        bytes: &'bytes [u8],
        mut on_data: impl FnMut(&'bytes [u8]),
    ) -> Result<usize, Fault> {
        match self {
            Self::Length(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= here as u64;
                if here > 0 {
                    on_data(&bytes[..here]);
                }
                Ok(bytes.len() - here)
            }
            Self::Chunked(chunked) => {
                let after = chunked.push(bytes, on_data);
                after.map(<[u8]>::len).map_err(|error| Fault::Malformed(error.to_string()))
            }
            Self::UntilClose => {
                on_data(bytes);
                Ok(0)
            }
            Self::Closed => Ok(bytes.len()),
        }
    }

    /// The peer has ended its stream: a body either ends there or was cut.
    pub(crate) fn closed(&mut self) -> Result<(), Fault> {
        if *self == Self::UntilClose {
            *self = Self::Closed;
        }
        if self.is_ended() { Ok(()) } else { Err(Fault::Closed) }
    }

    pub(crate) fn is_ended(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunked) => chunked.is_ended(),
            Self::UntilClose => false,
            Self::Closed => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_ends_a_body_and_what_follows_is_counted() {
        let mut framing = Framing::Length(5);
        let mut data = Vec::new();
        for (bytes, after) in [("ab", 0), ("cdefg", 2)] {
            assert!(!framing.is_ended());
            let followed = framing.push(bytes.as_bytes(), |piece| data.extend_from_slice(piece));
            assert_eq!(followed.unwrap(), after);
        }
        assert!(framing.is_ended() && data == b"abcde");
    }

    #[test]
    fn the_end_of_a_connection_ends_a_body_that_says_so_and_cuts_every_other() {
        let mut until_close = Framing::UntilClose;
        assert!(!until_close.is_ended());
        assert!(until_close.closed().is_ok() && until_close.is_ended());
        let mut none = Framing::NONE;
        assert!(none.closed().is_ok());
        for mut cut in [Framing::Length(1), Framing::Chunked(Chunked::new())] {
            assert!(matches!(cut.closed(), Err(Fault::Closed)));
        }
    }
}
