//! What a sweep and a capacity search have in common: runs one after the other, and a user who may end them all.
//!
//! Each run listens for signals itself and ends in order. Between two runs nobody would, so a listener of this
//! module's own hears them all: after a run, or in a pause, it says whether to go on.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context;

use crate::interrupt::Interrupts;

/// How often a pause looks whether it was told to end.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Whether the user has asked to end.
pub(crate) struct Listener(Arc<AtomicBool>);

impl Listener {
    /// Listens on a thread of its own, to the process's end.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let told = Arc::new(AtomicBool::new(false));
        let heard = Arc::clone(&told);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut interrupts = runtime.block_on(async { Interrupts::listen() })?;
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            runtime.block_on(async {
                loop {
                    interrupts.next().await;
                    heard.store(true, Ordering::Relaxed);
                }
            });
        })?;
        Ok(Self(told))
    }

    /// Whether it is time to end.
    pub(crate) fn told_to_end(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Waits, but not for longer than until it is told to end.
    pub(crate) fn pause(&self, length: Duration) {
        let mut left = length;
        while !left.is_zero() && !self.told_to_end() {
            let step = left.min(LOOK_EVERY);
            std::thread::sleep(step);
            left -= step;
        }
    }
}

/// A directory and those above it.
pub(crate) fn make(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

/// `runs/x/demo-20260101-120000`, as it is written into a table that lies in `folder`.
pub(crate) fn below(folder: &Path, directory: &Path) -> String {
    directory.strip_prefix(folder).unwrap_or(directory).display().to_string()
}
