//! What is to be told of several stages of a list, told once.
//!
//! Each entry of `stages` is read as if it stood alone, with what it takes from `load`. So a mistake that stands in `load`
//! is found in every entry that takes it from there, and would be a line for each.

/// Findings, each with the stages that it is of.
pub(super) struct Told<'a, T> {
    /// How many stages there are.
    stages: usize,
    findings: Vec<(Vec<&'a str>, T)>,
}

impl<'a, T: PartialEq> Told<'a, T> {
    pub(super) fn of(stages: usize) -> Self {
        Self { stages, findings: Vec::new() }
    }

    pub(super) fn add(&mut self, stage: &'a str, finding: T) {
        match self.findings.iter_mut().find(|(_, known)| *known == finding) {
            Some((stages, _)) => stages.push(stage),
            None => self.findings.push((vec![stage], finding)),
        }
    }

    /// Each finding once, with whose it is in words.
    pub(super) fn by_stages(self) -> impl Iterator<Item = (String, T)> {
        let all = self.stages;
        self.findings.into_iter().map(move |(stages, finding)| (in_words(&stages, all), finding))
    }
}

fn in_words(stages: &[&str], all: usize) -> String {
    let quoted = |stages: &[&str]| {
        stages.iter().map(|stage| format!("`{stage}`")).collect::<Vec<_>>().join(", ")
    };
    match stages {
        [] | [_] => format!("stage {}", quoted(stages)),
        _ if stages.len() == all => "every stage".to_owned(),
        [before @ .., last] => format!("stages {} and `{last}`", quoted(before)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_of_several_stages_is_told_once_and_names_them() {
        let mut told = Told::of(3);
        for (stage, finding) in [("a", 1), ("a", 2), ("b", 1), ("b", 3), ("c", 1), ("c", 2)] {
            told.add(stage, finding);
        }
        let lines: Vec<_> = told.by_stages().collect();
        let expected = [("every stage", 1), ("stages `a` and `c`", 2), ("stage `b`", 3)];
        assert_eq!(lines, expected.map(|(stages, finding)| (stages.to_owned(), finding)));
    }

    #[test]
    fn a_stage_alone_is_called_by_its_name() {
        let mut told = Told::of(1);
        told.add("a", 1);
        assert_eq!(told.by_stages().collect::<Vec<_>>(), [("stage `a`".to_owned(), 1)]);
    }
}
