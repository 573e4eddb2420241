//! What a target has told before the load, kept for the runs of the same command that follow.
//!
//! A search, a sweep and repeats are many runs, each with questions of its own before it: which models are there, how many
//! tokens does the server count. The answers do not change from one run to the next. And how a server counts is seen by
//! a sample of prompts: sampled anew, each run would have a scale of its own by chance, and its prompts other lengths than
//! those of the run it is compared with. So each question is asked once, and its answer told once.

use std::sync::{Mutex, MutexGuard, PoisonError};

use client::Model;
use workload::{Config, Plan, TextMaterial};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<Answers>);

#[derive(Debug, Default)]
struct Answers {
    models: Vec<(Server, Vec<Model>)>,
    scales: Vec<(Counted, Option<f64>)>,
}

/// Who was asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Server(String);

impl Server {
    /// A simulator that a run starts itself has another address each time, and is the same as long as its settings are.
    pub(crate) fn of(config: &Config) -> Self {
        let endpoint = || config.text("target.endpoint").unwrap_or_default().to_owned();
        Self(config.simulator().map_or_else(endpoint, |settings| settings.to_string()))
    }
}

/// Whose tokens were counted, in what text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Counted {
    server: Server,
    model: Option<String>,
    text: TextMaterial,
}

impl Counted {
    /// By a sample of its prompts ([`Plan::to_be_scaled`]).
    pub(crate) fn of(server: &Server, sample: &Plan) -> Self {
        let (server, model) = (server.clone(), sample.target.model.clone());
        Self { server, model, text: sample.prompts.text }
    }
}

impl Known {
    /// The server's list, once it has told it.
    pub(crate) fn models(&self, of: &Server) -> Option<Vec<Model>> {
        find(&self.answers().models, of)
    }

    /// It has told it.
    pub(crate) fn keep_models(&self, of: Server, models: Vec<Model>) {
        self.answers().models.push((of, models));
    }

    /// What a run before found of this; `Some(None)` where the server tells nobody how it counts.
    pub(crate) fn scale(&self, of: &Counted) -> Option<Option<f64>> {
        find(&self.answers().scales, of)
    }

    /// For the runs that follow. Whether it is new, and so to be told.
    pub(crate) fn keep_scale(&self, of: Counted, scale: Option<f64>) -> bool {
        let mut answers = self.answers();
        let is_new = find(&answers.scales, &of).is_none();
        if is_new {
            answers.scales.push((of, scale));
        }
        is_new
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// There are few: as many as a sweep has servers and models.
fn find<K: PartialEq, V: Clone>(answers: &[(K, V)], of: &K) -> Option<V> {
    answers.iter().find(|(known, _)| known == of).map(|(_, answer)| answer.clone())
}

#[cfg(test)]
mod tests {
    use workload::{PlanInputs, Sources};

    use super::*;

    fn config(sets: &[&str]) -> Config {
        let base = ["target.endpoint=http://127.0.0.1:1", "target.model=m", "load.rate=1"];
        let sets = base.iter().chain(sets).map(|&set| set.to_owned()).collect();
        Config::load(Sources { sets, ..Sources::default() }).unwrap()
    }

    fn counted(sets: &[&str], prompt_salt: u64) -> Counted {
        let (config, inputs) = (config(sets), PlanInputs { model: None, prompt_salt });
        let (plan, _) = Plan::from_config(&config, &inputs).unwrap();
        Counted::of(&Server::of(&config), &plan.to_be_scaled().unwrap())
    }

    #[test]
    fn a_scale_is_of_a_server_its_model_and_the_sort_of_text() {
        let known = Known::default();
        assert_eq!(known.scale(&counted(&[], 1)), None, "nobody was asked");
        assert!(known.keep_scale(counted(&[], 1), Some(1.5)));
        let longer = counted(&["load.rate=9", "prompts.inputLength.mean=900"], 2);
        assert_eq!(known.scale(&longer), Some(Some(1.5)), "another load and other lengths");
        assert!(!known.keep_scale(longer.clone(), Some(1.6)), "it was told already");
        assert_eq!(known.scale(&longer), Some(Some(1.5)));
        for other in
            ["target.model=n", "target.endpoint=http://127.0.0.1:2", "prompts.text=sonnets"]
        {
            assert_eq!(known.scale(&counted(&[other], 1)), None, "{other}");
        }
    }

    #[test]
    fn a_server_that_does_not_tell_is_not_asked_again() {
        let known = Known::default();
        assert!(known.keep_scale(counted(&[], 1), None));
        assert_eq!(known.scale(&counted(&[], 2)), Some(None));
    }

    #[test]
    fn a_simulator_is_the_same_at_whatever_address() {
        let started = |ttft: &str, address: &str| {
            let sets = [ttft, "load.rate=1"].map(str::to_owned).to_vec();
            let mut config = Config::load(Sources { sets, ..Sources::default() }).unwrap();
            config.set("target.endpoint", serde_json::json!(address)).unwrap();
            Server::of(&config)
        };
        let (one, other) = ("http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1");
        assert_eq!(started("simulator.ttftMs=5", one), started("simulator.ttftMs=5", other));
        assert_ne!(started("simulator.ttftMs=5", one), started("simulator.ttftMs=6", one));
    }
}
