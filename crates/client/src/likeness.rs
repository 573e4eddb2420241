//! Events that differ from one before them in nothing but their text.
//!
//! Almost all events of a stream are one text in an unchanging frame. Reading the frame's JSON anew for
//! each token was a quarter of the client's own CPU time, so the frame of one event that was read is kept, and an event
//! that has the same bytes around another text says the same.
//!
//! Why that is exact, not likely: the text is the one string value that makes the event one of content
//! (with an empty string in its place the same JSON says nothing, which is tried), an event's meaning
//! depends on a string of content only by whether it is empty, and what stands in its place here is a
//! JSON string too: not empty, UTF-8, its quotes and backslashes escaped, without control characters.

use memchr::memmem;

use crate::event::{Event, EventError};

/// Members that hold text, as JSON writes their names.
const TEXTS: [&[u8]; 4] =
    [b"\"content\":", b"\"text\":", b"\"reasoning_content\":", b"\"reasoning\":"];

/// A frame is looked for so many times without one that serves: some servers change theirs now and then (the second of
/// `created`), and one that changes it with each event costs no more than that.
const TRIES: u8 = 4;

/// A longer frame is not kept.
const FRAME_BYTES: usize = 2 << 10;

/// The frame of a stream's events, once one is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Likeness {
    frame: Option<Frame>,
    tries: u8,
}

#[derive(Clone, Debug)]
struct Frame {
    before: Box<[u8]>,
    after: Box<[u8]>,
    says: Event,
}

impl Likeness {
    /// What an event says, by the frame or by `parse`.
    pub(crate) fn read(
        &mut self,
        data: &[u8],
        parse: impl Fn(&[u8]) -> Result<Event, EventError>,
    ) -> Result<Event, EventError> {
        if let Some(frame) = self.frame.as_ref().filter(|frame| frame.holds(data)) {
            self.tries = 0;
            return Ok(frame.says.clone());
        }
        let event = parse(data)?;
        let known = self.frame.as_ref().is_some_and(|frame| frame.text(data).is_some());
        if !known && self.tries < TRIES && event.is_plain_content() && data.len() <= FRAME_BYTES {
            self.tries += 1;
            self.frame = Frame::of(data, &event, parse).or(self.frame.take());
        }
        Ok(event)
    }
}

impl Frame {
    /// The frame of an event that was read as `event`.
    fn of(
        data: &[u8],
        event: &Event,
        parse: impl Fn(&[u8]) -> Result<Event, EventError>,
    ) -> Option<Self> {
        TEXTS.iter().find_map(|name| {
            // In JSON an unescaped quote after a colon opens a value, so this is one.
            let mut start = memmem::find(data, name)? + name.len();
            start += usize::from(data.get(start) == Some(&b' '));
            let (before, rest) = data.split_at_checked(start + 1)?;
            let after = &rest[string_length(rest)?..];
            let without = parse(&[before, after].concat()).ok()?;
            let decides =
                before.ends_with(b"\"") && without == Event { content: None, ..event.clone() };
            decides.then(|| Self {
                before: before.into(),
                after: after.into(),
                says: event.clone(),
            })
        })
    }

    fn holds(&self, data: &[u8]) -> bool {
        self.text(data).is_some_and(is_plain)
    }

    /// What stands between the frame's two parts.
    fn text<'data>(&self, data: &'data [u8]) -> Option<&'data [u8]> {
        data.strip_prefix(&*self.before)?.strip_suffix(&*self.after)
    }
}

/// How long the inside of a JSON string is that begins here.
fn string_length(rest: &[u8]) -> Option<usize> {
    let mut escaped = false;
    rest.iter().position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    })
}

