//! Several listeners, a root for each peer, hooks and statistics: what a server tells and gives to whom.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use pb_core::message::*;
use pb_server::{
    ListenOptions, Listener, Peer, Referenceable, Running, ServeError, Server, Statistics, remote_interface,
};
use pb_tests::desk::{DeskRef, Office};
use pb_tests::live::{soon, until};
use pb_tests::raw::{Raw, call, with_caps};

async fn start(server: Server) -> Running {
    server.listen("tcp://127.0.0.1:0").await.expect("a free port").spawn().expect("it listens")
}

async fn until_open(running: &Running, open: usize) {
    until(|| running.statistics().open == open, || format!("{:?}", running.statistics())).await;
}

/// What the hooks of a server were told.
#[derive(Clone, Default)]
struct Book(Arc<Mutex<Vec<String>>>);

impl Book {
    fn keep(&self, server: Server) -> Server {
        let (came, went) = (self.clone(), self.clone());
        let server = server.on_connected(move |peer, _| came.write(format!("{} came", peer.number())));
        server.on_disconnected(move |peer, ended| {
            went.write(format!("{} went: {}", peer.number(), ended.reason));
        })
    }

    fn write(&self, line: String) {
        self.0.lock().expect("nobody panics in it").push(line);
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().expect("nobody panics in it").clone()
    }

    async fn until(&self, count: usize) -> Vec<String> {
        until(|| self.lines().len() >= count, || format!("{:?}", self.lines())).await;
        self.lines()
    }
}

#[tokio::test]
async fn one_server_listens_at_several_addresses_of_several_kinds() {
    let office = Office::new();
    let directory = tempfile::tempdir().expect("a directory");
    let socket = format!("unix://{}", directory.path().join("desk.sock").display());
    let listeners = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&listeners);
    let mut server = Server::for_each_peer(move |peer: &Peer| {
        seen.lock().expect("nobody panics in it").push((peer.listener().to_owned(), peer.ip()));
        office.desk(7)
    });
    for url in ["tcp://127.0.0.1:0", "tcp://127.0.0.1:0", "mem://several", &socket] {
        server = server.listen(url).await.expect("it is free");
    }
    let urls = server.urls();
    assert_eq!((urls.len(), &urls[2][..], &urls[3]), (4, "mem://several", &socket));
    assert_ne!(urls[0], urls[1], "each took a port of its own");
    let running = server.spawn().expect("it listens");
    assert_eq!(running.urls(), urls);
    for url in &urls {
        let client = pb_client::connect(url).await.expect("it listens there");
        assert_eq!(soon(client.root::<DeskRef>().number()).await, Ok(7), "{url}");
        let (listener, ip) = listeners.lock().expect("nobody panics in it").pop().expect("it was made");
        assert_eq!((&listener, ip.is_some()), (url, url.starts_with("tcp")));
    }
    soon(running.shutdown()).await;
    for url in &urls {
        assert!(pb_client::connect(url).await.is_err(), "{url} is closed");
    }
    assert!(!directory.path().join("desk.sock").exists(), "its file is gone");
}

#[tokio::test]
async fn an_address_that_cannot_be_listened_at_says_which_and_takes_the_server_with_it() {
    let first = Server::new(Office::new().desk(1)).listen("tcp://127.0.0.1:0").await.expect("a free port");
    let url = first.urls().remove(0);
    let second = Server::new(Office::new().desk(1)).listen("mem://taken-with-it").await.expect("free");
    let Err(ServeError::Listen { address, source }) = second.listen(&url).await else {
        panic!("it is taken")
    };
    assert_eq!((address.to_string(), source.kind()), (url, std::io::ErrorKind::AddrInUse));
    // Nothing of the second is left.
    let again = Server::new(Office::new().desk(1)).listen("mem://taken-with-it").await;
    assert_eq!(again.expect("it is free again").urls(), ["mem://taken-with-it"]);
    let Err(error) = Server::new(Office::new().desk(1)).listen("carrier://pigeon").await else { panic!() };
    assert!(error.to_string().contains("tcp://HOST:PORT"), "{error}");
    assert!(matches!(Server::new(Office::new().desk(1)).spawn(), Err(ServeError::Nowhere)));
    // What `fn main() -> Result<(), Box<dyn Error>>` prints behind "Error: ".
    assert_eq!(format!("{:?}", ServeError::Nowhere), ServeError::Nowhere.to_string());
}

