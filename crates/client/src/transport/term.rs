//! How long, and for how many requests, a server says that it keeps one connection.
//!
//! `Keep-Alive: timeout=5, max=100` (RFC 2068 §19.7.1.1; the parameters are those of Apache and of
//! draft-thomson-hybi-http-timeout). A request that leaves as the announced end comes is lost, so a
//! connection is given up some time before it.

use std::time::Duration;

/// Without an announcement an unused connection is kept so long.
const IDLE_LIMIT: Duration = Duration::from_secs(90);

/// So long before its announced end a connection is given up; of a short time the half.
const MARGIN: Duration = Duration::from_secs(1);

/// What one `Keep-Alive` header announces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeepAlive {
    timeout: Option<Duration>,
    max: Option<u64>,
}

impl KeepAlive {
    /// Reads the header's value; what is not understood is passed over.
    pub(crate) fn parse(value: &str) -> Self {
        let mut announced = Self::default();
        for (name, text) in value.split(',').filter_map(|parameter| parameter.split_once('=')) {
            let Ok(number) = text.trim().trim_matches('"').parse() else { continue };
            match name.trim() {
                name if name.eq_ignore_ascii_case("timeout") => {
                    announced.timeout = Some(Duration::from_secs(number));
                }
                name if name.eq_ignore_ascii_case("max") => announced.max = Some(number),
                _ => {}
            }
        }
        announced
    }
}

/// The announced term of one connection.
#[derive(Debug, Default)]
pub(crate) struct Term {
    answers: u64,
    /// It serves no more answers than these.
    answers_max: Option<u64>,
    timeout: Option<Duration>,
}

impl Term {
    /// Another answer came, with this announcement. Servers mean by `max` the requests that are left
    /// (Apache) or those of the whole connection, always the same (cpp-httplib); the sum of the answers
    /// before and `max`, at its smallest, is an end that holds for both.
    pub(crate) fn answered(&mut self, announced: KeepAlive) {
        if let Some(max) = announced.max {
            let end = self.answers.saturating_add(max);
            self.answers_max = Some(self.answers_max.map_or(end, |known| known.min(end)));
        }
        self.timeout = announced.timeout.or(self.timeout);
        self.answers += 1;
    }

    /// How long after its last answer the connection may be used; `None` where it may not at all.
    pub(crate) fn idle_limit(&self) -> Option<Duration> {
        let more = self.answers_max.is_none_or(|max| self.answers < max);
        let limit = self.timeout.map_or(IDLE_LIMIT, |timeout| {
            timeout.saturating_sub(MARGIN.min(timeout / 2)).min(IDLE_LIMIT)
        });
        (more && !limit.is_zero()).then_some(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(announcements: &[&str]) -> Option<Duration> {
        let mut term = Term::default();
        for value in announcements {
            term.answered(KeepAlive::parse(value));
        }
        term.idle_limit()
    }

    const fn ms(ms: u64) -> Option<Duration> {
        Some(Duration::from_millis(ms))
    }

    #[test]
    fn a_connection_is_given_up_before_its_announced_time() {
        assert_eq!(limit(&["timeout=5, max=100"]), ms(4_000));
        assert_eq!(limit(&["Timeout = \"5\""]), ms(4_000));
        assert_eq!(limit(&["timeout=1"]), ms(500), "half of a short time");
        assert_eq!(limit(&["timeout=0"]), None);
        assert_eq!(limit(&["timeout=5", ""]), ms(4_000), "said once, it holds");
        assert_eq!(limit(&["timeout=3600"]), Some(IDLE_LIMIT));
    }

    #[test]
    fn what_is_not_understood_announces_nothing() {
        for value in [
            "",
            "timeout",
            "timeout=soon, max=-1",
            "maximum=1",
            "=,=",
            "timeout=99999999999999999999",
        ] {
            assert_eq!(limit(&[value]), Some(IDLE_LIMIT), "{value}");
        }
    }

    #[test]
    fn max_ends_a_connection_be_it_the_rest_or_the_whole() {
        assert_eq!(limit(&["max=1"]), None);
        assert_eq!(limit(&["max=0"]), None);
        // The rest: three in all, of which the last is not tried.
        assert!(limit(&["max=2"]).is_some());
        assert_eq!(limit(&["max=2", "max=1"]), None);
        // The whole: two in all.
        assert_eq!(limit(&["max=2", "max=2"]), None);
        // The rest of 100 does not end it half way.
        let counting_down: Vec<_> = (1..=99).rev().map(|left| format!("max={left}")).collect();
        let counting_down: Vec<_> = counting_down.iter().map(String::as_str).collect();
        assert!(limit(&counting_down[..98]).is_some());
        assert_eq!(limit(&counting_down), None);
    }
}
