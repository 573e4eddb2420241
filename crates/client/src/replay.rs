//! A recorded answer, read as a live one is, without a socket or a clock: for tests and for the count of
//! the instructions that a token costs.

use std::time::Duration;

use workload::Api;

use crate::answer::Progress;
use crate::stream::{Arrival, BodyEnd, Stream};
use crate::transport::{Fault, Parsed};

/// A recorded answer cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The recording ends before the answer's head does.
    #[error("the recording holds no whole head of an answer")]
    NoHead,
    /// It is no answer, or none that completes.
    #[error("{0}")]
    Broken(String),
}

impl From<Fault> for ReplayError {
    fn from(fault: Fault) -> Self {
        Self::Broken(fault.to_string())
    }
}

/// Reads an HTTP/1.1 answer that arrived in `reads`, a millisecond apart, the first of which holds its
/// whole head. Returns its content events.
///
/// # Errors
/// When it is not a streamed answer that completes.
pub fn replay<'a>(
    api: Api,
    reads: impl IntoIterator<Item = &'a [u8]>,
    mut on: impl FnMut(Progress),
) -> Result<u64, ReplayError> {
    let mut reads = reads.into_iter().zip(1_u64..);
    let (first, _) = reads.next().ok_or(ReplayError::NoHead)?;
    let Parsed { mut delivery, length_bytes, .. } =
        Parsed::parse(first)?.ok_or(ReplayError::NoHead)?;
    let mut stream = Stream::new(api);
    let mut last = Duration::ZERO;
    for (bytes, serial) in std::iter::once((&first[length_bytes..], 0)).chain(reads) {
        last = Duration::from_millis(serial);
        on(Progress::Read { lag: Some(Duration::ZERO) });
        let mut pushed = Ok(());
        let _beyond = delivery.framing.push(bytes, |piece| {
            if pushed.is_ok() {
                pushed = stream.push(piece, Arrival { at: last, serial }, &mut on);
            }
        })?;
        pushed.map_err(|broken| ReplayError::Broken(broken.words))?;
    }
    let ended = stream.end(last, &BodyEnd::Clean);
    ended.map(|_| stream.story().events).map_err(|broken| ReplayError::Broken(broken.words))
}
