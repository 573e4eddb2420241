//! Where connections go to and where they begin.
//!
//! A name may have many addresses (a headless service has one for each pod), and they change as pods come and go. So
//! new connections take the addresses of a name in turn, and the name is asked again after a while; the
//! lanes begin at different places of the list, so that few connections are spread too. Local
//! addresses are taken in turn as well: each has local ports of its own.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::attempt::{Attempt, Tried};

/// The addresses of one name, as one lane sees them.
#[derive(Debug)]
pub(crate) struct Addresses {
    host: String,
    port: u16,
    refresh: Duration,
    known: RefCell<Vec<SocketAddr>>,
    asked: Cell<Option<Instant>>,
    first: Attempt<Result<(), Unanswered>>,
    /// The name is being asked for again.
    asking: RefCell<Option<JoinHandle<io::Result<Vec<SocketAddr>>>>>,
    sources: Vec<IpAddr>,
    turn: Cell<usize>,
}

/// An error of the name service that many can have.
#[derive(Clone, Debug)]
struct Unanswered(io::ErrorKind, String);

impl From<io::Error> for Unanswered {
    fn from(error: io::Error) -> Self {
        Self(error.kind(), error.to_string())
    }
}

impl From<Unanswered> for io::Error {
    fn from(Unanswered(kind, words): Unanswered) -> Self {
        Self::new(kind, words)
    }
}

impl Addresses {
    /// `turn` is where the lists begin for this lane.
    pub(crate) fn new(
        host: String,
        port: u16,
        refresh: Duration,
        sources: Vec<IpAddr>,
        turn: usize,
    ) -> Self {
        let (known, asked, turn) = (RefCell::default(), Cell::default(), Cell::new(turn));
        let (first, asking) = (Attempt::new(), RefCell::default());
        Self { host, port, refresh, known, asked, first, asking, sources, turn }
    }

    /// `host:port`, as a URL writes it.
    pub(crate) fn name(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// Connects to the next address; to those after it where one does not answer. Each but the last has an
    /// equal share of the time until `deadline`, so that one which says nothing leaves some for the others.
    pub(crate) async fn reach(&self, deadline: Instant) -> io::Result<TcpStream> {
        self.know().await?;
        let turn = self.turn.replace(self.turn.get().wrapping_add(1));
        let addresses = in_turn(&self.known.borrow(), turn);
        let mut refusal = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for (place, address) in addresses.iter().enumerate() {
            let connecting = self.connect(*address, turn);
            let left = deadline.saturating_duration_since(Instant::now());
            let tried = match u32::try_from(addresses.len() - place) {
                Ok(more @ 2..) => timeout(left / more, connecting).await.unwrap_or_else(|_| {
                    let words = format!("{address} does not answer");
                    Err(io::Error::new(io::ErrorKind::TimedOut, words))
                }),
                // The caller's own deadline ends it.
                Ok(_) | Err(_) => connecting.await,
            };
            match tried {
                Ok(tcp) => return Ok(tcp),
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }

    /// Waits for the name's addresses where none are known. Those that have been known for long are asked
    /// for again beside the requests, which use what is known meanwhile; an answer that fails leaves it.
    async fn know(&self) -> io::Result<()> {
        self.refreshed();
        if self.known.borrow().is_empty() {
            return self.first_answer().await;
        }
        let fresh = self.asked.get().is_some_and(|asked| asked.elapsed() < self.refresh);
        if !fresh && self.asking.borrow().is_none() {
            self.asked.set(Some(Instant::now()));
            *self.asking.borrow_mut() = Some(tokio::spawn(self.question()));
        }
        Ok(())
    }

    /// Takes an answer that has come since.
    fn refreshed(&self) {
        let mut asking = self.asking.borrow_mut();
        let Some(answer) = asking.as_mut().filter(|answer| answer.is_finished()) else { return };
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(Ok(Ok(addresses))) = Pin::new(answer).poll(&mut context) {
            self.learn(addresses);
        }
        *asking = None;
    }

    /// All who connect before the first answer wait for the same one.
    async fn first_answer(&self) -> io::Result<()> {
        let asking = async {
            let answer = self.question().await;
            answer.map(|addresses| self.learn(addresses)).map_err(Unanswered::from)
        };
        match self.first.join(asking).await {
            Tried::Here(answer) | Tried::Elsewhere(answer) => answer.map_err(io::Error::from),
        }
    }

    fn question(&self) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send + use<> {
        let name = (self.host.clone(), self.port);
        async { lookup_host(name).await.map(Vec::from_iter) }
    }

    fn learn(&self, mut addresses: Vec<SocketAddr>) {
        // Name services shuffle: lanes agree on an order, so that their turns differ.
        addresses.sort_unstable();
        addresses.dedup();
        if !addresses.is_empty() {
            *self.known.borrow_mut() = addresses;
            self.asked.set(Some(Instant::now()));
        }
    }

    async fn connect(&self, address: SocketAddr, turn: usize) -> io::Result<TcpStream> {
        let own_kind = |source: &&IpAddr| source.is_ipv4() == address.is_ipv4();
        let sources: Vec<_> = self.sources.iter().filter(own_kind).collect();
        if sources.is_empty() && !self.sources.is_empty() {
            let words = format!("no address of `client.sourceAddresses` can reach {address}");
            return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, words));
        }
        let Some(source) = sources.get(turn % sources.len().max(1)) else {
            return TcpStream::connect(address).await;
        };
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // The port is chosen when the destination is known: the same one may serve another.
        setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
        socket.bind(SocketAddr::new(**source, 0)).map_err(|error| {
            let words = format!("`client.sourceAddresses`: {source} is not usable here: {error}");
            io::Error::new(error.kind(), words)
        })?;
        socket.connect(address).await
    }
}

/// All addresses, those from `turn` on first.
fn in_turn(addresses: &[SocketAddr], turn: usize) -> Vec<SocketAddr> {
    let (late, early) = addresses.split_at(turn % addresses.len().max(1));
    [early, late].concat()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn addresses(sources: &[&str], port: u16) -> Addresses {
        let sources = sources.iter().map(|source| source.parse().unwrap()).collect();
        Addresses::new("127.0.0.1".into(), port, Duration::from_secs(30), sources, 0)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(2)
    }

    #[test]
    fn every_address_has_its_turn_and_the_others_follow_it() {
        let all: Vec<SocketAddr> =
            ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"].map(|one| one.parse().unwrap()).to_vec();
        assert_eq!(in_turn(&all, 0), all);
        assert_eq!(in_turn(&all, 4), [all[1], all[2], all[0]]);
        assert!(in_turn(&[], 3).is_empty());
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_is_passed_over() {
        let listener = TcpListener::bind("127.0.0.2:0").unwrap();
        let there = listener.local_addr().unwrap();
        let addresses = addresses(&[], there.port());
        // Where no other test listens either.
        let gone = SocketAddr::new("127.0.0.9".parse().unwrap(), there.port());
        *addresses.known.borrow_mut() = vec![gone, there];
        addresses.asked.set(Some(Instant::now()));
        for _turn in 0..3 {
            assert_eq!(addresses.reach(soon()).await.unwrap().peer_addr().unwrap(), there);
        }
    }

    #[tokio::test]
    async fn connections_begin_at_the_source_addresses_in_turn() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let addresses = addresses(&["127.0.0.5", "::1", "127.0.0.6"], port);
        let mut begun = Vec::new();
        for _turn in 0..3 {
            begun.push(
                addresses.reach(soon()).await.unwrap().local_addr().unwrap().ip().to_string(),
            );
        }
        assert_eq!(begun, ["127.0.0.5", "127.0.0.6", "127.0.0.5"]);
    }

    #[tokio::test]
    async fn a_source_that_is_not_ours_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for source in ["192.0.2.1", "::1"] {
            let refusal = addresses(&[source], port).reach(soon()).await.unwrap_err().to_string();
            assert!(refusal.contains("client.sourceAddresses"), "{refusal}");
        }
    }

