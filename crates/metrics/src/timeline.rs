//! One request's instants, and every figure that is computed from them and from nothing else.
//!
//! All instants are offsets from the run's start on the worker's monotonic clock. They come from different sources
//! (kernel stamps of arrival, user-space stamps of what we did ourselves), which may cross by microseconds; a difference
//! that would be negative is 0.

use std::time::Duration;

use crate::distribution::whole_micros;
use crate::metric::Metric;

/// What happened to one completed request, and when.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Timeline {
    /// When it was due (open loop), or when its slot or session became free for it.
    pub scheduled: Duration,
    /// When the cap on requests in flight let it go. Equals `scheduled` where there is no cap or a permit was free when
    /// it was due, however late the generator asked: that lateness is `generator_lag`.
    pub permitted: Duration,
    /// When its task ran, with its body at hand.
    pub ready: Duration,
    /// When it had a usable connection.
    pub connected: Duration,
    /// Immediately before the write call that hands over the last byte.
    pub sent: Duration,
    /// How long that write call took (a length).
    pub write_call: Duration,
    /// DNS + TCP + TLS, if it opened a connection (a length).
    pub connect: Option<Duration>,
    /// When status line and headers had arrived.
    pub headers: Duration,
    /// Arrival of the first event with generated content.
    pub first_token: Option<Duration>,
    /// Arrival of the last event with generated content.
    pub last_token: Option<Duration>,
    /// Arrival of the first event with text that a user sees.
    pub first_output: Option<Duration>,
    /// The end of the stream, or of the body.
    pub finished: Duration,
    /// Number of events with generated content.
    pub events: u64,
    /// Tokens in the first of them (c₁).
    pub first_event_tokens: u64,
    /// All output tokens, reasoning that was not streamed included.
    pub output_tokens: u64,
    /// Output tokens that were streamed (N): usage less reasoning tokens that were not streamed.
    pub streamed_tokens: u64,
    /// Input tokens as the server counted them.
    pub input_tokens: Option<u64>,
    /// Input tokens that the workload asked for.
    pub input_tokens_asked: Option<u64>,
    /// Output tokens that were ordered.
    pub output_tokens_ordered: Option<u64>,
    /// Input tokens that the server found in its prefix cache, where its usage says.
    pub cached_tokens: Option<u64>,
    /// Whether the answer was streamed; without it, whatever needs single events is absent.
    pub streamed: bool,
}

/// `schedule_lag` taken apart. The parts sum to it exactly, by construction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScheduleLag {
    /// Due → permit.
    pub cap_wait: Duration,
    /// Permit (or due) → the task runs with its body at hand. The only part that is the generator's fault.
    pub generator_lag: Duration,
    /// → a usable connection.
    pub connect_wait: Duration,
    /// → `sent`.
    pub write: Duration,
}

impl ScheduleLag {
    /// sent − scheduled.
    pub fn total(self) -> Duration {
        self.cap_wait + self.generator_lag + self.connect_wait + self.write
    }
}

impl Timeline {
    /// `schedule_lag` = sent − scheduled.
    pub fn schedule_lag(&self) -> Duration {
        self.sent.saturating_sub(self.scheduled)
    }

    /// The four parts of [`Timeline::schedule_lag`]. An instant that crosses its neighbour is moved onto it, so that no
    /// part is negative and the sum stays exact.
    pub fn schedule_lag_parts(&self) -> ScheduleLag {
        let sent = self.sent.max(self.scheduled);
        let permitted = self.permitted.clamp(self.scheduled, sent);
        let ready = self.ready.clamp(permitted, sent);
        let connected = self.connected.clamp(ready, sent);
        ScheduleLag {
            cap_wait: permitted - self.scheduled,
            generator_lag: ready - permitted,
            connect_wait: connected - ready,
            write: sent - connected,
        }
    }

    /// `cap_wait`: due → permit.
    pub fn cap_wait(&self) -> Duration {
        self.schedule_lag_parts().cap_wait
    }

    /// `generator_lag`: permit (or due) → the task runs with its body at hand.
    pub fn generator_lag(&self) -> Duration {
        self.schedule_lag_parts().generator_lag
    }

    /// `connect_wait`: the task runs → a usable connection.
    pub fn connect_wait(&self) -> Duration {
        self.schedule_lag_parts().connect_wait
    }

