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
mod pipe;
mod trust;

use std::{
    collections::HashMap,
    mem::Discriminant,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt};
use ractor::{Actor, ActorId, ActorRef};
use ractor_cluster::{
    BoxRead, BoxWrite, NodeEventSubscription, NodeServer, NodeServerMessage, NodeSessionMessage,
    node::{NodeConnectionMode, NodeServerSessionInformation},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

pub use certificates::{CertificateError, Certificates};
pub use cookie::{Cookie, CookieError};
pub use trust::{Trust, TrustError};

use crate::MAX_FRAME_BYTES;
use pipe::{Fate, Pipe};

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

/// How long a node may take to end; nothing depends on it.
const ENDING: Duration = Duration::from_secs(1);
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

impl ClusterError {
    /// What most likely dialled, where this ended its connection to us; in a few words.
    #[must_use]
    pub fn likely_cause(&self) -> &'static str {
        use tokio_rustls::rustls::Error as Tls;
        let Self::Socket(error) = self else {
            return match self {
                Self::HandshakeTimeout => "it says nothing, as a health check may",
                _ => "none of its own",
            };
        };
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Tls>()) {
            Some(Tls::InvalidMessage(_)) => {
                "it speaks no TLS: a worker with --insecure, or a browser"
            }
            Some(Tls::AlertReceived(_)) => "it refuses our certificate: has it another --ca?",
            Some(Tls::InvalidCertificate(_) | Tls::NoCertificatesPresented) => {
                "it has no certificate of our --ca"
            }
            _ => "it ended the connection at once, as a health check may",
        }
    }
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
    /// Handed over to the library, and not yet a session: by the address of the other end.
    handed: HashMap<String, Arc<Fate>>,
    open: HashMap<ActorId, Session>,
    /// How many have ended.
    ended: u64,
    /// How often each address came without the cookie, by how it ended.
    strangers: HashMap<(Discriminant<End>, String), u32>,
}

/// One connection.
#[derive(Debug)]
struct Session {
    actor: ActorRef<NodeSessionMessage>,
    /// The other node's name, once it has proved that it knows the cookie.
    peer: Option<String>,
    fate: Arc<Fate>,
    /// We ended it, and have said so where it is worth a word.
    stopped: bool,
}

impl Session {
    fn stop(&mut self) {
        self.stopped = true;
        self.actor.stop(None);
    }
}

/// An end of a session that somebody should hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum End {
    /// It was the second one of a peer whose first one still looked alive: that one is ended instead.
    DialsAgain,
    /// It never proved that it knows the cookie.
    Stranger,
    /// It sent a frame of so many bytes, which is more than there can be in one.
    TooLong(u64),
    /// What it sent is no message.
    Unreadable,
}

