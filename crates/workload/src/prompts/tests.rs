use super::*;
use crate::config::{Config, Sources};
use crate::plan::PlanInputs;
use crate::tokenizer::toy::toy;
use std::path::Path;

/// A plan by settings; the salt is 1.
fn plan(sets: &[&str]) -> Plan {
    let sets = ["target.endpoint=http://t/v1", "load.rate=10"]
        .iter()
        .chain(sets)
        .map(|set| (*set).to_owned())
        .collect();
    let config = Config::load(Sources { sets, ..Sources::default() }).unwrap();
    Plan::from_config(&config, &PlanInputs { model: None, prompt_salt: 1 }).unwrap().0
}

fn open(plan: &Plan) -> (PromptSource, Vec<Warning>) {
    PromptSource::with_tokenizers(plan, |_| Ok((toy(), None))).unwrap()
}

/// A file with `content` and the settings that name it; the folder must live as long.
struct Fixture {
    folder: tempfile::TempDir,
    name: &'static str,
}

impl Fixture {
    fn new(name: &'static str, content: impl AsRef<[u8]>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), content).unwrap();
        Self { folder, name }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(self.name)
    }

    fn plan(&self, key: &str, sets: &[&str]) -> Plan {
        let named = format!("{key}={}", self.path().display());
        plan(&[&[named.as_str()], sets].concat())
    }

    /// The lines a user sees, without the folder.
    fn refusal(&self, key: &str, sets: &[&str]) -> Vec<String> {
        let problems = PromptSource::with_tokenizers(&self.plan(key, sets), |_| Ok((toy(), None)))
            .expect_err("these prompts are refused");
        problems
            .iter()
            .map(|problem| {
                problem.to_string().replace(&format!("{}/", self.folder.path().display()), "")
            })
            .collect()
    }
}

fn text(source: &PromptSource, number: u64) -> String {
    match source.prompt(number).unwrap().content {
        Content::Text(text) => text,
        other => panic!("{other:?}"),
    }
}

fn conversation(prompt: &str, reply: &str) -> String {
    format!(
        "{{\"id\": \"x\", \"conversations\": [{{\"from\": \"human\", \"value\": \"{prompt}\"}}, {{\"from\": \"gpt\", \"value\": \"{reply}\"}}]}}"
    )
}

#[test]
fn synthetic_prompts_are_exact_in_tokens() {
    let (source, warnings) = open(&plan(&[]));
    assert_eq!((warnings, source.wraps_at(), source.inputs()), (vec![], None, vec![]));
    for number in 0..50 {
        let prompt = source.prompt(number).unwrap();
        let counted = toy().count(&text(&source, number)).unwrap();
        assert_eq!(prompt.input_tokens, Some(counted));
        assert!(prompt.output_tokens.is_some_and(|tokens| (100..200).contains(&tokens)));
    }
    assert_eq!(source.check(1000).unwrap().map(|check| check.asked == check.counted), Some(true));
    assert_eq!(source.check(1001).unwrap(), None);
}

