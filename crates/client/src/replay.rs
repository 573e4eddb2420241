//! A recorded answer, read as a live one is, without a socket or a clock: for tests, for fuzzing and for the
//! count of the instructions that a token costs.

use std::time::Duration;

use workload::Api;

use crate::answer::Progress;
use crate::stream::{Arrival, BodyEnd, Stream};
use crate::transport::{Delivery, Fault, answer};

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

/// Reads an HTTP/1.1 answer that arrived in `reads`, a millisecond apart, and cut anywhere; then its server closed the
/// connection. Returns its content events.
///
/// # Errors
/// When it is not a streamed answer that completes.
pub fn replay<'a>(
    api: Api,
    reads: impl IntoIterator<Item = &'a [u8]>,
    mut on: impl FnMut(Progress),
) -> Result<u64, ReplayError> {
    let mut reads = reads.into_iter().zip(1_u64..);
    let (mut inbox, mut informed) = (Vec::new(), 0);
    let (parsed, serial) = loop {
        let (bytes, serial) = reads.next().ok_or(ReplayError::NoHead)?;
        inbox.extend_from_slice(bytes);
        let (found, taken) = answer(&inbox, &mut informed)?;
        let _heads = inbox.drain(..taken);
        if let Some(parsed) = found {
            break (parsed, serial);
        }
    };
    if !parsed.head.status.is_success() {
        return Err(ReplayError::Broken(parsed.head.status.to_string()));
    }
    let mut stream = Stream::new(api);
    let mut delivery = parsed.delivery;
    let mut arrival = arrived(serial);
    push(&mut stream, &mut delivery, &inbox, arrival, &mut on)?;
    for (bytes, serial) in reads {
        if stream.is_done() {
            break;
        }
        arrival = arrived(serial);
        push(&mut stream, &mut delivery, bytes, arrival, &mut on)?;
    }
    let end = match delivery.framing.closed() {
        Ok(()) => BodyEnd::Clean,
        Err(fault) => BodyEnd::Cut(fault.to_string()),
    };
    let ended = stream.end(arrival.at, &end);
    ended.map(|_| stream.story().events).map_err(|broken| ReplayError::Broken(broken.words))
}

fn arrived(serial: u64) -> Arrival {
    Arrival { at: Duration::from_millis(serial), serial }
}

/// One read, as the exchange takes it: what the stream says comes first, and what follows its end is nothing.
fn push(
    stream: &mut Stream,
    delivery: &mut Delivery,
    bytes: &[u8],
    arrival: Arrival,
    on: &mut impl FnMut(Progress),
) -> Result<(), ReplayError> {
    on(Progress::Read { lag: Some(Duration::ZERO) });
    let mut pushed = Ok(());
    let framed = delivery.framing.push(bytes, |piece| {
        if pushed.is_ok() {
            pushed = stream.push(piece, arrival, on);
        }
    });
    pushed.map_err(|broken| ReplayError::Broken(broken.words))?;
    match framed {
        Err(fault) if !stream.is_done() => Err(fault.into()),
        Ok(_) | Err(_) => Ok(()),
    }
}
