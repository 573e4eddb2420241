//! Server-sent events: any chunking of any bytes gives the same events and the same refusal, in bounded memory.
//!
//! The first eight bytes of an input say how the rest is cut, the rest is the stream.
#![no_main]

use client::{Sse, SseError};
use libfuzzer_sys::fuzz_target;

/// Low, so that inputs of some hundred bytes meet it.
const LIMIT_BYTES: usize = 64;

/// Line, data and name, each of which grows by doubling.
const HELD_BYTES: usize = 3 * (2 * LIMIT_BYTES + 8);

/// What a parser made of a stream.
#[derive(Debug, PartialEq)]
struct Reading {
    events: Vec<(Vec<u8>, Vec<u8>)>,
    refusal: Option<SseError>,
    /// A parser that has refused the stream holds what it held then, and says nothing about it.
    mid_event: Option<bool>,
}

fn read<'a>(mut sse: Sse, chunks: impl Iterator<Item = &'a [u8]>, held_bytes: usize) -> Reading {
    let (mut events, mut refusal) = (Vec::new(), None);
    for chunk in chunks {
        let pushed = sse.push(chunk, |event| {
            assert!(refusal.is_none(), "an event after the refusal");
            events.push((event.name.to_vec(), event.data.to_vec()));
        });
        assert!(refusal.is_none() || pushed.is_err(), "a refusal was taken back");
        refusal = pushed.err();
        assert!(sse.held_bytes() <= held_bytes, "{} bytes are held", sse.held_bytes());
    }
    let mid_event = refusal.is_none().then(|| sse.is_mid_event());
    Reading { events, refusal, mid_event }
}

fn hold_to_the_law(parser: impl Fn() -> Sse, stream: &[u8], sizes: &[u8], held_bytes: usize) {
    let whole = read(parser(), std::iter::once(stream), held_bytes);
    assert_eq!(read(parser(), fuzz::cut(stream, sizes), held_bytes), whole, "cut into {sizes:?}");
    assert_eq!(read(parser(), stream.chunks(1), held_bytes), whole, "byte by byte");
}

fuzz_target!(|input: &[u8]| {
    let Some((sizes, stream)) = input.split_at_checked(8) else { return };
    hold_to_the_law(|| Sse::with_limit(LIMIT_BYTES), stream, sizes, HELD_BYTES);
    // Under the usual limit what is held is bounded by what was sent.
    hold_to_the_law(Sse::new, stream, sizes, 3 * (2 * stream.len() + 8));
});
