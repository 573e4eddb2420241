//! What the worker's actor does for records: where they wait, who takes them, and how they are given away.

use std::sync::Arc;

use protocol::{FetchRecords, RecordSegment, Refusal, Wire, WireError, WorkerId};
use ractor::RpcReplyPort;
use tokio::time::Instant;
use workload::Plan;

use super::WorkerState;
use crate::records::{RecordTaker, Spool, SpoolWriter};

/// Who takes records of single requests, by the plan.
pub(super) fn takers(
    plan: &Arc<Plan>,
    id: WorkerId,
    spool: Option<&Arc<Spool>>,
) -> Vec<Box<dyn RecordTaker>> {
    let kept = plan.records.zip(spool).map(|(records, spool)| {
        let writer = SpoolWriter::new(Arc::clone(spool), Arc::clone(plan), id, records);
        Box::new(writer) as Box<dyn RecordTaker>
    });
    kept.into_iter().collect()
}

impl WorkerState {
    /// Where the plan's records wait until they are gathered.
    pub(super) fn spool(&self, plan: &Plan) -> Option<Arc<Spool>> {
        let most_bytes = plan.records?.most_bytes;
        let folder = self.arguments.spool.clone().unwrap_or_else(std::env::temp_dir);
        let _ = self.arguments.held.send(Some(Instant::now()));
        Some(Arc::new(Spool::create(&folder, most_bytes)))
    }

    /// Off the runtime: a disk may be slow.
    pub(super) fn give_records(
        &self,
        fetch: Result<FetchRecords, WireError>,
        reply: RpcReplyPort<Wire<Result<RecordSegment, Refusal>>>,
    ) {
        let found = fetch.map_err(|error| error.to_string()).and_then(|fetch| {
            let crew = self.crew.as_ref().filter(|crew| crew.id == fetch.worker);
            let spool = crew.and_then(|crew| crew.spool.clone());
            Ok((fetch, spool.ok_or("there are no records here")?))
        });
        let (fetch, spool) = match found {
            Ok(found) => found,
            Err(reason) => {
                let _ = reply.send(Wire::new(Err(Refusal::for_good(reason))));
                return;
            }
        };
        let _ = self.arguments.held.send(Some(Instant::now()));
        tokio::task::spawn_blocking(move || {
            let _ = reply.send(Wire::new(spool.segment(fetch.segment)));
        });
    }

    pub(super) fn records_are_taken(&self, worker: WorkerId) {
        if worker.incarnation == self.arguments.incarnation {
            let _ = self.arguments.held.send(None);
        }
    }
}
