//! Lines for people on stderr, where a screen may own the terminal for a while.
//!
//! A line that is written over a screen destroys it and is lost with it. So while there is one, lines are kept: the screen
//! shows the last of them, and all are printed when it is gone.

use std::{
    collections::VecDeque,
    fmt::Display,
    io::{self, Write},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Of more, the oldest are forgotten: nobody reads a thousand lines.
const MOST: usize = 1_000;

/// `None` while nobody owns the terminal.
static KEPT: Mutex<Option<VecDeque<String>>> = Mutex::new(None);

fn kept() -> MutexGuard<'static, Option<VecDeque<String>>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says a line now, or on the screen and after it.
pub(crate) fn tell(line: impl Display) {
    let mut kept = kept();
    match kept.as_mut() {
        Some(lines) => keep(lines, line.to_string()),
        None => eprintln!("{line}"),
    }
}

fn keep(lines: &mut VecDeque<String>, line: String) {
    if lines.len() == MOST {
        let _ = lines.pop_front();
    }
    lines.push_back(line);
}

/// From now on lines are kept.
pub(crate) fn hold() {
    let _ = kept().get_or_insert_default();
}

/// The last lines that are kept.
pub(crate) fn last(count: usize) -> Vec<String> {
    let kept = kept();
    let lines = kept.iter().flatten();
    let skipped = kept.as_ref().map_or(0, VecDeque::len).saturating_sub(count);
    lines.skip(skipped).cloned().collect()
}

/// The terminal is free: what was kept is said.
pub(crate) fn release() {
    for line in kept().take().into_iter().flatten() {
        eprintln!("{line}");
    }
}

/// Where the log goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Log;

impl Write for Log {
    /// The log writes a whole event at once.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = kept();
        let Some(lines) = kept.as_mut() else {
            io::stderr().write_all(bytes)?;
            return Ok(bytes.len());
        };
        let text = uncoloured(&String::from_utf8_lossy(bytes));
        text.lines().for_each(|line| keep(lines, line.to_owned()));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Without the log's colours (`ESC [ … m`), which a screen would show as they are written.
fn uncoloured(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, after)| after);
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_the_terminal_is_owned_lines_are_kept() {
        hold();
        tell("first");
        Log.write_all(b"\x1b[33msec\x1b[0mond\n").unwrap();
        tell("third");
        assert_eq!(last(2), ["second", "third"]);
        (0..2_000).for_each(tell);
        assert_eq!(last(usize::MAX).len(), MOST);
        release();
        assert!(last(1).is_empty());
    }
}
