//! The broker is a protocol like any other: a factory makes it, and the reactor drives it.

use std::sync::Arc;

use parking_lot::Mutex;
use pb_core::broker::Config;
use pb_core::reactor::{ClientFactory, Connector, Factory, Lost, Piped, Reactor, Stream, for_protocol};
use pb_core::{Broker, Bytes, Deferred, Limits, Stub, TableSizes};
use pb_server::{Referenceable, remote_interface};
use pb_tests::live::{soon, until};
use pb_tests::protocols::{Wire, addresses};
use tokio::io::AsyncReadExt;

#[remote_interface]
trait Store {
    #[remote(answer_bytes = 1_000_000)]
    async fn echo(&self, bytes: Bytes) -> Bytes;
    async fn next(&self) -> StoreRef;
    async fn never(&self) -> u64;
}

#[derive(Referenceable)]
struct MyStore;

impl Store for MyStore {
    async fn echo(&self, bytes: Bytes) -> Bytes {
        bytes
    }

    async fn next(&self) -> StoreRef {
        StoreRef::new(MyStore)
    }

    async fn never(&self) -> u64 {
        std::future::pending().await
    }
}

/// A factory of servers of a store, which remembers their brokers.
struct Stores(Arc<Mutex<Vec<Broker>>>);

impl Factory for Stores {
    type Protocol = Piped;

    fn build_protocol(&self, _: &str) -> Option<Piped> {
        let root = Some(StoreRef::new(MyStore).as_reference().clone());
        let brokers = Arc::clone(&self.0);
        let config = Config { root, limits: Limits::default(), stays: true, ..Config::default() };
        Some(Broker::protocol(config, move |broker| brokers.lock().push(broker)))
    }
}

/// The same for clients, who hold their broker.
struct Clients {
    broker: Arc<Mutex<Option<Broker>>>,
    lost: Arc<Mutex<Option<String>>>,
}

impl Factory for Clients {
    type Protocol = Piped;

    fn build_protocol(&self, _: &str) -> Option<Piped> {
        let broker = Arc::clone(&self.broker);
        Some(Broker::protocol(Config::default(), move |made| *broker.lock() = Some(made)))
    }
}