#[tokio::test]
async fn a_listener_that_is_there_already_is_served() {
    let handed = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("tcp://{}", handed.local_addr().expect("bound"));
    // Somebody who connects before there is a server is served by it.
    let early = tokio::spawn({
        let url = url.clone();
        async move { pb_client::connect(&url).await.expect("it waits").root::<DeskRef>().number().await }
    });
    let server = Server::new(Office::new().desk(3)).adopt(Listener::from_tcp(handed).expect("a socket"));
    let running = server.expect("it listens").spawn().expect("it listens");
    assert_eq!(running.urls(), [url]);
    assert_eq!(soon(early).await.expect("no panic"), Ok(3));
    soon(running.shutdown()).await;
}

#[tokio::test]
async fn a_unix_socket_has_the_mode_that_was_asked_for_and_only_its_user_by_default() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().expect("a directory");
    for (mode, options) in
        [(0o600, ListenOptions::default()), (0o666, ListenOptions::default().unix_mode(0o666))]
    {
        let path = directory.path().join(format!("{mode:o}.sock"));
        let url = format!("unix://{}", path.display());
        let server = Server::new(Office::new().desk(3)).listen_with(&url, &options).await;
        let running = server.expect("it is free").spawn().expect("it listens");
        let found = std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(found, mode);
        let client = pb_client::connect(&url).await.expect("it is ours");
        assert_eq!(soon(client.root::<DeskRef>().number()).await, Ok(3));
        soon(running.shutdown()).await;
    }
}

#[tokio::test]
async fn each_peer_has_a_root_of_its_own_that_goes_with_its_connection() {
    let office = Office::new();
    let desks = Arc::clone(&office);
    let running = start(Server::for_each_peer(move |peer: &Peer| desks.desk(peer.number()))).await;
    let before = office.desks();
    let mut clients = Vec::new();
    for number in 1..=3 {
        let client = pb_client::connect(running.url()).await.expect("it listens");
        assert_eq!(soon(client.root::<DeskRef>().number()).await, Ok(number));
        clients.push(client);
    }
    assert_eq!(office.desks(), before + 3);
    clients.remove(1);
    until(|| office.desks() == before + 2, || format!("{} desks", office.desks())).await;
    assert_eq!(soon(clients[1].root::<DeskRef>().number()).await, Ok(3), "the others keep theirs");
    soon(running.shutdown()).await;
    assert_eq!(office.desks(), 0, "the server itself keeps none, and is gone");
}

#[tokio::test]
async fn a_root_that_cannot_be_made_refuses_its_connection_alone() {
    let office = Office::new();
    let server = Server::for_each_peer(move |peer: &Peer| {
        assert_ne!(peer.number(), 1, "intended: the first one is unlucky");
        office.desk(peer.number())
    });
    let book = Book::default();
    let running = start(book.keep(server)).await;
    let error = pb_client::connect(running.url()).await.expect_err("its root panicked").to_string();
    assert!(error.contains("failed to make your root object") && !error.contains("unlucky"), "{error}");
    let client = pb_client::connect(running.url()).await.expect("the second is served");
    assert_eq!(soon(client.root::<DeskRef>().number()).await, Ok(2));
    assert_eq!(book.until(1).await, ["2 came"]);
    until(|| running.statistics().failed == 1, || format!("{:?}", running.statistics())).await;
    soon(running.shutdown()).await;
}

