//! The server behind `--http`: it only reads, and it answers from the last view.
//!
//! It is open before there is a run, so that `/healthz` can be asked while the target is waited for; until the run has a
//! coordinator it is not ready. Nothing of the run can be changed through it, so it asks for no credentials; who opens it
//! beyond this machine shows figures, worker names, the model's name and the endpoint to whoever asks.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use axum::{
    Router,
    extract::{Query, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use metrics::{Live, LivePoint, Phase};
use serde::Deserialize;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::exposition::exposition;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened at.
    #[error("--http cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// The page cannot be made: a fault of this program.
    #[error("the live page cannot be made: {0}")]
    Page(String),
}

/// Where the views will come from, once there is a run.
#[derive(Clone, Debug, Default)]
pub struct Views(Arc<OnceLock<watch::Receiver<Arc<Live>>>>);

impl Views {
    /// The run has begun to form. A second run is not shown.
    pub fn follow(&self, views: watch::Receiver<Arc<Live>>) {
        let _ = self.0.set(views);
    }

    fn now(&self) -> Option<Arc<Live>> {
        self.0.get().map(|views| Arc::clone(&views.borrow()))
    }
}

/// A server that ends when this is dropped.
#[derive(Debug)]
pub struct LiveServer {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl LiveServer {
    /// Listens and answers from now on.
    ///
    /// # Errors
    /// The address is taken or not ours.
    pub async fn open(address: SocketAddr, views: Views) -> Result<Self, ServeError> {
        let refused = |error| ServeError::Listen { address, error };
        let page = report::live_page().map_err(|error| ServeError::Page(error.to_string()))?;
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let router = router(views, page);
        let serving = tokio::spawn(async move {
            // It ends only with its listener.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, serving })
    }

    /// Where it listens: the port that was taken, if any was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends: the address is free when this returns.
    pub async fn close(mut self) {
        self.serving.abort();
        let _ = (&mut self.serving).await;
    }
}

impl Drop for LiveServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[derive(Clone)]
struct Shown {
    views: Views,
    page: Arc<str>,
    policy: HeaderValue,
}

fn router(views: Views, page: report::LivePage) -> Router {
    let policy = HeaderValue::from_str(&page.policy);
    let shown = Shown {
        views,
        page: page.html.into(),
        policy: policy.unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'")),
    };
    Router::new()
        .route("/", get(index))
        .route("/api/v1/run", get(run))
        .route("/api/v1/series", get(series))
        .route("/metrics", get(metrics_text))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(shown)
}

async fn index(State(shown): State<Shown>) -> Response {
    let mut headers = HeaderMap::new();
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    let _ = headers.insert(header::CONTENT_TYPE, html);
    let _ = headers.insert(header::CONTENT_SECURITY_POLICY, shown.policy);
    (headers, shown.page.to_string()).into_response()
}

async fn run(State(shown): State<Shown>) -> Response {
    match shown.views.now() {
        Some(live) => json(StatusCode::OK, serde_json::to_string(&*live)),
        None => nothing_yet(),
    }
}

/// Which points are wanted.
#[derive(Deserialize)]
struct From {
    /// Those of this second and later.
    #[serde(default)]
    from: u32,
}

async fn series(State(shown): State<Shown>, Query(From { from }): Query<From>) -> Response {
    let Some(live) = shown.views.now() else { return nothing_yet() };
    let wanted: Vec<&LivePoint> = live.points.iter().filter(|point| point.second >= from).collect();
    json(StatusCode::OK, serde_json::to_string(&serde_json::json!({ "points": wanted })))
}

async fn metrics_text(State(shown): State<Shown>) -> Response {
    let live = shown.views.now().unwrap_or_default();
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], exposition(&live, VERSION)).into_response()
}

/// Ready for workers and for eyes: from the coordinator's start to the run's end.
async fn ready(State(shown): State<Shown>) -> Response {
    let (status, text) = match shown.views.now().map(|live| live.phase) {
        None => (StatusCode::SERVICE_UNAVAILABLE, "the target is asked first\n"),
        Some(Phase::Final | Phase::Aborted) => {
            (StatusCode::SERVICE_UNAVAILABLE, "the run is over\n")
        }
        Some(_) => (StatusCode::OK, "ok\n"),
    };
    (status, [(header::CONTENT_TYPE, TEXT)], text).into_response()
}

fn nothing_yet() -> Response {
    let text = r#"{"error":"there is no run yet: the target is asked first"}"#.to_owned();
    json(StatusCode::SERVICE_UNAVAILABLE, Ok(text))
}

fn json(status: StatusCode, text: Result<String, serde_json::Error>) -> Response {
    match text {
        Ok(text) => {
            let headers = [(header::CONTENT_TYPE, JSON), (header::CACHE_CONTROL, "no-store")];
            (status, headers, text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use metrics::{LiveState, LiveWorker};

    use super::*;

    async fn opened() -> (LiveServer, Views) {
        let views = Views::default();
        let server = LiveServer::open(([127, 0, 0, 1], 0).into(), views.clone()).await.unwrap();
        (server, views)
    }

    async fn get(server: &LiveServer, path: &str) -> (u16, String, String) {
        let url = format!("http://{}{path}", server.address());
        let answer = reqwest::get(url).await.unwrap();
        let kind = answer.headers().get("content-type");
        let kind = kind.map_or_else(String::new, |kind| kind.to_str().unwrap().to_owned());
        (answer.status().as_u16(), kind, answer.text().await.unwrap())
    }

    fn at(second: u32) -> LivePoint {
        LivePoint { second, seconds: 1, sent: 7, ..LivePoint::default() }
    }

    fn live() -> Live {
        let worker = LiveWorker { state: LiveState::Lost, ..LiveWorker::default() };
        Live {
            name: "demo".to_owned(),
            phase: Phase::Running,
            points: Arc::new((0..5).map(at).collect()),
            workers: vec![worker],
            ..Live::default()
        }
    }

    #[tokio::test]
    async fn before_the_run_it_lives_and_is_not_ready() {
        let (server, _views) = opened().await;
        assert_eq!(get(&server, "/healthz").await.0, 200);
        assert_eq!(get(&server, "/readyz").await.0, 503);
        let (status, kind, text) = get(&server, "/api/v1/run").await;
        assert_eq!((status, kind.as_str()), (503, JSON));
        assert!(text.contains("no run yet"));
        assert!(get(&server, "/metrics").await.2.contains("run_phase{phase=\"forming\"} 1"));
    }

    #[tokio::test]
    async fn the_view_is_served_as_it_is_now() {
        let (server, views) = opened().await;
        let (tell, told) = watch::channel(Arc::new(live()));
        views.follow(told);
        let (status, _, text) = get(&server, "/api/v1/run").await;
        let run: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((status, &run["name"], &run["phase"]), (200, &"demo".into(), &"running".into()));
        assert_eq!(run["schemaVersion"], 1);
        assert_eq!(run["verdict"], serde_json::json!({"status": "VALID", "reasons": []}));
        assert_eq!(run["workers"][0]["state"], "lost");
        assert_eq!(run["recent"]["e2eLatency"]["p99Us"], serde_json::Value::Null);
        assert!(run.get("points").is_none(), "they are served apart");
        assert_eq!(get(&server, "/readyz").await.0, 200);

        let over = Live { phase: Phase::Final, ..live() };
        let _ = tell.send_replace(Arc::new(over));
        assert_eq!(get(&server, "/readyz").await.0, 503);
        assert!(get(&server, "/metrics").await.2.contains("run_phase{phase=\"final\"} 1"));
        drop(tell);
        assert_eq!(get(&server, "/api/v1/run").await.0, 200, "the last view stays");
    }

    #[tokio::test]
    async fn points_are_served_from_a_second_on() {
        let (server, views) = opened().await;
        let (_tell, told) = watch::channel(Arc::new(live()));
        views.follow(told);
        let (_, _, text) = get(&server, "/api/v1/series?from=3").await;
        let series: serde_json::Value = serde_json::from_str(&text).unwrap();
        let seconds: Vec<_> =
            series["points"].as_array().unwrap().iter().map(|p| p["second"].clone()).collect();
        assert_eq!(seconds, [3, 4]);
        assert_eq!(series["points"][0]["latencies"]["ttft"]["count"], 0);
        assert_eq!(get(&server, "/api/v1/series?from=x").await.0, 400);
        assert_eq!(get(&server, "/nothing").await.0, 404);
    }

    #[tokio::test]
    async fn the_page_permits_only_its_own_scripts() {
        let (server, _views) = opened().await;
        let answer = reqwest::get(format!("http://{}/", server.address())).await.unwrap();
        let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.contains("default-src 'none'") && policy.contains("connect-src 'self'"));
        assert!(policy.contains("sha256-"));
        assert!(answer.text().await.unwrap().contains("api/v1/run"));
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_named() {
        let (server, _views) = opened().await;
        let refused = LiveServer::open(server.address(), Views::default()).await.unwrap_err();
        let line = refused.to_string();
        assert!(line.contains("--http") && line.contains(&server.address().to_string()), "{line}");
        let address = server.address();
        server.close().await;
        let again = LiveServer::open(address, Views::default()).await.unwrap();
        assert_eq!(again.address(), address);
    }
}
