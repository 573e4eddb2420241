//! Ctrl-C, SIGTERM and a lost terminal.
//!
//! They are listened for before anything is asked of the target: without a listener the kernel ends the process without
//! a word, and a probe may wait for minutes.

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::AbortHandle,
};

use crate::{screen, told};

/// What asks the program to end.
pub(crate) struct Interrupts {
    signals: [Signal; 3],
}

impl Interrupts {
    /// From now on they come here.
    pub(crate) fn listen() -> std::io::Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        Ok(Self { signals: [interrupt?, terminate?, hangup?] })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }

    /// Of a run: the first ends the load with a drain, the second cancels what is open, the third ends the process; until
    /// what is given back is dropped, for a program that has something else to do after the run.
    pub(crate) fn end(mut self, interrupt: impl Fn() + Send + 'static) -> Listening {
        let listening = tokio::spawn(async move {
            for received in 1.. {
                self.next().await;
                match received {
                    1 => told::tell(
                        "stopping: open requests are followed to their end; again to cancel them",
                    ),
                    2 => told::tell("cancelling open requests; again to end without a report"),
                    _ => {
                        screen::leave();
                        std::process::exit(130);
                    }
                }
                interrupt();
            }
        });
        Listening(listening.abort_handle())
    }
}

/// While this lives, signals end the run.
pub(crate) struct Listening(AbortHandle);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}
