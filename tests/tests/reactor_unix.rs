//! Sockets in the file system: who may connect, what happens to the file, and what is never removed.
#![cfg(unix)]

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use pb_core::broker::Config;
use pb_core::reactor::{Address, ListenOptions, Listener, Stream};
use pb_core::{Broker, Limits, Stub};
use pb_tests::live::{NodeRef, World, soon};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;

fn scratch() -> (TempDir, PathBuf, Address) {
    let dir = tempfile::tempdir().expect("a scratch directory");
    let path = dir.path().join("s");
    let address = format!("unix://{}", path.display()).parse().expect("an address");
    (dir, path, address)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

/// A socket's file whose socket is gone, as a crash leaves it.
fn stale(path: &Path) {
    drop(std::os::unix::net::UnixListener::bind(path).expect("bind"));
    assert!(path.exists());
}

/// A socket that listens with room for next to nobody.
fn narrow(path: &Path) -> std::os::unix::net::UnixListener {
    let socket = tokio::net::UnixSocket::new_stream().expect("a socket");
    socket.bind(path).expect("bind");
    socket.listen(1).and_then(tokio::net::UnixListener::into_std).expect("it listens")
}

async fn refused(address: &Address) -> std::io::Error {
    match soon(Listener::bind(address)).await {
        Ok(_) => panic!("it listens on {address}"),
        Err(error) => error,
    }
}

/// Both ends of a connection that `listener` accepts.
async fn connected(listener: &mut Listener, address: &Address) -> (Stream, Stream) {
    let (server, client) = soon(async { tokio::join!(listener.accept(), Stream::connect(address)) }).await;
    (server.expect("accepted"), client.expect("connected"))
}

async fn is_alive(listener: &mut Listener, address: &Address) {
    let (server, client) = connected(listener, address).await;
    let (_, mut write) = server.into_split();
    assert_eq!(soon(write.write(b"here")).await.expect("written"), 4);
    soon(write.finish()).await;
    let mut text = String::new();
    soon(client.into_split().0.read_to_string(&mut text)).await.expect("read");
    assert_eq!(text, "here");
}

#[tokio::test]
async fn a_broker_runs_over_a_socket_in_the_file_system() {
    let (_dir, _, address) = scratch();
    let mut listener = Listener::bind(&address).await.expect("bind");
    let world = std::sync::Arc::new(World::default());
    let root = world.node("root").as_reference().clone();
    let (server, client) = connected(&mut listener, &address).await;
    assert_eq!((server.peer(), client.peer()), (address.to_string().as_str(), address.to_string().as_str()));
    let config = |root| Config { root, limits: Limits::default(), ..Config::default() };
    let (server, client) = soon(async {
        tokio::join!(Broker::open(server, config(Some(root))), Broker::open(client, config(None)))
    })
    .await;
    let (server, client) = (server.expect("greeted"), client.expect("greeted"));
    let root: NodeRef = client.root();
    assert_eq!(soon(root.name()).await.as_deref(), Ok("root"));
    drop((root, client));
    soon(server.finished()).await;
}

#[tokio::test]
async fn only_the_user_may_connect_unless_told_otherwise() {
    let (_dir, path, address) = scratch();
    let listener = Listener::bind(&address).await.expect("bind");
    assert_eq!(mode(&path), 0o600);
    drop(listener);
    // Wider than what any mask of the process leaves.
    let _listener =
        Listener::bind_with(&address, &ListenOptions::default().unix_mode(0o666)).await.expect("bind");
    assert_eq!(mode(&path), 0o666);
}

#[tokio::test]
async fn a_mode_that_is_none_makes_no_file() {
    let (_dir, path, address) = scratch();
    let error =
        Listener::bind_with(&address, &ListenOptions::default().unix_mode(0o1000)).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("1000"), "{error}");
    assert!(!path.exists());
}