/// Whether bytes are the inside of a JSON string that is not empty. What takes more than a look (characters by number)
/// is left to the JSON reader.
fn is_plain(text: &[u8]) -> bool {
    let mut rest = text;
    loop {
        let run = rest.iter().position(|byte| *byte < b' ' || *byte == b'"' || *byte == b'\\');
        let Some(run) = run else { break };
        match rest[run..] {
            [b'\\', b'n' | b'"' | b'\\' | b't' | b'/' | b'r' | b'b' | b'f', ..] => {
                rest = &rest[run + 2..];
            }
            _ => return false,
        }
    }
    !text.is_empty() && (text.is_ascii() || std::str::from_utf8(text).is_ok())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;
    use crate::{chat, completions};

    /// How many of the events were read as JSON; each must say what its JSON says.
    fn parsed(events: &[String]) -> u32 {
        let (mut likeness, parses) = (Likeness::default(), Cell::new(0));
        for event in events {
            let counting = |data: &[u8]| {
                parses.set(parses.get() + 1);
                chat::event(data)
            };
            let read = likeness.read(event.as_bytes(), counting);
            let (read, by_json) = (read.ok(), chat::event(event.as_bytes()).ok());
            assert_eq!(read, by_json, "{event}");
        }
        parses.get()
    }

    fn delta(delta: &str) -> String {
        format!(r#"{{"id":"x","choices":[{{"index":0,"delta":{delta},"finish_reason":null}}]}}"#)
    }

    fn word(text: &str) -> String {
        delta(&format!(r#"{{"content":"{text}"}}"#))
    }

    #[test]
    fn the_frame_of_the_first_word_serves_the_others() {
        let mut events = vec![delta(r#"{"role":"assistant","content":""}"#)];
        events.extend(["a", " b", "c\\n", "ü", "…", "\\\\", "\\\""].map(word));
        // The first two are read, the second once more without its text.
        assert_eq!(parsed(&events), 3);
    }

    #[test]
    fn whatever_is_not_plain_text_in_the_frame_is_read() {
        for other in [
            word(""),
            word(r"\u00e9"),
            word(r"\x"),
            word(r"a\"),
            word("a\u{1}"),
            word(r#"b"},"finish_reason":"stop","x":{"y":"z"#),
            delta(r#"{"content":null}"#),
            delta(r#"{"content":"a","tool_calls":[]}"#),
            r#"{"error":{"message":"no"}}"#.to_owned(),
            "not JSON".to_owned(),
        ] {
            let (alone, with) = (parsed(&[word("a")]), parsed(&[word("a"), other.clone()]));
            assert!(with > alone, "{other}");
        }
    }

    #[test]
    fn a_name_that_is_no_value_of_the_answer_makes_no_frame() {
        for trap in [
            r#"{"x":{"content":"no"},"choices":[{"delta":{"content":"a"}}]}"#,
            r#"{"choices":[{"delta":{"content":"a"}},{"delta":{"content":"b"}}]}"#,
            r#"{"choices":[{"delta":{"\"content":"a","content":"b"}}]}"#,
        ] {
            let events = [trap.to_owned(), trap.to_owned()];
            let _parses = parsed(&events);
        }
    }

    #[test]
    fn frames_that_change_are_looked_for_a_few_times_only() {
        let events: Vec<_> = (0..50)
            .map(|number| format!(r#"{{"n":{number},"choices":[{{"delta":{{"content":"a"}}}}]}}"#))
            .collect();
        assert_eq!(parsed(&events), 50 + u32::from(TRIES));
    }

    #[test]
    fn completions_have_frames_too() {
        let mut likeness = Likeness::default();
        for text in ["a", "b"] {
            let event = format!(r#"{{"choices": [{{"index": 0, "text": "{text}"}}]}}"#);
            let read = likeness.read(event.as_bytes(), completions::event).unwrap();
            assert_eq!(read, completions::event(event.as_bytes()).unwrap());
        }
        assert!(likeness.frame.is_some());
    }

    proptest! {
        /// Against the reader itself, on texts and frames of all kinds.
        #[test]
        fn an_event_says_what_its_json_says(
            texts in proptest::collection::vec(r#"[a-z "\\\\nu,:{}é\x01]{0,4}"#, 1..8),
            shape in 0usize..5,
        ) {
            let events: Vec<_> = texts.iter().map(|text| match shape {
                0 => word(text),
                1 => delta(&format!(r#"{{"reasoning_content":"{text}","content":null}}"#)),
                2 => delta(&format!(r#"{{"content": "{text}", "refusal": "{text}"}}"#)),
                3 => format!(r#"{{"choices":[{{"delta":{{"content":"{text}"}},"token_ids":[1]}}]}}"#),
                _ => format!(r#"{{"object":"{text}","message":"m","choices":[{{"delta":{{"content":"a"}}}}]}}"#),
            }).collect();
            let _parses = parsed(&events);
        }
    }
}
