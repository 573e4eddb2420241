use super::*;
use proptest::prelude::*;

type Found = (Vec<(u64, u64, String)>, Result<Ending, String>);

/// Offset, line and text of each record of `text`, fed in chunks of `size`.
fn scan(mut scanner: Scanner, text: &str, size: usize) -> Found {
    let mut records = Vec::new();
    let mut on_record = |record: RawRecord<'_>| {
        records.push((
            record.offset,
            record.line,
            String::from_utf8_lossy(record.bytes).into_owned(),
        ));
    };
    for chunk in text.as_bytes().chunks(size) {
        if let Err(error) = scanner.push(chunk, &mut on_record) {
            return (records, Err(format!("{} {} {}", error.line, error.offset, error.reason)));
        }
    }
    let ending = scanner.finish(&mut on_record);
    (records, Ok(ending))
}

fn texts(found: &Found) -> Vec<&str> {
    found.0.iter().map(|(_, _, text)| text.as_str()).collect()
}

#[test]
fn lines_with_any_ending_and_a_byte_order_mark() {
    let found = scan(Scanner::lines(), "\u{feff}one\r\n\ntwo\nthree", 4);
    assert_eq!(
        found.0,
        [
            (3, 1, "one".to_owned()),
            (8, 2, String::new()),
            (9, 3, "two".to_owned()),
            (13, 4, "three".to_owned())
        ]
    );
    assert_eq!(found.1, Ok(Ending::Whole));
}

#[test]
fn csv_records_keep_line_ends_inside_quotes() {
    let found = scan(Scanner::csv(), "prompt,n\n\"a\nb \"\"c\"\"\",1\nd,2\n", 3);
    assert_eq!(texts(&found), ["prompt,n", "\"a\nb \"\"c\"\"\",1", "d,2"]);
    assert_eq!(found.0[2].1, 4);
    let cut = scan(Scanner::csv(), "prompt\n\"a\nb", 3);
    assert_eq!((texts(&cut), cut.1.clone()), (vec!["prompt"], Ok(Ending::Cut { offset: 7 })));
}

#[test]
fn the_values_of_a_list() {
    let found =
        scan(Scanner::json(), "\n[ {\"a\": [1, \"}\\\"]\"]} ,\n \"b, c\", 12,null , [] ]\n", 5);
    assert_eq!(texts(&found), ["{\"a\": [1, \"}\\\"]\"]}", "\"b, c\"", "12", "null", "[]"]);
    assert_eq!((found.0[0].0, found.0[0].1, found.0[1].0, found.0[1].1), (3, 2, 25, 3));
    assert_eq!(found.1, Ok(Ending::Whole));
    assert_eq!(scan(Scanner::json(), "[]", 1), (vec![], Ok(Ending::Whole)));
    assert_eq!(
        texts(&scan(Scanner::json(), "{\"a\":1}\n{\"b\":2}\n", 3)),
        ["{\"a\":1}", "{\"b\":2}"]
    );
}

#[test]
fn a_list_that_stops_says_where() {
    for (text, records, offset) in [
        ("[{\"a\":1}, {\"b\": \"xx", 1, 10),
        ("[{\"a\":1},", 1, 9),
        ("[{\"a\":1}", 1, 8),
        ("[", 0, 1),
        ("[{\"a", 0, 1),
    ] {
        let found = scan(Scanner::json(), text, 2);
        assert_eq!((found.0.len(), found.1), (records, Ok(Ending::Cut { offset })), "{text}");
    }
}

#[test]
fn what_is_no_list_says_where_and_why() {
    for (text, error) in [
        ("[{} {}]", "1 4 expected a comma or the list's end, found `{`"),
        ("[{},\n]", "2 5 expected a value of the list, found `]`"),
        ("[{}] x", "1 5 expected nothing after the list, found `x`"),
        ("id,prompt", "1 0 expected a JSON list or object, found `i`"),
        ("[\u{1}", "1 1 expected a value of the list, found byte 0x01"),
    ] {
        assert_eq!(scan(Scanner::json(), text, 3).1, Err(error.to_owned()), "{text}");
    }
}

#[test]
fn a_record_without_end_does_not_take_the_memory() {
    let chunk = vec![b'x'; 1 << 20];
    for (mut scanner, opening) in
        [(Scanner::lines(), &b"x"[..]), (Scanner::csv(), b"\""), (Scanner::json(), b"[\"")]
    {
        let mut refused = scanner.push(opening, &mut |_| {});
        for _ in 0..70 {
            refused = refused.and_then(|()| scanner.push(&chunk, &mut |_| {}));
        }
        assert!(refused.unwrap_err().reason.contains("longer than 64 MiB"));
    }
}

proptest! {
    #[test]
    fn any_chunking_finds_the_same_records(text in "[\\[\\]{}\",\\\\a1 \n\r]{0,60}", size in 1usize..10) {
        for scanner in [Scanner::lines, Scanner::csv, Scanner::json] {
            prop_assert_eq!(scan(scanner(), &text, size), scan(scanner(), &text, 1000));
        }
    }

    #[test]
    fn every_value_of_a_written_list_is_found(values in prop::collection::vec("\\PC{0,20}", 0..10), size in 1usize..50) {
        let list: Vec<serde_json::Value> = values.iter().map(|text| serde_json::json!({"t": text, "n": [text]})).collect();
        let written = serde_json::to_string_pretty(&list).unwrap();
        let found = scan(Scanner::json(), &written, size);
        prop_assert_eq!(&found.1, &Ok(Ending::Whole));
        let again: Vec<serde_json::Value> = texts(&found).into_iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        prop_assert_eq!(again, list);
        for (offset, _, text) in found.0 {
            let start = usize::try_from(offset).unwrap();
            prop_assert_eq!(&written[start..start + text.len()], text);
        }
    }
}
