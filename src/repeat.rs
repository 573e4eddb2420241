//! `run --repeat N`: the same run again, so that a comparison knows how much it varies from run to run.
//!
//! Each is a run of its own with its own results. Seed, schedule and lengths are those of the configuration every time
//! (what is repeated is the measurement, not the traffic); the text of synthetic prompts is fresh each time, or the first
//! run would fill the prefix cache for the others. Two labels join them: which one it is, and the first run's name.

use std::{collections::BTreeMap, num::NonZeroU32};

use crate::exit::Exit;

/// Which of how many, such as `2/5`.
const NUMBER: &str = "repeat";
/// The first run of its group.
const GROUP: &str = "repeat-of";

/// Which run of a group is to come.
#[derive(Debug)]
pub(crate) struct Repeats {
    number: u32,
    count: NonZeroU32,
    /// The first run's name, once there is one.
    group: Option<String>,
}

impl Repeats {
    /// A run by itself.
    pub(crate) fn none() -> Self {
        Self::of(NonZeroU32::MIN)
    }

    /// The first of so many.
    pub(crate) fn of(count: NonZeroU32) -> Self {
        Self { number: 1, count, group: None }
    }

    /// Labels the run of that name; a run by itself has none of these labels.
    pub(crate) fn label(&mut self, name: &str, labels: &mut BTreeMap<String, String>) {
        if self.count.get() == 1 {
            return;
        }
        let group = self.group.get_or_insert_with(|| name.to_owned()).clone();
        let number = format!("{}/{}", self.number, self.count);
        labels.extend([(NUMBER.to_owned(), number), (GROUP.to_owned(), group)]);
    }

    /// Runs them one after the other, until one says that there is no sense in going on. The exit code is the gravest.
    pub(crate) fn run(
        mut self,
        mut once: impl FnMut(&mut Self) -> anyhow::Result<Exit>,
    ) -> anyhow::Result<Exit> {
        let mut gravest = Exit::Ok;
        while self.number <= self.count.get() {
            if self.count.get() > 1 {
                eprintln!("repeat {} of {}", self.number, self.count);
            }
            gravest = gravest.gravest(once(&mut self)?);
            if gravest == Exit::Interrupted {
                break;
            }
            self.number += 1;
        }
        if let Some(group) = self.group {
            eprintln!(
                "`tokenstorm compare` takes all repeats as one side: name any of them, such as {group}"
            );
        }
        Ok(gravest)
    }
}

/// The group that a run's labels name.
pub(crate) fn group_of(labels: &BTreeMap<String, String>) -> Option<&str> {
    labels.get(GROUP).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Repeats {
        Repeats::of(NonZeroU32::new(3).unwrap())
    }

    #[test]
    fn repeats_are_numbered_and_called_by_the_first() {
        let (mut seen, mut names) = (Vec::new(), ["a", "b", "c"].into_iter());
        let exit = three().run(|repeats| {
            let mut labels = BTreeMap::new();
            repeats.label(names.next().unwrap(), &mut labels);
            seen.push(format!("{} of {}", labels[NUMBER], group_of(&labels).unwrap()));
            Ok(if seen.len() == 2 { Exit::SloMissed } else { Exit::Ok })
        });
        assert_eq!(seen, ["1/3 of a", "2/3 of a", "3/3 of a"]);
        assert_eq!(exit.unwrap(), Exit::SloMissed);
    }

    #[test]
    fn an_interrupt_ends_them_all_and_an_error_too() {
        let mut begun = 0;
        let exit = three().run(|_| {
            begun += 1;
            Ok(Exit::Interrupted)
        });
        assert_eq!((begun, exit.unwrap()), (1, Exit::Interrupted));
        assert!(three().run(|_| anyhow::bail!("the disk is full")).is_err());
    }

    #[test]
    fn a_run_by_itself_has_no_such_labels() {
        let mut labels = BTreeMap::new();
        Repeats::none().label("a", &mut labels);
        assert!(labels.is_empty());
    }
}
