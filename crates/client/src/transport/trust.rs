//! Whether this server keeps a connection open after an answer, as far as has been seen.
//!
//! Some servers close after each answer without a word (llama.cpp's does after a streamed one, though
//! its head says `Keep-Alive`): the close comes some 40 µs after the last byte, a thread's turn later
//! where the machine is busy. A client that asks again at once meets it, and what may have been sent
//! must not be repeated: the request is lost. So a connection is used again at once only where the
//! server has been seen to leave one open; until then, and for good once it has closed one at once, a
//! connection rests first, and is looked at after that. Resting costs a server that does keep its
//! connections only as many more of them as become free within one rest.

use std::time::Duration;

/// A server that closes after its answers has done so by then.
pub(crate) const REST: Duration = Duration::from_millis(20);

/// What closes sooner has not grown old: the end of its answer ended it. Idle limits are longer.
const AT_ONCE: Duration = Duration::from_secs(1);

/// See the module's documentation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Trust {
    /// No connection has been looked at after its rest.
    #[default]
    Unknown,
    /// A connection was open after its rest.
    Keeps,
    /// A connection was closed at once.
    Closes,
}

impl Trust {
    /// Whether a connection may be used that long after its last answer.
    pub(crate) fn allows(self, rested: Duration) -> bool {
        self == Self::Keeps || rested >= REST
    }

    /// A connection was found open that long after its last answer.
    pub(crate) fn found_open(self, rested: Duration) -> Self {
        if self == Self::Unknown && rested >= REST { Self::Keeps } else { self }
    }

    /// A connection was found closed that long after its last answer, and nothing had announced it.
    pub(crate) fn found_closed(self, rested: Duration) -> Self {
        if rested < AT_ONCE { Self::Closes } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(19);
    const LONG: Duration = Duration::from_secs(5);

    #[test]
    fn a_server_is_trusted_once_a_connection_outlived_its_rest() {
        let unknown = Trust::default();
        assert!(!unknown.allows(SHORT) && unknown.allows(REST));
        assert_eq!(unknown.found_open(SHORT), Trust::Unknown, "it may be about to close");
        let keeps = unknown.found_open(REST);
        assert!(keeps.allows(Duration::ZERO));
    }

    #[test]
    fn a_close_at_once_ends_the_trust_for_good() {
        for before in [Trust::Unknown, Trust::Keeps, Trust::Closes] {
            let closes = before.found_closed(SHORT);
            assert_eq!((closes, closes.found_open(LONG)), (Trust::Closes, Trust::Closes));
            assert!(!closes.allows(SHORT) && closes.allows(REST));
        }
    }

    #[test]
    fn a_connection_that_grew_old_says_nothing_about_the_others() {
        assert_eq!(Trust::Keeps.found_closed(LONG), Trust::Keeps);
        assert_eq!(Trust::Unknown.found_closed(LONG), Trust::Unknown);
    }
}
