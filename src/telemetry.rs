//! A run told to an OpenTelemetry collector: who is told, by what name, and what the result says of it.
//!
//! Each process tells its own: the coordinator the metrics, the run and its stages; a worker the requests that it sent. Where
//! there is no collector, or it takes nothing, the run and its figures are the same, and the result has a line more.

use std::{
    cell::RefCell,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use coordinator::Coordinator;
use metrics::{RunResult, TelemetryOut, TraceContext, Warning};
use observe::{Exporter, OtlpSettings, OtlpSpan, ServedSpan, Service, SpanQueue, run_spans};
use simulator::{Outcome, Served};
use worker::RequestListener;
use workload::{Api, Config, Plan, Target, Traces};

use crate::{
    benchmark::BUILD, crew::hostname, exit::Stop, randomness, request_spans::RequestSpans,
    settings::otel_variables,
};

/// What others know this program by, unless `OTEL_SERVICE_NAME` says otherwise.
const SERVICE: &str = "tokenstorm";
/// What they know the simulator by: it stands for somebody else's service.
const SIMULATOR: &str = "tokenstorm-simulator";
/// Requests of the simulator's that may wait for somebody to make spans of them.
const SERVED_QUEUE: usize = 1_024;

/// How others are told of the run.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct TelemetryArgs {
    /// Tell an OpenTelemetry collector, over HTTP, such as http://127.0.0.1:4318; credentials come from
    /// OTEL_EXPORTER_OTLP_HEADERS [default: OTEL_EXPORTER_OTLP_ENDPOINT]
    #[arg(long, value_name = "URL")]
    otlp: Option<String>,
}

impl TelemetryArgs {
    /// What says who is told: the flag, the configuration and the variables.
    pub(crate) fn source(&self, config: Option<&Config>, otel: Vec<(String, String)>) -> Source {
        let configured = config.and_then(|config| config.text("telemetry.endpoint"));
        let endpoint = self.otlp.as_deref().or(configured).map(str::to_owned);
        let interval = config.and_then(|config| config.duration("telemetry.interval"));
        Source { endpoint, otel, interval }
    }
}

/// What says who is told. A worker process is given the same; variables may hold credentials.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Source {
    pub(crate) endpoint: Option<String>,
    pub(crate) otel: Vec<(String, String)>,
    interval: Option<Duration>,
}

impl Source {
    pub(crate) fn new(endpoint: Option<String>, otel: Vec<(String, String)>) -> Self {
        Self { endpoint, otel, interval: None }
    }

    /// Who is told; `None`: nobody.
    pub(crate) fn settings(&self) -> Result<Option<OtlpSettings>, Stop> {
        let settings = OtlpSettings::read(self.endpoint.as_deref(), &self.otel)
            .map_err(|problems| Stop::bad_configuration(&problems))?;
        Ok(settings.map(|settings| settings.every(self.interval)))
    }
}

/// A run that is told of.
pub(crate) struct Telling {
    told: Option<Told>,
    simulator: Option<OfSimulator>,
}

struct Told {
    exporter: Exporter,
    /// Of a worker in this process.
    requests: Option<Arc<RequestSpans>>,
    endpoint: Option<String>,
    traces: Traces,
    service: Service,
}

impl Telling {
    /// Begins, inside a runtime, with what a run of this name has to say, and its simulator where it has one.
    pub(crate) fn start(
        settings: Option<&OtlpSettings>,
        plan: &Plan,
        id: &str,
        served: Option<Simulated>,
    ) -> Self {
        let told = settings.map(|settings| {
            let exporter = Exporter::start(settings, who(SERVICE, "coordinator", Some(id)));
            Told {
                requests: exporter.spans().map(RequestSpans::new),
                exporter,
                endpoint: settings.endpoint(),
                traces: Traces::of(plan),
                service: service_of_all(plan),
            }
        });
        let simulator = settings
            .zip(served)
            .map(|(settings, served)| served.told(&settings.without_problems()));
        Self { told, simulator }
    }

    /// The run has begun to form.
    pub(crate) fn follow(&mut self, coordinator: &Coordinator) {
        if let Some(told) = &mut self.told {
            told.exporter.follow(coordinator.live(), told.service.clone());
        }
    }

