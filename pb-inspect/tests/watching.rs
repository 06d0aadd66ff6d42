//! Events as they happen: what is told, in which order, to whom, and what becomes of those that nobody takes.

mod served;

use std::process::Stdio;
use std::time::Duration;

use pb_client::connect;
use pb_server::inspect::{EventRow, EventsRef, InspectError};
use serde_json::Value as Json;
use served::{DirRef, Served};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::time::timeout;

const MINUTE: Duration = Duration::from_secs(60);

async fn watch(served: &Served, filter: &[&str], events: &[&str], own: bool) -> EventsRef {
    let (_, inspector) = served.look().await;
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    inspector.watch(words(filter), words(events), own).await.expect("it may")
}

/// Events until one is the last that is waited for.
async fn until(events: &EventsRef, last: impl Fn(&EventRow) -> bool) -> Vec<EventRow> {
    let mut all: Vec<EventRow> = Vec::new();
    while !all.iter().any(&last) {
        let happened = timeout(MINUTE, events.next()).await.expect("it answers").expect("it is there");
        assert_eq!(happened.lost, 0);
        all.extend(happened.rows);
    }
    all
}

fn words(rows: &[EventRow]) -> Vec<String> {
    let told = |row: &EventRow| {
        let method = row.method.as_deref().unwrap_or("-");
        let of = row.type_name.rsplit("::").next().unwrap_or_default();
        let failure = row.failure.as_deref().unwrap_or("");
        format!("{} {} {method} {of} {failure}", row.event, row.connection).trim_end().to_owned()
    };
    rows.iter().map(told).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_does_is_told_in_its_order() {
    let served = Served::start().await;
    let events = watch(&served, &[], &[], false).await;
    let client = connect(served.url()).await.expect("it is there");
    let dir: DirRef = client.root();
    let file = dir.file("canary".into()).await.expect("it opens");
    file.read().await.expect("it reads");
    drop(file);
    let mut rows = until(&events, |row| row.event == "released").await;
    assert!(dir.refuse().await.is_err());
    assert!(dir.remote().cast::<served::FileRef>().read().await.is_err());
    let lent = dir.lend().await.expect("it lends");
    dir.take_back().await.expect("it takes it back");
    client.close();
    rows.extend(until(&events, |row| row.event == "disconnected").await);
    let told = words(&rows);
    assert_eq!(
        told,
        [
            "connected 1 -",
            "called 1 Dir/file OneDir",
            "answered 1 Dir/file OneDir",
            "exported 1 Dir/file OneFile",
            "called 1 File/read OneFile",
            "answered 1 File/read OneFile",
            "released 1 - OneFile",
            "called 1 Dir/refuse OneDir",
            "failed 1 Dir/refuse OneDir App",
            "called 1 File/read OneDir",
            "failed 1 File/read OneDir Unimplemented",
            "called 1 Dir/lend OneDir",
            "answered 1 Dir/lend OneDir",
            "exported 1 Dir/lend OneFile",
            "called 1 Dir/take_back OneDir",
            // What was lent leads nowhere by now.
            "revoked 1 -  Refused",
            "answered 1 Dir/take_back OneDir",
            "disconnected 1 -",
        ],
        "{rows:#?}"
    );
    assert!(rows.windows(2).all(|pair| pair[0].time_us <= pair[1].time_us));
    assert!(!format!("{rows:?}").contains("canary"), "what programs say is in no event");
    // One number for one object, from when it is given to when it is let go.
    let numbers: Vec<_> = [3, 4, 5, 6].map(|at| rows[at].object).to_vec();
    assert!(numbers[0].is_some() && numbers.iter().all(|number| *number == numbers[0]), "{numbers:?}");
    let revoked = rows.iter().find(|row| row.event == "revoked").expect("it is there");
    assert!(revoked.reason.as_deref().is_some_and(|reason| reason.contains("the audit is over")));
    drop(lent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_call_of_a_client_is_seen_though_it_comes_with_the_hello() {
    let served = Served::start().await;
    let events = watch(&served, &[], &["called", "connected"], false).await;
    for _ in 0..20 {
        let client = connect(served.url()).await.expect("it is there");
        client.root::<DirRef>().sum(vec![1]).await.expect("it adds");
    }
    let rows = until(&events, |row| row.event == "called" && row.connection == 20).await;
    let told: Vec<_> = rows.iter().map(|row| (row.connection, row.event.as_str())).collect();
    for connection in 1..=20 {
        let of: Vec<_> = told.iter().filter(|(of, _)| *of == connection).map(|(_, event)| *event).collect();
        assert_eq!(of, ["connected", "called"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_lets_through_what_meets_all_of_it() {
    let served = Served::start().await;
    let client = connect(served.url()).await.expect("it is there");
    let dir: DirRef = client.root();
    let (one, other) =
        (dir.file("one".into()).await.expect("it opens"), dir.file("other".into()).await.expect("it opens"));
    let failed = watch(&served, &["method~refuse", "failure=App"], &["failed"], false).await;
    let slow = watch(&served, &["type_name~OneFile", "took_us>0"], &[], false).await;
    one.read().await.expect("it reads");
    other.read().await.expect("it reads");
    dir.sum(vec![1, 2]).await.expect("it adds");
    assert!(dir.refuse().await.is_err());
    dir.sum(vec![1, 2]).await.expect("it adds");
    let rows = until(&failed, |_| true).await;
    assert_eq!(words(&rows), ["failed 1 Dir/refuse OneDir App"]);
    let rows = until(&slow, |_| true).await;
    assert!(rows.iter().all(|row| row.event == "answered" && row.method.as_deref() == Some("File/read")));
    // By its number: of one of two objects of a type.
    let object = rows[0].object.expect("it has a number");
    let condition = format!("object=@{object}");
    let of_one = watch(&served, &[&condition], &["called"], false).await;
    other.read().await.expect("it reads");
    one.read().await.expect("it reads");
    dir.sum(vec![]).await.expect("it adds");
    let rows = until(&of_one, |_| true).await;
    assert_eq!((rows.len(), rows[0].object), (1, Some(object)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_too_late_is_told_how_much_is_missing_and_sees_on() {
    let served = Served::start().await;
    let events = watch(&served, &[], &["called"], false).await;
    let client = connect(served.url()).await.expect("it is there");
    let dir: DirRef = client.root();
    let burst = |count: usize| {
        let dir = dir.clone();
        async move {
            for _ in 0..count / 100 {
                let calls: Vec<_> = (0..100).map(|n| dir.sum(vec![n])).collect();
                for call in calls {
                    call.await.expect("it adds");
                }
            }
        }
    };
    burst(10_000).await;
    let (mut seen, mut lost) = (0, 0);
    while lost == 0 {
        let happened = timeout(MINUTE, events.next()).await.expect("it answers").expect("it is there");
        assert!(happened.rows.len() <= 1000);
        (seen, lost) = (seen + happened.rows.len() as u64, lost + happened.lost);
    }
    assert_eq!((seen, lost), (8192, 10_000 - 8192), "what is kept has a bound, and what is not is counted");
    burst(100).await;
    let mut more = 0;
    while more < 100 {
        let happened = timeout(MINUTE, events.next()).await.expect("it answers").expect("it is there");
        assert_eq!(happened.lost, 0);
        more += happened.rows.len();
    }
    assert_eq!(more, 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_own_traffic_is_not_shown_unless_it_is_asked_for() {
    let served = Served::start().await;
    let plain = watch(&served, &[], &["called", "answered"], false).await;
    let with_own = watch(&served, &[], &["called"], true).await;
    let rows = until(&with_own, |row| row.method.as_deref() == Some("Events/next")).await;
    assert!(rows.iter().all(|row| row.event == "called"));
    let client = connect(served.url()).await.expect("it is there");
    client.root::<DirRef>().sum(vec![1]).await.expect("it adds");
    let rows = until(&plain, |row| row.event == "answered").await;
    assert_eq!(words(&rows), ["called 1 Dir/sum OneDir", "answered 1 Dir/sum OneDir"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_as_may_watch_do_and_one_that_leaves_makes_room() {
    let served = Served::start().await;
    let (_broker, inspector) = served.look().await;
    let watch = || inspector.watch(vec![], vec![], false);
    let mut all = Vec::new();
    for _ in 0..16 {
        all.push(watch().await.expect("there is room"));
    }
    let Err(pb_client::CallError::App(error)) = watch().await else { panic!("there is no room") };
    assert_eq!(error, InspectError::TooMany { most: 16 });
    all.pop();
    let room = async {
        while watch().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(MINUTE, room).await.expect("its place is free again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_event_and_no_condition_is_told() {
    let served = Served::read_only().await;
    let told = [
        (
            &["watch", "-e", "opened"][..],
            "\"opened\" is no event; events are connected, disconnected, called",
        ),
        (&["watch", "-f", "size>1"], "\"size>1\" is no condition"),
        (&["watch", "-f", "took_us>soon"], "\"took_us>soon\" is no condition"),
    ];
    for (words, says) in told {
        let (code, out, error) = served.run(words).await;
        assert_eq!((code, out.as_str()), (Some(2), ""), "{words:?}: {error}");
        assert!(error.starts_with(&format!("pb: {says}")) && error.lines().count() == 1, "{error}");
    }
}

/// The tool, once it sees what happens.
async fn tool(served: &Served, words: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>, pb_client::Broker) {
    let mut child = served.command(words).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    loop {
        let client = connect(served.url()).await.expect("it is there");
        if let Ok(line) = timeout(Duration::from_millis(500), lines.next_line()).await {
            let line = line.expect("a text").expect("it is not over");
            assert!(line.contains("connected"), "{line}");
            return (child, lines, client);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_line_of_json_is_an_event_with_the_fields_that_programs_rely_on() {
    let served = Served::start().await;
    let (mut child, mut lines, client) =
        tool(&served, &["watch", "--json", "-e", "connected,called,answered"]).await;
    client.root::<DirRef>().sum(vec![1]).await.expect("it adds");
    let wanted = [
        "bytes",
        "call",
        "connection",
        "event",
        "export",
        "failure",
        "lost",
        "method",
        "object",
        "peer",
        "reason",
        "time_us",
        "took_us",
        "type_name",
    ];
    loop {
        let line = timeout(MINUTE, lines.next_line()).await.expect("it comes").expect("a text");
        let line: Json = serde_json::from_str(&line.expect("it goes on")).expect("JSON");
        let keys: Vec<_> = line.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(keys, wanted);
        if line["event"] == "answered" {
            assert_eq!((&line["method"], &line["lost"]), (&Json::from("Dir/sum"), &Json::from(0)));
            break;
        }
    }
    child.kill().await.expect("it runs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_look_as_they_did_and_fit() {
    let served = Served::start().await;
    for width in [80, 200] {
        let columns = width.to_string();
        let (mut child, mut lines, client) = tool(&served, &["watch", "--width", &columns]).await;
        let dir: DirRef = client.root();
        let file = dir.file("a name that nobody needs to see".into()).await.expect("it opens");
        file.read().await.expect("it reads");
        let lent = dir.lend().await.expect("it lends");
        dir.take_back().await.expect("it takes it back");
        drop(file);
        let mut shown = Vec::new();
        for last in ["released", "Dir/sum @N OneDir TIME"] {
            while !shown.last().is_some_and(|line: &String| line.contains(last)) {
                let line = timeout(MINUTE, lines.next_line()).await.expect("it comes").expect("a text");
                let line = line.expect("it goes on");
                assert!(line.chars().count() <= width && (width == 80 || !line.contains('…')), "{line}");
                shown.push(steady(&line));
            }
            dir.sum(vec![]).await.expect("it adds");
        }
        // Clients that came before come and go meanwhile; this one alone calls.
        let own = shown.iter().filter(|line| !line.contains("connected"));
        let own: Vec<&str> = own.map(String::as_str).collect();
        let wanted = [
            "called C/1 Dir/file @N OneDir 32B",
            "answered C/1 Dir/file @N OneDir TIME 0B",
            "exported C @N OneFile by Dir/file",
            "called C/2 File/read @N OneFile 0B",
            "answered C/2 File/read @N OneFile TIME 1B",
            "called C/3 Dir/lend @N OneDir 0B",
            "answered C/3 Dir/lend @N OneDir TIME 0B",
            "exported C @N OneFile by Dir/lend",
            "called C/4 Dir/take_back @N OneDir 0B",
            "revoked C @N Refused: the audit is over",
            "answered C/4 Dir/take_back @N OneDir TIME 0B",
            "released C @N OneFile",
            "called C/5 Dir/sum @N OneDir 1B",
            "answered C/5 Dir/sum @N OneDir TIME 1B",
        ];
        assert_eq!(own, wanted, "at {width}");
        child.kill().await.expect("it runs");
        drop(lent);
    }
}

/// A line without what is another each time.
fn steady(line: &str) -> String {
    let words = line.split_whitespace().skip(1).enumerate().map(|(at, word)| match word {
        _ if at == 1 => word.split_once('/').map_or("C".to_owned(), |(_, call)| format!("C/{call}")),
        _ if word.starts_with('@') => "@N".to_owned(),
        _ if word.ends_with("us") || word.ends_with("ms") => "TIME".to_owned(),
        word => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_after_as_many_events_as_are_wanted_and_when_the_server_goes() {
    let served = Served::start().await;
    let (mut child, _lines, client) = tool(&served, &["watch", "-n", "3"]).await;
    client.root::<DirRef>().sum(vec![]).await.expect("it adds");
    let ended = timeout(MINUTE, child.wait()).await.expect("it ends").expect("it ran");
    assert_eq!(ended.code(), Some(0));
    let (mut child, _lines, client) = tool(&served, &["watch"]).await;
    drop(served);
    let ended = timeout(MINUTE, child.wait()).await.expect("it ends").expect("it ran");
    assert_eq!(ended.code(), Some(3));
    drop(client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_calls_took_is_summed_up_object_by_object() {
    let served = Served::start().await;
    let client = connect(served.url()).await.expect("it is there");
    let dir: DirRef = client.root();
    let (one, other) =
        (dir.file("one".into()).await.expect("it opens"), dir.file("other".into()).await.expect("it opens"));
    let objects: Vec<Json> =
        serde_json::from_str(&served.pb(&["objects", "--json", "-f", "type_name~OneFile"]).await)
            .expect("rows");
    let condition = format!("object=@{}", objects[0]["id"]);
    let watching = served.command(&["watch", "-f", &condition, "--summary", "--json", "-n", "3"]);
    let mut child = {
        let mut watching = watching;
        watching.stdout(Stdio::piped()).spawn().expect("it starts")
    };
    let calling = tokio::spawn(async move {
        loop {
            one.read().await.expect("it reads");
            other.name().await.expect("it has one");
            other.read().await.expect("it reads");
            one.name().await.expect("it has one");
        }
    });
    let mut printed = String::new();
    let mut out = child.stdout.take().expect("piped");
    let reading = tokio::io::AsyncReadExt::read_to_string(&mut out, &mut printed);
    timeout(MINUTE, reading).await.expect("it ends").expect("a text");
    calling.abort();
    assert_eq!(child.wait().await.expect("it ran").code(), Some(0));
    let json: Json = serde_json::from_str(&printed).expect("JSON");
    let keys = |json: &Json| json.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&json), ["lost", "methods", "watched_ms"]);
    let rows = json["methods"].as_array().expect("a list");
    assert!(rows.iter().all(|row| row["object"] == objects[0]["id"]), "{json}");
    let row = [
        "calls",
        "calls_per_second",
        "errors",
        "failed",
        "failures",
        "max_us",
        "method",
        "object",
        "p50_us",
        "p99_us",
        "type_name",
    ];
    assert_eq!(keys(&rows[0]), row);
    let calls: u64 = rows.iter().filter_map(|row| row["calls"].as_u64()).sum();
    assert_eq!((calls, rows.len()), (3, 2), "{json}");
    assert!(rows.iter().all(|row| row["p50_us"].as_u64() <= row["p99_us"].as_u64()), "{json}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_with_its_time_and_says_so_where_nothing_was_called() {
    let served = Served::read_only().await;
    assert_eq!(served.pb(&["watch", "--for", "0.1"]).await, "");
    let summed = served.pb(&["watch", "--summary", "--for", "0.1"]).await;
    assert!(summed.starts_with("no calls have ended in "), "{summed}");
    for words in [
        &["watch", "--for=-1"][..],
        &["conns", "--watch=-1"],
        &["stats", "--over=-1"],
        &["stats", "--watch=NaN"],
    ] {
        let (code, out, error) = served.run(words).await;
        assert_eq!((code, out.as_str()), (Some(2), ""), "{words:?}: {error}");
        assert!(error.contains(" s is no time ") && error.lines().count() == 1, "{error}");
    }
    let (code, _, error) = served.run(&["watch", "--summary", "-e", "called"]).await;
    assert!(code == Some(2) && error.contains("cannot be used with"), "{error}");
}

/// Each answer is an event of the inspector's own: told at once, it would be asked for and told again for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asking_for_ones_own_events_does_not_keep_the_server_busy() {
    let served = Served::start().await;
    let events = watch(&served, &[], &["called"], true).await;
    let began = std::time::Instant::now();
    for _ in 0..20 {
        timeout(MINUTE, events.next()).await.expect("it answers").expect("it is there");
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(20 * 20), "20 answers within {took:?}");
}
