//! Keeps this worker connected to its coordinator: dials until it answers, and again when the line is lost.
//!
//! Back-off grows and is jittered, so that a fleet which lost its coordinator does not come back all at once; it
//! never grows above a second, because a coordinator that resumes has ten before the workers end.

use std::time::Duration;

use protocol::{COORDINATOR_GROUP, ClusterError, CoordinatorMessage, Node, Peer, Trust};
use tokio::{net::TcpStream, time::Instant};

/// The first wait after a failure.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// How often a connection is looked after.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a new connection may take to show the coordinator's door.
const DOOR_DEADLINE: Duration = Duration::from_secs(6);
/// How long an address may take to answer: as long as its system waits before it asks a second time. Longer, and a way
/// that is whole again would be found only at the third.
const CONNECT_DEADLINE: Duration = Duration::from_secs(1);
/// How long the end of our own former session is waited for.
const END_DEADLINE: Duration = Duration::from_secs(1);

/// Waits between attempts.
#[derive(Clone, Debug)]
pub struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST_WAIT }
    }
}

impl Backoff {
    /// The next wait: from half of a doubling length up to all of it, by `chance` (any number).
    pub fn wait(&mut self, chance: u64) -> Duration {
        let longest = self.next;
        self.next = (self.next * 2).min(LONGEST_WAIT);
        let half = longest / 2;
        half + half.mul_f64((chance % 1_000) as f64 / 1_000.0)
    }

    /// It worked: the next failure waits as the first.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

/// Where the coordinator is and how it is trusted.
#[derive(Clone, Debug)]
pub struct Dialer {
    /// This process's node.
    pub node: Node,
    /// Host name or address, which the coordinator's certificate names.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Certificates; `None` in the clear.
    pub trust: Option<Trust>,
}

impl Dialer {
    /// The coordinator's door, through whatever connection there is.
    #[must_use]
    pub fn door(&self) -> Peer<CoordinatorMessage> {
        Peer::of_group(COORDINATOR_GROUP)
    }

    /// Dials whenever there is no connection, until it is dropped. `chance` spreads the attempts.
    pub async fn keep_connected(self, mut chance: impl FnMut() -> u64) {
        let (door, mut backoff) = (self.door(), Backoff::default());
        let mut told = String::new();
        loop {
            match self.dial().await {
                Ok(ended) if self.appears(&door, ended).await => {
                    tracing::info!(
                        host = self.host,
                        port = self.port,
                        "connected to the coordinator"
                    );
                    backoff.reset();
                    told.clear();
                    while door.is_connected() {
                        tokio::time::sleep(LOOK_EVERY).await;
                    }
                    tracing::warn!(host = self.host, "the connection to the coordinator is lost");
                }
                Ok(_) => self.tell(
                    &mut told,
                    "it did not answer: are cookie and certificates the same there?".to_owned(),
                ),
                Err(error) => self.tell(&mut told, error.to_string()),
            }
            tokio::time::sleep(backoff.wait(chance())).await;
        }
    }

    /// Each reason once, however often it is met.
    fn tell(&self, told: &mut String, reason: String) {
        if *told != reason {
            tracing::warn!(host = self.host, port = self.port, reason, "no coordinator yet");
            *told = reason;
        }
    }

    /// How many sessions had ended before this one was begun.
    async fn dial(&self) -> Result<u64, ClusterError> {
        self.hang_up().await;
        let connect = TcpStream::connect((self.host.as_str(), self.port));
        let stream = tokio::time::timeout(CONNECT_DEADLINE, connect)
            .await
            .map_err(|_| ClusterError::ConnectTimeout)??;
        let ended = self.node.ended_sessions();
        self.node.join(stream, &self.host, self.trust.as_ref()).await?;
        Ok(ended)
    }

    /// A session of ours that shows no door, and still looks alive, would stand in the way of the next.
    async fn hang_up(&self) {
        self.node.end_sessions();
        let deadline = Instant::now() + END_DEADLINE;
        while self.node.sessions() > 0 && Instant::now() < deadline {
            tokio::time::sleep(LOOK_EVERY / 10).await;
        }
    }

    /// Whether the door is seen before the session ends again.
    async fn appears(&self, door: &Peer<CoordinatorMessage>, ended: u64) -> bool {
        let deadline = Instant::now() + DOOR_DEADLINE;
        while Instant::now() < deadline && self.node.ended_sessions() == ended {
            if door.is_connected() {
                return true;
            }
            tokio::time::sleep(LOOK_EVERY / 4).await;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_second_and_are_spread() {
        let mut backoff = Backoff::default();
        let most: Vec<_> = (0..6).map(|_| backoff.wait(999).as_millis()).collect();
        assert_eq!(most, [99, 199, 399, 799, 999, 999]);
        assert_eq!(backoff.wait(0), LONGEST_WAIT / 2);
        backoff.reset();
        assert_eq!(backoff.wait(1_000), FIRST_WAIT / 2);
    }
}