#[test]
fn the_seed_fixes_lengths_and_the_salt_fixes_text() {
    let one = plan(&[]);
    let mut other_salt = one.clone();
    other_salt.prompt_salt = 2;
    let mut other_seed = one.clone();
    other_seed.seed = 43;
    let lengths = |plan: &Plan| {
        (0..20)
            .map(|number| open(plan).0.prompt(number).unwrap().input_tokens.unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(open(&one).0.prompt(7).unwrap(), open(&one).0.prompt(7).unwrap());
    assert_eq!(lengths(&one), lengths(&other_salt));
    assert_ne!(lengths(&one), lengths(&other_seed));
    assert_ne!(text(&open(&one).0, 7), text(&open(&other_salt).0, 7));
}

#[test]
fn no_two_prompts_share_a_prefix_by_accident() {
    let (source, _) = open(&plan(&["prompts.inputLength.mean=40"]));
    let mut beginnings = std::collections::HashSet::new();
    for number in 0..2000 {
        let words: Vec<String> =
            text(&source, number).split(' ').take(8).map(str::to_owned).collect();
        assert!(beginnings.insert(words), "prompt {number} begins like an earlier one");
    }
}

#[test]
fn a_prefix_ratio_makes_that_share_of_each_prompt_common() {
    let (source, _) = open(&plan(&[
        "prompts.prefixRatio=0.25",
        "prompts.inputLength.mean=100",
        "prompts.inputLength.stddev=30",
    ]));
    let words = |number| text(&source, number).split(' ').map(str::to_owned).collect::<Vec<_>>();
    let (one, other) = (words(0), words(1));
    let common = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
    let asked = (0.25 * one.len().min(other.len()) as f64).round() as usize;
    // The words after the common ones differ but for the chance of one in 145.
    assert!(common == asked || common == asked + 1, "{common} of {asked}");
    assert_eq!(Some(u32::try_from(one.len()).unwrap()), source.prompt(0).unwrap().input_tokens);
    let (all, _) = open(&plan(&["prompts.prefixRatio=1", "prompts.inputLength.mean=10"]));
    assert_eq!(text(&all, 0), text(&all, 1));
}

#[test]
fn a_text_file_is_a_prompt_a_line_sent_unaltered() {
    let file = Fixture::new("a.txt", "kalo  mi\n\n\ttwo\r\nlast");
    let (source, warnings) = open(&file.plan("prompts.file", &["benchmark.requests=3"]));
    assert_eq!(
        [0, 1, 2, 3].map(|number| text(&source, number)),
        ["kalo  mi", "\ttwo", "last", "kalo  mi"]
    );
    assert_eq!((source.wraps_at(), warnings), (Some(3), vec![]));
    let prompt = source.prompt(0).unwrap();
    assert_eq!(
        (prompt.input_tokens, prompt.output_tokens),
        (Some(toy().count("kalo  mi").unwrap()), None)
    );
    let input = &source.inputs()[0];
    assert_eq!((input.bytes, input.path.as_path()), (20, file.path().as_path()));
    // printf 'kalo  mi\n\n\ttwo\r\nlast' | sha256sum
    assert_eq!(input.sha256, TEXT_SHA256);
}

const TEXT_SHA256: &str = "7fb12eb77ae7de7a8ebaf92846acbb4ab50b37bbc5da3bd1a673a6dd9dfb2870";

#[test]
fn json_lines_may_mix_prompts_messages_and_bodies() {
    let lines = "{\"prompt\": \"kalo\", \"max_tokens\": 9}\n{\"messages\": [{\"role\": \"user\"}]}\n\n{\"model\": \"m\", \"messages\": [{\"role\": \"user\"}], \"max_tokens\": 3}\n";
    let file = Fixture::new("a.jsonl", lines);
    let (source, _) = open(&file.plan("prompts.file", &[]));
    let prompts: Vec<Prompt> = (0..3).map(|number| source.prompt(number).unwrap()).collect();
    assert_eq!(
        (&prompts[0].content, prompts[0].output_tokens),
        (&Content::Text("kalo".to_owned()), Some(9))
    );
    assert_eq!(prompts[1].content, Content::Messages("[{\"role\": \"user\"}]".to_owned()));
    assert!(matches!(&prompts[2].content, Content::Body(body) if body.starts_with("{\"model\"")));
    assert_eq!((prompts[1].input_tokens, prompts[2].output_tokens), (None, Some(3)));
    // Configured lengths win over recorded ones, but not inside a body, which is sent as it is.
    let (configured, _) = open(&file.plan("prompts.file", &["prompts.outputLength.mean=5"]));
    let ordered: Vec<Option<u32>> =
        (0..3).map(|number| configured.prompt(number).unwrap().output_tokens).collect();
    assert_eq!(ordered, [Some(5), Some(5), Some(3)]);
}

#[test]
fn json_lists_and_csv_are_read_too() {
    let list = Fixture::new("a.json", "[\"one\", {\"prompt\": \"two\"}]");
    let (source, _) = open(&list.plan("prompts.file", &[]));
    assert_eq!([0, 1, 2].map(|number| text(&source, number)), ["one", "two", "one"]);
    let csv = Fixture::new("a.csv", "id,prompt,output_tokens\n1,\"a, \"\"b\"\"\nc\",7\n2,plain,\n");
    let (source, _) = open(&csv.plan("prompts.file", &[]));
    assert_eq!([0, 1].map(|number| text(&source, number)), ["a, \"b\"\nc", "plain"]);
    assert_eq!([0, 1].map(|number| source.prompt(number).unwrap().output_tokens), [Some(7), None]);
}

#[test]
fn sharegpt_gives_first_turns_and_orders_the_length_of_the_reply() {
    let unusable = "{\"id\": \"y\", \"conversations\": [{\"from\": \"gpt\", \"value\": \"x\"}]}";
    let content = format!(
        "[{}, {unusable},\n{}]",
        conversation("kalo miro", "alpha alpha alpha"),
        conversation("second", "alpha")
    );
    let file = Fixture::new("chat.json", content);
    let (source, warnings) = open(&file.plan("prompts.dataset", &["benchmark.requests=2"]));
    assert_eq!([0, 1].map(|number| text(&source, number)), ["kalo miro", "second"]);
    assert_eq!(
        [0, 1].map(|number| source.prompt(number).unwrap().output_tokens),
        [Some(3), Some(1)]
    );
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].code == "records_skipped" && warnings[0].message.starts_with("1 of 3 records"),
        "{warnings:?}"
    );
    let (capped, _) = open(
        &file.plan("prompts.dataset", &["prompts.outputLength.max=2", "benchmark.requests=2"]),
    );
    assert_eq!(
        [0, 1].map(|number| capped.prompt(number).unwrap().output_tokens),
        [Some(2), Some(1)]
    );
}

