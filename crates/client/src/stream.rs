//! One streamed answer: from bytes and the instants they arrived at to content events and an end.
//!
//! Pure: it is told when bytes arrived. An event's instant is that of the read that completed it;
//! events completed by one read share it, and each says so (METRICS.md, arrival).

use std::time::Duration;

use metrics::FailureClass;
use workload::Api;

use crate::answer::Progress;
use crate::event::{Content, Event, EventError, Usage, bounded, is_done, words_of};
use crate::likeness::Likeness;
use crate::sse::{Message, Sse};
use crate::{chat, completions};

/// When bytes arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) at: Duration,
    /// The read that brought them.
    pub(crate) serial: u64,
}

/// Why a stream failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) class: FailureClass,
    pub(crate) words: String,
}

/// A stream that completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) finished: Duration,
    pub(crate) no_done: bool,
}

/// How a body ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BodyEnd {
    /// As its framing said it would.
    Clean,
    /// It broke off, with the words of whoever noticed.
    Cut(String),
}

/// The stream so far.
#[derive(Debug)]
pub(crate) struct Stream {
    sse: Sse,
    story: Story,
}

/// What the events so far have said.
#[derive(Debug)]
pub(crate) struct Story {
    api: Api,
    pub(crate) events: u64,
    pub(crate) first_token: Option<Duration>,
    pub(crate) last_token: Option<Duration>,
    pub(crate) usage: Option<Usage>,
    growth: Growth,
    likeness: Likeness,
    last_serial: u64,
    finish_reason: bool,
    done: Option<Duration>,
}

/// Whether the usage in events counts up with them (`continuous_usage_stats`). Only where every event
/// since the first content has one, its growth is that event's tokens: a total that comes once, with
/// the last event, is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Growth {
    Counted(u64),
    Unknown,
}

impl Stream {
    pub(crate) fn new(api: Api) -> Self {
        let story = Story {
            api,
            events: 0,
            first_token: None,
            last_token: None,
            usage: None,
            growth: Growth::Counted(0),
            likeness: Likeness::default(),
            last_serial: 0,
            finish_reason: false,
            done: None,
        };
        Self { sse: Sse::new(), story }
    }

    pub(crate) fn story(&self) -> &Story {
        &self.story
    }

    /// Feeds bytes that arrived together. What follows `[DONE]` is ignored.
    pub(crate) fn push(
        &mut self,
        chunk: &[u8],
        arrival: Arrival,
        on: &mut impl FnMut(Progress),
    ) -> Result<(), Broken> {
        let Self { sse, story } = self;
        let mut broken = None;
        let parsed = sse.push(chunk, |message| {
            if broken.is_none() && story.done.is_none() {
                broken = story.message(message, arrival, on).err();
            }
        });
        match (broken, parsed) {
            (Some(broken), _) => Err(broken),
            (None, Err(error)) if story.done.is_none() => {
                Err(Broken { class: FailureClass::Protocol, words: error.to_string() })
            }
            (None, _) => Ok(()),
        }
    }

    /// Whether `[DONE]` has come.
    pub(crate) fn is_done(&self) -> bool {
        self.story.done.is_some()
    }

    /// What the stream came to, once it is done or its body has ended at `at`.
    pub(crate) fn end(&self, at: Duration, end: &BodyEnd) -> Result<Ended, Broken> {
        let ended = match (self.story.done, end) {
            (Some(finished), _) => Ended { finished, no_done: false },
            (None, BodyEnd::Clean) if self.story.finish_reason => {
                Ended { finished: at, no_done: true }
            }
            (None, _) => return Err(self.cut(end)),
        };
        if self.story.events == 0 {
            let words = "the stream completed without any generated content".to_owned();
            return Err(Broken { class: FailureClass::Empty, words });
        }
        Ok(ended)
    }

    fn cut(&self, end: &BodyEnd) -> Broken {
        let events = self.story.events;
        let place =
            if self.sse.is_mid_event() { "in the middle of an event" } else { "between events" };
        let how = match end {
            BodyEnd::Clean => "without [DONE] or a finish reason".to_owned(),
            BodyEnd::Cut(words) => format!("({words})"),
        };
        let words =
            bounded(&format!("the stream ended after {events} content events, {place}, {how}"));
        Broken { class: FailureClass::StreamCut, words }
    }
}