    /// An address whose listener takes no more connections: Linux drops what asks for one.
    async fn black_hole() -> (TcpSocketHeld, SocketAddr) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.3:0".parse().unwrap()).unwrap();
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        // A full one never answers; another that is kept waiting by a busy machine does by then.
        let brief = Duration::from_millis(300);
        while let Ok(Ok(tcp)) = timeout(brief, TcpStream::connect(address)).await {
            waiting.push(tcp);
        }
        ((listener, waiting), address)
    }

    type TcpSocketHeld = (tokio::net::TcpListener, Vec<TcpStream>);

    #[tokio::test]
    async fn an_address_that_says_nothing_leaves_time_for_the_others() {
        let (_held, hole) = black_hole().await;
        let listener = TcpListener::bind("127.0.0.2:0").unwrap();
        let there = listener.local_addr().unwrap();
        let addresses = addresses(&[], there.port());
        *addresses.known.borrow_mut() = vec![hole, there];
        addresses.asked.set(Some(Instant::now()));
        let reached = tokio::time::timeout_at(soon(), addresses.reach(soon())).await;
        assert_eq!(reached.unwrap().unwrap().peer_addr().unwrap(), there);
    }

    #[tokio::test]
    async fn a_name_is_asked_for_again_beside_the_requests() {
        let listener = TcpListener::bind("127.0.0.2:0").unwrap();
        let there = listener.local_addr().unwrap();
        let addresses = Addresses::new("127.0.0.1".into(), there.port(), Duration::ZERO, vec![], 0);
        *addresses.known.borrow_mut() = vec![there];
        assert_eq!(addresses.reach(soon()).await.unwrap().peer_addr().unwrap(), there, "known");
        while addresses.known.borrow()[..] == [there] {
            tokio::task::yield_now().await;
            addresses.refreshed();
        }
        assert_eq!(
            addresses.known.borrow()[..],
            [SocketAddr::new([127, 0, 0, 1].into(), there.port())]
        );
    }

    #[tokio::test]
    async fn all_who_come_before_the_first_answer_share_it() {
        let addresses = addresses(&[], 1);
        let answer = Err(Unanswered(io::ErrorKind::NotFound, "as told once".to_owned()));
        let telling = addresses.first.join(async {
            tokio::task::yield_now().await;
            answer
        });
        // Nobody else asks: 127.0.0.1 would be found.
        let (_told, shared) = tokio::join!(telling, addresses.know());
        assert_eq!(shared.unwrap_err().to_string(), "as told once");
    }
}