impl Sessions {
    fn with<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Known {
    /// Ends the authenticated sessions of a peer; whether there were any.
    fn end_those_of(&mut self, peer: &str) -> bool {
        let theirs = self.open.values_mut().filter(|one| one.peer.as_deref() == Some(peer));
        theirs.map(Session::stop).count() > 0
    }

    /// Whether a stranger is worth a line: the first time, the second, the fourth, and so on.
    fn is_news(&mut self, end: End, address: &str) -> bool {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let key = (std::mem::discriminant(&end), host.to_owned());
        if self.strangers.len() >= MOST_STRANGERS && !self.strangers.contains_key(&key) {
            return false;
        }
        let times = self.strangers.entry(key).or_default();
        *times += 1;
        times.is_power_of_two()
    }

    /// A session has ended; what there is to say of it.
    fn farewell(&mut self, session: &NodeServerSessionInformation) -> Option<End> {
        self.ended += 1;
        let was = self.open.remove(&session.actor.get_id())?;
        let address = &session.peer_addr;
        if let Some(bytes) = was.fate.too_long() {
            let end = End::TooLong(bytes);
            let told = was.peer.is_some() || self.is_news(end, address);
            return told.then_some(end);
        }
        if was.peer.is_some() {
            // Of two sessions to one node the library ends one.
            let replaced = self.open.values().any(|other| other.peer == was.peer);
            let expected = was.stopped || was.fate.ended() || replaced;
            return (!expected).then_some(End::Unreadable);
        }
        let claimed = session.peer_name.as_ref().map(|name| name.name.as_str());
        if claimed.is_some_and(|name| self.end_those_of(name)) {
            return Some(End::DialsAgain);
        }
        // Who dials tells itself what became of it.
        let told = !was.stopped && session.is_server && self.is_news(End::Stranger, address);
        told.then_some(End::Stranger)
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
        self.sessions.with(|known| known.open.values_mut().for_each(Session::stop));
    }

    /// Ends the node and its sessions, before the runtime does: tasks that a runtime drops end one by one, and those
    /// that still live complain of the others.
    pub async fn end(&self) {
        self.end_sessions();
        let _gone = self.server.stop_and_wait(None, Some(ENDING)).await;
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
        let peer = watched(&stream)?;
        let halves = match trust {
            None => in_the_clear(stream),
            Some(trust) => secured(in_time(trust.acceptor().accept(stream)).await?),
        };
        self.hand_over(peer, halves, true)
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
        let peer = watched(&stream)?;
        let halves = match trust {
            None => in_the_clear(stream),
            Some(trust) => {
                let name = trust::server_name(host)?;
                secured(in_time(trust.connector().connect(name, stream)).await?)
            }
        };
        self.hand_over(peer, halves, false)
    }

    fn hand_over(
        &self,
        peer: String,
        (reader, writer): (BoxRead, BoxWrite),
        is_server: bool,
    ) -> Result<(), ClusterError> {
        let fate = Arc::new(Fate::default());
        self.sessions.with(|known| known.handed.insert(peer.clone(), Arc::clone(&fate)));
        let stream = Box::new(Pipe { peer, reader, writer, limit: MAX_CLUSTER_FRAME_BYTES, fate });
        let opened = NodeServerMessage::ConnectionOpenedExternal { stream, is_server };
        self.server.cast(opened).map_err(|_| ClusterError::Ended)
    }
}

fn in_the_clear(stream: TcpStream) -> (BoxRead, BoxWrite) {
    let (reader, writer) = stream.into_split();
    (Box::new(reader), Box::new(writer))
}

fn secured(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> (BoxRead, BoxWrite) {
    let (reader, writer) = tokio::io::split(stream);
    (Box::new(reader), Box::new(writer))
}

async fn in_time<T>(
    handshake: impl Future<Output = std::io::Result<T>>,
) -> Result<T, ClusterError> {
    let ended = tokio::time::timeout(HANDSHAKE_DEADLINE, handshake).await;
    Ok(ended.map_err(|_| ClusterError::HandshakeTimeout)??)
}

/// The address of a peer whose end is noticed. A frozen or vanished peer sends no FIN; without this its connection would
/// stay for a quarter of an hour.
fn watched(stream: &TcpStream) -> std::io::Result<String> {
    stream.set_nodelay(true)?;
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &KEEPALIVE_IDLE_S)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &KEEPALIVE_INTERVAL_S)?;
    setsockopt(stream, sockopt::TcpKeepCount, &KEEPALIVE_PROBES)?;
    setsockopt(stream, sockopt::TcpUserTimeout, &USER_TIMEOUT_MS)?;
    Ok(stream.peer_addr()?.to_string())
}

/// Ends sessions that do not authenticate in time: the library waits for ever. And lets a peer in that dials
/// again while its former session still looks alive here: of two sessions to one node the library keeps the one with
/// the lower random number, so that every other peer would be kept out until the kernel gives the old one up.
struct Watch(Arc<Sessions>);

impl NodeEventSubscription for Watch {
    fn node_session_opened(&self, session: NodeServerSessionInformation) {
        let (id, actor) = (session.actor.get_id(), session.actor.clone());
        self.0.with(|known| {
            let fate = known.handed.remove(&session.peer_addr).unwrap_or_default();
            known.open.insert(id, Session { actor, peer: None, fate, stopped: false })
        });
        let sessions = Arc::clone(&self.0);
        tokio::spawn(async move {
            tokio::time::sleep(HANDSHAKE_DEADLINE).await;
            let silent = sessions.with(|known| {
                let silent = known.open.get_mut(&id).filter(|one| one.peer.is_none());
                silent.map(Session::stop).is_some()
            });
            if silent {
                tracing::warn!(peer = session.peer_addr, "a peer did not authenticate in time");
            }
        });
    }

    /// Only who has dialled the same node before knows the random name that brings it to a second session.
    fn node_session_disconnected(&self, session: NodeServerSessionInformation) {
        let peer = &session.peer_addr;
        match self.0.with(|known| known.farewell(&session)) {
            None => {}
            Some(End::DialsAgain) => {
                tracing::info!(peer, "a peer dials again: its former connection is ended");
            }
            Some(End::Stranger) => {
                tracing::warn!(peer, "a peer ended without authenticating: is its cookie ours?");
            }
            Some(End::TooLong(bytes)) => tracing::warn!(
                peer,
                bytes,
                limit = MAX_CLUSTER_FRAME_BYTES,
                "a peer sent a frame that is longer than any of ours: its connection is ended"
            ),
            Some(End::Unreadable) => {
                tracing::warn!(peer, "a peer sent what is no message: its connection is ended");
            }
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
