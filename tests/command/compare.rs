//! Runs held against each other: sides, rules, repeats, and what is said where nothing can be decided.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Child,
};

use serde_json::json;

use crate::support::{Bench, Ended, drawn_without_complaint, has_browser, start, tokenstorm};

fn compare(arguments: &[&str], folder: &Path) -> Ended {
    let mut command = tokenstorm();
    command.arg("compare").args(arguments).current_dir(folder);
    Ended::from(command.output().unwrap(), folder)
}

/// A bench whose results are all runs of `arguments`, oldest first.
fn runs(bench: &Bench) -> Vec<PathBuf> {
    let found = fs::read_dir(bench.folder.path().join("results")).unwrap();
    let mut found: Vec<PathBuf> = found.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn repeats_are_one_side_and_a_rule_fails_the_pipeline() {
    let settings = |ttft: u64| json!({"ttftMs": ttft, "itlMs": 2});
    let run = ["--rate", "40", "--requests", "80", "--repeat", "3", "--label", "gpu=a"];
    // So far apart that three runs a side tell them apart on a machine that is busy with other things.
    let (fast, slow) = (Bench::new(settings(20)), Bench::new(settings(400)));
    for bench in [&fast, &slow] {
        let ended = bench.run(&run);
        assert_eq!(ended.code, Some(0), "{}", ended.all_output());
        assert!(ended.stderr.contains("repeat 3 of 3"), "{}", ended.stderr);
        assert_eq!(runs(bench).len(), 3);
        assert_eq!(ended.summary()["run"]["labels"]["gpu"], "a");
    }
    let folder = fast.folder.path();
    // A folder's newest run stands for its group.
    let (old, new) = (folder.join("results"), slow.folder.path().join("results"));
    let rules = ["--fail-if", "ttft.p50 > +50%", "--fail-if", "error_rate > 1%"];
    let outputs = ["--output", "c.html", "--output", "c.md"];
    let sides = ["--baseline", text(&old), "--candidate", text(&new)];
    let broken = compare(&[&sides[..], &rules, &outputs].concat(), folder);
    assert_eq!(broken.code, Some(3), "{}", broken.all_output());
    for words in
        ["(3 runs)", "By 3 and 3 runs a side", "worse", "broken: beyond the limit", "FAILED"]
    {
        assert!(broken.stdout.contains(words), "{words} in {}", broken.all_output());
    }
    assert!(broken.stdout.contains("target.endpoint"), "where they differ: {}", broken.stdout);
    assert!(broken.stderr.contains("3 repeats: all of them are compared"), "{}", broken.stderr);
    let page = fs::read_to_string(folder.join("c.html")).unwrap();
    assert!(page.contains("chart-ttft_percentiles") && page.contains("FAILED"));
    assert!(fs::read_to_string(folder.join("c.md")).unwrap().contains("| ttft p50 | ms |"));
    // The other way round it is better, which no rule forbids.
    let back = ["--baseline", text(&new), "--candidate", text(&old)];
    let kept = compare(&[&back[..], &rules].concat(), folder);
    assert_eq!(kept.code, Some(0), "{}", kept.all_output());
    assert!(kept.stdout.contains("better"), "{}", kept.stdout);
    // Named one by one they are the runs that were named.
    let two = runs(&fast)[..2].iter().map(|run| text(run)).collect::<Vec<_>>().join(",");
    let named = compare(&["--baseline", &two, "--candidate", text(&new)], folder);
    assert!(named.stdout.contains("(2 runs)"), "{}", named.all_output());
}

#[test]
fn what_cannot_be_decided_breaks_no_rule_and_is_said() {
    let bench = Bench::new(json!({"ttftMs": 20, "itlMs": 2}));
    for _ in 0..2 {
        let ended = bench.run(&["--rate", "40", "--requests", "80"]);
        assert_eq!(ended.code, Some(0), "{}", ended.all_output());
    }
    let (folder, runs) = (bench.folder.path(), runs(&bench));
    let sides = ["--baseline", text(&runs[0]), "--candidate", text(&runs[1])];
    let rule = ["--fail-if", "ttft.p50 > +0.001%"];
    let short = compare(&[&sides[..], &rule].concat(), folder);
    assert_eq!(short.code, Some(0), "{}", short.all_output());
    assert!(
        short.stdout.contains("5 are needed") && short.stdout.contains("not decided"),
        "{}",
        short.stdout
    );
    fs::remove_file(runs[1].join("journal")).unwrap();
    fs::write(runs[1].join("config.yaml"), "no: such: yaml\n").unwrap();
    let without = compare(&sides, folder);
    assert_eq!(without.code, Some(0), "{}", without.all_output());
    let said = without.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("how much it varied over time is not known"), "{said}");
    assert!(said.contains("its config.yaml cannot be read"), "{said}");
}

#[test]
fn every_wrong_word_is_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let sides = ["--baseline", "a", "--candidate", "b"];
    let wrong = ["--fail-if", "tftt.p99 > +5%", "--metrics", "ttft", "--output", "x.pdf"];
    let ended = compare(&[&sides[..], &wrong].concat(), folder.path());
    assert_eq!((ended.code, ended.stderr.lines().count()), (Some(2), 3), "{}", ended.stderr);
    assert!(ended.stderr.contains("is `ttft` meant?"), "{}", ended.stderr);
    let nowhere = compare(&sides, folder.path());
    assert_eq!((nowhere.code, nowhere.stderr.lines().count()), (Some(2), 1), "{}", nowhere.stderr);
}