#[tokio::test]
async fn the_file_goes_with_its_listener() {
    let (_dir, path, address) = scratch();
    let listener = Listener::bind(&address).await.expect("bind");
    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
    drop(listener);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_file_that_took_its_place_stays() {
    let (_dir, path, address) = scratch();
    let listener = Listener::bind(&address).await.expect("bind");
    fs::remove_file(&path).unwrap();
    let mut second = Listener::bind(&address).await.expect("bind");
    drop(listener);
    is_alive(&mut second, &address).await;
}

#[tokio::test]
async fn a_stale_file_makes_room() {
    let (_dir, path, address) = scratch();
    stale(&path);
    let mut listener = Listener::bind(&address).await.expect("bind");
    is_alive(&mut listener, &address).await;
    drop(listener);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_live_socket_is_never_removed() {
    let (_dir, path, address) = scratch();
    let mut listener = Listener::bind(&address).await.expect("bind");
    let error = refused(&address).await;
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().contains("has a listener already"), "{error}");
    assert!(path.exists());
    // The question whether it is alive was a connection, which is gone again.
    drop(soon(listener.accept()).await.expect("accepted"));
    is_alive(&mut listener, &address).await;
}

#[tokio::test]
async fn a_socket_whose_queue_is_full_is_alive() {
    let (_dir, path, address) = scratch();
    let listener = narrow(&path);
    let mut waiting = Vec::new();
    let full = loop {
        match tokio::net::UnixStream::connect(&path).await {
            Ok(stream) => waiting.push(stream),
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock, "after {} connections", waiting.len());
    assert_eq!(refused(&address).await.kind(), ErrorKind::AddrInUse);
    assert!(path.exists());
    drop(listener);
}

#[tokio::test]
async fn whoever_finds_a_full_queue_waits_for_room() {
    let (_dir, path, address) = scratch();
    let mut listener = Listener::from_unix(narrow(&path)).expect("handed in");
    let connecting: Vec<_> = (0..200)
        .map(|_| {
            let address = address.clone();
            tokio::spawn(async move { Stream::connect(&address).await })
        })
        .collect();
    tokio::task::yield_now().await;
    let mut accepted = Vec::new();
    for _ in 0..connecting.len() {
        accepted.push(soon(listener.accept()).await.expect("accepted"));
    }
    for connecting in connecting {
        soon(connecting).await.expect("no panic").expect("connected");
    }
}

#[tokio::test]
async fn another_kind_of_file_is_never_removed() {
    let (dir, path, address) = scratch();
    fs::write(&path, "mine").unwrap();
    let error = refused(&address).await;
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().contains("no socket"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");

    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(refused(&address).await.kind(), ErrorKind::AddrInUse);
    assert!(path.is_dir());

    // A link is no socket, wherever it leads.
    fs::remove_dir(&path).unwrap();
    let other = dir.path().join("other");
    stale(&other);
    symlink(&other, &path).unwrap();
    assert_eq!(refused(&address).await.kind(), ErrorKind::AddrInUse);
    assert!(other.exists() && fs::symlink_metadata(&path).unwrap().is_symlink());
}

#[tokio::test]
async fn a_datagram_socket_is_never_removed() {
    let (_dir, path, address) = scratch();
    let _socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    let error = refused(&address).await;
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().contains("cannot be told dead"), "{error}");
    assert!(path.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_that_find_a_stale_file_one_listens() {
    let (_dir, path, address) = scratch();
    for _ in 0..20 {
        stale(&path);
        let binding: Vec<_> = (0..8)
            .map(|_| {
                let address = address.clone();
                tokio::spawn(async move { Listener::bind(&address).await })
            })
            .collect();
        let mut listening = Vec::new();
        for binding in binding {
            match soon(binding).await.expect("no panic") {
                Ok(listener) => listening.push(listener),
                Err(error) => assert_eq!(error.kind(), ErrorKind::AddrInUse),
            }
        }
        assert_eq!(listening.len(), 1);
        assert!(path.exists());
        drop(listening);
        assert!(!path.exists());
    }
}

#[tokio::test]
async fn a_socket_that_was_handed_in_keeps_its_file() {
    let (_dir, path, address) = scratch();
    let made = std::os::unix::net::UnixListener::bind(&path).expect("bind");
    let mut listener = Listener::from_unix(made.try_clone().expect("clone")).expect("handed in");
    assert_eq!(listener.address().unwrap(), address);
    is_alive(&mut listener, &address).await;
    drop(listener);
    assert!(path.exists());

    let made = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address: Address = format!("tcp://{}", made.local_addr().unwrap()).parse().unwrap();
    let mut listener = Listener::from_tcp(made).expect("handed in");
    assert_eq!(listener.address().unwrap(), address);
    is_alive(&mut listener, &address).await;
}

#[tokio::test]
async fn where_nobody_listens_there_is_an_error_and_no_file() {
    let (_dir, path, address) = scratch();
    assert_eq!(Stream::connect(&address).await.err().unwrap().kind(), ErrorKind::NotFound);
    assert!(!path.exists());
    stale(&path);
    assert_eq!(Stream::connect(&address).await.err().unwrap().kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn where_a_directory_is_not_there_the_error_names_it_and_says_to_make_it() {
    let (_dir, path, _address) = scratch();
    let directory = path.parent().expect("a folder").join("pb");
    let address: Address = format!("unix://{}/s", directory.display()).parse().expect("an address");
    let error = refused(&address).await;
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let directory = directory.display();
    let wanted =
        format!("its directory {directory} is not there: make it first, for only the socket is made");
    assert_eq!(error.to_string(), wanted);
}