#[tokio::test]
async fn hooks_are_told_once_of_each_beginning_and_each_end_with_its_reason() {
    let book = Book::default();
    let running = start(book.keep(Server::new(Office::new().desk(1)))).await;
    let client = pb_client::connect(running.url()).await.expect("it listens");
    assert_eq!(book.until(1).await, ["1 came"]);
    client.close();
    assert_eq!(book.until(2).await[1], "1 went: the peer ended the connection: closing");
    // Who never greets is nobody.
    drop(Raw::connect(running.url()).await);
    let mut stranger = Raw::connect(running.url()).await;
    stranger.send(b"GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(stranger.rest().await, []);
    let mut broken = Raw::greeted(running.url()).await;
    book.until(3).await;
    broken.message(&pb_tests::raw::hello()).await;
    broken.abort().await;
    let lines = book.until(4).await;
    assert_eq!(lines[2], "4 came");
    assert!(lines[3].starts_with("4 went: the peer broke the protocol: "), "{lines:?}");
    let last = pb_client::connect(running.url()).await.expect("it listens");
    book.until(5).await;
    soon(running.shutdown()).await;
    assert_eq!(book.lines()[5], "5 went: the server is shutting down");
    let reason = soon(last.closed()).await;
    assert!(reason.message.contains("the server is shutting down"), "{reason}");
    assert_eq!(book.lines().len(), 6, "nothing is told twice");
}

#[tokio::test]
async fn hooks_are_told_of_the_end_where_the_server_is_dropped_in_the_middle() {
    let book = Book::default();
    let running = start(book.keep(Server::new(Office::new().desk(1)))).await;
    let client = pb_client::connect(running.url()).await.expect("it listens");
    book.until(1).await;
    drop(running);
    assert_eq!(book.until(2).await, ["1 came", "1 went: the server was dropped"]);
    soon(client.closed()).await;
}

#[tokio::test]
async fn a_hook_that_panics_changes_nothing() {
    let book = Book::default();
    let server = Server::new(Office::new().desk(1)).on_connected(|_, _| panic!("intended: a bad hook"));
    let server = server.on_disconnected(|_, _| panic!("intended: another"));
    let running = start(book.keep(server)).await;
    let client = pb_client::connect(running.url()).await.expect("it listens");
    assert_eq!(soon(client.root::<DeskRef>().number()).await, Ok(1));
    client.close();
    assert_eq!(book.until(2).await[0], "1 came", "the hooks behind it are told all the same");
    soon(running.shutdown()).await;
}

#[tokio::test]
async fn a_hook_may_end_the_connection_that_it_is_told_of() {
    let server = Server::new(Office::new().desk(1)).on_connected(|peer, broker| {
        if peer.number() == 1 {
            broker.close_saying("come back tomorrow");
        }
    });
    let running = start(server).await;
    let reason = match pb_client::connect(running.url()).await {
        Ok(client) => soon(client.closed()).await.to_string(),
        Err(error) => error.to_string(),
    };
    assert!(reason.contains("come back tomorrow"), "{reason}");
    let client = pb_client::connect(running.url()).await.expect("the second stays");
    assert_eq!(soon(client.root::<DeskRef>().number()).await, Ok(1));
    soon(running.shutdown()).await;
}

#[tokio::test]
async fn a_hook_reaches_the_root_that_the_peer_serves() {
    let answers = Arc::new(AtomicU64::new(0));
    let answered = Arc::clone(&answers);
    let server = Server::new(Office::new().desk(1)).on_connected(move |_, broker| {
        let (number, answered) = (broker.root::<DeskRef>().number(), Arc::clone(&answered));
        tokio::spawn(async move { answered.store(number.await.unwrap_or(99), Ordering::SeqCst) });
    });
    let running = start(server).await;
    let mut raw = Raw::greeted(running.url()).await;
    let Some(Message::Call(asked)) = raw.answer().await else { panic!("a call on our root") };
    assert_eq!((asked.target, asked.result), (ImportId(0), ImportId(1)));
    let payload = Payload { caps: vec![], body: vec![5].into() };
    raw.message(&Message::Resolve(Resolve { export: ExportId(1), payload })).await;
    until(|| answers.load(Ordering::SeqCst) == 5, || "no answer".to_owned()).await;
    drop(raw);
    soon(running.shutdown()).await;
}

#[tokio::test]
async fn the_end_of_a_connection_tells_what_went_over_it() {
    let ends = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&ends);
    let server = Server::new(Office::new().desk(1))
        .on_disconnected(move |_, ended| told.lock().expect("nobody panics in it").push(ended.counters));
    let running = start(server).await;
    for calls in [0, 3] {
        let client = pb_client::connect(running.url()).await.expect("it listens");
        for _ in 0..calls {
            soon(client.root::<DeskRef>().number()).await.expect("it answers");
        }
        let sent = client.counters().sent;
        assert_eq!(sent.calls, calls);
        client.close();
        let count = || ends.lock().expect("nobody panics in it").len();
        until(|| count() == 1, || "it was not told".to_owned()).await;
        let ended = ends.lock().expect("nobody panics in it").pop().expect("it was told");
        assert_eq!(ended.received.calls, calls, "{ended:?}");
        assert!(ended.received.bytes >= sent.bytes, "{ended:?} of {sent:?}");
    }
    soon(running.shutdown()).await;
}

