//! An answer of HTTP/1.1 from its first byte to its outcome, framing and API included: any chunking of any bytes gives the
//! same content events and the same outcome.
//!
//! The first eight bytes of an input say how the rest is cut (and the first of them whose API it is), the rest is what the
//! server sent before it closed.
#![no_main]

use client::{Progress, replay};
use libfuzzer_sys::fuzz_target;
use workload::Api;

/// Tokens of each content event, and whether it shows; then how many there were, or what was wrong.
#[derive(Debug, PartialEq)]
struct Reading {
    contents: Vec<(u32, bool)>,
    outcome: Result<u64, String>,
}

fn read<'a>(api: Api, reads: impl Iterator<Item = &'a [u8]>) -> Reading {
    let (mut contents, mut last) = (Vec::new(), None);
    let outcome = replay(api, reads, |progress| {
        if let Progress::Content { at, tokens, visible, .. } = progress {
            assert!(last.replace(at) <= Some(at), "an event before the one before it");
            contents.push((tokens, visible));
        }
    });
    if let Ok(events) = outcome {
        assert_eq!(events, contents.len() as u64);
    }
    Reading { contents, outcome: outcome.map_err(|error| error.to_string()) }
}

fuzz_target!(|input: &[u8]| {
    let Some((sizes, answer)) = input.split_at_checked(8) else { return };
    let api = if sizes[0] % 2 == 0 { Api::Chat } else { Api::Completions };
    let whole = read(api, std::iter::once(answer));
    assert_eq!(read(api, fuzz::cut(answer, sizes)), whole, "cut into {sizes:?}");
    assert_eq!(read(api, answer.chunks(1)), whole, "byte by byte");
});
