//! Streams that real servers and mock servers sent, byte for byte: each gives the events that a reader
//! of the file counts in it, however its bytes are cut.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use client::{Content, Event, Sse, chat, completions, event};
use proptest::prelude::*;

#[derive(Debug, PartialEq, Eq)]
struct Seen {
    contents: usize,
    finish_reasons: usize,
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    cached_tokens: Option<u64>,
    done: bool,
}

struct Recording {
    name: &'static str,
    bytes: &'static [u8],
    read: fn(&[u8]) -> Result<Event, client::EventError>,
    seen: Seen,
}

macro_rules! recording {
    ($name:literal, $api:ident, $contents:literal, $usage:expr) => {{
        let (prompt_tokens, completion_tokens, cached_tokens) = $usage;
        Recording {
            name: $name,
            bytes: include_bytes!(concat!("fixtures/", $name, ".sse")),
            read: $api::event,
            seen: Seen {
                contents: $contents,
                finish_reasons: 1,
                prompt_tokens,
                completion_tokens,
                cached_tokens,
                done: true,
            },
        }
    }};
}

fn recordings() -> Vec<Recording> {
    vec![
        recording!("llama-cpp", chat, 40, (Some(30), Some(40), Some(1))),
        recording!("llama-cpp-chat-nousage", chat, 8, (None, None, None)),
        recording!("llama-cpp-completions", completions, 16, (Some(4), Some(16), Some(1))),
        recording!("xpyd-sim-openai-chat", chat, 12, (Some(3), Some(12), None)),
        recording!("xpyd-sim-openai-completions", completions, 7, (Some(2), Some(7), None)),
        recording!("fakellm-openai-chat", chat, 9, (None, None, None)),
        recording!("llm-mock-api-openai-chat", chat, 11, (Some(10), Some(5), Some(0))),
        recording!("mockllm-openai-chat", chat, 25, (None, None, None)),
        recording!("stubllm-openai-chat", chat, 19, (None, None, None)),
    ]
}

/// Reads a recording in chunks of the sizes given, over and over.
fn seen(recording: &Recording, sizes: &[usize]) -> Seen {
    let mut seen = Seen {
        contents: 0,
        finish_reasons: 0,
        prompt_tokens: None,
        completion_tokens: None,
        cached_tokens: None,
        done: false,
    };
    let (mut sse, mut rest, mut sizes) = (Sse::new(), recording.bytes, sizes.iter().cycle());
    while !rest.is_empty() {
        let (chunk, tail) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
        rest = tail;
        let pushed = sse.push(chunk, |message| {
            if event::is_done(message.data) {
                seen.done = true;
                return;
            }
            let event = (recording.read)(message.data).unwrap();
            assert_eq!(event.error, None);
            assert!(event.content.is_none_or(|content| content == Content::Visible));
            seen.contents += usize::from(event.content.is_some());
            seen.finish_reasons += usize::from(event.finish_reason);
            if let Some(usage) = event.usage {
                seen.prompt_tokens = usage.prompt_tokens;
                seen.completion_tokens = usage.completion_tokens;
                seen.cached_tokens = usage.cached_tokens;
            }
        });
        pushed.unwrap();
    }
    assert!(!sse.is_mid_event());
    seen
}

#[test]
fn every_recording_gives_the_events_that_are_in_it() {
    for recording in recordings() {
        assert_eq!(seen(&recording, &[usize::MAX]), recording.seen, "{}", recording.name);
    }
}

#[test]
fn every_recording_reads_the_same_in_chunks_of_one_size() {
    for recording in recordings() {
        for size in (1..40).chain([255, 256, 257, 1_000]) {
            assert_eq!(seen(&recording, &[size]), recording.seen, "{} in {size}", recording.name);
        }
    }
}

proptest! {
    #[test]
    fn every_recording_reads_the_same_in_any_chunking(sizes in prop::collection::vec(1usize..400, 1..20)) {
        for recording in recordings() {
            prop_assert_eq!(seen(&recording, &sizes), recording.seen, "{}", recording.name);
        }
    }

    #[test]
    fn a_broken_recording_is_an_error_or_an_event_and_never_a_panic(
        which in 0usize..9, at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let recording = &recordings()[which];
        let mut bytes = recording.bytes.to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let mut sse = Sse::new();
        let pushed = sse.push(&bytes, |message| {
            let _event = chat::event(message.data);
            let _event = completions::event(message.data);
        });
        prop_assert!(pushed.is_ok());
    }
}
