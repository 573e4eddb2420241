//! What a run is called by, and what it ran on: for whoever finds its results later.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    thread::available_parallelism,
};

/// Flags that only describe a run.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Labels {
    /// A label of the run, such as gpu=h100; may be repeated
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    /// A note to keep with the results
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<String>,
}

impl Labels {
    /// By name; of two of one name the later one holds.
    pub(crate) fn by_name(&self) -> BTreeMap<String, String> {
        self.labels.iter().cloned().collect()
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a label is NAME=VALUE, such as gpu=h100")?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    if name.is_empty() || !name.chars().all(is_plain) {
        return Err("a label's name is made of letters, digits and . _ - /".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// What this process runs on. What cannot be found out is left out.
pub(crate) fn environment() -> BTreeMap<String, String> {
    let line = |path: &str| Some(fs::read_to_string(path).ok()?.trim().to_owned());
    let named = |file: &str, name: &str| {
        let text = fs::read_to_string(file).ok()?;
        let mut lines = text.lines().filter_map(|line| line.split_once([':', '=']));
        let value = lines.find(|(key, _)| key.trim() == name)?.1;
        Some(value.trim().trim_matches('"').to_owned())
    };
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let found = [
        ("host", line("/proc/sys/kernel/hostname")),
        ("kernel", line("/proc/sys/kernel/osrelease")),
        ("system", named("/etc/os-release", "PRETTY_NAME")),
        ("cpu", named("/proc/cpuinfo", "model name")),
        ("cpus", available_parallelism().ok().map(|count| count.to_string())),
        ("memory", named("/proc/meminfo", "MemTotal")),
        ("image", variable("TOKENSTORM_IMAGE")),
        ("pod", variable("POD_NAME")),
        ("revision", option_env!("TOKENSTORM_REVISION").map(str::to_owned)),
        ("git", git_head()),
    ];
    let known = found.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    known.filter(|(_, value)| !value.is_empty()).collect()
}

/// The commit that the working directory is at: benchmark configurations are kept in repositories.
fn git_head() -> Option<String> {
    let here = std::env::current_dir().ok()?;
    let found = here.ancestors().map(|folder| folder.join(".git")).find(|git| git.exists())?;
    let folder = worktree(&found).unwrap_or_else(|| found.clone());
    let shared = fs::read_to_string(folder.join("commondir")).ok();
    let shared = shared.map_or_else(|| folder.clone(), |path| folder.join(path.trim()));
    let head = fs::read_to_string(folder.join("HEAD")).ok()?;
    let Some(branch) = head.trim().strip_prefix("ref: ") else {
        return Some(head.trim().to_owned());
    };
    let loose = fs::read_to_string(shared.join(branch)).ok();
    let packed = || {
        let text = fs::read_to_string(shared.join("packed-refs")).ok()?;
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        Some(lines.find(|(_, name)| *name == branch)?.0.to_owned())
    };
    loose.map(|commit| commit.trim().to_owned()).or_else(packed)
}

/// In a worktree `.git` is a file that names the folder.
fn worktree(git: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(git).ok()?;
    Some(git.parent()?.join(text.trim().strip_prefix("gitdir: ")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_a_name_and_a_value() {
        assert_eq!(pair("gpu=h100=x"), Ok(("gpu".to_owned(), "h100=x".to_owned())));
        for bad in ["gpu", "=x", "a b=x", "<b>=x"] {
            assert!(pair(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_known_of_a_machine_is_not_empty() {
        assert!(environment().values().all(|value| !value.is_empty()));
        assert!(environment().contains_key("kernel"));
    }
}