#[test]
fn a_prefix_before_recorded_text_is_its_share_of_the_whole() {
    let question = ["kalo"; 60].join(" ");
    let file = Fixture::new(
        "chat.json",
        format!("[{}, {}]", conversation(&question, "alpha"), conversation("miro", "alpha")),
    );
    let (source, _) = open(&file.plan("prompts.dataset", &["load.prefixRatio=0.4"]));
    let whole = text(&source, 0);
    let (prefix, rest) = whole.split_once("\n\n").unwrap();
    // 40 of 100 tokens: 0.4 × 60 / 0.6.
    assert_eq!((prefix.split(' ').count(), rest), (40, question.as_str()));
    assert_eq!(source.prompt(0).unwrap().input_tokens, Some(toy().count(&whole).unwrap()));
    assert!(prefix.starts_with(text(&source, 1).split("\n\n").next().unwrap()));
}

#[test]
fn a_salt_is_prepended_only_when_asked_for() {
    let file = Fixture::new("a.txt", "kalo\n");
    let (source, _) = open(&file.plan("prompts.file", &["prompts.salt=prepend"]));
    let (one, other) = (text(&source, 0), text(&source, 1));
    assert!(one.ends_with(" kalo") && other.ends_with(" kalo") && one.len() == 21 && one != other);
}

#[test]
fn shuffled_records_are_a_permutation_fixed_by_the_seed() {
    let lines: String = (0..100).map(|line| format!("line {line}\n")).collect();
    let file = Fixture::new("a.txt", lines);
    let mut shuffled = file.plan("prompts.file", &["prompts.shuffle=true"]);
    let order =
        |plan: &Plan| (0..100).map(|number| text(&open(plan).0, number)).collect::<Vec<_>>();
    let one = order(&shuffled);
    let mut sorted: Vec<&String> = one.iter().collect();
    sorted.sort();
    sorted.dedup();
    assert_eq!(sorted.len(), 100);
    assert_eq!(one, order(&shuffled));
    shuffled.seed = 43;
    assert_ne!(one, order(&shuffled));
}

#[test]
fn prompts_that_repeat_are_said_beforehand() {
    let file = Fixture::new("a.txt", "one\ntwo\n");
    let codes = |sets: &[&str]| {
        open(&file.plan("prompts.file", sets))
            .1
            .into_iter()
            .map(|warning| warning.code)
            .collect::<Vec<_>>()
    };
    assert_eq!(codes(&["benchmark.duration=0.2"]), Vec::<String>::new());
    assert_eq!(codes(&["benchmark.duration=0.3"]), ["prompts_repeat"]);
    assert_eq!(codes(&["benchmark.requests=3"]), ["prompts_repeat"]);
    let lonely = Fixture::new("a.txt", "one\n");
    let (_, warnings) = open(&lonely.plan("prompts.file", &["benchmark.requests=3"]));
    let told = &warnings[0].message;
    assert!(told.starts_with("3 requests use 1 prompt, which repeats: "), "{told}");
}

