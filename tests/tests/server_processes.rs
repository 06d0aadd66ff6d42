//! Servers in processes of their own: signals, sockets that are handed in, and a want of descriptors. Rows A20, F19 and F20 of `attacks.md`
//! and `faults.md`.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use pb_client::connect;
use pb_server::{FailureKind, Ran, ServeError, Server, Stopped};
use pb_tests::desk::{DeskRef, Office};
use pb_tests::live::{soon, until};
use pb_tests::process::{Started, role, say};
use pb_tests::raw::Raw;
use tokio::runtime::Builder;

/// Runs `test`, or the server that the test has started in another process.
fn run(server: impl AsyncFnOnce(String), test: impl AsyncFnOnce()) {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    match role() {
        Some(role) => runtime.block_on(server(role)),
        None => runtime.block_on(async { soon(test()).await }),
    }
}

/// Serves until it is told to end, with `role` seconds to drain, and says how it has ended.
async fn serve_until_signal(role: String) {
    let office = Office::new();
    let server = Server::new(office.desk(1)).listen("tcp://127.0.0.1:0").await.expect("a free port");
    say(&server.urls()[0]);
    let drain = Duration::from_secs(role.parse().expect("seconds"));
    let stopped = server.run_until_signal(drain).await.expect("it listens");
    say(&format!("{stopped:?}"));
}

