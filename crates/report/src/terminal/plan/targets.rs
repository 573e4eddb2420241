//! Where requests would go, in words: one address, or several with the share of each.

use super::prompts::round_percent;
use crate::plan::{PlanView, PlannedTarget};

/// A text for each.
pub(super) fn told(view: &PlanView) -> Vec<String> {
    let target = &view.target;
    if view.targets.is_empty() {
        let place = target.url.as_deref().unwrap_or("a simulator that the run starts itself");
        return vec![format!("{place}, {}", how(target, target.model.as_deref()))];
    }
    let each = view.targets.iter().map(|service| {
        format!(
            "{}, {} of the {}s: {}, {}",
            service.name,
            round_percent(service.share),
            view.noun(),
            service.url,
            how(target, service.model.as_deref())
        )
    });
    each.collect()
}

/// How a place is asked: what all of them have in common, and the model.
fn how(target: &PlannedTarget, model: Option<&str>) -> String {
    let model = match model {
        Some(model) => format!("model {model}"),
        None => "the first model of the server's list".to_owned(),
    };
    let streamed = if target.streamed { "streamed" } else { "not streamed" };
    format!("{model} ({}, {streamed})", target.api)
}
