//! Factories: what connections share, what a client's hears, who is refused, and ports that stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use pb_core::reactor::{
    ClientFactory, ConnectFailed, Connector, Factory, ListenError, ListenOptions, Lost, Protocol, Reactor,
    Settings, Stream, Transport, for_protocol,
};
use pb_tests::live::{soon, until};
use pb_tests::protocols::{Heard, Tellers, Wire, addresses};
use tokio::sync::mpsc;

struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }
}

/// What a client's factory has heard.
#[derive(Debug)]
enum News {
    Started,
    Failed(ConnectFailed),
    Built,
    Lost(Lost),
}

/// What a [`Caller`] does when it has told something.
type React = Box<dyn Fn(&News, &Connector) + Send + Sync>;

/// A factory that tells, and then does what it was made with.
struct Caller {
    tell: mpsc::UnboundedSender<News>,
    react: React,
    accept: bool,
}

impl Caller {
    fn new(
        react: impl Fn(&News, &Connector) + Send + Sync + 'static,
    ) -> (Caller, mpsc::UnboundedReceiver<News>) {
        let (tell, told) = mpsc::unbounded_channel();
        (Caller { tell, react: Box::new(react), accept: true }, told)
    }

    fn tell(&self, news: News, connector: &Connector) {
        (self.react)(&news, connector);
        let _ = self.tell.send(news);
    }
}

impl Factory for Caller {
    type Protocol = Echo;

    fn build_protocol(&self, _: &str) -> Option<Echo> {
        let _ = self.tell.send(News::Built);
        self.accept.then_some(Echo)
    }
}

impl ClientFactory for Caller {
    fn started_connecting(&self, connector: &Connector) {
        self.tell(News::Started, connector);
    }

    fn connection_failed(&self, connector: &Connector, reason: &ConnectFailed) {
        self.tell(News::Failed(reason.clone()), connector);
    }

    fn connection_lost(&self, connector: &Connector, reason: &Lost) {
        self.tell(News::Lost(reason.clone()), connector);
    }

    fn connect_timeout(&self) -> Duration {
        Duration::from_secs(7)
    }
}

async fn next(told: &mut mpsc::UnboundedReceiver<News>) -> News {
    soon(told.recv()).await.expect("the factory is there")
}

#[tokio::test]
async fn connections_share_what_their_factory_has() {
    struct Counting(AtomicUsize);
    struct Numbered(Arc<AtomicUsize>, usize);
    impl Factory for Counting {
        type Protocol = Numbered;

        fn build_protocol(&self, peer: &str) -> Option<Numbered> {
            assert!(peer.starts_with("tcp://127.0.0.1:"), "{peer}");
            let n = self.0.fetch_add(1, Ordering::SeqCst);
            Some(Numbered(Arc::default(), n))
        }
    }
    impl Protocol for Numbered {
        fn connection_made(&mut self, transport: &Transport) {
            self.0.fetch_add(1, Ordering::SeqCst);
            transport.write(&[u8::try_from(self.1).unwrap()]);
        }

        fn data_received(&mut self, _: &Transport, _: &[u8]) {}
    }
    let reactor = Reactor::new();
    let factory = Arc::new(Counting(AtomicUsize::new(0)));
    // An `Arc` of a factory is one: two ports share it.
    let one = reactor.listen("tcp://127.0.0.1:0", Arc::clone(&factory)).await.expect("it listens");
    let other = reactor.listen("tcp://127.0.0.1:0", Arc::clone(&factory)).await.expect("it listens");
    let mut numbers = Vec::new();
    for port in [&one, &other, &one] {
        let mut wire = Wire::new(Stream::connect(port.address()).await.expect("connected"));
        numbers.push(wire.receive(1).await[0]);
    }
    assert_eq!(numbers, [0, 1, 2]);
}