impl Story {
    fn message(
        &mut self,
        message: Message<'_>,
        arrival: Arrival,
        on: &mut impl FnMut(Progress),
    ) -> Result<(), Broken> {
        if message.name == b"error" {
            return Err(Broken { class: FailureClass::InBandError, words: words_of(message.data) });
        }
        if is_done(message.data) {
            self.done = Some(arrival.at.max(self.last_token.unwrap_or_default()));
            return Ok(());
        }
        let event = self.parse(message.data).map_err(|error| not_this_api(&error, message.data))?;
        if let Some(words) = event.error {
            return Err(Broken { class: FailureClass::InBandError, words });
        }
        self.event(&event, arrival, on);
        Ok(())
    }

    fn parse(&mut self, data: &[u8]) -> Result<Event, EventError> {
        let parse = match self.api {
            Api::Chat => chat::event,
            Api::Completions => completions::event,
        };
        self.likeness.read(data, parse)
    }

    fn event(&mut self, event: &Event, arrival: Arrival, on: &mut impl FnMut(Progress)) {
        self.finish_reason |= event.finish_reason;
        self.usage = event.usage.or(self.usage);
        let grown = self.growth_of(event);
        let Some(content) = event.content else { return };
        let told = grown.or(event.tokens).filter(|tokens| *tokens > 0);
        self.content(content, told.unwrap_or(1), arrival, on);
    }

    /// How many tokens the usage of this event is above that of the one before.
    fn growth_of(&mut self, event: &Event) -> Option<u32> {
        let counted = event.usage.and_then(|usage| usage.completion_tokens);
        match (self.growth, counted) {
            (Growth::Counted(before), Some(now)) => {
                self.growth = Growth::Counted(now);
                u32::try_from(now.saturating_sub(before)).ok()
            }
            (Growth::Counted(_), None) if event.content.is_some() => {
                self.growth = Growth::Unknown;
                None
            }
            (Growth::Counted(_) | Growth::Unknown, _) => None,
        }
    }

    fn content(
        &mut self,
        content: Content,
        tokens: u32,
        arrival: Arrival,
        on: &mut impl FnMut(Progress),
    ) {
        // Stamps of different clocks may cross by microseconds; instants of one request do not.
        let at = arrival.at.max(self.last_token.unwrap_or_default());
        let gap_shared = self.events > 0 && arrival.serial == self.last_serial;
        let visible = content == Content::Visible;
        let _first = self.first_token.get_or_insert(at);
        self.last_token = Some(at);
        self.last_serial = arrival.serial;
        self.events += 1;
        on(Progress::Content { at, tokens, gap_shared, visible });
    }
}

