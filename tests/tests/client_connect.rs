//! Connecting: several addresses, the time for it, and what is said where nothing comes of it.

use std::error::Error as _;
use std::time::Duration;

use pb_client::{Connect, ConnectError, FailureKind, Limits};
use pb_core::message::*;
use pb_core::reactor::{Address, Listener};
use pb_server::{Capacity, Running, Server};
use pb_tests::desk::{DeskRef, Office};
use pb_tests::live::{soon, until};
use pb_tests::raw::Raw;
use tokio::net::TcpListener;
use tokio::time::Instant;

async fn serve(number: u64, url: &str) -> Running {
    let server = Server::new(Office::new().desk(number)).listen(url).await.expect("it is free");
    server.spawn().expect("it listens")
}

/// An address at which nobody listens: a port that was free a moment ago.
async fn deserted() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    format!("tcp://{}", listener.local_addr().expect("bound"))
}

#[tokio::test]
async fn the_first_address_that_answers_is_taken_and_those_behind_it_are_not_tried() {
    let (second, third) = (serve(2, "tcp://127.0.0.1:0").await, serve(3, "tcp://127.0.0.1:0").await);
    let connect = Connect::to(deserted().await).or("mem://nobody-is-here").or(second.url()).or(third.url());
    let broker = connect.clone().open().await.expect("the second answers");
    assert_eq!(broker.peer(), second.url());
    assert_eq!(soon(broker.root::<DeskRef>().number()).await, Ok(2));
    assert_eq!(third.statistics().accepted, 0);
    soon(second.shutdown()).await;
    let broker = connect.open().await.expect("the third answers");
    assert_eq!(soon(broker.root::<DeskRef>().number()).await, Ok(3));
    soon(third.shutdown()).await;
}

#[tokio::test]
async fn where_no_address_answers_the_error_says_of_each_why() {
    let stranger = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let no_broker = format!("tcp://{}", stranger.local_addr().expect("bound"));
    tokio::spawn(async move {
        let mut raw = Raw::accept(&stranger).await;
        raw.send(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        raw.bytes().await;
    });
    let full = Server::new(Office::new().desk(1)).capacity(Capacity { connections: 0, ..Default::default() });
    let full = full.listen("tcp://127.0.0.1:0").await.expect("a port").spawn().expect("it listens");
    let nobody = deserted().await;
    let connect = Connect::to(&nobody).or(&no_broker).or(full.url()).or("mem://nobody-is-there");
    let error = soon(connect.open()).await.expect_err("none of them is a broker with room");
    let ConnectError::All(errors) = &error else { panic!("not of all: {error}") };
    assert!(matches!(&errors[0], ConnectError::Unreachable { .. }), "{}", errors[0]);
    assert!(
        matches!(&errors[1], ConnectError::Handshake { failure, .. } if failure.kind == FailureKind::Protocol),
        "{}",
        errors[1]
    );
    assert!(
        matches!(&errors[2], ConnectError::Handshake { failure, .. } if failure.kind == FailureKind::Disconnected)
    );
    let text = error.to_string();
    let words =
        ["none of 4 addresses", &nobody, &no_broker, "is HTTP", full.url(), "no room", "nobody-is-there"];
    for words in words {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
    assert!(!text.contains(char::is_control), "{text}");
    // Of one address it is that one's error.
    let error = pb_client::connect(&nobody).await.expect_err("nobody listens");
    assert!(matches!(&error, ConnectError::Unreachable { .. }) && error.source().is_some(), "{error}");
    // What `fn main() -> Result<(), Box<dyn Error>>` prints behind "Error: ".
    assert_eq!(format!("{error:?}"), error.to_string());
    soon(full.shutdown()).await;
}

#[tokio::test]
async fn a_text_that_is_no_address_is_told_before_anything_is_tried() {
    let running = serve(1, "tcp://127.0.0.1:0").await;
    for bad in ["", "tcp://", "localhost:80", "http://127.0.0.1:80", "tcp://x:70000", "unix://"] {
        let error = Connect::to(running.url()).or(bad).open().await.expect_err("no address");
        assert!(matches!(error, ConnectError::Address(_)), "{error}");
        assert!(Connect::to(bad).reconnecting(Default::default()).is_err(), "{bad}");
    }
    assert_eq!(running.statistics().accepted, 0);
    soon(running.shutdown()).await;
}

#[tokio::test(start_paused = true)]
async fn an_address_that_says_nothing_has_its_time_and_then_the_next_is_tried() {
    let silent: Address = "mem://says-nothing".parse().expect("an address");
    let _listener = Listener::bind(&silent).await.expect("it is free");
    let running = serve(5, "mem://says-something").await;
    for (time, seconds) in [(Duration::from_millis(1500), 1.5), (Duration::ZERO, 0.0)] {
        let began = Instant::now();
        let error = Connect::to("mem://says-nothing").timeout(time).open().await.expect_err("it is silent");
        assert_eq!(error.to_string(), format!("no connection to mem://says-nothing within {seconds} s"));
        assert_eq!(began.elapsed().as_millis(), time.as_millis());
    }
    // Of a longer time a hello has five seconds.
    let began = Instant::now();
    let connect = Connect::to("mem://says-nothing").timeout(Duration::from_secs(60));
    let error = connect.open().await.expect_err("it is silent").to_string();
    assert_eq!(error, "mem://says-nothing gives no connection: the peer sent no hello within 5 s");
    assert_eq!(began.elapsed().as_secs(), 5);
    let both = Connect::to("mem://says-nothing").or("mem://says-something").timeout(Duration::from_secs(2));
    let broker = both.open().await.expect("the other answers");
    assert_eq!(soon(broker.root::<DeskRef>().number()).await, Ok(5));
    running.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn who_gives_a_connection_up_leaves_none() {
    let silent: Address = "mem://given-up".parse().expect("an address");
    let mut listener = Listener::bind(&silent).await.expect("it is free");
    let connect = Connect::to("mem://given-up").open();
    assert!(tokio::time::timeout(Duration::from_secs(1), connect).await.is_err());
    let (mut read, _write) = listener.accept().await.expect("it was there").into_split();
    let mut bytes = Vec::new();
    let ended = tokio::io::AsyncReadExt::read_to_end(&mut read, &mut bytes);
    soon(ended).await.expect("it has ended");
}

#[tokio::test]
async fn a_client_grants_what_its_limits_say_and_serves_the_root_that_it_was_given() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("tcp://{}", listener.local_addr().expect("bound"));
    let office = Office::new();
    let limits = Limits { calls: 77, names: 33, ..Limits::default() };
    let connecting = tokio::spawn(Connect::to(url).limits(limits).serve(&office.desk(9)).open());
    let mut server = Raw::accept(&listener).await;
    let Some(Message::Hello(hello)) = server.read().await else { panic!("no hello") };
    assert_eq!((hello.grants.calls, hello.grants.names), (77, 33));
    server.send(&pb_core::wire::frame::MAGIC).await;
    server.message(&pb_tests::raw::hello()).await;
    let broker = soon(connecting).await.expect("no panic").expect("it was greeted");
    server.message(&Message::Call(pb_tests::raw::call(1, "Desk/number", &()))).await;
    let Some(Message::Resolve(resolve)) = server.answer().await else { panic!("no answer") };
    assert_eq!(&resolve.payload.body[..], [9]);
    // The root holds nothing open.
    drop(broker);
    assert_eq!(server.abort().await.code, AbortCode::Closing);
    until(|| office.desks() == 0, || "the root is kept".to_owned()).await;
}