    /// What workers need to tell of their requests: one in this process somebody to tell, others the source.
    pub(crate) fn of_workers<'a>(&self, source: &'a Source) -> WorkersTelemetry<'a> {
        let requests = self.told.as_ref().and_then(|told| told.requests.clone());
        WorkersTelemetry { listener: requests.map(|told| told as Arc<dyn RequestListener>), source }
    }

    /// Tells how the run ended, and adds to its result what became of all that was told.
    pub(crate) async fn finish(self, result: &mut RunResult) {
        let simulator = async {
            match self.simulator {
                Some(simulator) => simulator.finish().await,
                None => Vec::new(),
            }
        };
        let Some(Told { exporter, requests, endpoint, traces, .. }) = self.told else { return };
        if let Some(requests) = requests {
            requests.whole().await;
        }
        let run = traces.run();
        if let Some(queue) = exporter.spans() {
            let spans = run_spans(result, run, |stage| traces.stage(stage));
            spans.into_iter().for_each(|span| queue.offer(span));
        }
        let (told, of_simulator) = tokio::join!(exporter.finish(), simulator);
        let mut problems = told.problems;
        problems.extend(of_simulator.into_iter().map(|line| format!("of the simulator, {line}")));
        let told_of = |problem: &String| match &endpoint {
            Some(endpoint) => format!("{endpoint}: {problem}"),
            None => problem.clone(),
        };
        let warnings = problems.iter().map(|line| Warning::new("telemetry", told_of(line)));
        result.warnings.extend(warnings);
        result.telemetry = Some(TelemetryOut {
            endpoint,
            trace_id: run.trace_id_hex(),
            spans_sent: told.spans_sent,
            spans_lost: told.spans_lost,
            exports_sent: told.exports_sent,
            exports_lost: told.exports_lost,
            problems,
        });
    }
}

/// How the workers of a run tell of their requests.
pub(crate) struct WorkersTelemetry<'a> {
    pub(crate) listener: Option<Arc<dyn RequestListener>>,
    pub(crate) source: &'a Source,
}

/// A worker process that tells of its requests.
pub(crate) struct OfWorker {
    exporter: Exporter,
    /// Of its life that goes on.
    requests: RefCell<Option<Arc<RequestSpans>>>,
}

impl OfWorker {
    /// Begins, inside a runtime.
    pub(crate) fn start(settings: &OtlpSettings) -> Self {
        let exporter = Exporter::start(settings, who(SERVICE, "worker", None));
        Self { exporter, requests: RefCell::default() }
    }

    /// For a life of its own: each may have another plan.
    pub(crate) fn listener(&self) -> Option<Arc<dyn RequestListener>> {
        let requests = RequestSpans::new(self.exporter.spans()?);
        let _before = self.requests.replace(Some(Arc::clone(&requests)));
        Some(requests)
    }

    /// Tells what is left, and says what was not taken.
    pub(crate) async fn finish(self) -> Vec<String> {
        if let Some(requests) = self.requests.into_inner() {
            requests.whole().await;
        }
        self.exporter.finish().await.problems
    }
}

/// The attributes of whoever tells.
pub(crate) fn who(service: &str, role: &str, run: Option<&str>) -> Vec<(String, String)> {
    let mut attributes = vec![
        ("service.name", service.to_owned()),
        ("service.version", BUILD.to_owned()),
        ("host.name", hostname()),
        ("process.pid", std::process::id().to_string()),
        ("tokenstorm.role", role.to_owned()),
    ];
    attributes.extend(run.map(|run| ("tokenstorm.run.id", run.to_owned())));
    attributes.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// What all requests of a plan have in common.
fn service_of_all(plan: &Plan) -> Service {
    let mut targets = (0..plan.cells()).map(|cell| plan.target_of(cell));
    let Some(first) = targets.next() else { return Service::default() };
    let (mut model, mut url) = (first.model.clone(), Some(first.url.clone()));
    for target in targets {
        model = model.filter(|model| Some(model) == target.model.as_ref());
        url = url.filter(|url| *url == target.url);
    }
    Service::new(operation(&first), model, url.as_deref())
}

/// What the conventions call an API.
pub(crate) fn operation(target: &Target) -> &'static str {
    match target.api {
        Api::Chat => "chat",
        Api::Completions => "text_completion",
    }
}

/// The simulator's requests, on their way to become spans.
pub(crate) struct Simulated {
    model: String,
    served: Receiver<Served>,
}

impl Simulated {
    /// A queue for a simulator of this model.
    pub(crate) fn queue(model: &str) -> (SyncSender<Served>, Self) {
        let (give, served) = sync_channel(SERVED_QUEUE);
        (give, Self { model: model.to_owned(), served })
    }

