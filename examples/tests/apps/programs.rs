use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::program::{Serving, binary, run};

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A program that is killed when this is dropped, and its lines.
struct Running {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Running {
    fn start(program: &str, arguments: &[&str]) -> Running {
        let mut child =
            Command::new(binary(program)).args(arguments).stdout(Stdio::piped()).spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("it has not ended").unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn jobs_are_done_by_workers_that_come_and_go() {
    let mut queue = Serving::start("jobs", &["serve"], 1);
    let url = queue.urls[0].clone();
    for below in ["1000", "100"] {
        let mut worker = Running::start("jobs", &["work", &url]);
        assert_eq!(worker.line(), "working");
        // The worker of the round before was killed: its call fails, and the next one has its turn.
        let done = run("jobs", &["run", &url, below]);
        assert!(done.status.success(), "{}", text(&done.stderr));
        let count = if below == "1000" { 168 } else { 25 };
        assert_eq!(text(&done.stdout), format!("there are {count} primes below {below}\n"));
        let last = format!("{below}: 100 %\n");
        assert!(text(&done.stderr).ends_with(&last), "{}", text(&done.stderr));
    }
    let _worker = Running::start("jobs", &["work", &url]);
    let failed = run("jobs", &["run", &url, "2000000"]);
    assert_eq!(failed.status.code(), Some(1));
    let sentence = "jobs: a worker counts the primes below 1000000 at the most, not those below 2000000\n";
    assert_eq!(text(&failed.stderr), sentence);
    queue.signal("-TERM");
    queue.signal("-TERM");
    assert!(queue.end().success());
}

#[test]
fn a_counter_is_changed_and_watched_past_and_through_the_proxy() {
    let counter = Serving::start("counter", &["serve"], 1);
    let mut proxy = Running::start("proxy", &[&counter.urls[0]]);
    let url = proxy.line().strip_prefix("listening on ").unwrap().to_owned();
    let mut watching = Running::start("counter", &["watch", &url]);
    assert_eq!(watching.line(), "0");
    assert_eq!(text(&run("counter", &["add", &counter.urls[0], "5"]).stdout), "5\n");
    assert_eq!(watching.line(), "5");
    assert_eq!(text(&run("counter", &["add", &url, "-7"]).stdout), "-2\n");
    assert_eq!(watching.line(), "-2");
    let logged: Vec<String> = (0..4).map(|_| proxy.line()).collect();
    assert!(logged.iter().all(|line| line.starts_with("tcp://127.0.0.1:")), "{logged:?}");
    drop(counter);
    let failed = run("counter", &["add", &url, "1"]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(text(&failed.stderr).starts_with("counter: the counter is away: "), "{}", text(&failed.stderr));
}

#[test]
fn who_asks_nobody_is_told_so() {
    for program in ["jobs", "counter"] {
        let arguments: &[&str] =
            if program == "jobs" { &["work", "mem://nobody"] } else { &["add", "mem://nobody", "1"] };
        let failed = run(program, arguments);
        assert_eq!(failed.status.code(), Some(1));
        let sentence = format!("{program}: cannot connect to mem://nobody: nobody listens on mem://nobody\n");
        assert_eq!(text(&failed.stderr), sentence);
    }
}

#[test]
fn any_server_is_shown_called_and_logged_without_its_types() {
    let counter = Serving::start("counter", &["serve"], 1);
    let url = &counter.urls[0];
    let shown = run("any", &["show", url]);
    let shown = text(&shown.stdout).to_owned();
    assert!(
        shown.starts_with("/// Adds to it, and says what it is then.\nCounter/add(n: i64) -> i64 or error <"),
        "{shown}"
    );
    let mut log = Running::start("any", &["log", url]);
    let logged = log.line().strip_prefix("listening on ").unwrap().to_owned();
    let mut watching = Running::start("counter", &["watch", &logged]);
    assert_eq!(watching.line(), "0");
    assert!(log.line().ends_with(" Counter/watch [Ref(-1)] -> Ok(())"), "the watcher went through");
    assert_eq!(text(&run("any", &["call", &logged, "add", "5"]).stdout), "5\n");
    assert_eq!(watching.line(), "5");
    assert!(log.line().ends_with(" Counter/add [5] -> Ok(5)"));
    let most = i64::MAX.to_string();
    let failed = run("any", &["call", &logged, "Counter/add", &most]);
    let sentence = format!("any: Counter/add says TooLarge({{value: 5, n: {most}}})\n");
    assert_eq!((failed.status.code(), text(&failed.stderr)), (Some(1), sentence.as_str()));
    let failed = run("any", &["call", url, "add", "five"]);
    let sentence = "any: argument 1 of Counter/add, `n`: expected i64, found the text \"five\"\n";
    assert_eq!((failed.status.code(), text(&failed.stderr)), (Some(1), sentence));
}
