//! Where workers connect: our own acceptor.
//!
//! Handshakes run side by side, each with a deadline, and there is a bound on connections; so a silent or
//! hostile client costs one task for five seconds and keeps nobody out.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use protocol::{ClusterError, Node, Trust};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinHandle,
};

/// Connections at once: four times the largest fleet that one coordinator is meant for.
const MOST_CONNECTIONS: usize = 2_048;
/// Handshakes at once.
const MOST_HANDSHAKES: usize = 256;
/// After a failed accept (out of descriptors, mostly): time for some to be freed.
const PAUSE: Duration = Duration::from_millis(100);

/// What protects a listener. Without both it stays on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Certificates and a cookie of our own.
    Both,
    /// One of them is missing.
    Lacking,
    /// The user said that it is fine (`--insecure`).
    Waived,
}

/// Why nobody can connect.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is reachable by others and nothing protects it.
    #[error(
        "{0} can be reached from other machines: give certificates and a cookie, listen on a loopback address, or say --insecure"
    )]
    Unprotected(SocketAddr),
    /// The system refuses.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// The system's words.
        source: io::Error,
    },
}

/// An open listener; it ends when this is dropped.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Listener {
    /// Opens the address; port 0 is any.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub async fn open(
        address: SocketAddr,
        node: Node,
        trust: Option<Trust>,
        protection: Protection,
    ) -> Result<Self, ListenError> {
        if protection == Protection::Lacking && !address.ip().is_loopback() {
            return Err(ListenError::Unprotected(address));
        }
        let failed = |source| ListenError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let accepting = tokio::spawn(accept_all(listener, node, trust.map(Arc::new)));
        Ok(Self { address, accepting })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accept_all(listener: TcpListener, node: Node, trust: Option<Arc<Trust>>) {
    let handshakes = Arc::new(Semaphore::new(MOST_HANDSHAKES));
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let room = Arc::clone(&handshakes).try_acquire_owned();
        let (Ok(room), true) = (room, node.sessions() < MOST_CONNECTIONS) else {
            tracing::warn!(%peer, "a connection was closed: there are too many");
            continue;
        };
        let (node, trust) = (node.clone(), trust.clone());
        tokio::spawn(async move {
            if let Err(error) = admit(&node, stream, trust.as_deref()).await {
                let likely = error.likely_cause();
                tracing::warn!(%peer, %error, likely, "a connection was refused");
            }
            drop(room);
        });
    }
}

async fn admit(node: &Node, stream: TcpStream, trust: Option<&Trust>) -> Result<(), ClusterError> {
    node.accept(stream, trust).await
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use protocol::{Certificates, Cookie};
    use tokio::io::AsyncReadExt;

    use super::*;

    fn trust(directory: &Path, role: &str) -> Trust {
        let file = |name: String| directory.join(name);
        let (certificate, key) = (file(format!("{role}.pem")), file(format!("{role}.key")));
        Trust::from_files(&file("ca.pem".to_owned()), &certificate, &key).unwrap()
    }

    fn fleet() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let made = Certificates::generate(&["127.0.0.1".to_owned()]).unwrap();
        made.write(directory.path()).unwrap();
        directory
    }

    /// One node a process: all that needs one is in this test.
    #[tokio::test]
    async fn who_is_silent_or_a_stranger_keeps_nobody_out() {
        let node = Node::start("coordinator", &Cookie::insecure()).await.unwrap();
        let (ours, theirs) = (fleet(), fleet());
        let any = SocketAddr::from(([0, 0, 0, 0], 0));
        let open = |address, protection| {
            let trust = Some(trust(ours.path(), "coordinator"));
            Listener::open(address, node.clone(), trust, protection)
        };
        let refused = open(any, Protection::Lacking).await;
        assert!(matches!(refused, Err(ListenError::Unprotected(_))));
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = open(loopback, Protection::Both).await.unwrap();
        let connect = || TcpStream::connect(listener.address());

        let silent = connect().await.unwrap();
        let stranger = trust(theirs.path(), "worker");
        let handshake = node.join(connect().await.unwrap(), "127.0.0.1", Some(&stranger)).await;
        assert!(handshake.is_err(), "it does not trust our authority");
        let mut plain = connect().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut plain, b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut rest = Vec::new();
        let _ = plain.read_to_end(&mut rest).await;

        // Why each is refused is told in words that a user can do something with.
        let door = TcpListener::bind(loopback).await.unwrap();
        let own = trust(ours.path(), "coordinator");
        let dial = || TcpStream::connect(door.local_addr().unwrap());
        let refuse = async || {
            let (stream, _) = door.accept().await.unwrap();
            node.accept(stream, Some(&own)).await.unwrap_err().likely_cause()
        };
        let mut browser = dial().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut browser, b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert!(refuse().await.starts_with("it speaks no TLS"));
        drop(dial().await.unwrap());
        assert!(refuse().await.starts_with("it ended the connection at once"));
        let (_, told) =
            tokio::join!(node.join(dial().await.unwrap(), "127.0.0.1", Some(&stranger)), refuse());
        assert!(told.starts_with("it refuses our certificate"), "{told}");

        // Its handshake succeeds at once while the silent one is still open.
        let friend = trust(ours.path(), "worker");
        let other = Node::clone(&node);
        let joined = other.join(connect().await.unwrap(), "127.0.0.1", Some(&friend));
        tokio::time::timeout(protocol::HANDSHAKE_DEADLINE, joined).await.unwrap().unwrap();
        drop(silent);
        let taken = open(listener.address(), Protection::Both).await;
        assert!(matches!(taken, Err(ListenError::Bind { .. })));
    }
}
