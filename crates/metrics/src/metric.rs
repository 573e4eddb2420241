//! The names of what is measured, each with its kind and its definition.
//!
//! Tools disagree on TTFT, ITL and TPOT, so a name alone says nothing: the formula stands beside it here, once, and
//! whatever prints a metric can print what it means. The enum's order is the wire format: append only.

use serde::{Deserialize, Serialize};

/// What a metric's integers count, and with it the bounds of its histogram (`distribution`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Kind {
    /// A duration in whole microseconds, nanoseconds truncated.
    Latency,
    /// A number of tokens.
    Count,
    /// A rate in thousandths per second.
    Rate,
}

impl Kind {
    /// The unit that figures are shown in: `us`, `tokens` or `per_s`.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Latency => "us",
            Self::Count => "tokens",
            Self::Rate => "per_s",
        }
    }

    /// How many recorded units make one unit of [`Kind::unit`]: a rate of 1,500 is shown as 1.5 per second.
    pub const fn units_per_shown(self) -> u32 {
        match self {
            Self::Latency | Self::Count => 1,
            Self::Rate => 1_000,
        }
    }
}

/// One measured quantity. Appended to, never renamed or reordered: the position is the wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
#[expect(
    missing_docs,
    reason = "each variant's definition is in DEFINITIONS below, for readers and programs alike"
)]
pub enum Metric {
    Ttft,
    TtftScheduled,
    Ttfb,
    Ttfo,
    Icl,
    Itl,
    Tpot,
    Ntpot,
    E2eLatency,
    E2eScheduled,
    E2eFailed,
    ScheduleLag,
    CapWait,
    GeneratorLag,
    ConnectWait,
    Write,
    WriteCall,
    Connect,
    OutputRate,
    TokenRatePerUser,
    OutputTokens,
    InputTokens,
    InputTokensAsked,
    ReadLag,
    LoopLag,
    PromptBuild,
    TtftHit,
    TtftMiss,
    CachedTokens,
}

/// When a sample of a metric is recorded, which decides whether unfinished requests can be missing from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recorded {
    /// Once, when the request completed: requests that were cancelled or timed out are censored.
    OnCompletion,
    /// As it happens, whatever becomes of the request.
    AsItHappens,
}
use Recorded::{AsItHappens, OnCompletion};

struct Definition {
    metric: Metric,
    name: &'static str,
    kind: Kind,
    recorded: Recorded,
    text: &'static str,
}

const fn define(
    metric: Metric,
    name: &'static str,
    kind: Kind,
    recorded: Recorded,
    text: &'static str,
) -> Definition {
    Definition { metric, name, kind, recorded, text }
}

