//! Spans of the requests that a worker of this process sends, made of their records.
//!
//! They are made on the thread that takes records, which no lane waits for, and handed to a queue that never blocks it.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use metrics::RequestRecord;
use observe::{OtlpSpan, RequestPlace, Service, SpanQueue};
use tokio::sync::watch;
use worker::{RequestListener, RequestsOf};
use workload::{Plan, Traces};

use crate::telemetry::operation;

/// The last records of a worker that has ended are here by then.
const PATIENCE: Duration = Duration::from_secs(1);

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct RequestSpans {
    queue: SpanQueue,
    /// What a plan's spans have in common, made of the first one's.
    known: OnceLock<Known>,
    /// Whether all have come.
    whole: watch::Sender<bool>,
}

#[derive(Debug)]
struct Known {
    traces: Traces,
    /// By cell: class and target.
    services: Vec<Service>,
}

impl RequestSpans {
    pub(crate) fn new(queue: SpanQueue) -> Arc<Self> {
        Arc::new(Self { queue, known: OnceLock::new(), whole: watch::channel(false).0 })
    }

    /// Returns once the last record has come, or will not come any more.
    pub(crate) async fn whole(&self) {
        let mut whole = self.whole.subscribe();
        // Who began no run has none.
        if self.known.get().is_some() {
            let _late = tokio::time::timeout(PATIENCE, whole.wait_for(|whole| *whole)).await;
        }
    }
}

impl Known {
    fn of(plan: &Plan) -> Self {
        let service = |cell| {
            let target = plan.target_of(cell);
            Service::new(operation(&target), target.model.clone(), Some(&target.url))
        };
        Self { traces: Traces::of(plan), services: (0..plan.cells()).map(service).collect() }
    }
}

impl RequestListener for RequestSpans {
    fn ended(&self, record: &RequestRecord, of: &RequestsOf<'_>) {
        let Known { traces, services } = self.known.get_or_init(|| Known::of(of.plan));
        let scope = record.scope;
        let Some(service) = services.get(usize::from(scope.class)) else { return };
        let stage = of.plan.stages.get(usize::from(scope.stage));
        let class = of.plan.classes.get(of.plan.cell(scope.class).class);
        let place = RequestPlace {
            context: traces.turn(record.number, record.turn),
            stage: traces.stage(scope.stage),
            stage_name: stage.map_or("", |stage| &stage.name),
            class: class.map(|class| class.name.as_str()),
            service,
            worker: of.worker,
            started_unix_ns: of.started_unix_ns,
        };
        if let Some(span) = OtlpSpan::request(record, &place) {
            self.queue.offer(span);
        }
    }

    fn closed(&self, dropped: u64) {
        self.queue.missed(dropped);
        let _before = self.whole.send_replace(true);
    }
}
