//! The servers' own pages, read once a second while the run goes on: for those without a Prometheus.
//!
//! Each round asks all pages at once and keeps only the sums that known quantities are made of. A page that does not
//! answer makes no sum: a total over half of the instances would look like a lower load. The run knows nothing of it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use metrics::{ServerMetrics, ServerPoint};
use reqwest::Client;
use tokio::{
    sync::Mutex,
    task::{AbortHandle, JoinSet},
    time::MissedTickBehavior,
};

use crate::{
    known::{KNOWN, Sums},
    promql::{RunWindow, reason},
    text::{Sample, samples},
};

const EVERY: Duration = Duration::from_secs(1);
/// A page that takes longer is missing in its round.
const PATIENCE: Duration = Duration::from_millis(900);
/// Rounds that are kept: two hours. Later ones are no longer asked for.
const MOST_ROUNDS: usize = 7_200;

/// A page's address, and its samples or what was wrong.
type Page = (String, Result<Vec<Sample>, String>);

/// The sums of one round, by the quantity's place in the table.
struct Round {
    unix_s: f64,
    sums: BTreeMap<usize, Vec<f64>>,
}

#[derive(Default)]
struct Gathered {
    rounds: Vec<Round>,
    /// By page: rounds in which it did not answer, and what was wrong last.
    missing: BTreeMap<String, (u64, String)>,
}

/// Reads pages until it is asked what it has, or dropped.
pub struct Scraper {
    urls: Vec<String>,
    gathered: Arc<Mutex<Gathered>>,
    reading: AbortHandle,
}

impl Scraper {
    /// Begins to read. `unix_now_s` is the wall clock.
    #[must_use]
    pub fn start(urls: Vec<String>, unix_now_s: impl Fn() -> f64 + Send + 'static) -> Self {
        let gathered = Arc::new(Mutex::new(Gathered::default()));
        let (pages, into) = (urls.clone(), Arc::clone(&gathered));
        let reading = tokio::spawn(async move {
            let client = Client::new();
            let mut ticks = tokio::time::interval(EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            for _ in 0..MOST_ROUNDS {
                let _ = ticks.tick().await;
                let unix_s = unix_now_s();
                let read = read_all(&client, &pages).await;
                into.lock().await.take(unix_s, read);
            }
        });
        Self { urls, gathered, reading: reading.abort_handle() }
    }

    /// Ends, and tells what was read within the run.
    pub async fn finish(self, window: RunWindow) -> ServerMetrics {
        self.reading.abort();
        let gathered = self.gathered.lock().await;
        let mut found = ServerMetrics { sources: self.urls.clone(), ..ServerMetrics::default() };
        let end_ms = window.at_ms(window.end_unix_ns as f64 / 1e9);
        for (place, known) in KNOWN.iter().enumerate() {
            let parts = known.queries().len();
            let mut sums: Vec<Sums> = vec![Vec::new(); parts];
            for round in &gathered.rounds {
                let at_ms = window.at_ms(round.unix_s);
                let Some(values) = round.sums.get(&place).filter(|_| (0..=end_ms).contains(&at_ms))
                else {
                    continue;
                };
                for (part, value) in sums.iter_mut().zip(values) {
                    part.push(ServerPoint { at_ms, value: *value });
                }
            }
            found.series.extend(known.series(&sums));
        }
        found.problems = gathered.problems(found.series.is_empty());
        found
    }
}

impl Drop for Scraper {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

impl Gathered {
    fn take(&mut self, unix_s: f64, read: Vec<Page>) {
        let whole = read.iter().all(|(_, page)| page.is_ok());
        let mut all = Vec::new();
        for (url, page) in read {
            match page {
                Ok(page) => all.extend(page),
                Err(problem) => {
                    let known = self.missing.entry(url).or_default();
                    *known = (known.0 + 1, problem);
                }
            }
        }
        let all: Vec<&Sample> = all.iter().collect();
        let sums =
            KNOWN.iter().enumerate().filter_map(|(n, known)| Some((n, known.sums_of(&all)?)));
        let sums = if whole { sums.collect() } else { BTreeMap::new() };
        self.rounds.push(Round { unix_s, sums });
    }