#[rustfmt::skip]
const DEFINITIONS: [Definition; 29] = [
    define(Metric::Ttft, "ttft", Kind::Latency, OnCompletion, "first_token - sent: time to first token, as the service answered it"),
    define(Metric::TtftScheduled, "ttft_scheduled", Kind::Latency, OnCompletion, "first_token - scheduled: time to first token of a user who arrived on time, free of coordinated omission"),
    define(Metric::Ttfb, "ttfb", Kind::Latency, OnCompletion, "headers - sent: time to the response's headers"),
    define(Metric::Ttfo, "ttfo", Kind::Latency, OnCompletion, "first_output - sent: time to the first text that a user sees (not reasoning)"),
    define(Metric::Icl, "icl", Kind::Latency, AsItHappens, "event[i] - event[i-1], pooled over all requests: inter-chunk latency"),
    define(Metric::Itl, "itl", Kind::Latency, AsItHappens, "(event[i] - event[i-1]) / tokens in event[i], once per token, pooled: inter-token latency"),
    define(Metric::Tpot, "tpot", Kind::Latency, OnCompletion, "(last_token - first_token) / (streamed tokens - tokens of the first event), one per request"),
    define(Metric::Ntpot, "ntpot", Kind::Latency, OnCompletion, "(finished - sent) / streamed tokens, one per request"),
    define(Metric::E2eLatency, "e2e_latency", Kind::Latency, OnCompletion, "finished - sent"),
    define(Metric::E2eScheduled, "e2e_scheduled", Kind::Latency, OnCompletion, "finished - scheduled"),
    define(Metric::E2eFailed, "e2e_failed", Kind::Latency, AsItHappens, "failure - sent, of requests that failed after they were sent"),
    define(Metric::ScheduleLag, "schedule_lag", Kind::Latency, OnCompletion, "sent - scheduled = cap_wait + generator_lag + connect_wait + write"),
    define(Metric::CapWait, "cap_wait", Kind::Latency, OnCompletion, "due to permit: the cap on requests in flight held the request back"),
    define(Metric::GeneratorLag, "generator_lag", Kind::Latency, OnCompletion, "permit (or due) until the request's task runs with its body at hand: the generator's own lateness"),
    define(Metric::ConnectWait, "connect_wait", Kind::Latency, OnCompletion, "task runs until a usable connection"),
    define(Metric::Write, "write", Kind::Latency, OnCompletion, "usable connection until the write call that hands over the last byte"),
    define(Metric::WriteCall, "write_call", Kind::Latency, OnCompletion, "duration of the write call that hands over the last byte; outside schedule_lag"),
    define(Metric::Connect, "connect", Kind::Latency, OnCompletion, "DNS + TCP + TLS of a request that opened a connection"),
    define(Metric::OutputRate, "output_rate", Kind::Rate, OnCompletion, "streamed tokens / (finished - sent), per request"),
    define(Metric::TokenRatePerUser, "token_rate_per_user", Kind::Rate, OnCompletion, "1 / tpot"),
    define(Metric::OutputTokens, "output_tokens", Kind::Count, OnCompletion, "output tokens of a request, by the source that the result names"),
    define(Metric::InputTokens, "input_tokens", Kind::Count, OnCompletion, "input tokens of a request as the server counted them"),
    define(Metric::InputTokensAsked, "input_tokens_asked", Kind::Count, OnCompletion, "input tokens that the workload asked for"),
    define(Metric::ReadLag, "read_lag", Kind::Latency, AsItHappens, "instant right after the read - the kernel's stamp of the bytes read"),
    define(Metric::LoopLag, "loop_lag", Kind::Latency, AsItHappens, "lateness of the lane's own event loop"),
    define(Metric::PromptBuild, "prompt_build", Kind::Latency, AsItHappens, "time that the builder's thread took for a request's text and body, before it was due"),
    define(Metric::TtftHit, "ttft_hit", Kind::Latency, OnCompletion, "ttft of requests some of whose prompt tokens the server found in its prefix cache (usage.prompt_tokens_details.cached_tokens above 0)"),
    define(Metric::TtftMiss, "ttft_miss", Kind::Latency, OnCompletion, "ttft of requests with usage none of whose prompt tokens the server found in its prefix cache"),
    define(Metric::CachedTokens, "cached_tokens", Kind::Count, OnCompletion, "prompt tokens of a request that the server found in its prefix cache; 0 where its usage does not say, though that of others does"),
];

impl Metric {
    /// Every metric, in wire order.
    pub const ALL: [Self; DEFINITIONS.len()] = {
        let mut all = [Self::Ttft; DEFINITIONS.len()];
        let mut index = 0;
        while index < DEFINITIONS.len() {
            all[index] = DEFINITIONS[index].metric;
            index += 1;
        }
        all
    };

    fn entry(self) -> &'static Definition {
        &DEFINITIONS[self as usize]
    }

    /// The name in files and flags, such as `ttft` or `e2e_latency`.
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// The metric of that name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        DEFINITIONS.iter().find(|entry| entry.name == name).map(|entry| entry.metric)
    }

    /// What its integers count.
    pub fn kind(self) -> Kind {
        self.entry().kind
    }

    /// The formula in words.
    pub fn definition(self) -> &'static str {
        self.entry().text
    }

    /// Whether it is recorded once per request, on completion only. Requests that were cancelled or timed out are
    /// then missing from it (censored); per-token samples and those of failures stay.
    pub fn per_request(self) -> bool {
        self.entry().recorded == OnCompletion
    }

    /// Whether it tells of the server's prefix cache, and means nothing where no answer said a word of it.
    pub fn needs_cache(self) -> bool {
        matches!(self, Self::TtftHit | Self::TtftMiss | Self::CachedTokens)
    }

    /// Whether it needs the instants of single events, which an answer that is not streamed does not have.
    pub fn needs_stream(self) -> bool {
        matches!(
            self,
            Self::Ttft
                | Self::TtftScheduled
                | Self::Ttfo
                | Self::Icl
                | Self::Itl
                | Self::Tpot
                | Self::TokenRatePerUser
                | Self::TtftHit
                | Self::TtftMiss
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_stands_at_its_own_place_in_the_table() {
        for (index, entry) in DEFINITIONS.iter().enumerate() {
            assert_eq!(entry.metric as usize, index, "{}", entry.name);
        }
    }

    #[test]
    fn names_are_unique_and_lead_back() {
        for metric in Metric::ALL {
            assert_eq!(Metric::from_name(metric.name()), Some(metric));
        }
        assert_eq!(Metric::from_name("latency"), None);
    }

    #[test]
    fn only_rates_are_shown_scaled() {
        assert_eq!(Metric::Ttft.kind().unit(), "us");
        assert_eq!(Metric::OutputTokens.kind().units_per_shown(), 1);
        assert_eq!(Metric::OutputRate.kind().units_per_shown(), 1_000);
    }
}
