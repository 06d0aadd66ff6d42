//! Who stands before an inspector's door without its token keeps nobody else out.

use std::fs;
use std::path::Path;
use std::time::Duration;

use pb_client::{Broker, CallError, FailureKind, connect};
use pb_server::inspect::{Inspect, InspectError, InspectorDoorRef};
use pb_server::{Referenceable, Running, ServeError, Server, remote_interface};
use pb_tests::live::soon;

#[remote_interface]
trait Shop {
    async fn open(&self) -> bool;
}

#[derive(Referenceable)]
struct Corner;

impl Shop for Corner {
    async fn open(&self) -> bool {
        true
    }
}

/// A server whose inspector wants the token in the file.
async fn serve(at: &str, token: &Path) -> Result<Running, ServeError> {
    let server = Server::new(ShopRef::new(Corner)).listen("tcp://127.0.0.1:0").await?;
    server.inspect(Inspect::at(at).token_file(token)).await?.spawn()
}

async fn knock(running: &Running) -> Broker {
    soon(connect(running.inspector_url().expect("it is inspected"))).await.expect("it is there")
}

#[tokio::test]
async fn who_does_not_say_the_token_makes_room_for_who_does() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("token");
    let running = serve("tcp://127.0.0.1:0", &path).await.expect("it listens");
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(knock(&running).await);
    }
    let operator = knock(&running).await;
    let token = fs::read_to_string(&path).expect("a text");
    let door: InspectorDoorRef = operator.root();
    let inspector = soon(door.enter(token)).await.expect("it is the token");
    // Who came first has gone first, and was told why; who is in stays.
    let reason = soon(idle[0].closed()).await;
    assert!(reason.to_string().contains("too many are connected to the inspector"), "{reason}");
    for _ in 0..40 {
        idle.push(knock(&running).await);
    }
    assert!(soon(inspector.about()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_has_not_said_the_token_within_five_seconds_is_sent_away() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("token");
    let running = serve("mem://inspector-door", &path).await.expect("it listens");
    let (idle, wrong, operator) = (knock(&running).await, knock(&running).await, knock(&running).await);
    let token = fs::read_to_string(&path).expect("a text");
    let door: InspectorDoorRef = operator.root();
    let inspector = door.enter(token).await.expect("it is the token");
    let guessed = wrong.root::<InspectorDoorRef>().enter("0".repeat(64)).await;
    assert_eq!(guessed.err(), Some(CallError::App(InspectError::Token)));
    tokio::time::sleep(Duration::from_secs(6)).await;
    for gone in [idle, wrong] {
        let reason = gone.closed().await;
        assert_eq!(reason.kind, FailureKind::Disconnected);
        assert!(reason.to_string().contains("has not been told its token within 5 s"), "{reason}");
    }
    assert!(inspector.about().await.is_ok());
}

#[tokio::test]
async fn a_token_in_somebody_elses_file_is_none() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("token");
    drop(serve("tcp://127.0.0.1:0", &path).await.expect("it makes a token"));
    // Only root can give a file away; whoever else runs this sees at least that his own is taken.
    let is_given = std::os::unix::fs::chown(&path, Some(12_345), None).is_ok();
    let served = serve("tcp://127.0.0.1:0", &path).await;
    let says = served.err().map(|error| error.to_string()).unwrap_or_default();
    assert_eq!(says.contains("user 12345 owns "), is_given, "{says}");
}
