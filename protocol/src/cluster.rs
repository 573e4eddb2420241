//! The network between processes: one node a process, on sockets of our own.
//!
//! The cluster library carries messages between actors; it is no liveness detector and no reliable queue. What it
//! lacks is done here: connections are made and secured by us (its own acceptor awaits each TLS handshake in
//! turn, so that one silent client would stop all others), sockets notice a peer that is gone, and a session
//! that does not authenticate in time is ended. Its own listener is bound to loopback and not used.
//!
//! One node in a process: the library's registries are the process's own.

mod certificates;
mod cookie;
mod trust;

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt};
use ractor::{Actor, ActorId, ActorRef};
use ractor_cluster::{
    NetworkStream, NodeEventSubscription, NodeServer, NodeServerMessage,
    node::{NodeConnectionMode, NodeServerSessionInformation},
};
use tokio::net::TcpStream;

pub use certificates::{CertificateError, Certificates};
pub use cookie::{Cookie, CookieError};
pub use trust::{Trust, TrustError};

use crate::MAX_FRAME_BYTES;

/// The process group in which workers find the coordinator's door.
pub const COORDINATOR_GROUP: &str = "tokenstorm.coordinator";
/// A message and what the library wraps around it.
const MAX_CLUSTER_FRAME_BYTES: u64 = MAX_FRAME_BYTES as u64 + (64 << 10);
/// How long a TLS handshake may take, and how long authentication after it.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// How long sent bytes may stay unacknowledged before the connection counts as broken.
const USER_TIMEOUT_MS: u32 = 4_000;
/// Idle time before the first probe of a peer, seconds.
const KEEPALIVE_IDLE_S: u32 = 2;
/// Time between probes, seconds.
const KEEPALIVE_INTERVAL_S: u32 = 1;
/// Probes without an answer.
const KEEPALIVE_PROBES: u32 = 3;

