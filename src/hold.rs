//! Results that wait to be fetched: for a coordinator whose disk ends with it, such as a pod's.
//!
//! It leaves a mark beside its finished results and stays until the mark is gone, the time is over, or it is told to
//! end. The mark is a file because whoever fetches is another process, which shares nothing with this one but the disk.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::Context;
use tokio::time::sleep;

use crate::{exit::Exit, interrupt::Interrupts};

/// Results with this file beside them are being held.
const MARK: &str = ".held";
/// How often it is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Why the wait was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Released,
    TimeIsOver,
    Told,
}

/// Waits until the results of `directory` were fetched, but no longer than `longest`; where there are none it ends at once.
pub(crate) async fn until_fetched(
    ended: anyhow::Result<Exit>,
    directory: &Path,
    longest: Duration,
) -> anyhow::Result<Exit> {
    let exit = ended?;
    if !longest.is_zero() {
        hold(directory, longest).await?;
    }
    Ok(exit)
}

async fn hold(directory: &Path, longest: Duration) -> anyhow::Result<()> {
    let mut interrupts = Interrupts::listen()?;
    let mark = mark_of(directory);
    File::create(&mark).with_context(|| format!("cannot write {}", mark.display()))?;
    let (path, seconds) = (directory.display(), longest.as_secs_f64());
    eprintln!(
        "the results are held for {seconds} s: `tokenstorm results pack - {path}` fetches them"
    );
    let ended = tokio::select! {
        () = gone(&mark) => Ended::Released,
        () = sleep(longest) => Ended::TimeIsOver,
        () = interrupts.next() => Ended::Told,
    };
    let _ = fs::remove_file(&mark);
    eprintln!("{}", words(ended));
    Ok(())
}

/// Whether they are being held.
pub(crate) fn is_held(directory: &Path) -> bool {
    mark_of(directory).exists()
}

/// Since when.
pub(crate) fn since(directory: &Path) -> Option<SystemTime> {
    fs::metadata(mark_of(directory)).and_then(|mark| mark.modified()).ok()
}

/// Lets the coordinator end; false where nothing was held.
pub(crate) fn release(directory: &Path) -> io::Result<bool> {
    match fs::remove_file(mark_of(directory)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn mark_of(directory: &Path) -> PathBuf {
    directory.join(MARK)
}

async fn gone(mark: &Path) {
    while mark.exists() {
        sleep(LOOK_EVERY).await;
    }
}

fn words(ended: Ended) -> &'static str {
    match ended {
        Ended::Released => "the results were fetched",
        Ended::TimeIsOver => "nobody fetched the results in time",
        Ended::Told => "told to end: the results are held no longer",
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    #[tokio::test]
    async fn whoever_releases_the_results_lets_the_coordinator_go() {
        let folder = tempfile::tempdir().unwrap();
        let holding = until_fetched(Ok(Exit::Invalid), folder.path(), LONG);
        let fetching = async {
            while !is_held(folder.path()) {
                tokio::task::yield_now().await;
            }
            assert!(release(folder.path()).unwrap());
        };
        let (held, ()) = tokio::join!(holding, fetching);
        assert_eq!(held.unwrap(), Exit::Invalid, "the run's own");
        assert!(!release(folder.path()).unwrap(), "nothing is held any more");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_waited_for_longer_than_was_said() {
        let folder = tempfile::tempdir().unwrap();
        let began = Instant::now();
        hold(folder.path(), LONG).await.unwrap();
        assert_eq!(began.elapsed().as_secs(), LONG.as_secs());
        assert!(!is_held(folder.path()));
    }

    #[tokio::test]
    async fn without_a_time_or_without_results_nothing_is_held() {
        let nowhere = Path::new("/nowhere");
        until_fetched(Ok(Exit::Ok), nowhere, Duration::ZERO).await.unwrap();
        until_fetched(Err(anyhow::anyhow!("disk full")), nowhere, LONG).await.unwrap_err();
    }
}