    /// `write`: a usable connection → `sent`.
    pub fn write(&self) -> Duration {
        self.schedule_lag_parts().write
    }

    /// `ttfb` = headers − sent.
    pub fn ttfb(&self) -> Duration {
        self.headers.saturating_sub(self.sent)
    }

    /// `ttft` = first_token − sent; `None` where nothing was streamed.
    pub fn ttft(&self) -> Option<Duration> {
        Some(self.streamed_event(self.first_token)?.saturating_sub(self.sent))
    }

    /// `ttft_scheduled` = first_token − scheduled: free of coordinated omission (Tene, "How NOT to measure latency").
    pub fn ttft_scheduled(&self) -> Option<Duration> {
        Some(self.streamed_event(self.first_token)?.saturating_sub(self.scheduled))
    }

    /// `ttfo` = first_output − sent; `None` where no event had text that a user sees.
    pub fn ttfo(&self) -> Option<Duration> {
        Some(self.streamed_event(self.first_output)?.saturating_sub(self.sent))
    }

    /// `e2e_latency` = finished − sent.
    pub fn e2e_latency(&self) -> Duration {
        self.finished.saturating_sub(self.sent)
    }

    /// `e2e_scheduled` = finished − scheduled.
    pub fn e2e_scheduled(&self) -> Duration {
        self.finished.saturating_sub(self.scheduled)
    }

    /// `tpot` = (last_token − first_token) / (N − c₁); `None` where N ≤ c₁: no token follows the first event.
    pub fn tpot(&self) -> Option<Duration> {
        let (span, tokens) = self.decode_span()?;
        Some(divide(span, tokens))
    }

    /// `ntpot` = (finished − sent) / N; `None` where N is 0.
    pub fn ntpot(&self) -> Option<Duration> {
        let tokens = self.n();
        (tokens > 0).then(|| divide(self.e2e_latency(), tokens))
    }

    /// `output_rate` = N / (finished − sent) in thousandths of a token per second; `None` where either is 0.
    pub fn output_rate_milli_per_s(&self) -> Option<u64> {
        milli_per_s(self.n(), self.e2e_latency())
    }

    /// `token_rate_per_user` = 1 / tpot in thousandths of a token per second; `None` where tpot is absent or 0.
    pub fn token_rate_per_user_milli_per_s(&self) -> Option<u64> {
        let (span, tokens) = self.decode_span()?;
        milli_per_s(tokens, span)
    }

    /// Whether the prefix cache held any of the prompt; `None` without the server's usage. vLLM leaves the count out
    /// where it is 0, so no word in the usage is a miss: where no answer has a word, the metrics are absent.
    fn cache_hit(&self) -> Option<bool> {
        self.input_tokens.map(|_| self.cached_tokens.is_some_and(|cached| cached > 0))
    }

    /// Every per-request metric of a completed request with its value in the metric's unit.
    pub(crate) fn samples(&self) -> [(Metric, Option<u64>); 23] {
        let lag = self.schedule_lag_parts();
        let us = |duration: Duration| Some(whole_micros(duration));
        [
            (Metric::Ttft, self.ttft().and_then(us)),
            (Metric::TtftScheduled, self.ttft_scheduled().and_then(us)),
            (Metric::Ttfb, us(self.ttfb())),
            (Metric::Ttfo, self.ttfo().and_then(us)),
            (Metric::Tpot, self.tpot().and_then(us)),
            (Metric::Ntpot, self.ntpot().and_then(us)),
            (Metric::E2eLatency, us(self.e2e_latency())),
            (Metric::E2eScheduled, us(self.e2e_scheduled())),
            (Metric::ScheduleLag, us(lag.total())),
            (Metric::CapWait, us(lag.cap_wait)),
            (Metric::GeneratorLag, us(lag.generator_lag)),
            (Metric::ConnectWait, us(lag.connect_wait)),
            (Metric::Write, us(lag.write)),
            (Metric::WriteCall, us(self.write_call)),
            (Metric::Connect, self.connect.and_then(us)),
            (Metric::OutputRate, self.output_rate_milli_per_s()),
            (Metric::TokenRatePerUser, self.token_rate_per_user_milli_per_s()),
            (Metric::OutputTokens, Some(self.output_tokens)),
            (Metric::InputTokens, self.input_tokens),
            (Metric::InputTokensAsked, self.input_tokens_asked),
            (Metric::TtftHit, self.ttft().filter(|_| self.cache_hit() == Some(true)).and_then(us)),
            (
                Metric::TtftMiss,
                self.ttft().filter(|_| self.cache_hit() == Some(false)).and_then(us),
            ),
            (Metric::CachedTokens, self.input_tokens.map(|_| self.cached_tokens.unwrap_or(0))),
        ]
    }

