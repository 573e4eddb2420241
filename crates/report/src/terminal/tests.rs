use super::*;

#[test]
fn a_run_without_trouble() {
    insta::assert_snapshot!(table(&example::one_stage(), 100), @"");
}

#[test]
fn a_run_with_every_trouble() {
    insta::assert_snapshot!(table(&example::troubled(), 110), @"");
}

#[test]
fn a_run_whose_requests_all_failed() {
    insta::assert_snapshot!(table(&example::all_failed(), 100), @"");
}

#[test]
fn only_the_rows_that_were_asked_for() {
    let selection = Selection::of(["ttft", "itl", "throughput", "errors"]);
    insta::assert_snapshot!(table_of(&example::troubled(), 110, &selection), @"");
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    for width in [60, 72, 80, 100, 140] {
        for result in [example::one_stage(), example::troubled()] {
            for line in table(&result, width).lines() {
                assert!(line.chars().count() <= usize::from(width), "{width}: {line}");
            }
        }
    }
}
