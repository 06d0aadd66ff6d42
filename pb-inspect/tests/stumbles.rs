//! What an operator stumbled over who looked for faults with nothing but the tool.

mod served;

use pb_client::connect;
use serde_json::Value as Json;
use served::{DirRef, FileRef, Hangs, Served, list};
use tokio::io::AsyncWriteExt as _;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_has_ended_can_be_asked_for_afterwards() {
    let served = Served::start().await;
    assert_eq!(
        served.pb(&["conns", "--ended"]).await,
        "no connection has ended since the server began\n",
        "and the tool's own are not among them"
    );
    let client = connect(served.url()).await.expect("it is there");
    let files = client.root::<DirRef>().files(7).await.expect("it opens");
    served.until("conns", |rows| rows.iter().any(|row| row["objects"] == 7)).await;
    let peer = list(&served.pb(&["conns", "--json"]).await)[0]["peer"].clone();
    client.close();
    drop(files);
    served.until("conns", <[Json]>::is_empty).await;
    let rows = list(&served.pb(&["conns", "--ended", "--json"]).await);
    let row = &rows[0];
    assert_eq!((rows.len(), &row["connection"], &row["peer"]), (1, &Json::from(1), &peer));
    assert_eq!((&row["objects"], &row["greeted"]), (&Json::from(7), &Json::from(true)));
    assert_eq!(row["kind"], "Disconnected");
    assert!(row["time_us"].as_u64() > Some(0) && row["ago_ms"].is_u64() && row["lasted_ms"].is_u64());
    let reason = row["reason"].as_str().expect("a text");
    let shown = served.pb(&["conns", "--ended"]).await;
    assert!(shown.starts_with("CONN  PEER") && shown.contains(reason) && shown.contains(" ago"), "{shown}");
    // The first thing that anybody asks says so, too.
    let shown = served.pb(&["stats", "--over", "0"]).await;
    let line = shown.lines().find(|line| line.starts_with("last ended: 1 from tcp://")).expect("it is told");
    assert!(line.ends_with(&format!("holding 7 objects: {reason}")), "{line}");
    let stats = served.pb(&["stats", "--over", "0", "--json"]).await;
    let stats: Json = serde_json::from_str(&stats).expect("it is JSON");
    assert_eq!((&stats["last_ended"]["connection"], &stats["last_ended"]["kind"]), (&1.into(), &row["kind"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_broken_says_why_before_all_else_and_what_gave_it() {
    let served = Served::start().await;
    let client = connect(served.url()).await.expect("it is there");
    let dir: DirRef = client.root();
    let lent = dir.lend().await.expect("it lends");
    dir.take_back().await.expect("it takes it back");
    served.until("objects", |rows| rows.iter().any(|row| row["kind"] == "broken")).await;
    let rows = list(&served.pb(&["objects", "--json", "-f", "given_by=Dir/lend"]).await);
    assert_eq!((rows.len(), &rows[0]["broken"]), (1, &Json::from("the audit is over")));
    let shown = served.pb(&["objects", "-f", "kind=broken"]).await;
    assert!(shown.trim_end().ends_with("  the audit is over, given by Dir/lend"), "{shown}");
    drop(lent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oldest_call_stands_beside_its_method_and_fail_is_one_thing() {
    let served = Served::start().await;
    let client = connect(served.url()).await.expect("it is there");
    let dir: DirRef = client.root();
    assert!(dir.refuse().await.is_err());
    let hangs = dir.hang();
    served.until("calls", |rows| rows.iter().any(|row| row["age_ms"].as_u64() > Some(1))).await;
    let stats = served.pb(&["stats", "--over", "0", "--json", "-s=-oldest_ms"]).await;
    let stats: Json = serde_json::from_str(&stats).expect("it is JSON");
    let (hung, refused) = (&stats["methods"][0], &stats["methods"][1]);
    assert_eq!((&hung["method"], &refused["method"]), (&"Dir/hang".into(), &"Dir/refuse".into()));
    assert!(hung["oldest_ms"].as_u64() > Some(1) && refused["oldest_ms"].is_null(), "{stats}");
    assert_eq!(
        (&refused["errors"], &refused["failures"], &refused["failed"]),
        (&1.into(), &0.into(), &1.into())
    );
    let shown = served.pb(&["stats", "--over", "0"]).await;
    assert!(shown.contains("OLDEST  FAIL") && shown.contains("  App 1"), "{shown}");
    // What each list says of failures.
    let conns = list(&served.pb(&["conns", "--json", "-f", "failed=1"]).await);
    let objects = list(&served.pb(&["objects", "--json", "-f", "failed=1"]).await);
    assert_eq!((conns.len(), objects.len()), (1, 1));
    drop(hangs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_method_of_which_no_call_has_ended_has_no_longest_time() {
    let served = Served::start().await;
    let client = connect(served.url()).await.expect("it is there");
    let hangs = client.root::<DirRef>().hang();
    served.until("calls", |rows| !rows.is_empty()).await;
    let shown = served.pb(&["stats", "--over", "0", "-f", "method=Dir/hang"]).await;
    let row = shown.lines().find(|line| line.starts_with("Dir/hang ")).expect("it is listed");
    let cells: Vec<&str> = row.split_whitespace().collect();
    // P50, P99 and MAX; nothing has failed.
    assert_eq!((cells[5], &cells[6..]), ("0", &["-", "-", "-"][..]), "{shown}");
    drop(hangs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_clients_that_have_gone_are_counted_with_the_server() {
    let served = Served::start().await;
    let (stays, goes) =
        (connect(served.url()).await.expect("there"), connect(served.url()).await.expect("there"));
    stays.root::<DirRef>().sum(vec![1]).await.expect("it adds");
    assert!(goes.root::<DirRef>().refuse().await.is_err());
    assert!(stays.root::<DirRef>().refuse().await.is_err());
    goes.root::<DirRef>().sum(vec![1]).await.expect("it adds");
    goes.root::<DirRef>().sum(vec![2]).await.expect("it adds");
    let before = served.pb(&["stats", "--over", "0"]).await;
    let told = "\ncalls: 5 so far, 2 failed; 0 of them, 0 failed, by clients that have gone\n";
    assert!(before.contains(told), "{before}");
    goes.close();
    served.until("conns", |rows| rows.len() == 1).await;
    let after = async {
        loop {
            let stats = served.pb(&["stats", "--over", "0", "--json"]).await;
            let stats: Json = serde_json::from_str(&stats).expect("it is JSON");
            if stats["server"]["ended_calls_failed"] == 1 {
                return stats["server"].clone();
            }
        }
    };
    let server = tokio::time::timeout(std::time::Duration::from_secs(60), after).await.expect("it ends");
    assert_eq!((&server["calls"], &server["calls_failed"]), (&5.into(), &2.into()), "{server}");
    assert_eq!((&server["ended_calls"], &server["ended_calls_failed"]), (&3.into(), &1.into()), "{server}");
    let listed = served.pb(&["stats", "--over", "0"]).await;
    let told = "\ncalls: 5 so far, 2 failed; 3 of them, 1 failed, by clients that have gone\n";
    assert!(listed.contains(told), "{listed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_type_is_asked_for_as_it_is_shown_or_by_its_whole_name() {
    let served = Served::start().await;
    let client = connect(served.url()).await.expect("it is there");
    let dir: DirRef = client.root();
    let (file, hangs) = (dir.file("ada".into()).await.expect("it opens"), dir.hang());
    served.until("calls", |rows| !rows.is_empty()).await;
    let types = async |command, condition: &str| {
        let rows = list(&served.pb(&[command, "--json", "-f", condition]).await);
        rows.iter().map(|row| row["type_name"].as_str().expect("a text").to_owned()).collect::<Vec<_>>()
    };
    let whole = &types("objects", "interfaces=File").await[0];
    assert!(whole.ends_with("::OneFile"), "{whole}");
    assert!(served.pb(&["objects"]).await.contains(" OneFile "));
    for wanted in ["OneFile", whole] {
        assert_eq!(types("objects", &format!("type_name={wanted}")).await, std::slice::from_ref(whole));
    }
    assert!(types("objects", "type_name=File").await.is_empty());
    assert!(!types("objects", "type_name!=OneFile").await.contains(whole));
    assert_eq!(types("calls", "type_name=OneDir").await.len(), 1);
    drop((file, hangs));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_whose_answer_the_server_waits_for_is_seen() {
    let served = Served::start().await;
    let (good, hangs) =
        (connect(served.url()).await.expect("there"), connect(served.url()).await.expect("there"));
    good.root::<DirRef>().sum(vec![1]).await.expect("it adds");
    let waits = hangs.root::<DirRef>().name_of(FileRef::new(Hangs));
    served.until("conns", |rows| rows.iter().any(|row| row["owes"] == 1)).await;
    let rows = list(&served.pb(&["conns", "--json"]).await);
    for key in ["busy_waits_paid", "busy_waits_in_vain"] {
        assert!(
            rows.iter().all(|row| row[key].as_str().is_some_and(|count| count.parse::<u64>().is_ok())),
            "{rows:?}"
        );
    }
    assert_eq!((&rows[0]["owes"], &rows[1]["owes"]), (&Json::from(0), &Json::from(1)));
    assert_eq!(served.pb(&["conns"]).await.matches("owes 1 answer").count(), 1);
    drop(waits);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_among_those_who_have_gone_and_why() {
    let served = Served::start().await;
    let host = served.url().strip_prefix("tcp://").expect("it is tcp").to_owned();
    let mut stranger = tokio::net::TcpStream::connect(host).await.expect("it is there");
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("it is taken");
    let told = async {
        loop {
            let rows = list(&served.pb(&["conns", "--ended", "--json", "-f", "greeted=false"]).await);
            if !rows.is_empty() {
                return rows;
            }
        }
    };
    let rows = tokio::time::timeout(std::time::Duration::from_secs(60), told).await.expect("it is told");
    assert_eq!(rows[0]["connection"], 1);
    let shown = served.pb(&["conns", "--ended"]).await;
    assert!(shown.contains("before its hello: "), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_wait_until_their_caller_reads_are_told_from_those_that_run() {
    let served = Served::start().await;
    let client = connect(served.url()).await.expect("it is there");
    let hangs = client.root::<DirRef>().hang();
    let deaf = served.deaf_client().await;
    served.until("calls", |rows| rows.iter().any(|row| row["state"] == "held back")).await;
    let rows = list(&served.pb(&["calls", "--json", "-f", "state=held back"]).await);
    assert!(rows.iter().all(|row| row["method"] == "Dir/much" && row["connection"] == 2), "{rows:?}");
    let rows = list(&served.pb(&["calls", "--json", "-f", "method=Dir/hang"]).await);
    assert_eq!((rows.len(), &rows[0]["state"]), (1, &Json::from("waiting")));
    assert!(served.pb(&["calls"]).await.contains("  held back  "));
    drop((hangs, deaf));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_says_which_of_one_type_are_lent() {
    let served = Served::start().await;
    let client = connect(served.url()).await.expect("it is there");
    let dir: DirRef = client.root();
    let (lent, own) = (dir.lend().await.expect("it lends"), dir.file("own".into()).await.expect("it opens"));
    let shown = served.pb(&["tree"]).await;
    assert!(shown.contains("─ OneFile (lent)  @") && shown.contains("─ OneFile  @"), "{shown}");
    drop((lent, own));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_looks_is_no_holder_unless_that_is_asked_for() {
    let served = Served::start().await;
    let client = connect(served.url()).await.expect("it is there");
    let file = client.root::<DirRef>().file("ada".into()).await.expect("it opens");
    let rows = list(&served.pb(&["objects", "--json", "-f", "interfaces=File"]).await);
    let (id, name) = (rows[0]["id"].as_u64().expect("a number"), format!("@{}", rows[0]["id"]));
    let (_broker, inspector) = served.look().await;
    let held = inspector.reference(id).await.expect("it may be called");
    let holders = async |words: &[&str]| {
        let shown = served.pb(&[&["show", &name, "--json"], words].concat()).await;
        let shown: Json = serde_json::from_str(&shown).expect("it is JSON");
        let listed = shown["holders"].as_array().expect("a list").len() as u64;
        assert_eq!(shown["row"]["holders"], listed, "{shown}");
        listed
    };
    assert_eq!((holders(&[]).await, holders(&["--own"]).await), (1, 2));
    // Once nobody else holds it, it is there all the same.
    drop(file);
    served.until("conns", |rows| rows[0]["objects"] == 0).await;
    assert_eq!((holders(&[]).await, holders(&["--own"]).await), (0, 1));
    let shown = served.pb(&["show", &name]).await;
    assert!(shown.contains("held        by no client\n") && !shown.contains("holders"), "{shown}");
    drop(held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_is_held_for_moments_is_told_of_when_it_comes() {
    let served = Served::start().await;
    let (code, _, error) = served.run(&["show", "@49"]).await;
    assert_eq!(code, Some(1), "{error}");
    assert!(error.trim_end().ends_with("`pb watch URL -f object=@49`"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_methods_own_errors_can_be_left_out_of_what_is_watched() {
    let served = Served::start().await;
    let client = connect(served.url()).await.expect("it is there");
    let dir: DirRef = client.root();
    let watched = served.pb(&["watch", "-e", "failed", "-f", "failure!=App", "-n", "3", "--json"]);
    let failing = async {
        loop {
            assert!(dir.refuse().await.is_err());
            let hangs = dir.hang();
            dir.sum(vec![]).await.expect("it adds");
            drop(hangs);
        }
    };
    let told = tokio::select! {
        told = watched => told,
        () = failing => unreachable!("it does not end"),
    };
    assert_eq!(told.lines().count(), 3);
    assert!(told.lines().all(|line| line.contains("\"Cancelled\"")), "{told}");
}