#[tokio::test]
async fn a_client_factory_hears_of_connections_that_fail_and_are_lost() {
    let dir = tempfile::tempdir().unwrap();
    for address in addresses(dir.path()) {
        let reactor = Reactor::new();
        let (tellers, mut server) = Tellers::new(|heard, transport| {
            if matches!(heard, Heard::Data(_)) {
                transport.lose_connection();
            }
        });
        let port = reactor.listen(&address, tellers).await.expect("it listens");
        let (caller, mut told) = Caller::new(|_, _| {});
        let connector = reactor.connect(&port.address().to_string(), caller).expect("an address");
        assert!(matches!(next(&mut told).await, News::Started));
        assert!(matches!(next(&mut told).await, News::Built));
        assert_eq!(server.next().await, Heard::Made);
        connector.connect(); // It is connected: nothing happens.
        let transport = connector.transport().expect("connected");
        assert_eq!(transport.peer(), port.address().to_string());
        transport.write(b"bye");
        let lost = next(&mut told).await;
        assert!(matches!(lost, News::Lost(Lost::Closed)), "{lost:?}");
        assert!(connector.transport().is_none());
        soon(port.stop_listening()).await;
        connector.connect();
        assert!(matches!(next(&mut told).await, News::Started));
        let failed = next(&mut told).await;
        assert!(matches!(failed, News::Failed(ConnectFailed::Unreachable(_))), "{failed:?}");
    }
}

#[tokio::test]
async fn a_factory_tries_again_as_often_as_it_likes() {
    let reactor = Reactor::new();
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let (caller, mut told) = Caller::new(move |news, connector| {
        if matches!(news, News::Failed(_)) && counted.fetch_add(1, Ordering::SeqCst) < 2 {
            connector.connect();
        }
    });
    let _connector = reactor.connect("mem://nobody-is-here", caller).expect("an address");
    for _ in 0..3 {
        assert!(matches!(next(&mut told).await, News::Started));
        let failed = next(&mut told).await;
        assert!(matches!(failed, News::Failed(ConnectFailed::Unreachable(_))), "{failed:?}");
    }
    assert_eq!(tries.load(Ordering::SeqCst), 3);
    // The connector was the factory's last holder but for attempts, and there are none.
    drop(_connector);
    assert!(soon(told.recv()).await.is_none());
}

/// A listener that accepts nobody, with a full queue: connecting to it takes for ever.
#[cfg(unix)]
async fn full(path: &std::path::Path) -> (tokio::net::UnixListener, Vec<tokio::net::UnixStream>) {
    let socket = tokio::net::UnixSocket::new_stream().expect("a socket");
    socket.bind(path).expect("bind");
    let listener = socket.listen(1).expect("it listens");
    let mut waiting = Vec::new();
    while let Ok(stream) = tokio::net::UnixStream::connect(path).await {
        waiting.push(stream);
    }
    (listener, waiting)
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn an_attempt_ends_in_time_and_when_it_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("full");
    let _full = full(&path).await;
    let (mut caller, mut told) = Caller::new(|_, _| {});
    caller.accept = false;
    let caller = Slow(caller);
    let reactor = Reactor::new();
    let connector = reactor.connect(&format!("unix://{}", path.display()), caller).expect("an address");
    assert!(matches!(told.recv().await, Some(News::Started)));
    let failed = told.recv().await;
    assert!(
        matches!(&failed, Some(News::Failed(ConnectFailed::TimedOut(time))) if time.as_secs() == 1),
        "{failed:?}"
    );

    connector.connect();
    assert!(matches!(told.recv().await, Some(News::Started)));
    connector.disconnect();
    assert!(matches!(told.recv().await, Some(News::Failed(ConnectFailed::GaveUp))));
    // What was given up is over: the next attempt is its own.
    connector.connect();
    assert!(matches!(told.recv().await, Some(News::Started)));
    assert!(matches!(told.recv().await, Some(News::Failed(ConnectFailed::TimedOut(_)))));
    connector.disconnect(); // Nothing is there.
}

/// The same with a second for each attempt.
struct Slow(Caller);

impl Factory for Slow {
    type Protocol = Echo;

    fn build_protocol(&self, peer: &str) -> Option<Echo> {
        self.0.build_protocol(peer)
    }
}

