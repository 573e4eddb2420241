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
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt};
use ractor::{Actor, ActorId, ActorRef};
use ractor_cluster::{
    NetworkStream, NodeEventSubscription, NodeServer, NodeServerMessage, NodeSessionMessage,
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

/// Addresses without the cookie that are remembered.
const MOST_STRANGERS: usize = 1_024;

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
    /// Nobody answered.
    #[error("it does not answer")]
    ConnectTimeout,
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
    open: HashMap<ActorId, Session>,
    /// How many have ended.
    ended: u64,
    /// How often each address came without the cookie.
    strangers: HashMap<String, u32>,
}

/// One connection.
#[derive(Debug)]
struct Session {
    actor: ActorRef<NodeSessionMessage>,
    /// The other node's name, once it has proved that it knows the cookie.
    peer: Option<String>,
}

impl Sessions {
    fn with<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Known {
    /// Ends the authenticated sessions of a peer; whether there were any.
    fn end_those_of(&self, peer: &str) -> bool {
        let theirs = self.open.values().filter(|one| one.peer.as_deref() == Some(peer));
        theirs.map(|one| one.actor.stop(None)).count() > 0
    }

    /// Whether a stranger is worth a line: the first time, the second, the fourth, and so on.
    fn is_news(&mut self, address: &str) -> bool {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        if self.strangers.len() >= MOST_STRANGERS && !self.strangers.contains_key(host) {
            return false;
        }
        let times = self.strangers.entry(host.to_owned()).or_default();
        *times += 1;
        times.is_power_of_two()
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

    /// How many sessions have ended, since the node started: tells whether one that was just handed over did.
    #[must_use]
    pub fn ended_sessions(&self) -> u64 {
        self.sessions.with(|known| known.ended)
    }

    /// Ends every session: who dials anew must not have two.
    pub fn end_sessions(&self) {
        self.sessions.with(|known| known.open.values().for_each(|one| one.actor.stop(None)));
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

/// Ends sessions that do not authenticate in time: the library waits for ever. And lets a peer in that dials
/// again while its former session still looks alive here: of two sessions to one node the library keeps the one with
/// the lower random number, so that every other peer would be kept out until the kernel gives the old one up.
struct Watch(Arc<Sessions>);

impl NodeEventSubscription for Watch {
    fn node_session_opened(&self, session: NodeServerSessionInformation) {
        let id = session.actor.get_id();
        let new = Session { actor: session.actor.clone(), peer: None };
        self.0.with(|known| known.open.insert(id, new));
        let sessions = Arc::clone(&self.0);
        tokio::spawn(async move {
            tokio::time::sleep(HANDSHAKE_DEADLINE).await;
            let silent = sessions.with(|k| k.open.get(&id).is_some_and(|one| one.peer.is_none()));
            if silent {
                tracing::warn!(peer = session.peer_addr, "a peer did not authenticate in time");
                session.actor.stop(None);
            }
        });
    }

    /// Only who has dialled the same node before knows the random name that brings it to a second session.
    fn node_session_disconnected(&self, session: NodeServerSessionInformation) {
        let address = session.peer_addr;
        let claimed = session.peer_name.map(|name| name.name);
        let (dials_again, is_news) = self.0.with(|known| {
            known.ended += 1;
            let was = known.open.remove(&session.actor.get_id());
            if was.is_some_and(|one| one.peer.is_some()) {
                return (false, false);
            }
            let dials_again = claimed.is_some_and(|name| known.end_those_of(&name));
            // Who dials tells itself what became of it.
            (dials_again, !dials_again && session.is_server && known.is_news(&address))
        });
        if dials_again {
            tracing::info!(peer = address, "a peer dials again: its former connection is ended");
        } else if is_news {
            tracing::warn!(
                peer = address,
                "a peer ended without authenticating: is its cookie ours?"
            );
        }
    }

    fn node_session_authenticated(&self, session: NodeServerSessionInformation) {
        let name = session.peer_name.map(|name| name.name).unwrap_or_default();
        self.0.with(|known| {
            if let Some(one) = known.open.get_mut(&session.actor.get_id()) {
                one.peer = Some(name);
            }
        });
    }
}
