//! The codec: bincode with a size limit, and a wrapper in which a decode error is a value.
//!
//! The actor library drops a message whose decoder fails and never answers a call that it dropped;
//! a caller would wait for its deadline and learn nothing. So decoding never fails here: the error
//! travels inward as data, and the handler refuses it with words.

use ractor::BytesConvertable;
use serde::{Serialize, de::DeserializeOwned};

/// The largest message that is encoded, accepted or stored, in bytes (1 MiB).
pub const MAX_FRAME_BYTES: usize = 1 << 20;

/// Why bytes are not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes are no valid encoding, or one that would exceed [`MAX_FRAME_BYTES`].
    #[error("undecodable message: {0}")]
    Malformed(String),
    /// A whole message was read and bytes were left over.
    #[error("{0} bytes follow the end of the message")]
    TrailingBytes(usize),
    /// The message is larger than a frame may be.
    #[error("a message of {0} bytes exceeds the frame limit of {MAX_FRAME_BYTES} bytes")]
    TooLarge(usize),
    /// The value cannot be encoded.
    #[error("unencodable message: {0}")]
    Unencodable(String),
}

fn codec() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<MAX_FRAME_BYTES>()
}

/// Encodes one value.
///
/// # Errors
/// [`WireError::TooLarge`] above [`MAX_FRAME_BYTES`].
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, WireError> {
    let bytes = bincode::serde::encode_to_vec(value, codec())
        .map_err(|error| WireError::Unencodable(error.to_string()))?;
    if bytes.len() > MAX_FRAME_BYTES {
        return Err(WireError::TooLarge(bytes.len()));
    }
    Ok(bytes)
}

/// Decodes exactly one value.
///
/// # Errors
/// Anything that is not the whole encoding of one value within the limit.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    if bytes.len() > MAX_FRAME_BYTES {
        return Err(WireError::TooLarge(bytes.len()));
    }
    let (value, used) = bincode::serde::decode_from_slice::<T, _>(bytes, codec())
        .map_err(|error| WireError::Malformed(error.to_string()))?;
    match bytes.len() - used {
        0 => Ok(value),
        left => Err(WireError::TrailingBytes(left)),
    }
}

/// A message's content: the value, or why the bytes were not one.
#[derive(Clone, Debug, PartialEq)]
pub struct Wire<T>(pub Result<T, WireError>);

impl<T> Wire<T> {
    /// Wraps a value to be sent.
    pub fn new(value: T) -> Self {
        Self(Ok(value))
    }
}

impl<T> BytesConvertable for Wire<T>
where
    T: Serialize + DeserializeOwned,
{
    /// An error cannot be sent: it becomes the empty frame, which no message decodes from.
    fn into_bytes(self) -> Vec<u8> {
        self.0.and_then(|value| encode(&value)).unwrap_or_else(|error| {
            tracing::error!(%error, "a message cannot be sent");
            Vec::new()
        })
    }

    fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(decode(&bytes))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Hello, Part, TimePing, WorkerId};

    #[test]
    fn the_bytes_of_a_message_do_not_change() {
        let ping = TimePing { worker: WorkerId { ordinal: 3, incarnation: 5 } };
        assert_eq!(encode(&ping).unwrap(), [3, 5]);
    }

    #[test]
    fn bytes_after_the_message_are_an_error() {
        let mut bytes = encode(&7_u32).unwrap();
        bytes.push(0);
        assert_eq!(decode::<u32>(&bytes), Err(WireError::TrailingBytes(1)));
    }

    #[test]
    fn an_oversized_message_is_refused_on_both_sides() {
        let large = vec![0_u8; MAX_FRAME_BYTES + 1];
        assert!(matches!(encode(&large), Err(WireError::TooLarge(_) | WireError::Unencodable(_))));
        assert!(matches!(decode::<Vec<u8>>(&large), Err(WireError::TooLarge(_))));
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_memory_is_taken() {
        // A vector that claims 2^62 bytes: varint marker 253 and a u64.
        let mut claim = vec![253];
        claim.extend_from_slice(&(1_u64 << 62).to_le_bytes());
        assert!(matches!(decode::<Vec<u8>>(&claim), Err(WireError::Malformed(_))));
    }

    proptest! {
        #[test]
        fn garbage_is_an_error_or_a_value_but_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = decode::<Part>(&bytes);
            let _ = decode::<Hello>(&bytes);
        }

        #[test]
        fn decoding_what_was_encoded_gives_the_same(ordinal in any::<u32>(), incarnation in any::<u64>()) {
            let id = WorkerId { ordinal, incarnation };
            prop_assert_eq!(decode::<WorkerId>(&encode(&id).unwrap()), Ok(id));
        }
    }
}
