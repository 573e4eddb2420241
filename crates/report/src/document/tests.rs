use super::*;
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
    for result in [example::one_stage(), example::troubled(), example::all_failed()] {
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