impl ClientFactory for Slow {
    fn started_connecting(&self, connector: &Connector) {
        self.0.started_connecting(connector);
    }

    fn connection_failed(&self, connector: &Connector, reason: &ConnectFailed) {
        self.0.connection_failed(connector, reason);
    }

    fn connect_timeout(&self) -> Duration {
        Duration::from_secs(1)
    }
}

#[tokio::test]
async fn a_factory_that_refuses_closes_the_connection_and_nothing_else() {
    struct Choosy(AtomicUsize);
    impl Factory for Choosy {
        type Protocol = Echo;

        fn build_protocol(&self, _: &str) -> Option<Echo> {
            match self.0.fetch_add(1, Ordering::SeqCst) {
                0 => None,
                1 => panic!("planted"),
                _ => Some(Echo),
            }
        }
    }
    let reactor = Reactor::new();
    let port = reactor.listen("tcp://127.0.0.1:0", Choosy(AtomicUsize::new(0))).await.expect("it listens");
    for _ in 0..2 {
        let mut wire = Wire::new(Stream::connect(port.address()).await.expect("connected"));
        assert_eq!(wire.rest().await.expect("closed in good order"), b"");
    }
    let mut wire = Wire::new(Stream::connect(port.address()).await.expect("connected"));
    wire.send(b"welcome").await;
    assert_eq!(wire.receive(7).await, b"welcome");
    assert_eq!(reactor.connections(), 1);
    let (stream, _other) = Stream::pair();
    let refusing = Choosy(AtomicUsize::new(0));
    assert!(reactor.adopt(stream, &refusing).is_none());
}

#[tokio::test]
async fn a_client_factory_that_refuses_hears_that_the_connection_is_lost() {
    let reactor = Reactor::new();
    let port = reactor.listen("tcp://127.0.0.1:0", for_protocol(|| Echo)).await.expect("it listens");
    let (mut caller, mut told) = Caller::new(|_, _| {});
    caller.accept = false;
    let _connector = reactor.connect(&port.address().to_string(), caller).expect("an address");
    assert!(matches!(next(&mut told).await, News::Started));
    assert!(matches!(next(&mut told).await, News::Built));
    assert!(matches!(next(&mut told).await, News::Lost(Lost::Refused)));
}

#[tokio::test]
async fn a_connector_that_disconnects_closes_in_good_order() {
    let reactor = Reactor::new();
    let (tellers, mut server) = Tellers::new(|heard, transport| {
        if *heard == Heard::End {
            transport.lose_connection();
        }
    });
    let port = reactor.listen("tcp://127.0.0.1:0", tellers).await.expect("it listens");
    let (caller, mut told) = Caller::new(|_, _| {});
    let connector = reactor.connect(&port.address().to_string(), caller).expect("an address");
    assert_eq!(server.next().await, Heard::Made);
    until(|| connector.transport().is_some(), || "not connected".to_owned()).await;
    connector.transport().expect("connected").write(b"last");
    connector.disconnect();
    assert_eq!(server.data(4).await, b"last");
    assert_eq!(server.next().await, Heard::End);
    assert!(matches!(next(&mut told).await, News::Started));
    assert!(matches!(next(&mut told).await, News::Built));
    assert!(matches!(next(&mut told).await, News::Lost(Lost::Done)));
}

#[tokio::test]
async fn a_port_that_stops_frees_its_address_and_keeps_its_connections() {
    let dir = tempfile::tempdir().unwrap();
    for address in addresses(dir.path()) {
        let reactor = Reactor::new();
        let port = reactor.listen(&address, for_protocol(|| Echo)).await.expect("it listens");
        let mut wire = Wire::new(Stream::connect(port.address()).await.expect("connected"));
        wire.send(b"a").await;
        assert_eq!(wire.receive(1).await, b"a");
        soon(port.stop_listening()).await;
        soon(port.stop_listening()).await;
        assert!(Stream::connect(port.address()).await.is_err(), "{address}");
        wire.send(b"b").await;
        assert_eq!(wire.receive(1).await, b"b");
        let again = reactor.listen(&port.address().to_string(), for_protocol(|| Echo)).await;
        soon(again.expect("the address is free").stop_listening()).await;
    }
}

