//! Where lanes' threads come from.
//!
//! A thread inherits the priority of the one that starts it, and only a privileged process may raise it again. The
//! threads of the control runtime give way to the lanes (a lower priority: on a processor they share, a flush or a
//! body being built would otherwise delay the stamps of a lane by its whole slice of time). So no lane may be started
//! from there: a thread that is as the worker's caller was starts them.

use std::{io, sync::mpsc, thread};

use ractor::thread_local::ThreadLocalActorSpawner;
use tokio::sync::oneshot;

/// Starts lanes' threads at the priority of the thread that made this; cheap to copy.
#[derive(Clone, Debug)]
pub(crate) struct LaneThreads {
    orders: mpsc::Sender<oneshot::Sender<ThreadLocalActorSpawner>>,
}

impl LaneThreads {
    /// Its thread ends with the last copy.
    pub(crate) fn start() -> io::Result<Self> {
        let (orders, waiting) = mpsc::channel::<oneshot::Sender<ThreadLocalActorSpawner>>();
        thread::Builder::new().name("lane-starter".to_owned()).spawn(move || {
            for order in waiting {
                let _ = order.send(ThreadLocalActorSpawner::new());
            }
        })?;
        Ok(Self { orders })
    }

    /// A new thread for one lane.
    ///
    /// # Errors
    /// The thread that starts them has ended, which only a panic in it does.
    pub(crate) async fn another(&self) -> io::Result<ThreadLocalActorSpawner> {
        let gone = || io::Error::other("the thread that starts the lanes has ended");
        let (order, started) = oneshot::channel();
        self.orders.send(order).map_err(|_| gone())?;
        started.await.map_err(|_| gone())
    }
}