fn not_this_api(error: &EventError, data: &[u8]) -> Broken {
    let words = bounded(&format!("{error}: {}", words_of(data)));
    Broken { class: FailureClass::Protocol, words }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(ms: u64, serial: u64) -> Arrival {
        Arrival { at: Duration::from_millis(ms), serial }
    }

    fn word(content: &str, more: &str) -> String {
        format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{content}\"}}}}]{more}}}\n\n")
    }

    /// Pushes pieces that arrive at 10, 20, … ms, each with a read of its own.
    fn run(pieces: &[&str]) -> (Stream, Vec<Progress>, Result<(), Broken>) {
        let (mut stream, mut told) = (Stream::new(Api::Chat), Vec::new());
        let mut result = Ok(());
        for (piece, serial) in pieces.iter().zip(1..) {
            result = result.and_then(|()| {
                stream.push(piece.as_bytes(), arrival(10 * serial, serial), &mut |progress| {
                    told.push(progress);
                })
            });
        }
        (stream, told, result)
    }

    fn content(ms: u64, tokens: u32, gap_shared: bool) -> Progress {
        Progress::Content { at: Duration::from_millis(ms), tokens, gap_shared, visible: true }
    }

    #[test]
    fn an_event_has_the_instant_of_the_read_that_completed_it() {
        let whole = word("a", "") + &word("b", "");
        let (first, second) = whole.split_at(20);
        let (stream, told, _) = run(&[first, second, "data: [DONE]\n\n"]);
        assert_eq!(told, [content(20, 1, false), content(20, 1, true)]);
        let end = stream.end(Duration::from_millis(99), &BodyEnd::Clean);
        assert_eq!(end, Ok(Ended { finished: Duration::from_millis(30), no_done: false }));
    }

    #[test]
    fn instants_of_one_request_never_go_back() {
        let (mut stream, mut told) = (Stream::new(Api::Chat), Vec::new());
        for (ms, serial) in [(20, 1), (19, 2)] {
            let pushed = stream
                .push(word("a", "").as_bytes(), arrival(ms, serial), &mut |event| told.push(event));
            pushed.unwrap();
        }
        assert_eq!(told, [content(20, 1, false), content(20, 1, false)]);
    }

    #[test]
    fn usage_that_counts_up_tells_the_tokens_of_each_event() {
        let role = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}],\"usage\":{\"completion_tokens\":0}}\n\n";
        let one = word("a", r#","usage":{"completion_tokens":3}"#);
        let two = word("b", r#","usage":{"completion_tokens":5}"#);
        let (_, told, _) = run(&[role, &one, &two]);
        assert_eq!(told, [content(20, 3, false), content(30, 2, false)]);
    }

    #[test]
    fn a_total_in_the_last_event_is_not_that_events_tokens() {
        let (stream, told, _) =
            run(&[&word("a", ""), &word("b", r#","usage":{"completion_tokens":9}"#)]);
        assert_eq!(told, [content(10, 1, false), content(20, 1, false)]);
        assert_eq!(stream.story().usage.unwrap().completion_tokens, Some(9));
    }

    #[test]
    fn a_finish_reason_and_a_clean_end_complete_a_stream_without_done() {
        let last = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
        let (stream, _, _) = run(&[&word("a", ""), last]);
        let at = Duration::from_millis(50);
        assert_eq!(stream.end(at, &BodyEnd::Clean), Ok(Ended { finished: at, no_done: true }));
        let cut = stream.end(at, &BodyEnd::Cut("connection reset".into())).unwrap_err();
        assert_eq!(cut.class, FailureClass::StreamCut);
    }

    #[test]
    fn a_stream_that_breaks_off_is_cut_wherever_it_does() {
        let (stream, _, _) = run(&[&word("a", ""), "data: {\"cho"]);
        let cut = stream.end(Duration::ZERO, &BodyEnd::Clean).unwrap_err();
        assert_eq!(cut.class, FailureClass::StreamCut);
        assert!(
            cut.words.contains("after 1 content events, in the middle of an event"),
            "{}",
            cut.words
        );
    }

    #[test]
    fn done_without_content_is_empty() {
        let (stream, _, _) = run(&["data: [DONE]\n\n"]);
        assert_eq!(
            stream.end(Duration::ZERO, &BodyEnd::Clean).unwrap_err().class,
            FailureClass::Empty
        );
    }

    #[test]
    fn errors_in_the_stream_end_it_with_the_servers_words() {
        for error in
            ["data: {\"error\":{\"message\":\"too hot\"}}\n\n", "event: error\ndata: too hot\n\n"]
        {
            let broken = run(&[&word("a", ""), error]).2.unwrap_err();
            assert_eq!(
                broken,
                Broken { class: FailureClass::InBandError, words: "too hot".into() }
            );
        }
    }

    #[test]
    fn an_event_that_is_no_json_is_a_broken_protocol() {
        let broken = run(&["data: <html>oh no</html>\n\n"]).2.unwrap_err();
        assert_eq!(broken.class, FailureClass::Protocol);
        assert!(broken.words.contains("oh no"), "{}", broken.words);
    }

    #[test]
    fn what_follows_done_is_ignored() {
        let (stream, told, result) =
            run(&[&word("a", ""), "data: [DONE]\n\ndata: nonsense\n\n", "data: more\n\n"]);
        assert!(result.is_ok() && stream.is_done());
        assert_eq!(told.len(), 1);
    }
}