#[tokio::test]
async fn a_port_whose_handles_are_dropped_listens_on() {
    let reactor = Reactor::new();
    let port = reactor.listen("mem://dropped-port", for_protocol(|| Echo)).await.expect("it listens");
    let address = port.address().clone();
    drop(port);
    let mut wire = Wire::new(Stream::connect(&address).await.expect("connected"));
    wire.send(b"still").await;
    assert_eq!(wire.receive(5).await, b"still");
}

#[cfg(unix)]
#[tokio::test]
async fn a_port_gives_its_file_the_mode_that_it_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let options = ListenOptions::default().unix_mode(0o620);
    let reactor = Reactor::new();
    let address = format!("unix://{}", path.display());
    let _port = reactor.listen_with(&address, &options, for_protocol(|| Echo)).await.expect("it listens");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o620);
}

#[tokio::test]
async fn where_it_cannot_listen_it_says_why() {
    let reactor = Reactor::new();
    let _port = reactor.listen("mem://taken", for_protocol(|| Echo)).await.expect("it listens");
    for (address, says) in [
        ("nowhere", "is no address"),
        ("mem://taken", "cannot listen on mem://taken"),
        ("tcp://192.0.2.1:0", "cannot listen on tcp://192.0.2.1:0"),
    ] {
        let error = reactor.listen(address, for_protocol(|| Echo)).await.err().expect(address);
        assert!(error.to_string().contains(says), "{error}");
        assert!(matches!(error, ListenError::Address(_) | ListenError::Listen { .. }));
    }
    assert!(reactor.connect("nowhere", for_protocol(|| Echo)).is_err());
}

#[tokio::test]
async fn settings_that_contradict_each_other_do_no_harm() {
    let (mut tellers, mut told) = Tellers::silent();
    tellers.settings = Settings::default().high_bytes(100).low_bytes(1000).limit_bytes(10);
    let (server, client) = Stream::pair();
    let transport = Reactor::new().adopt(server, &tellers).expect("not refused");
    let mut wire = Wire::new(client);
    assert_eq!(told.next().await, Heard::Made);
    for _ in 0..3 {
        transport.write(&[1; 101]);
        assert_eq!(told.next().await, Heard::Full);
        assert_eq!(told.next().await, Heard::Drained);
        wire.receive(101).await;
    }
}

/// Two protocols that write to each other through what their factory has, from each other's tasks: nothing here needs an order.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_may_write_to_each_other() {
    #[derive(Default)]
    struct Room(Mutex<Vec<Transport>>);
    struct Member(Arc<Room>);
    impl Protocol for Member {
        fn connection_made(&mut self, transport: &Transport) {
            self.0.0.lock().push(transport.clone());
        }

        fn data_received(&mut self, _: &Transport, data: &[u8]) {
            let all = self.0.0.lock().clone();
            for transport in all {
                transport.write(data);
            }
        }
    }
    let room = Arc::new(Room::default());
    let made = Arc::clone(&room);
    let reactor = Reactor::new();
    let port = reactor
        .listen("mem://room", for_protocol(move || Member(Arc::clone(&made))))
        .await
        .expect("it listens");
    let mut wires = Vec::new();
    for _ in 0..10 {
        wires.push(Wire::new(Stream::connect(port.address()).await.expect("connected")));
    }
    until(|| room.0.lock().len() == 10, || "not all are there".to_owned()).await;
    let talking: Vec<_> = wires
        .into_iter()
        .enumerate()
        .map(|(n, mut wire)| {
            tokio::spawn(async move {
                wire.send(&[n as u8; 100]).await;
                let mut all = wire.receive(1000).await;
                all.sort_unstable();
                all
            })
        })
        .collect();
    for talking in talking {
        let all = talking.await.expect("no panic");
        assert!(all.chunks(100).enumerate().all(|(n, bytes)| bytes == [n as u8; 100]));
    }
}
