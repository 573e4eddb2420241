//! `/metrics`: what vLLM shows under the same names, in Prometheus' text format.
//!
//! Clients and dashboards made for vLLM read the simulator without a change. Counters run from the
//! start and no reset touches them, as Prometheus expects.

use std::cell::Cell;
use std::fmt::Write;

use crate::answer::FinishReason;

/// What only grows.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    prompt_tokens: Cell<u64>,
    cached_tokens: Cell<u64>,
    generation_tokens: Cell<u64>,
    finished_by_length: Cell<u64>,
    finished_by_stop: Cell<u64>,
}

/// What goes up and down.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gauges {
    pub(crate) running: usize,
    pub(crate) waiting: usize,
    pub(crate) cache_usage: f64,
}

fn add(counter: &Cell<u64>, amount: u64) {
    counter.set(counter.get() + amount);
}

impl Counters {
    pub(crate) fn prefilled(&self, prompt_tokens: u64, cached_tokens: u64) {
        add(&self.prompt_tokens, prompt_tokens);
        add(&self.cached_tokens, cached_tokens);
    }

    pub(crate) fn generated_token(&self) {
        add(&self.generation_tokens, 1);
    }

    pub(crate) fn finished(&self, reason: FinishReason) {
        match reason {
            FinishReason::Length => add(&self.finished_by_length, 1),
            FinishReason::Stop => add(&self.finished_by_stop, 1),
        }
    }

    /// The whole page.
    pub(crate) fn page(&self, gauges: Gauges, model: &str) -> String {
        let label = format!("model_name=\"{}\"", escaped(model));
        let mut page = Page { text: String::new(), label };
        page.gauge("num_requests_running", "Sequences that run now.", gauges.running);
        page.gauge("num_requests_waiting", "Requests that wait to run.", gauges.waiting);
        page.gauge("kv_cache_usage_perc", "Share of the prefix cache in use.", gauges.cache_usage);
        // vLLM counts both in tokens: their quotient is the share of prompt tokens not computed.
        let prompt_tokens = self.prompt_tokens.get();
        page.counter("prefix_cache_queries_total", "Prompt tokens looked up.", prompt_tokens);
        page.counter("prefix_cache_hits_total", "Prompt tokens cached.", self.cached_tokens.get());
        page.counter("prompt_tokens_total", "Prompt tokens prefilled.", prompt_tokens);
        page.counter("generation_tokens_total", "Tokens made.", self.generation_tokens.get());
        page.counter("num_preemptions_total", "Preemptions: the simulator has none.", 0);
        page.header("request_success_total", "counter", "Requests answered to the end.");
        for (reason, count) in
            [("length", &self.finished_by_length), ("stop", &self.finished_by_stop)]
        {
            let label = format!(",finished_reason=\"{reason}\"");
            page.sample("request_success_total", &label, count.get());
        }
        page.text
    }
}

struct Page {
    text: String,
    label: String,
}

impl Page {
    fn gauge(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.header(name, "gauge", help);
        self.sample(name, "", value);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.header(name, "counter", help);
        self.sample(name, "", value);
    }

    fn header(&mut self, name: &str, kind: &str, help: &str) {
        write!(self.text, "# HELP vllm:{name} {help}\n# TYPE vllm:{name} {kind}\n")
            .expect("writing to a string cannot fail");
    }

    fn sample(&mut self, name: &str, more_labels: &str, value: impl std::fmt::Display) {
        let label = &self.label;
        writeln!(self.text, "vllm:{name}{{{label}{more_labels}}} {value}")
            .expect("writing to a string cannot fail");
    }
}

/// A label's value, as the text format wants it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_vllms_names_and_our_numbers() {
        let counters = Counters::default();
        counters.prefilled(100, 16);
        counters.prefilled(10, 0);
        counters.generated_token();
        counters.finished(FinishReason::Stop);
        let page = counters.page(Gauges { running: 3, waiting: 2, cache_usage: 0.25 }, "a\"b");
        for line in [
            "# TYPE vllm:num_requests_running gauge",
            "vllm:num_requests_running{model_name=\"a\\\"b\"} 3",
            "vllm:num_requests_waiting{model_name=\"a\\\"b\"} 2",
            "vllm:kv_cache_usage_perc{model_name=\"a\\\"b\"} 0.25",
            "vllm:prefix_cache_queries_total{model_name=\"a\\\"b\"} 110",
            "vllm:prefix_cache_hits_total{model_name=\"a\\\"b\"} 16",
            "vllm:generation_tokens_total{model_name=\"a\\\"b\"} 1",
            "vllm:request_success_total{model_name=\"a\\\"b\",finished_reason=\"stop\"} 1",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
    }
}
