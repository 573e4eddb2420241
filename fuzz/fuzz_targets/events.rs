//! What an event or a whole answer says: any bytes are read or refused, and no server's words are kept beyond their
//! bound.
#![no_main]

use client::event::{DETAIL_BYTES, is_done};
use client::{Event, EventError, chat, completions};
use libfuzzer_sys::fuzz_target;

/// An event and an answer are read alike: they differ in the words of the refusal.
fn hold_to_the_law(event: Result<Event, EventError>, answer: Result<Event, EventError>) {
    assert_eq!(event.as_ref().ok(), answer.as_ref().ok());
    if let Some(words) = event.ok().and_then(|event| event.error) {
        assert!(words.len() <= DETAIL_BYTES, "{} bytes of words", words.len());
        assert!(!words.contains(char::is_control), "{words:?} is not one line");
    }
}

fuzz_target!(|data: &[u8]| {
    hold_to_the_law(chat::event(data), chat::answer(data));
    hold_to_the_law(completions::event(data), completions::answer(data));
    if is_done(data) {
        assert!(chat::event(data).is_err(), "the end of a stream is no event");
    }
});