/// Why a node cannot take part.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The library's node could not be started.
    #[error("the node could not start: {0}")]
    Start(#[from] ractor::SpawnErr),
    /// The node has ended.
    #[error("the node has ended")]
    Ended,
    /// A socket failed.
    #[error(transparent)]
    Socket(#[from] std::io::Error),
    /// The TLS handshake took too long.
    #[error("the TLS handshake took longer than {HANDSHAKE_DEADLINE:?}")]
    HandshakeTimeout,
}

/// This process's node.
#[derive(Clone, Debug)]
pub struct Node {
    server: ActorRef<NodeServerMessage>,
    sessions: Arc<Sessions>,
}

/// What is known of the sessions.
#[derive(Debug, Default)]
struct Sessions(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    open: HashSet<ActorId>,
    authenticated: HashSet<ActorId>,
}

impl Sessions {
    fn with<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Node {
    /// Starts the node; nobody is connected. `name` is unlike every other node's: two of one name end each
    /// other's sessions.
    ///
    /// # Errors
    /// The library's node cannot start.
    pub async fn start(name: &str, cookie: &Cookie) -> Result<Self, ClusterError> {
        let server = NodeServer::new(
            0,
            cookie.reveal().to_owned(),
            name.to_owned(),
            name.to_owned(),
            None,
            Some(NodeConnectionMode::Isolated),
        )
        .with_listen_addr(IpAddr::V4(Ipv4Addr::LOCALHOST))
        .with_max_inbound_frame_size(MAX_CLUSTER_FRAME_BYTES);
        let (server, _) = Actor::spawn(None, server, ()).await?;
        let sessions = Arc::new(Sessions::default());
        let subscription = Box::new(Watch(Arc::clone(&sessions)));
        let id = "tokenstorm".to_owned();
        server
            .cast(NodeServerMessage::SubscribeToEvents { id, subscription })
            .map_err(|_| ClusterError::Ended)?;
        Ok(Self { server, sessions })
    }

    /// Sessions that are open, authenticated or not.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.with(|known| known.open.len())
    }

    /// Takes a connection that somebody opened to us: secures it and hands it over.
    ///
    /// # Errors
    /// The handshake fails or takes too long; the node has ended.
    pub async fn accept(
        &self,
        stream: TcpStream,
        trust: Option<&Trust>,
    ) -> Result<(), ClusterError> {
        watch_peer(&stream)?;
        let (peer_addr, local_addr) = (stream.peer_addr()?, stream.local_addr()?);
        let stream = match trust {
            None => NetworkStream::Raw { peer_addr, local_addr, stream },
            Some(trust) => {
                let stream = in_time(trust.acceptor().accept(stream)).await?;
                NetworkStream::TlsServer { peer_addr, local_addr, stream }
            }
        };
        self.hand_over(stream, true)
    }

    /// Hands over a connection that we opened to `host`, secured.
    ///
    /// # Errors
    /// As [`Self::accept`].
    pub async fn join(
        &self,
        stream: TcpStream,
        host: &str,
        trust: Option<&Trust>,
    ) -> Result<(), ClusterError> {
        watch_peer(&stream)?;
        let (peer_addr, local_addr) = (stream.peer_addr()?, stream.local_addr()?);
        let stream = match trust {
            None => NetworkStream::Raw { peer_addr, local_addr, stream },
            Some(trust) => {
                let name = trust::server_name(host)?;
                let stream = in_time(trust.connector().connect(name, stream)).await?;
                NetworkStream::TlsClient { peer_addr, local_addr, stream }
            }
        };
        self.hand_over(stream, false)
    }

    fn hand_over(&self, stream: NetworkStream, is_server: bool) -> Result<(), ClusterError> {
        let stream = Box::new(stream);
        let opened = NodeServerMessage::ConnectionOpened { stream, is_server };
        self.server.cast(opened).map_err(|_| ClusterError::Ended)
    }
}

async fn in_time<T>(
    handshake: impl Future<Output = std::io::Result<T>>,
) -> Result<T, ClusterError> {
    let ended = tokio::time::timeout(HANDSHAKE_DEADLINE, handshake).await;
    Ok(ended.map_err(|_| ClusterError::HandshakeTimeout)??)
}

/// A frozen or vanished peer sends no FIN; without this its connection would stay for a quarter of an hour.
fn watch_peer(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &KEEPALIVE_IDLE_S)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &KEEPALIVE_INTERVAL_S)?;
    setsockopt(stream, sockopt::TcpKeepCount, &KEEPALIVE_PROBES)?;
    setsockopt(stream, sockopt::TcpUserTimeout, &USER_TIMEOUT_MS)?;
    Ok(())
}

/// Ends sessions that do not authenticate in time: the library waits for ever.
struct Watch(Arc<Sessions>);

impl NodeEventSubscription for Watch {
    fn node_session_opened(&self, session: NodeServerSessionInformation) {
        let id = session.actor.get_id();
        self.0.with(|known| known.open.insert(id));
        let sessions = Arc::clone(&self.0);
        tokio::spawn(async move {
            tokio::time::sleep(HANDSHAKE_DEADLINE).await;
            let silent = sessions.with(|k| k.open.contains(&id) && !k.authenticated.contains(&id));
            if silent {
                tracing::warn!(peer = session.peer_addr, "a peer did not authenticate in time");
                session.actor.stop(None);
            }
        });
    }

    fn node_session_disconnected(&self, session: NodeServerSessionInformation) {
        let id = session.actor.get_id();
        self.0.with(|known| {
            known.open.remove(&id);
            if !known.authenticated.remove(&id) {
                tracing::warn!(
                    peer = session.peer_addr,
                    "a peer ended without authenticating: is its cookie ours?"
                );
            }
        });
    }

    fn node_session_authenticated(&self, session: NodeServerSessionInformation) {
        let id = session.actor.get_id();
        self.0.with(|known| known.authenticated.insert(id));
    }
}
