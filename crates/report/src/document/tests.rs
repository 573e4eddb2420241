use super::*;
use crate::figures::ABSENT;
use crate::terminal::example;

fn document(result: RunResult) -> Document {
    Document::of(&StoredRun::of(std::path::Path::new("/nowhere"), result, Vec::new()))
}

fn table<'a>(document: &'a Document, section: &str) -> &'a Table {
    let section = document.sections.iter().find(|candidate| candidate.id == section).unwrap();
    let mut tables = section.blocks.iter().filter_map(|block| match block {
        Block::Table(table) => Some(table),
        Block::Chart(_) | Block::Lines(_) | Block::Verbatim(_) => None,
    });
    tables.next_back().unwrap()
}

#[test]
fn every_row_is_as_wide_as_its_header() {
    for result in example::all() {
        let document = document(result);
        for block in document.sections.iter().flat_map(|section| &section.blocks) {
            let Block::Table(table) = block else { continue };
            for row in &table.rows {
                assert_eq!(row.len(), table.header.len(), "{:?}", table.header);
            }
        }
    }
}

#[test]
fn what_is_absent_is_a_mark_with_its_reason() {
    let document = document(example::troubled());
    let latency = table(&document, "latency");
    let ttft = latency.rows.iter().find(|row| row[0] == "ttft").unwrap();
    assert_eq!((ttft[5].as_str(), ttft[6].as_str()), ("×", ABSENT), "p99 and p99.9");
    let notes = latency.notes.join("\n");
    assert!(notes.contains("– too few samples") && notes.contains("× more requests"), "{notes}");
    assert!(notes.contains("itl: an event of this server is not one token"), "{notes}");
    assert!(notes.contains("No 95 % intervals"), "{notes}");
}

#[test]
fn a_run_that_failed_whole_has_tiles_without_figures() {
    let document = document(example::all_failed());
    let ttft = document.tiles.iter().find(|tile| tile.label == "TTFT").unwrap();
    assert_eq!(ttft.value, ABSENT);
    assert!(ttft.note.contains("not streamed"));
    assert_eq!(document.verdict.name, "INVALID");
}

fn cells(table: &Table, row: &str) -> Vec<String> {
    table.rows.iter().find(|cells| cells[0] == row).unwrap_or_else(|| panic!("no {row}")).clone()
}

#[test]
fn objectives_come_first_with_what_became_of_them() {
    let document = document(example::demanded());
    assert_eq!(document.sections[0].id, "objectives");
    let objectives = table(&document, "objectives");
    assert_eq!(cells(objectives, "ttft p95")[1..], ["headline", "≤ 60.0 ms", "58.5 ms", "met"]);
    assert_eq!(cells(objectives, "ttft p99.9")[3..], [ABSENT, "undecided: too few samples"]);
    assert_eq!(cells(objectives, "goodput")[4], "MISSED");
    let Block::Lines(lines) = &document.sections[0].blocks[1] else { panic!("no lines") };
    assert!(
        lines[0].starts_with("goodput: ") && lines[1].contains("by the rule overload"),
        "{lines:?}"
    );
}

#[test]
fn classes_and_targets_have_tables_and_curves() {
    let document = document(example::classes());
    let classes = table(&document, "classes");
    assert_eq!(cells(classes, "chat")[..4], ["chat", "75.0 %", "1,500", "1,500"]);
    assert_eq!(cells(table(&document, "targets"), "canary")[2], "667");
    let batch = cells(table(&document, "objectives"), "ttft p50");
    assert_eq!((batch[1].as_str(), batch[4].as_str()), ("class batch", "MISSED"));
    let charts: Vec<_> = document.charts().filter(|chart| chart.id.contains("_by_")).collect();
    assert_eq!(charts.len(), 6);
    let names: Vec<_> = charts[0].series.iter().map(|series| series.name.as_str()).collect();
    assert_eq!(names, ["chat", "batch"]);
}

#[test]
fn turns_have_a_table_and_sessions_an_account() {
    let document = document(example::sessions());
    let turns = table(&document, "turns");
    assert_eq!(cells(turns, "turn 2")[..4], ["turn 2", "47.4 %", "900", "900"]);
    assert_eq!(turns.header[1], "of due");
    let account = "Sessions: 1,000 begun = 900 completed + 99 cut + 1 lost with a worker; \
                   100 turns not reached.";
    assert_eq!(turns.notes[0], account);
    assert_eq!(document.charts().filter(|chart| chart.id.ends_with("_by_turn")).count(), 3);
}

#[test]
fn a_run_of_one_kind_has_no_sections_of_kinds() {
    let document = document(example::one_stage());
    let ids: Vec<_> = document.sections.iter().map(|section| section.id).collect();
    let kinds = ["classes", "targets", "turns", "objectives"];
    assert!(kinds.iter().all(|kind| !ids.contains(kind)));
}