#[test]
fn records_over_the_limit_are_skipped_and_counted() {
    let long = ["kalo"; 30].join(" ");
    let file = Fixture::new("a.txt", format!("{long}\nkalo miro\n{long} kalo\nalpha\n"));
    let (source, warnings) =
        open(&file.plan("prompts.file", &["prompts.inputLength.max=30", "benchmark.requests=3"]));
    assert_eq!(
        [0, 1, 2].map(|number| text(&source, number)),
        [long.as_str(), "kalo miro", "alpha"]
    );
    assert!(
        warnings[0].message.contains("1 longer than `prompts.inputLength.max`"),
        "{warnings:?}"
    );
    // Enough for the run: what comes after is not counted for nothing.
    let (enough, _) =
        open(&file.plan("prompts.file", &["prompts.inputLength.max=30", "benchmark.requests=1"]));
    assert_eq!(enough.wraps_at(), Some(1));
}

#[test]
fn a_file_that_stops_inside_a_record_is_used_up_to_there() {
    let whole = conversation("kalo", "alpha");
    for (name, key, content, offset) in [
        (
            "a.json",
            "prompts.dataset",
            format!("[{whole}, {{\"id\": \"x\", \"conv"),
            whole.len() + 3,
        ),
        ("a.json", "prompts.dataset", format!("[{whole},"), whole.len() + 2),
        ("a.jsonl", "prompts.file", "{\"prompt\": \"kalo\"}\n{\"prompt\": \"mi".to_owned(), 19),
        ("a.csv", "prompts.file", "prompt\nkalo\n\"mi".to_owned(), 12),
        ("a.json", "prompts.file", "[\"kalo\", \"mi".to_owned(), 9),
    ] {
        let file = Fixture::new(name, &content);
        let (source, warnings) = open(&file.plan(key, &["benchmark.requests=1"]));
        assert_eq!((source.wraps_at(), text(&source, 0).as_str()), (Some(1), "kalo"), "{content}");
        assert_eq!(warnings[0].code, "dataset_truncated");
        assert!(
            warnings[0].message.contains(&format!("at byte {offset}: 1 records before it")),
            "{content}: {warnings:?}"
        );
    }
}

#[test]
fn broken_files_are_one_clear_line_for_each_problem() {
    for (name, key, content, lines) in [
        (
            "a.jsonl",
            "prompts.file",
            &b"{\"prompt\": \"a\"}\n{\"promt\": 1}\n{nonsense\n"[..], // misspelt
            &[
                "prompts `a.jsonl`, line 2: it has neither `prompt` nor `messages`",
                "prompts `a.jsonl`, line 3: not JSON: key must be a string (column 2)",
            ][..],
        ),
        (
            "a.txt",
            "prompts.file",
            b"good\nb\xffd\n",
            &["prompts `a.txt`, line 2: not UTF-8 at byte 6"],
        ),
        ("a.txt", "prompts.file", b"", &["prompts `a.txt`: it has no prompt"]),
        ("a.txt", "prompts.file", b"\n \n", &["prompts `a.txt`: it has no prompt"]),
        (
            "a.csv",
            "prompts.file",
            b"text\nx\n",
            &["prompts `a.csv`, line 1: no column `prompt` among `text`"],
        ),
        (
            "a.json",
            "prompts.file",
            b"[\"a\" \"b\"]",
            &[
                "prompts `a.json`, after record 1, line 1, byte 5: expected a comma or the list's end, found `\"`",
            ],
        ),
        (
            "c.json",
            "prompts.dataset",
            b"[{\"a\": nope}]",
            &["prompts `c.json`, record 1 at byte 1: not JSON: expected ident (column 8)"],
        ),
        (
            "c.json",
            "prompts.dataset",
            b"[{\"id\": 1",
            &["prompts `c.json`: no whole record: it ends inside the one that begins at byte 1"],
        ),
        (
            "c.json",
            "prompts.dataset",
            b"[{}, {}]",
            &[
                "prompts `c.json`: none of its 2 records can be used: 2 without a first human turn and a reply to it",
            ],
        ),
        (
            "c.json",
            "prompts.dataset",
            b"hello",
            &["prompts `c.json`, line 1, byte 0: expected a JSON list or object, found `h`"],
        ),
    ] {
        let file = Fixture::new(name, content);
        assert_eq!(file.refusal(key, &[]), lines, "{name} {:?}", String::from_utf8_lossy(content));
    }
}

