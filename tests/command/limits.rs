//! Limits of this machine that are too small for what is asked, found before the load.

use std::process::{Command, Output};

/// `tokenstorm plan` under a shell's limits.
fn plan_under(limits: &str, arguments: &[&str]) -> Output {
    let script = format!("{limits} && exec \"$0\" plan --endpoint http://127.0.0.1:1 \"$@\"");
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_tokenstorm")).args(arguments);
    shell.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    shell.output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn too_few_open_files_are_one_clear_line_with_the_setting_and_the_limit() {
    let output = plan_under("ulimit -n 300", &["--concurrency", "1000"]);
    assert_eq!(output.status.code(), Some(2));
    let error = stderr(&output);
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.contains("`load.concurrency` asks for 1000"), "{error}");
    assert!(error.contains("300 open files"), "{error}");
}

#[test]
fn a_soft_limit_is_raised_to_the_hard_one_and_no_obstacle() {
    let output = plan_under("ulimit -Sn 300 && ulimit -Hn 2000", &["--concurrency", "1000"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn a_simulator_in_the_process_takes_its_end_of_each_connection() {
    let limits = "ulimit -n 1500";
    let simulated = ["--concurrency", "1000", "--set", "simulator.ttftMs=5"];
    let script = format!("{limits} && exec \"$0\" plan \"$@\"");
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_tokenstorm")).args(simulated);
    assert_eq!(shell.env_clear().output().unwrap().status.code(), Some(2));
    let output = plan_under(limits, &["--concurrency", "1000"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn more_in_flight_than_local_ports_is_refused_with_the_range() {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let ends: Vec<u32> = range.split_whitespace().map(|end| end.parse().unwrap()).collect();
    let beyond = (ends[1] - ends[0] + 2).to_string();
    let output = plan_under("true", &["--concurrency", &beyond]);
    assert_eq!(output.status.code(), Some(2));
    let named = format!("the local ports {} to {}", ends[0], ends[1]);
    assert!(stderr(&output).contains(&named), "{}", stderr(&output));
}

#[test]
fn an_uncapped_load_is_a_doubt_and_a_cap_removes_it() {
    let load = ["--rate", "100", "--duration", "1h"];
    // 300 files are some 200 streams: answers of two seconds.
    let output = plan_under("ulimit -n 300", &load);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let plan = String::from_utf8(output.stdout).unwrap();
    assert!(plan.contains("warning limits:") && plan.contains("300 open files"), "{plan}");
    let capped = plan_under("ulimit -n 300", &[&load[..], &["--concurrency", "100"]].concat());
    assert!(!String::from_utf8(capped.stdout).unwrap().contains("limits"));
}
