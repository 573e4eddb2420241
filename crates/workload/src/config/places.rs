//! Where settings stand, so that problems are told in the order in which their reader finds them.
//!
//! What is wrong with a value is found while it is read, what is wrong with a plan much later, by rules with an order of
//! their own. Their lines have one thing in common: each names its settings, as keys between backticks or as the place
//! that it begins with. So a line belongs where the first setting stands that it names, or the section that would hold it.

/// Keys, sections and entries of lists in the order in which they were read: file, environment, `--set`, flags.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Places {
    walked: Vec<String>,
    /// Files that settings name: some lines name them in place of the setting.
    files: Vec<(String, usize)>,
}

impl Places {
    /// A setting is read.
    pub(super) fn walk(&mut self, path: &str) {
        self.walked.push(path.to_owned());
    }

    /// The setting that is read names a file.
    pub(super) fn name_file(&mut self, path: &str) {
        self.files.push((path.to_owned(), self.here()));
    }

    /// The place of the setting that is read.
    pub(super) fn here(&self) -> usize {
        self.walked.len()
    }

    /// Where a line about settings belongs; behind everything, if it names none that stands.
    pub(super) fn of_line(&self, line: &str) -> usize {
        let file = self.files.iter().find(|(path, _)| line.contains(path.as_str()));
        let named = || settings_in(line).find_map(|path| self.of(path));
        file.map(|(_, at)| *at).or_else(named).unwrap_or(usize::MAX)
    }

    /// Of a setting, as it was set last, or of the nearest section that would hold it.
    pub(super) fn of(&self, setting: &str) -> Option<usize> {
        let mut path = setting;
        loop {
            if let Some(before) = self.walked.iter().rposition(|known| known == path) {
                return Some(before + 1);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }
}

/// What may be settings in a line: its first word, and what stands between backticks, each without a value.
fn settings_in(line: &str) -> impl Iterator<Item = &str> {
    let quoted = line.split('`').skip(1).step_by(2);
    std::iter::once(line).chain(quoted).filter_map(|text| text.split([':', ' ', '=']).next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_belongs_where_the_first_setting_stands_that_it_names() {
        let mut places = Places::default();
        for path in ["load", "load.rate", "classes", "classes[0]", "classes[0].name"] {
            places.walk(path);
        }
        places.walk("load.schedule");
        places.name_file("/data/trace.csv");
        let of = |line| places.of_line(line);
        assert_eq!(of("`load.rate` is 0: give a number"), 2);
        assert_eq!(of("classes[0]: `prompts.inputLength.mean` is 7"), 4);
        assert_eq!(of("no load: set `load.concurrency`, or both"), 1, "its section");
        assert_eq!(of("`load.type: ramp` needs `load.rate`"), 1);
        assert_eq!(of("/data/trace.csv:3: has no instant"), 6);
        assert_eq!(of("the disk is full"), usize::MAX);
    }

    #[test]
    fn what_is_set_again_stands_where_it_was_set_last() {
        let mut places = Places::default();
        ["load.rate", "benchmark.seed", "load.rate"].iter().for_each(|path| places.walk(path));
        assert_eq!(places.of("load.rate"), Some(3));
    }
}