    fn problems(&self, nothing_found: bool) -> Vec<String> {
        let missing = self.missing.iter().map(|(url, (rounds, problem))| {
            format!("{url} did not answer in {rounds} of {} rounds: {problem}", self.rounds.len())
        });
        let mut problems: Vec<_> = missing.collect();
        if nothing_found && problems.is_empty() {
            problems
                .push("none of the known metrics is on the pages of `metrics.scrape`".to_owned());
        }
        problems
    }
}

async fn read_all(client: &Client, urls: &[String]) -> Vec<Page> {
    let mut asked = JoinSet::new();
    for url in urls {
        let (client, url) = (client.clone(), url.clone());
        let _handle = asked.spawn(async move {
            let page = read(&client, &url).await;
            (url, page)
        });
    }
    asked.join_all().await
}

async fn read(client: &Client, url: &str) -> Result<Vec<Sample>, String> {
    let answer = client.get(url).timeout(PATIENCE).send().await.map_err(|e| reason(&e))?;
    let status = answer.status();
    let text = answer.text().await.map_err(|error| reason(&error))?;
    if !status.is_success() {
        return Err(format!("status {status}"));
    }
    Ok(samples(&text).0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: RunWindow = RunWindow { start_unix_ns: 0, end_unix_ns: 10_000_000_000 };

    fn page(text: &str) -> Result<Vec<Sample>, String> {
        Ok(samples(text).0)
    }

    fn scraper(gathered: Gathered) -> Scraper {
        let reading = tokio::spawn(async {}).abort_handle();
        Scraper { urls: Vec::new(), gathered: Arc::new(Mutex::new(gathered)), reading }
    }

    #[tokio::test]
    async fn half_of_the_instances_make_no_sum() {
        let mut gathered = Gathered::default();
        let waiting = |n: u32| page(&format!("vllm:num_requests_waiting {n}"));
        let both = |a, b| vec![("a".to_owned(), a), ("b".to_owned(), b)];
        gathered.take(-1.0, both(waiting(50), waiting(50)));
        gathered.take(1.0, both(waiting(3), waiting(4)));
        gathered.take(2.0, both(waiting(3), Err("refused".to_owned())));
        gathered.take(3.0, both(waiting(5), waiting(6)));
        gathered.take(30.0, both(waiting(50), waiting(50)));
        let found = scraper(gathered).finish(WINDOW).await;
        assert_eq!(found.series.len(), 1);
        let points: Vec<_> =
            found.series[0].points.iter().map(|point| (point.at_ms, point.value)).collect();
        assert_eq!(points, [(1_000, 7.0), (3_000, 11.0)], "those within the run");
        assert_eq!(found.problems, ["b did not answer in 1 of 5 rounds: refused"]);
    }

    #[tokio::test]
    async fn pages_without_anything_known_are_said() {
        let mut gathered = Gathered::default();
        gathered.take(1.0, vec![("a".to_owned(), page("up 1"))]);
        let found = scraper(gathered).finish(WINDOW).await;
        assert!(found.problems[0].contains("metrics.scrape"), "{:?}", found.problems);
    }

    #[tokio::test]
    async fn a_real_page_is_read_again_and_again() {
        use axum::{Router, routing::get};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/metrics", listener.local_addr().unwrap());
        let page = || async { "vllm:num_requests_running{m=\"x\"} 3\n" };
        let router = Router::new().route("/metrics", get(page));
        let _server = tokio::spawn(async move { axum::serve(listener, router).await });
        let scraper = Scraper::start(vec![url.clone()], || 5.0);
        while scraper.gathered.lock().await.rounds.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let found = scraper.finish(WINDOW).await;
        assert_eq!((found.sources, found.problems), (vec![url], Vec::new()));
        assert_eq!(
            (found.series[0].name.as_str(), found.series[0].points[0].value),
            ("requests_running", 3.0)
        );
    }
}