    fn streamed_event(&self, instant: Option<Duration>) -> Option<Duration> {
        instant.filter(|_| self.streamed)
    }

    /// N: what was streamed, or all of an answer that came in one piece.
    fn n(&self) -> u64 {
        if self.streamed { self.streamed_tokens } else { self.output_tokens }
    }

    /// last_token − first_token, and the tokens that arrived in it (N − c₁, at least 1).
    fn decode_span(&self) -> Option<(Duration, u64)> {
        let first = self.streamed_event(self.first_token)?;
        let last = self.streamed_event(self.last_token)?;
        let tokens = self.streamed_tokens.checked_sub(self.first_event_tokens)?;
        (tokens > 0).then(|| (last.saturating_sub(first), tokens))
    }
}

/// `span / parts`, in whole nanoseconds.
pub(crate) fn divide(span: Duration, parts: u64) -> Duration {
    let nanos = span.as_nanos() / u128::from(parts.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// `count` per `span` in thousandths per second: count · 10¹² / nanoseconds.
fn milli_per_s(count: u64, span: Duration) -> Option<u64> {
    if count == 0 || span.is_zero() {
        return None;
    }
    let rate = u128::from(count) * 1_000_000_000_000 / span.as_nanos();
    Some(u64::try_from(rate).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// Due at 1,000 ms, held by the cap for 40, 5 late, 20 for a connection, 1 to write: sent at 1,066. First of 5
    /// events at 1,166 with 3 tokens, visible text from 1,186, last at 1,266, done at 1,270; 11 tokens streamed of 15.
    fn example() -> Timeline {
        Timeline {
            scheduled: ms(1_000),
            permitted: ms(1_040),
            ready: ms(1_045),
            connected: ms(1_065),
            sent: ms(1_066),
            write_call: Duration::from_micros(30),
            connect: Some(ms(19)),
            headers: ms(1_116),
            first_token: Some(ms(1_166)),
            last_token: Some(ms(1_266)),
            first_output: Some(ms(1_186)),
            finished: ms(1_270),
            events: 5,
            first_event_tokens: 3,
            output_tokens: 15,
            streamed_tokens: 11,
            input_tokens: Some(7),
            input_tokens_asked: Some(6),
            output_tokens_ordered: None,
            cached_tokens: Some(4),
            streamed: true,
        }
    }

    #[test]
    fn every_formula_of_a_timeline_worked_by_hand() {
        let timeline = example();
        assert_eq!(timeline.schedule_lag(), ms(66));
        assert_eq!(timeline.cap_wait(), ms(40));
        assert_eq!(timeline.generator_lag(), ms(5));
        assert_eq!(timeline.connect_wait(), ms(20));
        assert_eq!(timeline.write(), ms(1));
        assert_eq!(timeline.ttfb(), ms(50)); // 1,116 − 1,066
        assert_eq!(timeline.ttft(), Some(ms(100))); // 1,166 − 1,066
        assert_eq!(timeline.ttft_scheduled(), Some(ms(166))); // 1,166 − 1,000
        assert_eq!(timeline.ttfo(), Some(ms(120))); // 1,186 − 1,066
        assert_eq!(timeline.e2e_latency(), ms(204)); // 1,270 − 1,066
        assert_eq!(timeline.e2e_scheduled(), ms(270));
        // (1,266 − 1,166) / (11 − 3) = 12.5 ms
        assert_eq!(timeline.tpot(), Some(Duration::from_micros(12_500)));
        // 204 ms / 11 = 18.545454 ms
        assert_eq!(timeline.ntpot(), Some(Duration::from_nanos(18_545_454)));
        // 11 / 0.204 s = 53.921 /s; 1 / 12.5 ms = 80 /s
        assert_eq!(timeline.output_rate_milli_per_s(), Some(53_921));
        assert_eq!(timeline.token_rate_per_user_milli_per_s(), Some(80_000));
    }

    #[test]
    fn no_token_after_the_first_event_means_no_tpot() {
        let single = Timeline { streamed_tokens: 3, ..example() };
        assert_eq!((single.tpot(), single.token_rate_per_user_milli_per_s()), (None, None));
        let fewer = Timeline { streamed_tokens: 2, ..example() };
        assert_eq!(fewer.tpot(), None);
        let none = Timeline { streamed_tokens: 0, ..example() };
        assert_eq!((none.ntpot(), none.output_rate_milli_per_s()), (None, None));
    }

    #[test]
    fn what_needs_single_events_is_absent_where_nothing_was_streamed() {
        let whole = Timeline { streamed: false, ..example() };
        assert_eq!((whole.ttft(), whole.ttft_scheduled(), whole.ttfo()), (None, None, None));
        assert_eq!((whole.tpot(), whole.token_rate_per_user_milli_per_s()), (None, None));
        // All 15 tokens arrived in one piece: 204 ms / 15.
        assert_eq!(whole.ntpot(), Some(Duration::from_micros(13_600)));
        for (metric, value) in whole.samples() {
            assert!(!metric.needs_stream() || value.is_none(), "{}", metric.name());
        }
    }

    #[test]
    fn clocks_that_cross_by_microseconds_give_zero_and_never_wrap() {
        let crossed = Timeline {
            headers: ms(1_065),
            first_token: Some(ms(1_065)),
            connected: ms(1_067),
            ..example()
        };
        assert_eq!((crossed.ttfb(), crossed.ttft()), (Duration::ZERO, Some(Duration::ZERO)));
        assert_eq!(crossed.schedule_lag_parts().total(), ms(66));
        assert_eq!((crossed.connect_wait(), crossed.write()), (ms(21), Duration::ZERO));
    }

    #[test]
    fn samples_hold_each_per_request_metric_once() {
        let names: Vec<_> = example().samples().iter().map(|&(metric, _)| metric).collect();
        let expected: Vec<_> =
            Metric::ALL.into_iter().filter(|metric| metric.per_request()).collect();
        assert_eq!(names, expected);
        let absent = |timeline: &Timeline| -> Vec<Metric> {
            timeline
                .samples()
                .into_iter()
                .filter(|(_, value)| value.is_none())
                .map(|(metric, _)| metric)
                .collect()
        };
        assert_eq!(absent(&example()), [Metric::TtftMiss]);
        let silent = Timeline { cached_tokens: None, ..example() };
        assert_eq!(
            absent(&silent),
            [Metric::TtftHit],
            "a usage without a word of the cache is a miss"
        );
        let none = Timeline { input_tokens: None, cached_tokens: None, ..example() };
        assert!(
            [Metric::TtftHit, Metric::TtftMiss, Metric::CachedTokens]
                .iter()
                .all(|metric| absent(&none).contains(metric))
        );
    }

    proptest! {
        #[test]
        fn the_parts_of_schedule_lag_sum_to_it_exactly(
            [scheduled, permitted, ready, connected, sent] in any::<[u32; 5]>(),
        ) {
            let at = |nanos: u32| Duration::from_nanos(nanos.into());
            let timeline = Timeline {
                scheduled: at(scheduled),
                permitted: at(permitted),
                ready: at(ready),
                connected: at(connected),
                sent: at(sent),
                ..Timeline::default()
            };
            prop_assert_eq!(timeline.schedule_lag_parts().total(), timeline.schedule_lag());
        }

        #[test]
        fn instants_in_order_are_taken_as_they_are(mut instants in any::<[u32; 5]>()) {
            instants.sort_unstable();
            let [scheduled, permitted, ready, connected, sent] =
                instants.map(|nanos| Duration::from_nanos(nanos.into()));
            let timeline =
                Timeline { scheduled, permitted, ready, connected, sent, ..Timeline::default() };
            prop_assert_eq!(timeline.cap_wait(), permitted - scheduled);
            prop_assert_eq!(timeline.generator_lag(), ready - permitted);
            prop_assert_eq!(timeline.connect_wait(), connected - ready);
            prop_assert_eq!(timeline.write(), sent - connected);
        }
    }
}
