//! The server's own metrics, collected beside the load: from a Prometheus after it, from the servers' pages during it.
//!
//! Nothing here can harm a run. What is misconfigured is refused before it begins; what fails later is a line of the
//! result, and the figures of the load are the same with and without it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::{RunResult, ServerMetrics, Warning};
use observe::{NamedQuery, RunWindow, Scraper, ask_prometheus};
use workload::{Config, Plan};

use crate::exit::Stop;

/// All questions to a Prometheus together.
const PATIENCE: Duration = Duration::from_secs(30);
/// The word of `metrics.scrape` for the service that is measured.
const TARGET: &str = "target";

/// Who is asked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerSources {
    prometheus: Option<String>,
    queries: Vec<NamedQuery>,
    pages: Vec<String>,
}

/// Being collected.
pub(crate) struct Collecting {
    sources: ServerSources,
    scraper: Option<Scraper>,
}

impl ServerSources {
    /// As configured.
    pub(crate) fn of(config: &Config, plan: &Plan) -> Result<Self, Stop> {
        let mut problems = Vec::new();
        let pages = config.texts("metrics.scrape").into_iter().map(|page| match page.as_str() {
            TARGET => root_of(&plan.target.url).map(|root| format!("{root}/metrics")).ok_or(page),
            url if root_of(url).is_some() => Ok(page),
            _ => Err(page),
        });
        let pages = pages.filter_map(|page| match page {
            Ok(page) => Some(page),
            Err(page) => {
                problems.push(format!(
                    "`metrics.scrape`: {page} is no URL with http:// or https://, such as http://10.0.0.1:8000/metrics, nor the word `target`"
                ));
                None
            }
        });
        let pages = pages.collect();
        let prometheus = config.text("metrics.prometheus.endpoint").map(str::to_owned);
        let queries = config.named_queries().map(|(name, query)| NamedQuery { name, query });
        let queries: Vec<_> = queries.collect();
        if prometheus.is_none() && !queries.is_empty() {
            problems.push(
                "`metrics.prometheus.queries` has nobody to ask: set `metrics.prometheus.endpoint`"
                    .to_owned(),
            );
        }
        if problems.is_empty() {
            Ok(Self { prometheus, queries, pages })
        } else {
            Err(Stop::bad_configuration(&problems))
        }
    }

    /// From now on pages are read.
    pub(crate) fn start(self) -> Collecting {
        let pages = self.pages.clone();
        let scraper = (!pages.is_empty()).then(|| Scraper::start(pages, unix_now_s));
        Collecting { sources: self, scraper }
    }
}

impl Collecting {
    /// Adds what there is to a run's result.
    pub(crate) async fn finish(self, result: &mut RunResult) {
        let window = RunWindow {
            start_unix_ns: result.facts.started_at_unix_ns,
            end_unix_ns: result.facts.ended_at_unix_ns,
        };
        let mut found = ServerMetrics::default();
        if let Some(scraper) = self.scraper {
            join(&mut found, scraper.finish(window).await);
        }
        if let Some(endpoint) = &self.sources.prometheus {
            let asked = ask_prometheus(endpoint, &self.sources.queries, window);
            match tokio::time::timeout(PATIENCE, asked).await {
                Ok(told) => join(&mut found, told),
                Err(_) => found
                    .problems
                    .push(format!("{endpoint} was too slow: it was asked for {PATIENCE:?}")),
            }
        }
        let problems = found.problems.iter();
        let warnings = problems.map(|problem| Warning::new("server_metrics", problem.clone()));
        result.warnings.extend(warnings);
        result.server = found;
    }
}

/// Of two sources of one quantity the first one's stays.
fn join(to: &mut ServerMetrics, more: ServerMetrics) {
    to.sources.extend(more.sources);
    to.problems.extend(more.problems);
    for series in more.series {
        if to.series.iter().all(|known| known.name != series.name) {
            to.series.push(series);
        }
    }
}

/// Scheme, host and port of a URL.
fn root_of(url: &str) -> Option<&str> {
    let host_at = ["http://", "https://"].iter().find(|scheme| url.starts_with(**scheme))?.len();
    let rest = url.get(host_at..)?;
    let host = rest.find('/').unwrap_or(rest.len());
    (host > 0).then(|| &url[..host_at + host])
}

fn unix_now_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use metrics::ServerSeries;
    use workload::{PlanInputs, Sources};

    use super::*;

    fn sources(sets: &[&str]) -> Result<ServerSources, Stop> {
        let sets = ["target.endpoint=https://gw:8443/v1", "load.rate=1"].iter().chain(sets);
        let sets = sets.map(|set| (*set).to_owned()).collect();
        let config = Config::load(Sources { sets, ..Sources::default() }).unwrap();
        let inputs = PlanInputs { model: None, prompt_salt: 1 };
        let (plan, _) = Plan::from_config(&config, &inputs).unwrap();
        ServerSources::of(&config, &plan)
    }

    #[test]
    fn pages_are_urls_or_the_targets_own() {
        let found =
            sources(&["metrics.scrape=[target, \"http://10.0.0.1:8000/metrics\"]"]).unwrap();
        assert_eq!(found.pages, ["https://gw:8443/metrics", "http://10.0.0.1:8000/metrics"]);
        let refused = sources(&["metrics.scrape=[\"10.0.0.1:8000\", \"http:///x\"]"]).unwrap_err();
        assert_eq!(refused.to_string().lines().count(), 2, "{refused}");
        assert_eq!(sources(&[]).unwrap(), ServerSources::default());
    }

    #[test]
    fn queries_need_somebody_to_ask() {
        let query = "metrics.prometheus.queries=[{name: power, query: up}]";
        assert!(sources(&[query]).unwrap_err().to_string().contains("prometheus.endpoint"));
        let found = sources(&[query, "metrics.prometheus.endpoint=http://p:9090"]).unwrap();
        assert_eq!(found.queries[0].name, "power");
    }

    #[test]
    fn a_quantity_is_told_once() {
        let series = |name: &str, of: &str| ServerSeries {
            name: name.to_owned(),
            unit: String::new(),
            of: of.to_owned(),
            points: Vec::new(),
        };
        let of = |series| ServerMetrics { series, ..ServerMetrics::default() };
        let mut found = of(vec![series("queue_depth", "page")]);
        join(&mut found, of(vec![series("queue_depth", "prometheus"), series("mine", "query")]));
        let names: Vec<_> = found.series.iter().map(|s| (s.name.as_str(), s.of.as_str())).collect();
        assert_eq!(names, [("queue_depth", "page"), ("mine", "query")]);
    }
}
