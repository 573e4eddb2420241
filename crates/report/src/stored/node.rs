//! JSON of ours, of this version or an older one: a key that is not there is noted once and read as absent.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

static NULL: Value = Value::Null;

/// Keys without which a file is not ours.
const ESSENTIAL: [&str; 8] = [
    "run",
    "verdict",
    "verdict.status",
    "books",
    "books.due",
    "overall",
    "overall.metrics",
    "stages",
];

/// The keys that were asked for and were not there.
#[derive(Debug, Default)]
pub(super) struct Gaps(RefCell<BTreeSet<String>>);

impl Gaps {
    fn note(&self, place: String) {
        let _new = self.0.borrow_mut().insert(place);
    }

    /// What makes the file a foreign one.
    pub(super) fn essential(&self) -> Option<String> {
        let noted = self.0.borrow();
        ESSENTIAL.iter().find(|key| noted.contains(**key)).map(|key| format!("`{key}`"))
    }

    /// One line of the keys that are missing; parts of a part that is missing are not named.
    pub(super) fn lines(&self, file: &str) -> Option<String> {
        const NAMED: usize = 8;
        let noted = self.0.borrow();
        let under_another =
            |place: &str| place.rmatch_indices('.').any(|(end, _)| noted.contains(&place[..end]));
        let mut names: Vec<_> = noted.iter().filter(|place| !under_another(place)).collect();
        if names.is_empty() {
            return None;
        }
        let more = names.len().saturating_sub(NAMED);
        names.truncate(NAMED);
        let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        Some(format!(
            "{file} lacks {}{more} (written by another version?): shown as absent",
            names.join(", ")
        ))
    }
}

/// A value and where it stands.
pub(super) struct Node<'a> {
    value: &'a Value,
    place: String,
    gaps: &'a Gaps,
}

impl<'a> Node<'a> {
    pub(super) fn root(value: &'a Value, gaps: &'a Gaps) -> Self {
        Self { value, place: String::new(), gaps }
    }

    fn below(&self, key: &str) -> String {
        if self.place.is_empty() { key.to_owned() } else { format!("{}.{key}", self.place) }
    }

    /// The value of `key`; a key that is not there is noted.
    pub(super) fn at(&self, key: &str) -> Self {
        let place = self.below(key);
        let value = self.value.get(key).unwrap_or_else(|| {
            self.gaps.note(place.clone());
            &NULL
        });
        Self { value, place, gaps: self.gaps }
    }

    /// The value of `key`, where older files need not have it.
    pub(super) fn get(&self, key: &str) -> Self {
        let value = self.value.get(key).unwrap_or(&NULL);
        Self { value, place: self.below(key), gaps: self.gaps }
    }

    pub(super) fn is_null(&self) -> bool {
        self.value.is_null()
    }

    pub(super) fn raw(&self) -> &'a Value {
        self.value
    }

    /// The elements of the list under `key`. They share a place: a key that all lack is one line.
    pub(super) fn list(&self, key: &str) -> Vec<Self> {
        let list = self.at(key);
        let values = list.value.as_array().map_or(&[][..], Vec::as_slice);
        let place = format!("{}[]", list.place);
        values.iter().map(|value| Self { value, place: place.clone(), gaps: self.gaps }).collect()
    }

    /// The members of the object under `key`, which share a place.
    pub(super) fn members(&self, key: &str) -> Vec<(&'a str, Self)> {
        let object = self.at(key);
        let place = format!("{}{{}}", object.place);
        let members = object.value.as_object().into_iter().flatten();
        let node = |value| Self { value, place: place.clone(), gaps: self.gaps };
        members.map(|(key, value)| (key.as_str(), node(value))).collect()
    }

    /// A count; 0 where there is none, which is noted.
    pub(super) fn count(&self, key: &str) -> u64 {
        self.at(key).value.as_u64().unwrap_or_else(|| {
            self.gaps.note(self.below(key));
            0
        })
    }

    pub(super) fn whole(&self, key: &str) -> Option<u64> {
        self.at(key).value.as_u64()
    }

    pub(super) fn signed(&self, key: &str) -> i64 {
        self.at(key).value.as_i64().unwrap_or_default()
    }

    pub(super) fn number(&self, key: &str) -> Option<f64> {
        self.at(key).value.as_f64()
    }

    pub(super) fn truth(&self, key: &str) -> bool {
        self.at(key).value.as_bool().unwrap_or_default()
    }

    pub(super) fn text(&self, key: &str) -> String {
        self.at(key).value.as_str().unwrap_or_default().to_owned()
    }

    pub(super) fn some_text(&self, key: &str) -> Option<String> {
        self.at(key).value.as_str().map(str::to_owned)
    }

    pub(super) fn seconds(&self, key: &str) -> Option<Duration> {
        self.number(key).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    }

    /// Narrowed, or noted as absent.
    pub(super) fn small<T: TryFrom<u64> + Default>(&self, key: &str) -> T {
        T::try_from(self.count(key)).unwrap_or_default()
    }

    /// A name that this version does not know.
    pub(super) fn unknown(&self, what: &str, name: &str) {
        self.gaps.note(format!("{}: {what} {name}, which this version does not know", self.place));
    }
}
