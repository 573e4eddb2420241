//! The view of a run that goes on, where there is no screen: a line a second on stderr.

use std::sync::Arc;

use metrics::Live;
use report::progress_line;
use tokio::sync::watch;

use crate::told;

/// Says each new second until the run is over.
pub(crate) async fn show(mut views: watch::Receiver<Arc<Live>>) {
    let mut shown = None;
    while views.changed().await.is_ok() {
        let live = Arc::clone(&views.borrow_and_update());
        let Some((line, last)) = progress_line(&live).zip(live.last) else { continue };
        if shown.replace(last.second) != Some(last.second) {
            told::tell(line);
        }
    }
}
