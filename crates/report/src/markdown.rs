//! The report as Markdown: the tables, fit for a pull request.
//!
//! What came from a server or a configuration must not become markup there either: the characters that mean something
//! to a Markdown reader are escaped, and line ends inside a cell become spaces.

use crate::document::{Block, Document, Table};
use crate::stored::StoredRun;

/// Sections that would make a comment long.
const LEFT_OUT: [&str; 2] = ["definitions", "others"];

/// The tables of a run. Charts are in the page; definitions too, so that a comment stays short.
pub fn markdown(run: &StoredRun) -> String {
    markdown_of(&Document::of(run))
}

/// The tables of any document.
pub(crate) fn markdown_of(document: &Document) -> String {
    let verdict = &document.verdict;
    let mut text =
        format!("## {}\n\n{}\n\n", escaped(&document.title), escaped(&document.subtitle));
    text.push_str(&format!("**{}**: {}\n", verdict.name, verdict.meaning));
    for reason in &verdict.reasons {
        let message = escaped(&reason.message);
        text.push_str(&format!("- {} `{}`: {message}\n", reason.label, code(&reason.code)));
    }
    for gap in &document.gaps {
        text.push_str(&format!("- not whole: {}\n", escaped(gap)));
    }
    if !document.tiles.is_empty() {
        text.push_str("\n| | | |\n|---|---:|---|\n");
    }
    for tile in &document.tiles {
        let (value, note) = (escaped(&tile.value), escaped(&tile.note));
        let label = escaped(&tile.label);
        text.push_str(&format!("| {label} | {value} {} | {note} |\n", tile.unit));
    }
    for section in document.sections.iter().filter(|section| !LEFT_OUT.contains(&section.id)) {
        let blocks: String = section.blocks.iter().filter_map(block).collect();
        if !blocks.is_empty() {
            text.push_str(&format!("\n### {}\n{blocks}", section.title));
        }
    }
    text
}

fn block(block: &Block) -> Option<String> {
    match block {
        Block::Table(rows) => Some(table(rows)),
        Block::Lines(lines) => {
            let lines: String = lines.iter().map(|line| format!("- {}\n", escaped(line))).collect();
            Some(format!("\n{lines}"))
        }
        Block::Verbatim(yaml) => {
            let lines: String = yaml.lines().map(|line| format!("    {line}\n")).collect();
            Some(format!("\n{lines}"))
        }
        Block::Chart(_) => None,
    }
}

fn table(table: &Table) -> String {
    if table.rows.is_empty() {
        return String::new();
    }
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let header: Vec<String> = table.header.iter().map(|&cell| cell.to_owned()).collect();
    let rule: Vec<String> = (0..header.len())
        .map(|column| {
            let is_words = column < table.words || table.is_prose(column);
            if is_words { "---" } else { "---:" }.to_owned()
        })
        .collect();
    let mut text = format!("\n{}{}", line(&header), line(&rule));
    for row in &table.rows {
        let cells: Vec<String> = row.iter().map(|cell| escaped(cell)).collect();
        text.push_str(&line(&cells));
    }
    if !table.notes.is_empty() {
        let notes: Vec<String> = table.notes.iter().map(|note| escaped(note)).collect();
        text.push_str(&format!("\n{}\n", notes.join("  \n")));
    }
    text
}

/// Text that a Markdown reader shows as it is. An underscore inside a word means nothing to one, and stays readable.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' | '|' | '`' | '*' | '[' | ']' | '!' | '#' | '~' => safe.extend(['\\', character]),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '@' => safe.push_str("&#64;"),
            control if control.is_control() => safe.push(' '),
            other => safe.push(other),
        }
    }
    safe
}

fn code(text: &str) -> String {
    text.chars().filter(|c| *c != '`' && !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::example;

    fn of(result: metrics::RunResult) -> String {
        markdown(&StoredRun {
            directory: "/nowhere".into(),
            result,
            config: Some("benchmark: {name: demo}\n".to_owned()),
            gaps: Vec::new(),
        })
    }

    #[test]
    fn the_latencies_of_a_short_run() {
        let text = of(example::one_stage());
        let latency = text.split("### Latency").nth(1).unwrap().split("###").next().unwrap();
        let mut lines = latency.trim().lines();
        let header =
            "| metric | unit | p50 | p90 | p95 | p99 | p99.9 | mean | std. dev. | max | samples |";
        assert_eq!(lines.next(), Some(header));
        assert_eq!(
            lines.next(),
            Some("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
        );
        let ttft = "| ttft | ms | 54.5 | 58.1 | 58.6 | 58.9 | 59.0 | 54.5 | 2.60 | 59.0 | 2,000 |";
        assert_eq!(lines.next(), Some(ttft));
        assert!(latency.contains("No 95 % intervals: the run is too short"), "{latency}");
        assert!(!text.contains("### What each number means"), "short enough for a comment");
    }

    #[test]
    fn what_a_server_said_is_no_markup() {
        let mut result = example::troubled();
        result.warnings[0].message =
            "<img src=x> | a [link](http://x) @team `code`\n# heading".to_owned();
        let text = of(result);
        let shown = "&lt;img src=x&gt; \\| a \\[link\\](http://x) &#64;team \\`code\\` \\# heading";
        assert!(text.contains(shown), "{text}");
    }
}