    /// Tells of each request, in a thread that ends with the simulator.
    pub(crate) fn told(self, settings: &OtlpSettings) -> OfSimulator {
        let exporter = Exporter::start(settings, who(SIMULATOR, "simulator", None));
        let telling = exporter.spans().map(|queue| {
            let thread = std::thread::Builder::new().name("served".to_owned());
            thread.spawn(move || self.tell(&queue))
        });
        // Without a thread there are no spans, and nothing else is missed.
        OfSimulator { exporter, telling: telling.and_then(Result::ok) }
    }

    fn tell(self, queue: &SpanQueue) {
        for request in self.served {
            let parent = TraceContext::parse(&request.traceparent).filter(|parent| parent.sampled);
            if let (Some(parent), Ok(number)) = (parent, randomness::number()) {
                queue.offer(OtlpSpan::served(&span_of(&request, &self.model, parent, number)));
            }
        }
    }
}

/// A simulator that is told of.
pub(crate) struct OfSimulator {
    exporter: Exporter,
    telling: Option<JoinHandle<()>>,
}

impl OfSimulator {
    /// Once the simulator has ended: tells what is left, and says what was not taken.
    pub(crate) async fn finish(self) -> Vec<String> {
        let _ended = self.telling.map(JoinHandle::join);
        self.exporter.finish().await.problems
    }
}

fn span_of<'a>(
    request: &Served,
    model: &'a str,
    parent: TraceContext,
    number: u64,
) -> ServedSpan<'a> {
    ServedSpan {
        parent,
        span_id: number.max(1).to_be_bytes(),
        arrival_unix_ns: request.arrival_unix_ns,
        took: request.took,
        ttft: request.ttft,
        model,
        prompt_tokens: request.prompt_tokens,
        output_tokens: request.output_tokens,
        status: request.status,
        error: match request.outcome {
            Outcome::Completed => None,
            Outcome::Failed => Some("failed"),
            Outcome::Cancelled | Outcome::Open => Some("cancelled"),
        },
    }
}

/// Who is told by a program without a configuration.
pub(crate) fn of_variables(arguments: &TelemetryArgs) -> anyhow::Result<Option<OtlpSettings>> {
    Ok(arguments.source(None, otel_variables(None)?).settings()?)
}

/// What a program without a result has to say of its telling.
pub(crate) fn say_problems(problems: &[String]) {
    problems.iter().for_each(|problem| eprintln!("warning: telemetry: {problem}"));
}

#[cfg(test)]
mod tests {
    use workload::{PlanInputs, Sources};

    use super::*;
    use crate::exit::Exit;

    fn config(sets: &[&str]) -> Config {
        let sets = ["target.endpoint=https://gw:8443/v1", "load.rate=1"].iter().chain(sets);
        let sets = sets.map(|set| (*set).to_owned()).collect();
        Config::load(Sources { sets, ..Sources::default() }).unwrap()
    }

    fn plan(sets: &[&str]) -> Plan {
        let inputs = PlanInputs { model: None, prompt_salt: 1 };
        Plan::from_config(&config(sets), &inputs).unwrap().0
    }

    #[test]
    fn the_flag_goes_before_the_key_and_the_key_before_the_variable() {
        let given = |otlp: Option<&str>, sets: &[&str]| {
            let arguments = TelemetryArgs { otlp: otlp.map(str::to_owned) };
            let otel = [("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), "http://variable".to_owned())];
            let source = arguments.source(Some(&config(sets)), otel.into());
            source.settings().unwrap().unwrap().endpoint().unwrap()
        };
        let key = ["telemetry.endpoint=http://key"];
        assert_eq!(given(Some("http://flag"), &key), "http://flag");
        assert_eq!(
            (given(None, &key), given(None, &[])),
            ("http://key".into(), "http://variable".into())
        );
        let nobody = TelemetryArgs::default().source(Some(&config(&[])), Vec::new());
        assert!(nobody.settings().unwrap().is_none());
        let bad = TelemetryArgs { otlp: Some("collector:4318".to_owned()) };
        let refused = bad.source(None, Vec::new()).settings().unwrap_err();
        assert_eq!(refused.exit(), Exit::BadConfiguration);
    }

    #[test]
    fn what_differs_between_requests_is_not_told_of_all() {
        let one = service_of_all(&plan(&["target.model=m"]));
        assert_eq!((one.operation, one.model.as_deref()), ("chat", Some("m")));
        assert_eq!((one.address.as_deref(), one.port), (Some("gw"), Some(8443)));
        let classes = "classes=[{name: a, weight: 1, model: x}, {name: b, weight: 1}]";
        let mixed = service_of_all(&plan(&["target.model=m", classes]));
        assert_eq!((mixed.model, mixed.address.as_deref()), (None, Some("gw")));
    }
}
