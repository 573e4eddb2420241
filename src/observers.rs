//! Who looks at a run while it goes on: a person at the terminal, and whoever asks over HTTP.

use std::{
    net::{Ipv4Addr, SocketAddr, ToSocketAddrs},
    sync::Arc,
};

use coordinator::Coordinator;
use metrics::Live;
use observe::{LiveServer, Views};
use report::progress_line;
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    exit::{Exit, Stop},
    progress, screen, told,
};

/// How the run is shown while it goes on.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ObserverArgs {
    /// Show the run while it goes on: a page, its JSON (`/api/v1/run`), `/metrics` for Prometheus, `/healthz`, `/readyz`;
    /// a port alone is one of 127.0.0.1
    #[arg(long, value_name = "[ADDRESS:]PORT", value_parser = listen)]
    http: Option<SocketAddr>,
    /// A line a second on stderr instead of a screen, where there is a terminal
    #[arg(long)]
    no_screen: bool,
}

/// A port alone is one of this machine; another address has to be said.
fn listen(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix(':').unwrap_or(text);
    if let Ok(port) = port.parse() {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    let mut found = text.to_socket_addrs().map_err(|error| error.to_string())?;
    found.next().ok_or_else(|| "it has no address".to_owned())
}

/// Those of one run.
pub(crate) struct Observers {
    views: Views,
    wants_screen: bool,
    server: Option<LiveServer>,
}

impl Observers {
    /// Listens, where that is wanted, before anything is asked of the target.
    pub(crate) async fn open(arguments: &ObserverArgs) -> Result<Self, Stop> {
        let views = Views::default();
        let server = match arguments.http {
            None => None,
            Some(address) => {
                let opened = LiveServer::open(address, views.clone()).await;
                let server = opened.map_err(|error| Stop::new(Exit::BadConfiguration, error))?;
                told::tell(format_args!("live: http://{}/", server.address()));
                Some(server)
            }
        };
        Ok(Self { views, wants_screen: !arguments.no_screen, server })
    }

    /// The run has begun to form: it is shown from now on.
    pub(crate) fn follow(&self, coordinator: &Coordinator) -> Watching {
        self.views.follow(coordinator.live());
        let (views, interrupt) = (coordinator.live(), coordinator.interrupter());
        let is_screen = self.wants_screen && screen::is_possible();
        let last = views.clone();
        let showing = tokio::spawn(async move {
            if is_screen && screen::show(views.clone(), interrupt).await.is_ok() {
                return;
            }
            progress::show(views).await;
        });
        Watching { showing, last, is_screen }
    }

    /// Nobody is answered any more, and another run can have the address.
    pub(crate) async fn close(self) {
        if let Some(server) = self.server {
            server.close().await;
        }
    }
}

/// The terminal's view of a run.
pub(crate) struct Watching {
    showing: JoinHandle<()>,
    last: watch::Receiver<Arc<Live>>,
    is_screen: bool,
}

impl Watching {
    /// The run is over: the terminal is free when this returns.
    pub(crate) async fn end(self) {
        self.showing.abort();
        let _ = self.showing.await;
        if self.is_screen
            && let Some(line) = progress_line(&self.last.borrow())
        {
            told::tell(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_of_this_machine() {
        let local = "127.0.0.1:9100".parse().unwrap();
        assert_eq!((listen("9100"), listen(":9100")), (Ok(local), Ok(local)));
        assert_eq!(listen("0.0.0.0:9100"), Ok(([0, 0, 0, 0], 9100).into()));
        assert!(listen("nothing").is_err());
        assert!(listen("99999").is_err());
    }

    #[tokio::test]
    async fn an_address_that_cannot_be_had_is_a_bad_configuration() {
        let arguments = |http| ObserverArgs { http: Some(http), no_screen: true };
        let any = ([127, 0, 0, 1], 0).into();
        let first = Observers::open(&arguments(any)).await.unwrap();
        let taken = first.server.as_ref().unwrap().address();
        let Err(stop) = Observers::open(&arguments(taken)).await else { panic!("it is taken") };
        assert_eq!(stop.exit(), Exit::BadConfiguration);
        assert!(stop.to_string().contains("--http"));
    }
}