#[test]
fn many_problems_are_not_all_written_out() {
    let file = Fixture::new("a.jsonl", "{}\n".repeat(20));
    let lines = file.refusal("prompts.file", &[]);
    assert_eq!(
        (lines.len(), lines[5].as_str()),
        (6, "prompts `a.jsonl`: and 15 more records like these")
    );
}

#[test]
fn messages_cannot_take_a_prefix() {
    let file = Fixture::new("a.jsonl", "{\"messages\": [{\"role\": \"user\"}]}\n");
    assert!(
        file.refusal("prompts.file", &["prompts.prefixRatio=0.5"])[0]
            .contains("act on plain prompts")
    );
    assert!(
        file.refusal("prompts.file", &["target.api=completions"])[0].contains("completions API")
    );
}

#[test]
fn a_broken_list_in_one_line_names_the_record() {
    let talk = conversation("q", "a");
    let share_gpt = Fixture::new("s.json", format!("[{talk},{{b}},{talk},{{a:}}]"));
    let lines = share_gpt.refusal("prompts.dataset", &[]);
    assert!(
        lines[0].contains(", record 2 at byte ") && lines[1].contains(", record 4 at byte "),
        "{lines:?}"
    );
    let list = Fixture::new("p.json", r#"[{"prompt":"x"},"y",{"a":}]"#);
    let lines = list.refusal("prompts.file", &[]);
    assert!(lines[0].contains(", record 3 at byte 20: not JSON"), "{lines:?}");
    let list = Fixture::new("q.json", r#"["x", "y" "z"]"#);
    let lines = list.refusal("prompts.file", &[]);
    assert!(lines[0].contains(", after record 2, line 1, byte 10: expected a comma"), "{lines:?}");
}

#[test]
fn what_is_no_regular_file_is_refused_without_waiting_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("prompts.jsonl");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    for path in [pipe.as_path(), folder.path(), Path::new("/dev/null")] {
        let plan = plan(&[&format!("prompts.dataset={}", path.display())]);
        let refused =
            PromptSource::with_tokenizers(&plan, |_| Ok((toy(), None))).map(drop).unwrap_err();
        assert!(refused[0].to_string().contains("no regular file"), "{}", refused[0]);
    }
}

#[test]
fn a_missing_file_or_tokenizer_is_named() {
    let missing = plan(&["prompts.file=/nonexistent/a.txt"]);
    let problems = PromptSource::with_tokenizers(&missing, |_| Ok((toy(), None))).unwrap_err();
    assert_eq!(
        problems[0].to_string(),
        "cannot read prompts `/nonexistent/a.txt`: No such file or directory (os error 2)"
    );
    let tokenizer =
        PromptSource::open(&plan(&["prompts.tokenizer=/nonexistent/t.json"])).unwrap_err();
    assert!(tokenizer[0].to_string().starts_with("cannot read tokenizer `/nonexistent/t.json`"));
}

#[test]
fn a_tokenizer_from_a_file_is_an_input() {
    let file = Fixture::new("tokenizer.json", crate::tokenizer::toy::json());
    let (source, _) =
        PromptSource::open(&file.plan("prompts.tokenizer", &["prompts.inputLength.mean=12"]))
            .unwrap();
    assert_eq!(source.prompt(3).unwrap().input_tokens, Some(12));
    assert_eq!(source.inputs()[0].path, file.path());
    assert!(Path::new(&source.tokenizer_name()).ends_with("tokenizer.json"));
}

#[test]
fn a_file_that_changes_under_the_run_is_noticed() {
    let file = Fixture::new("a.jsonl", "{\"prompt\": \"kalo\"}\n");
    let (source, _) = open(&file.plan("prompts.file", &[]));
    std::fs::write(file.path(), "x").unwrap();
    assert!(matches!(source.prompt(0), Err(PromptError::Changed { .. })));
}

#[test]
fn threads_share_a_source() {
    fn shared<T: Send + Sync + 'static>(_: &T) {}
    let (source, _) = open(&plan(&[]));
    shared(&source);
}
