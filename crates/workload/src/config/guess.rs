//! What stands in for a value that cannot be read, while the rest is judged.
//!
//! Without `load.rate` there is no load; but where the rate is there and misspelt, a second line that asks for one would
//! only repeat the first. What depends on an unreadable value cannot be told by looking at one configuration, so several
//! are looked at: without it, and with one value after another in its place.

use serde_json::{Map, Value, json};

use super::key::Kind;
use super::maps::{Member, Needed};

/// Which value stands in for one that cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Guess {
    /// None: it counts as not set.
    #[default]
    Nothing,
    /// One of those that its kind allows, by number.
    Nth(usize),
}

impl Guess {
    /// Every value of a choice comes up, and a number small, large and in between.
    const MANY: usize = 8;

    /// All but nothing.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..Self::MANY).map(Self::Nth)
    }

    /// The value for a setting of this kind, where there is one.
    pub(super) fn of(self, kind: Kind) -> Option<Value> {
        let Self::Nth(nth) = self else { return None };
        match kind {
            Kind::Text => Some(json!("guess")),
            Kind::Url => Some(json!("http://localhost/v1")),
            Kind::Path => Some(json!("guess.txt")),
            Kind::PathOr(word) => Some(json!(word)),
            Kind::Switch => Some(json!(nth.is_multiple_of(2))),
            Kind::Choice(words) => Some(json!(words[nth % words.len()])),
            Kind::Choices(words) => Some(json!([words[nth % words.len()]])),
            Kind::Texts => Some(json!(["guess"])),
            Kind::Addresses => Some(json!(["127.0.0.1"])),
            Kind::Integer { min, max, .. } => Some(json!((number(nth) as u64).clamp(min, max))),
            Kind::Number { min, max, .. } => Some(json!(number(nth).clamp(min, max))),
            Kind::Duration { min_s, max_s } => Some(json!(number(nth).clamp(min_s, max_s))),
            Kind::Signed => Some(json!(0)),
            Kind::Headers | Kind::Object | Kind::Section(_) => Some(json!({})),
            Kind::Queries => Some(json!([])),
            Kind::Maps(members) => Some(json!([self.entry(members)])),
            Kind::Entry(members) => Some(self.entry(members)),
            Kind::Slos => Some(json!({"perRequest": {"ttft": 1}})),
            Kind::Grid | Kind::Points => None,
        }
    }

    /// An entry of a list with what each must have.
    fn entry(self, members: &[Member]) -> Value {
        let needed = members.iter().filter(|member| member.needed == Needed::Yes);
        let guessed = needed.filter_map(|m| Some((m.name.to_owned(), self.of(m.kind)?)));
        Value::Object(guessed.collect::<Map<_, _>>())
    }
}

/// None of them is a default, beside which it would say nothing.
fn number(nth: usize) -> f64 {
    const NUMBERS: [f64; 5] = [1.0, 10_000.0, 17.0, 0.0, 400.0];
    NUMBERS[nth % NUMBERS.len()]
}

/// Keys that an unreadable grid or list of points would set.
pub(super) fn swept_keys(kind: Kind, written: &Value) -> Vec<&str> {
    match (kind, written) {
        (Kind::Grid, grid) => names(grid).collect(),
        (Kind::Points, Value::Array(points)) => points.iter().flat_map(names).collect(),
        _ => Vec::new(),
    }
}

fn names(value: &Value) -> impl Iterator<Item = &str> {
    value.as_object().into_iter().flat_map(Map::keys).map(String::as_str)
}

/// The lines of `told` that are not there for want of a value alone: those that go when something stands in for it, and
/// nothing else comes, and those that are there with nothing that may stand in for it.
pub(super) fn independent(told: Vec<String>, guessed: &[Vec<String>]) -> Vec<String> {
    let is_known = |line: &String| told.contains(line);
    let is_consequence = |line: &String| {
        let mut without = guessed.iter().filter(|lines| !lines.contains(line));
        let in_none = !guessed.is_empty() && guessed.iter().all(|lines| !lines.contains(line));
        in_none || without.any(|lines| lines.iter().all(is_known))
    };
    told.iter().filter(|line| !is_consequence(line)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::super::KEYS;
    use super::*;

    #[test]
    fn every_guess_is_a_value_that_its_key_takes() {
        for key in KEYS {
            for guess in Guess::all() {
                let Some(value) = guess.of(key.kind) else { continue };
                assert!(key.kind.read(&value).is_some(), "{}: {value}", key.path);
            }
        }
        assert_eq!(Guess::Nothing.of(Kind::Switch), None);
    }

    #[test]
    fn a_line_counts_if_no_value_makes_it_go() {
        let lines = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let told: Vec<String> = lines(&["no load", "two of a name", "wave below 0"]);
        // The second value makes a line of its own, so what it hides is not hidden by being right.
        let guessed = [lines(&["two of a name", "wave below 0"]), lines(&["another"])];
        assert_eq!(independent(told.clone(), &guessed), ["two of a name", "wave below 0"]);
        assert_eq!(independent(told.clone(), &[]), told);
        assert_eq!(independent(told, &[lines(&["x"]), lines(&["y"])]), [""; 0]);
    }
}