async fn until_held(desk: &DeskRef, count: u64) {
    while desk.holding().await.expect("it serves") < count {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_signal_lets_a_thousand_calls_in_flight_finish_and_turns_new_ones_away() {
    let name = "a_signal_lets_a_thousand_calls_in_flight_finish_and_turns_new_ones_away";
    run(serve_until_signal, async || {
        for signal in ["TERM", "INT"] {
            let mut server = Started::new(name, "3600", Stdio::null());
            let url = server.said();
            let client = connect(&url).await.expect("it listens");
            let root: DeskRef = client.root();
            let held = root.open(2).await.expect("a desk");
            let calls: Vec<_> = (0..1000).map(|_| root.hold()).collect();
            until_held(&held, 1000).await;
            server.signal(signal);
            client.leaving().await.expect("it is told before the end");
            let failure = root.number().await.expect_err("it is too late");
            assert_eq!((failure.kind, failure.ran), (FailureKind::Disconnected, Ran::No), "{failure}");
            assert!(connect(&url).await.is_err(), "nobody listens any more");
            // What is held is served on, and what was called before ends.
            assert_eq!(held.number().await, Ok(2));
            held.let_go().await.expect("it serves what is held");
            for call in calls {
                assert_eq!(call.await, Ok(1));
            }
            drop(held);
            assert_eq!(server.said(), format!("{:?}", Stopped::Drained));
            assert!(server.wait().success());
            let reason = client.closed().await;
            assert!(reason.message.contains("the server is shutting down"), "{reason}");
        }
    });
}

#[test]
fn a_second_signal_ends_the_drain_at_once_and_every_call_fails_with_the_reason() {
    let name = "a_second_signal_ends_the_drain_at_once_and_every_call_fails_with_the_reason";
    run(serve_until_signal, async || {
        for (first, second) in [("TERM", "TERM"), ("INT", "TERM"), ("TERM", "INT")] {
            let mut server = Started::new(name, "3600", Stdio::null());
            let client = connect(&server.said()).await.expect("it listens");
            let root: DeskRef = client.root();
            let held = root.open(2).await.expect("a desk");
            let calls: Vec<_> = (0..100).map(|_| root.hold()).collect();
            until_held(&held, 100).await;
            server.signal(first);
            client.leaving().await.expect("it is told before the end");
            assert_eq!(held.number().await, Ok(2), "it waits for what is in flight");
            server.signal(second);
            for call in calls {
                let failure = call.await.expect_err("it was not let finish");
                assert_eq!((failure.kind, failure.ran), (FailureKind::Disconnected, Ran::Maybe), "{failure}");
                assert!(failure.message.contains("the server is shutting down"), "{failure}");
            }
            assert_eq!(server.said(), format!("{:?}", Stopped::Hurried));
            assert!(server.wait().success());
        }
    });
}

#[test]
fn a_drain_ends_with_its_time_though_calls_are_in_flight() {
    let name = "a_drain_ends_with_its_time_though_calls_are_in_flight";
    run(serve_until_signal, async || {
        let mut server = Started::new(name, "1", Stdio::null());
        let client = connect(&server.said()).await.expect("it listens");
        let root: DeskRef = client.root();
        let call = root.hold();
        until_held(&root, 1).await;
        server.signal("TERM");
        let failure = call.await.expect_err("it was not let finish");
        assert_eq!((failure.kind, failure.ran), (FailureKind::Disconnected, Ran::Maybe), "{failure}");
        assert_eq!(server.said(), format!("{:?}", Stopped::Drained));
        assert!(server.wait().success());
    });
}

/// Serves with few descriptors, and tells its accept errors when its office is asked.
async fn serve_in_want(_role: String) {
    let office = Office::new();
    let server = Server::new(office.desk(1)).listen("tcp://127.0.0.1:0").await.expect("a free port");
    let running = server.spawn().expect("it listens");
    say(running.url());
    until(|| running.statistics().accept_errors > 3, || "never in want".to_owned()).await;
    say("in want");
    std::future::pending().await
}

/// What `process` has used of the processor's time, in the system's ticks.
fn ticks(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    fields[11].parse::<u64>().expect("a number") + fields[12].parse::<u64>().expect("a number")
}

#[test]
fn a_server_without_descriptors_serves_on_costs_nothing_and_takes_new_peers_once_it_has_some() {
    let name = "a_server_without_descriptors_serves_on_costs_nothing_and_takes_new_peers_once_it_has_some";
    run(serve_in_want, async || {
        let script = "ulimit -n 40 && exec \"$0\" \"$@\"";
        let mut server = Started::with_shell(name, "in want", Stdio::null(), script);
        let url = server.said();
        let client = connect(&url).await.expect("it listens");
        let desk: DeskRef = client.root();
        assert_eq!(desk.number().await, Ok(1));
        let mut crowd = Vec::new();
        for _ in 0..100 {
            crowd.push(Raw::greeted(&url).await);
        }
        assert_eq!(server.said(), "in want");
        assert_eq!(desk.number().await, Ok(1), "who is inside is served");
        // Its test looks on in a loop of its own until here; from here on the server alone runs.
        let (before, began) = (ticks(server.id()), std::time::Instant::now());
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (used, of) = (ticks(server.id()) - before, began.elapsed().as_secs_f64() * 100.0);
        assert!((used as f64) < of / 4.0, "{used} ticks of {of}: it spins");
        // Others give their descriptors back: whoever waits is served.
        crowd.drain(..90);
        let late = connect(&url).await.expect("it takes peers again");
        assert_eq!(late.root::<DeskRef>().number().await, Ok(1));
        assert_eq!(desk.number().await, Ok(1));
    });
}

/// Serves what was handed in, or says why it cannot; ends with its last peer's word.
async fn serve_handed_in(_role: String) {
    let office = Office::new();
    let server = match Server::new(office.desk(4)).listen_handed_in() {
        Ok(server) => server,
        Err(error) => return say(&error.to_string()),
    };
    say(&server.urls().join(" "));
    let running = server.spawn().expect("it listens");
    until(|| office.holding() > 0, || "nobody came".to_owned()).await;
    office.open();
    running.drain(Duration::from_secs(60)).await;
}

/// Gives the program what is its standard input as the descriptor 3, as a service manager does.
const HAND_IN: &str = "export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$0\" \"$@\" 3<&0 </dev/null";

#[test]
fn sockets_that_a_service_manager_hands_in_are_served() {
    let name = "sockets_that_a_service_manager_hands_in_are_served";
    run(serve_handed_in, async || {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("desk.sock");
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let urls =
            [format!("tcp://{}", tcp.local_addr().expect("bound")), format!("unix://{}", path.display())];
        let unix = UnixListener::bind(&path).expect("it is free");
        for (socket, url) in [OwnedFd::from(tcp), OwnedFd::from(unix)].into_iter().zip(urls) {
            // Somebody is there before the server is.
            let early = tokio::spawn({
                let url = url.clone();
                async move { connect(&url).await.expect("it waits").root::<DeskRef>().hold().await }
            });
            let mut server = Started::with_shell(name, "handed in", Stdio::from(socket), HAND_IN);
            assert_eq!(server.said(), url);
            assert_eq!(early.await.expect("no panic"), Ok(4));
            assert!(server.wait().success());
        }
        assert!(path.exists(), "the file is its maker's");
    });
}

#[test]
fn what_was_handed_in_and_is_no_listening_socket_is_an_error_that_says_so() {
    let name = "what_was_handed_in_and_is_no_listening_socket_is_an_error_that_says_so";
    run(serve_handed_in, async || {
        let nothing = "no socket was handed to this process";
        let handed = "cannot listen on a socket that was handed in";
        let another = "export LISTEN_FDS=1 LISTEN_PID=1; exec \"$0\" \"$@\" 3<&0";
        let none = "export LISTEN_FDS=0 LISTEN_PID=$$; exec \"$0\" \"$@\"";
        let noise = "export LISTEN_FDS=many LISTEN_PID=$$; exec \"$0\" \"$@\"";
        let closed = "export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$0\" \"$@\" 3<&-";
        for (script, words) in [
            ("exec \"$0\" \"$@\"", nothing),
            (another, nothing),
            (none, nothing),
            (noise, nothing),
            (HAND_IN, handed),
            (closed, handed),
        ] {
            let mut server = Started::with_shell(name, "handed in", Stdio::null(), script);
            let said = server.said();
            assert!(said.contains(words), "{script}: {said}");
            assert!(server.wait().success(), "{script}");
        }
    });
    if role().is_none() {
        assert!(matches!(
            Server::new(Office::new().desk(1)).listen_handed_in(),
            Err(ServeError::NothingHandedIn)
        ));
    }
}

/// Serves at the path that its role is.
async fn serve_at_path(role: String) {
    let office: Arc<Office> = Office::new();
    let server = Server::new(office.desk(1)).listen(&role).await.expect("its file makes room");
    say(&server.urls()[0]);
    server.run().await.expect("it listens");
}

#[test]
fn a_server_that_was_killed_leaves_a_socket_that_the_next_one_replaces() {
    let name = "a_server_that_was_killed_leaves_a_socket_that_the_next_one_replaces";
    run(serve_at_path, async || {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("desk.sock");
        let url = format!("unix://{}", path.display());
        for _ in 0..3 {
            let mut server = Started::new(name, &url, Stdio::null());
            assert_eq!(server.said(), url);
            let client = connect(&url).await.expect("it listens");
            assert_eq!(client.root::<DeskRef>().number().await, Ok(1));
            // As long as it lives, nobody takes its place.
            let taken = Server::new(Office::new().desk(2)).listen(&url).await;
            assert!(matches!(taken, Err(ServeError::Listen { .. })));
            server.signal("KILL");
            assert!(!server.wait().success());
            assert!(path.exists(), "it could not clean up");
        }
    });
}
