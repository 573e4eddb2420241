//! What a process keeps from one run to the next: its control runtime, and the door that workers of other processes dial.
//!
//! A sweep or a search is many runs, each with a coordinator of its own. Workers must find all of them at one address
//! and over one connection, and know a pause from the end. So the listener is opened for the first run and stays; between
//! two runs a [`Lobby`] answers for the coordinator, and at the end it sends the workers home.

use std::{net::SocketAddr, time::Duration};

use coordinator::{Coordinator, Listener, Lobby};
use protocol::Node;
use tokio::{runtime::Runtime, sync::Mutex, time::Instant};

use crate::{benchmark::control_runtime, fleet_secrets::Secrets};

/// How long workers that have had their last word may take to close their connections.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long those of many runs may take to hear that there are no more: some wait for their turn to ask.
const DISMISSAL: Duration = Duration::from_secs(5);
/// How often that is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How many runs are led from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runs {
    /// One: its workers end with it.
    One,
    /// Some, one after the other: workers that dial take part in each.
    Many,
}

/// See the module's documentation.
pub(crate) struct Site {
    runtime: Runtime,
    /// Where there are many runs.
    lobby: Option<Lobby>,
    doors: Mutex<Option<Doors>>,
}

/// The way in.
struct Doors {
    node: Node,
    listener: Listener,
}

/// The way in, as one run has it.
pub(crate) struct Way {
    node: Node,
    pub(crate) address: SocketAddr,
    /// This run is the first that uses it.
    pub(crate) is_new: bool,
}

impl Site {
    /// Nobody can come yet.
    pub(crate) fn new(runs: Runs) -> anyhow::Result<Self> {
        let runtime = control_runtime()?;
        let lobby = match runs {
            Runs::One => None,
            Runs::Many => Some(runtime.block_on(Lobby::start())?),
        };
        Ok(Self { runtime, lobby, doors: Mutex::default() })
    }

    /// How many runs there will be.
    pub(crate) fn runs(&self) -> Runs {
        if self.lobby.is_some() { Runs::Many } else { Runs::One }
    }

    /// Runs something to its end on the control runtime.
    pub(crate) fn block_on<T>(&self, something: impl Future<Output = T>) -> T {
        self.runtime.block_on(something)
    }

    /// Whether workers can dial already.
    pub(crate) async fn is_open(&self) -> bool {
        self.doors.lock().await.is_some()
    }

    /// Lets workers of other processes in to a run; listens from now on, if it does not yet.
    pub(crate) async fn let_in(
        &self,
        coordinator: &Coordinator,
        address: SocketAddr,
        secrets: Secrets,
    ) -> anyhow::Result<Way> {
        let mut doors = self.doors.lock().await;
        if let Some(open) = doors.as_ref() {
            coordinator.open_to_the_cluster();
            return Ok(open.way(false));
        }
        let Secrets { cookie, trust, protection } = secrets;
        let node = Node::start("coordinator", &cookie).await?;
        if let Some(lobby) = &self.lobby {
            lobby.open();
        }
        coordinator.open_to_the_cluster();
        let listener = Listener::open(address, node.clone(), trust, protection).await?;
        Ok(doors.insert(Doors { node, listener }).way(true))
    }

    /// After the last run: sends home whoever waits for another, and ends the node.
    pub(crate) fn dismiss(&self) {
        self.block_on(async {
            let Some(Doors { node, listener }) = self.doors.lock().await.take() else { return };
            if let Some(lobby) = &self.lobby {
                lobby.dismiss();
                until_all_are_gone(&node, DISMISSAL).await;
            }
            drop(listener);
            node.end().await;
        });
    }

    /// Nothing is waited for that is still going on, such as the lookup of a name.
    pub(crate) fn close(self) {
        self.dismiss();
        self.runtime.shutdown_background();
    }
}

impl Doors {
    fn way(&self, is_new: bool) -> Way {
        Way { node: self.node.clone(), address: self.listener.address(), is_new }
    }
}

impl Way {
    /// Those who have had their last word close their connections themselves: ending before would cut it off.
    pub(crate) async fn clear(&self) {
        until_all_are_gone(&self.node, FAREWELL).await;
    }
}

async fn until_all_are_gone(node: &Node, within: Duration) {
    let deadline = Instant::now() + within;
    while node.sessions() > 0 && Instant::now() < deadline {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