#[tokio::test]
async fn statistics_add_up() {
    let running = start(Server::new(Office::new().desk(1))).await;
    let meter = running.meter();
    assert_eq!(meter.read(), Statistics::default());
    let clients = [
        pb_client::connect(running.url()).await.expect("it listens"),
        pb_client::connect(running.url()).await.expect("it listens"),
    ];
    let silent = Raw::connect(running.url()).await;
    until_open(&running, 3).await;
    until(|| meter.read().greeting == 1, || format!("{meter:?}")).await;
    for _ in 0..4 {
        let mut stranger = Raw::connect(running.url()).await;
        stranger.send(b"SSH-2.0-scanner\r\n").await;
        stranger.rest().await;
    }
    drop(silent);
    until_open(&running, 2).await;
    drop(clients);
    until_open(&running, 0).await;
    let mut raw = Raw::greeted(running.url()).await;
    raw.message(&Message::Call(call(1, "Desk/number", &()))).await;
    assert!(matches!(raw.answer().await, Some(Message::Resolve(_))));
    raw.message(&Message::Call(call(2, "Desk/number", &(1_u8,)))).await;
    assert!(matches!(raw.answer().await, Some(Message::Reject(_))));
    assert_eq!((meter.read().ended_calls, meter.read().ended_failed), (0, 0), "it is still there");
    soon(running.shutdown()).await;
    let Statistics { open, greeting, accepted, refused, failed, ended, accept_errors, .. } = meter.read();
    assert_eq!((meter.read().ended_calls, meter.read().ended_failed), (2, 1), "{meter:?}");
    assert_eq!((open, greeting, accepted), (0, 0, 8), "{meter:?}");
    assert_eq!((refused, failed, ended, accept_errors), (0, 5, 3, 0), "{meter:?}");
}

#[remote_interface]
trait Vigil {
    /// Tells when the thing has broken, and goes on for ever.
    async fn keep(&self, thing: VigilRef);
}

#[derive(Referenceable)]
struct Watching(Book);

impl Vigil for Watching {
    async fn keep(&self, thing: VigilRef) {
        self.0.write("keeps".to_owned());
        thing.remote().on_broken().await;
        self.0.write("broken".to_owned());
        std::future::pending().await
    }
}

/// Whoever has said his last may still read; who resets the connection does not.
#[tokio::test]
async fn a_peer_that_resets_the_connection_behind_its_last_word_is_gone_at_once() {
    let book = Book::default();
    let running = start(book.keep(Server::new(VigilRef::new(Watching(book.clone()))))).await;
    let mut raw = Raw::greeted(running.url()).await;
    let asked = with_caps(call(1, "Vigil/keep", &()), [Cap::Mine(ExportId(-1))]);
    raw.message(&Message::Call(Call { payload: Payload { body: vec![0].into(), ..asked.payload }, ..asked }))
        .await;
    book.until(2).await;
    raw.say_no_more().await;
    assert_eq!(book.until(3).await[2], "broken");
    raw.reset();
    let last = book.until(4).await.pop().expect("four lines");
    assert!(last.contains("the connection was lost: "), "{last}");
    soon(running.shutdown()).await;
}