/// A run of ten blocks against a simulator of that TTFT (lognormal, sigma 20 %), in the background.
fn ten_blocks(folder: &Path, ttft_ms: &str, seed: u64) -> Child {
    let mut command = crate::support::run_in(folder);
    let simulated = ["--set", "simulator.itlMs=10", "--set", "simulator.jitter=0.2"];
    command.args(simulated).args(["--set", &format!("simulator.ttftMs={ttft_ms}")]);
    command.args(["--set", &format!("simulator.seed={seed}")]);
    command.args(["--rate", "20", "--duration", "102", "--set", "prompts.outputLength.mean=8"]);
    start(command)
}

/// Ten pairs of equal services and ten of one whose TTFT is 10 % longer, one run a side.
#[test]
#[ignore = "long mode: thirty runs of 102 s, six at a time"]
fn ten_real_pairs_without_and_ten_with_a_difference() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str, pair: u64| folder.path().join(format!("{name}{pair}"));
    let services = [("a", "100"), ("b", "100"), ("c", "110")];
    let wanted: Vec<(u64, &str, &str)> =
        (0..10).flat_map(|pair| services.map(|(name, ttft)| (pair, name, ttft))).collect();
    for batch in wanted.chunks(6) {
        let begun = batch.iter().map(|&(pair, name, ttft)| {
            let seed = pair * 3 + u64::from(name.as_bytes()[0]);
            ten_blocks(&place(name, pair), ttft, seed)
        });
        for child in begun.collect::<Vec<_>>() {
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{}: {said}", output.status);
        }
    }
    let judged = |pair: u64, candidate: &str| {
        let sides = [place("a", pair), place(candidate, pair)].map(|side| side.join("results"));
        let sides = ["--baseline", text(&sides[0]), "--candidate", text(&sides[1])];
        let rule =
            ["--fail-if", "ttft.p50 > +4%", "--metrics", "ttft.p50,ttft.p99,itl.p99,throughput"];
        let ended = compare(&[&sides[..], &rule].concat(), folder.path());
        println!("{}", ended.stdout);
        ended
    };
    let alarms = (0..10).filter(|&pair| {
        let ended = judged(pair, "b");
        ended.stdout.contains(" worse") || ended.stdout.contains(" better")
    });
    assert_eq!(alarms.count(), 0);
    let found = (0..10).filter(|&pair| judged(pair, "c").code == Some(3));
    assert_eq!(found.count(), 10);
}

/// Where there is a browser: the page of a comparison, its charts drawn, and not a word on its console.
#[test]
#[ignore = "long mode: needs chromium"]
fn a_browser_draws_the_comparison_without_a_complaint() {
    if !has_browser() {
        return;
    }
    let bench = Bench::new(json!({"ttftMs": 20, "itlMs": 4}));
    for _ in 0..3 {
        let ended = bench.run(&["--rate", "40", "--requests", "120"]);
        assert_eq!(ended.code, Some(0), "{}", ended.all_output());
    }
    let (folder, runs) = (bench.folder.path(), runs(&bench));
    let [a, b, c] = [0, 1, 2].map(|place| text(&runs[place]));
    let made = compare(&["--baseline", a, "--candidate", b, c, "--output", "c.html"], folder);
    assert_eq!(made.code, Some(0), "{}", made.all_output());
    drawn_without_complaint(&folder.join("c.html"));
}

#[test]
fn a_file_of_another_tool_is_a_side_whose_difference_is_shown_and_not_tested() {
    let bench = Bench::new(json!({"ttftMs": 20, "itlMs": 2}));
    let ended = bench.run(&["--rate", "40", "--requests", "80"]);
    assert_eq!(ended.code, Some(0), "{}", ended.all_output());
    let (folder, runs) = (bench.folder.path(), runs(&bench));
    for tool in ["vllm", "inference-perf", "llm-d"] {
        let exported = tokenstorm()
            .args(["report", "--compat", tool, "--output", tool, "--input", text(&runs[0])])
            .current_dir(folder)
            .output()
            .unwrap();
        assert!(exported.status.success());
        let rule = ["--fail-if", "ttft.p50 > +1%", "--output", "c.html"];
        let sides = ["--baseline", tool, "--candidate", text(&runs[0])];
        let shown = compare(&[&sides[..], &rule].concat(), folder);
        assert_eq!(shown.code, Some(0), "{}", shown.all_output());
        assert!(
            shown.stdout.contains("no histograms") || shown.stdout.contains("foreign_file"),
            "{}",
            shown.stdout
        );
        assert!(shown.stdout.contains("not decided"), "{}", shown.stdout);
        assert!(!shown.stdout.contains("has 0 blocks"), "{}", shown.stdout);
        let doubts = shown.stdout.lines().find(|line| line.contains("is SUSPECT: ")).unwrap();
        assert_eq!(doubts.matches("foreign_file").count(), 1, "each code once: {doubts}");
        let row = shown.stdout.lines().find(|line| line.contains("ttft p50")).unwrap();
        let figures: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(figures[3], figures[4], "both are of one run: {row}");
        assert!(fs::read_to_string(folder.join("c.html")).unwrap().contains("has no histograms"));
    }
    fs::write(folder.join("x.json"), "{}").unwrap();
    let strange = compare(&["--baseline", "x.json", "--candidate", text(&runs[0])], folder);
    assert_eq!((strange.code, strange.stderr.lines().count()), (Some(2), 1), "{}", strange.stderr);
    assert!(
        strange.stderr.contains("neither a results directory nor a file of"),
        "{}",
        strange.stderr
    );
}