impl ClientFactory for Clients {
    fn connection_lost(&self, _: &Connector, reason: &Lost) {
        *self.lost.lock() = Some(reason.to_string());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_talk_as_protocols_over_every_transport() {
    let dir = tempfile::tempdir().unwrap();
    for address in addresses(dir.path()) {
        let reactor = Reactor::new();
        let servers = Arc::new(Mutex::new(Vec::new()));
        let port = reactor.listen(&address, Stores(Arc::clone(&servers))).await.expect("it listens");
        let (broker, lost) = (Arc::default(), Arc::default());
        let clients = Clients { broker: Arc::clone(&broker), lost: Arc::clone(&lost) };
        let _connector = reactor.connect(&port.address().to_string(), clients).expect("an address");
        until(|| broker.lock().is_some(), || "no broker".to_owned()).await;
        let client = broker.lock().take().expect("it is there");
        soon(client.greeted()).await.expect("both are brokers");
        let root: StoreRef = client.root();
        // A chain of calls, and more bytes at once than any buffer on the way holds, both ways.
        assert_eq!(soon(root.next().next().echo(Bytes::from_static(b"x"))).await.as_deref(), Ok(&b"x"[..]));
        let large = Bytes::from(vec![7; 900_000]);
        let calls: Vec<Deferred<Bytes>> = (0..20)
            .map(|_| {
                let (root, large) = (root.clone(), large.clone());
                root.echo(large)
            })
            .collect();
        let answered = soon(futures::future::join_all(calls)).await;
        let well =
            answered.iter().filter(|answer| answer.as_ref().is_ok_and(|bytes| *bytes == large)).count();
        assert!(well > 0 && answered.iter().flatten().all(|bytes| *bytes == large), "{well} came");
        until(|| client.tables() == TableSizes::default(), || format!("{:?}", client.tables())).await;
        // The last handle closes the connection, and every protocol hears so.
        drop((root, client));
        until(|| lost.lock().is_some(), || "the client's connection is open".to_owned()).await;
        let server = servers.lock().pop().expect("it was made");
        soon(server.finished()).await;
        until(|| reactor.connections() == 0, || format!("{:?}", reactor.transports())).await;
        port.stop_listening().await;
    }
}

#[tokio::test]
async fn a_broker_as_a_protocol_talks_to_one_on_a_stream() {
    let reactor = Reactor::new();
    let servers = Arc::new(Mutex::new(Vec::new()));
    let port = reactor.listen("tcp://127.0.0.1:0", Stores(Arc::clone(&servers))).await.expect("it listens");
    let client = pb_client::connect(&port.address().to_string()).await.expect("connected");
    let root: StoreRef = client.root();
    assert_eq!(soon(root.echo(Bytes::from_static(b"y"))).await.as_deref(), Ok(&b"y"[..]));
    // An abort of the transport's is the end of the broker's connection.
    let hanging = root.never();
    for transport in reactor.transports() {
        transport.abort();
    }
    let failure = soon(hanging).await.expect_err("its connection is gone");
    assert_eq!(failure.kind, pb_core::FailureKind::Disconnected);
    let server = servers.lock().pop().expect("it was made");
    assert!(soon(server.closed()).await.to_string().contains("this side aborted the connection"));
}

#[tokio::test]
async fn a_stranger_is_told_apart_through_a_protocol_too() {
    let servers = Arc::new(Mutex::new(Vec::new()));
    let (stream, other) = Stream::pair();
    let transport = Reactor::new().adopt(stream, &Stores(Arc::clone(&servers))).expect("not refused");
    let mut wire = Wire::new(other);
    wire.send(b"GET / HTTP/1.1\r\n\r\n").await;
    let _ = wire.rest().await;
    drop(wire);
    soon(transport.closed()).await;
    let server = servers.lock().pop().expect("it was made");
    assert!(soon(server.closed()).await.to_string().contains("HTTP"));
}

/// The stream of a piped protocol, and the other end of its connection.
fn piped() -> (Stream, pb_core::reactor::Transport, Wire) {
    let (near, far) = Stream::pair();
    let given = Arc::new(Mutex::new(None));
    let to = Arc::clone(&given);
    let (tell, told) = std::sync::mpsc::channel();
    let factory = for_protocol(move || {
        let (to, tell) = (Arc::clone(&to), tell.clone());
        Piped::new(move |stream| {
            *to.lock() = Some(stream);
            let _ = tell.send(());
        })
    });
    let transport = Reactor::new().adopt(near, &factory).expect("not refused");
    drop(factory);
    // The connection's task runs on another thread.
    told.recv().expect("it begins");
    let stream = given.lock().take().expect("it was given");
    (stream, transport, Wire::new(far))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_piped_stream_holds_up_both_ways() {
    let (stream, transport, mut wire) = piped();
    let (mut read, mut write) = stream.into_split();
    let bytes: Vec<u8> = (0..8u32 << 20).map(|n| (n % 251) as u8).collect();
    let sending = tokio::spawn({
        let bytes = bytes.clone();
        async move {
            wire.send(&bytes).await;
            wire.finish().await;
            wire
        }
    });
    until(|| transport.is_paused(), || "nothing holds it up".to_owned()).await;
    let mut got = Vec::new();
    soon(read.read_to_end(&mut got)).await.expect("to the end");
    assert!(got == bytes);
    let mut wire = soon(sending).await.expect("no panic");
    // And back: more waits than may only until it is read.
    let sent = bytes.clone();
    let writing = tokio::spawn(async move {
        let mut left = &sent[..];
        while !left.is_empty() {
            let count = write.write(left).await.expect("the connection is there");
            left = &left[count..];
        }
        write.finish().await;
    });
    until(|| transport.waiting_bytes() > 64 << 10, || "it never waits".to_owned()).await;
    assert!(transport.waiting_bytes() <= 128 << 10);
    assert!(wire.rest().await.expect("closed in good order") == bytes);
    soon(writing).await.expect("no panic");
    drop(read);
    soon(transport.closed()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_piped_stream_that_is_dropped_closes_and_one_that_is_lost_says_why() {
    let (stream, transport, mut wire) = piped();
    drop(stream);
    assert_eq!(wire.rest().await.expect("closed in good order"), b"");
    drop(wire);
    assert!(matches!(soon(transport.closed()).await, Lost::Done | Lost::Closed));

    let (stream, transport, mut wire) = piped();
    wire.send(b"some").await;
    let (mut read, mut write) = stream.into_split();
    let mut some = [0; 4];
    soon(read.read_exact(&mut some)).await.expect("they came");
    transport.fail("for a reason");
    let _ = wire.rest().await;
    drop(wire);
    soon(transport.closed()).await;
    let error = soon(read.read(&mut some)).await.expect_err("it was lost");
    assert_eq!(error.to_string(), "for a reason");
    assert!(soon(write.write(b"x")).await.is_err());
}
