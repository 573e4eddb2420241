//! Where connections go to and where they begin.
//!
//! A name may have many addresses (a headless service has one for each pod), and they change as pods come and go. So
//! new connections take the addresses of a name in turn, and the name is asked again after a while; the
//! lanes begin at different places of the list, so that few connections are spread too. Local
//! addresses are taken in turn as well: each has local ports of its own.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::Instant;

/// The addresses of one name, as one lane sees them.
#[derive(Debug)]
pub(crate) struct Addresses {
    host: String,
    port: u16,
    refresh: Duration,
    known: RefCell<Vec<SocketAddr>>,
    asked: Cell<Option<Instant>>,
    sources: Vec<IpAddr>,
    turn: Cell<usize>,
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
        Self { host, port, refresh, known, asked, sources, turn }
    }

    /// `host:port`, as a URL writes it.
    pub(crate) fn name(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// Connects to the next address; to those after it where one does not answer.
    pub(crate) async fn reach(&self) -> io::Result<TcpStream> {
        self.ask().await?;
        let turn = self.turn.replace(self.turn.get().wrapping_add(1));
        let addresses = in_turn(&self.known.borrow(), turn);
        let mut refusal = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            match self.connect(address, turn).await {
                Ok(tcp) => return Ok(tcp),
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }

    /// Asks for the name's addresses where they are not known, or have been known for long. An answer
    /// that fails leaves those that are known.
    async fn ask(&self) -> io::Result<()> {
        if self.asked.get().is_some_and(|asked| asked.elapsed() < self.refresh) {
            return Ok(());
        }
        // Others that connect meanwhile do not ask as well, if there is something that they can use.
        if !self.known.borrow().is_empty() {
            self.asked.set(Some(Instant::now()));
        }
        let answer = lookup_host((self.host.as_str(), self.port)).await;
        match answer.map(Vec::from_iter) {
            Ok(mut addresses) if !addresses.is_empty() => {
                // Name services shuffle: lanes agree on an order, so that their turns differ.
                addresses.sort_unstable();
                addresses.dedup();
                *self.known.borrow_mut() = addresses;
                self.asked.set(Some(Instant::now()));
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(_) if !self.known.borrow().is_empty() => Ok(()),
            Err(error) => Err(error),
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
        let gone = SocketAddr::new("127.0.0.1".parse().unwrap(), there.port());
        *addresses.known.borrow_mut() = vec![gone, there];
        addresses.asked.set(Some(Instant::now()));
        for _turn in 0..3 {
            assert_eq!(addresses.reach().await.unwrap().peer_addr().unwrap(), there);
        }
    }

    #[tokio::test]
    async fn connections_begin_at_the_source_addresses_in_turn() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let addresses = addresses(&["127.0.0.5", "::1", "127.0.0.6"], port);
        let mut begun = Vec::new();
        for _turn in 0..3 {
            begun.push(addresses.reach().await.unwrap().local_addr().unwrap().ip().to_string());
        }
        assert_eq!(begun, ["127.0.0.5", "127.0.0.6", "127.0.0.5"]);
    }

    #[tokio::test]
    async fn a_source_that_is_not_ours_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for source in ["192.0.2.1", "::1"] {
            let refusal = addresses(&[source], port).reach().await.unwrap_err().to_string();
            assert!(refusal.contains("client.sourceAddresses"), "{refusal}");
        }
    }
}
