//! What is asked, in words: where the text comes from, what of it others have too, how long it is.
//!
//! Whether a prompt's beginning is common to all or to a group decides what a prefix cache can find, so groups are named
//! level by level.

use crate::figures::{GLUE, counted, percent, thousands};
use crate::plan::{
    PlanView, PlannedClass, PlannedLengths, PlannedPrefix, PlannedPrefixSize, PlannedPrompts,
};

use super::plain;

/// Each kind of requests with its label: of the run, or of each class.
pub(super) fn all(view: &PlanView) -> Vec<(&'static str, String)> {
    if view.classes.is_empty() {
        return vec![("prompts", told(&view.prompts))];
    }
    let class = |class: &PlannedClass| {
        let share = round_percent(class.share);
        let model = class.model.as_ref().map(|model| format!(", model {model}"));
        let model = model.unwrap_or_default();
        let asked = told(&class.prompts);
        ("class", format!("{}, {share} of the {}s{model}: {asked}", class.name, view.noun()))
    };
    view.classes.iter().map(class).collect()
}

/// In one line, its parts apart by semicolons.
fn told(prompts: &PlannedPrompts) -> String {
    let mut parts = Vec::new();
    if let (Some(file), Some(records)) = (&prompts.file, prompts.records) {
        let order = if prompts.shuffled { "shuffled" } else { "in file order" };
        let records = counted(records, "usable record");
        parts.push(format!("{file}: {records}, {order} and over again"));
        if prompts.salted {
            parts.push("a text before each that differs from run to run".to_owned());
        }
    } else {
        parts.push("synthetic".to_owned());
    }
    parts.extend(shared(prompts));
    let beside = |level: &PlannedPrefix| matches!(level.size, PlannedPrefixSize::Tokens(_));
    let way = if prompts.prefixes.iter().any(beside) { "of its own in" } else { "in" };
    let (input, output) = (lengths(&prompts.input, way), lengths(&prompts.output, "out"));
    parts.push(format!("{input}, {output}"));
    parts.push(format!("tokenizer: {}", prompts.tokenizer));
    parts.join("; ")
}

/// How much of a prompt others have too, and who they are.
fn shared(prompts: &PlannedPrompts) -> Option<String> {
    let share = round_percent(prompts.prefix_ratio);
    if prompts.prefixes.is_empty() {
        let is_shared = prompts.prefix_ratio > 0.0;
        return is_shared.then(|| format!("{share} of each is a prefix common to all"));
    }
    let level = |level: &PlannedPrefix| {
        let size = match level.size {
            PlannedPrefixSize::Tokens(tokens) => counted(tokens.into(), "token"),
            PlannedPrefixSize::Share(share) => format!("{} of its length", round_percent(share)),
        };
        let zipf = match level.zipf {
            0.0 => "all alike".to_owned(),
            zipf => format!("Zipf{GLUE}{}", plain(zipf)),
        };
        format!("{} × {} ({size}, {zipf})", thousands(level.groups.into()), level.name)
    };
    let levels: Vec<_> = prompts.prefixes.iter().map(level).collect();
    let of_whom = if prompts.prefix_ratio > 0.0 {
        format!("{share} of the tokens are shared in groups")
    } else {
        "groups".to_owned()
    };
    Some(format!("{of_whom}: {}", levels.join(", in each ")))
}

/// As configured: 50 %, 66.7 %.
pub(super) fn round_percent(share: f64) -> String {
    percent(share).replace(".0 %", " %")
}

pub(super) fn lengths(lengths: &PlannedLengths, way: &str) -> String {
    match lengths {
        PlannedLengths::Drawn { distribution, mean, stddev, min, max } => {
            let shape = if *distribution == "normal" {
                String::new()
            } else {
                format!(" ({distribution})")
            };
            let spread = match stddev {
                stddev if *stddev == 0.0 => String::new(),
                stddev => format!(" ± {}", plain(*stddev)),
            };
            let bounds = match (min, max) {
                (1, None) => String::new(),
                (1, Some(max)) => format!(" (at most {})", thousands((*max).into())),
                (min, None) => format!(" (at least {})", thousands((*min).into())),
                (min, Some(max)) => {
                    format!(" ({} to {})", thousands((*min).into()), thousands((*max).into()))
                }
            };
            format!("{}{spread}{shape} tokens {way}{bounds}", plain(*mean))
        }
        PlannedLengths::Recorded { max: Some(max) } => {
            format!("tokens {way} as recorded, up to {}", thousands((*max).into()))
        }
        PlannedLengths::Recorded { max: None } => format!("tokens {way} as recorded"),
    }
}
