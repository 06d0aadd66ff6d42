//! `docs/guide/limits.md`.

use std::time::Duration;

use pb_client::Connect;
use pb_server::{Capacity, FailureKind, Limits, Ran, Referenceable, Server, pair, remote_interface};

#[remote_interface]
pub trait Archive {
    async fn put(&self, page: Vec<u8>) -> u64;
    async fn get(&self, bytes: u64) -> Vec<u8>;
    #[remote(answer_bytes = 1_048_576)]
    async fn get_large(&self, bytes: u64) -> Vec<u8>;
    async fn hang(&self);
    async fn sum(&self, below: u64) -> u64;
}

#[derive(Referenceable)]
struct MyArchive;

impl Archive for MyArchive {
    async fn put(&self, page: Vec<u8>) -> u64 {
        page.len() as u64
    }

    async fn get(&self, bytes: u64) -> Vec<u8> {
        vec![0; bytes as usize]
    }

    async fn get_large(&self, bytes: u64) -> Vec<u8> {
        vec![0; bytes as usize]
    }

    async fn hang(&self) {
        std::future::pending().await
    }

    async fn sum(&self, below: u64) -> u64 {
        tokio::task::spawn_blocking(move || (0..below).sum()).await.expect("it does not panic")
    }
}

#[tokio::test]
async fn what_one_sees_at_the_bounds() {
    let (_serving, broker) = pair(ArchiveRef::new(MyArchive)).await;
    let archive: ArchiveRef = broker.root();

    let failure = archive.get(100_000).await.unwrap_err();
    assert_eq!((failure.kind, failure.ran), (FailureKind::Overloaded, Ran::Yes));
    assert_eq!(
        failure.to_string(),
        "the answer has 100005 bytes; its caller takes 65536: its method asks for more with #[remote(answer_bytes = …)], a call without its trait by `with_answer_bytes`"
    );
    assert_eq!(archive.get_large(100_000).await.unwrap().len(), 100_000);

    let failure = archive.put(vec![0; 2 << 20]).await.unwrap_err();
    assert_eq!((failure.kind, failure.ran), (FailureKind::Failed, Ran::No));
    assert_eq!(failure.to_string(), "the call takes 2097669 bytes; the peer takes frames of at most 1048576");

    let waiting: Vec<_> = (0..1024).map(|_| archive.hang()).collect();
    let failure = archive.put(vec![]).await.unwrap_err();
    assert_eq!((failure.kind, failure.ran), (FailureKind::Overloaded, Ran::No));
    assert_eq!(
        failure.to_string(),
        "1024 calls and casts have not ended, which is all that the peer grants; remote().ready() waits for room"
    );
    drop(waiting);
    archive.remote().ready().await.unwrap();
    assert_eq!(archive.put(vec![]).await, Ok(0));
}

#[tokio::test]
async fn many_calls_wait_for_room() {
    let (_serving, broker) = pair(ArchiveRef::new(MyArchive)).await;
    let archive: ArchiveRef = broker.root();
    let mut calls = Vec::new();
    for _ in 0..5000 {
        archive.remote().ready().await.unwrap();
        calls.push(archive.put(vec![7; 100]));
    }
    for call in calls {
        assert_eq!(call.await, Ok(100));
    }
}

#[tokio::test]
async fn bounds_are_set_on_both_sides() {
    let limits = Limits { frame_bytes: 16 << 20, call_bytes: 64 << 20, ..Limits::default() };
    let limits = Limits { budget: 80 << 20, ..limits };
    let server = Server::new(ArchiveRef::new(MyArchive))
        .limits(limits)
        .capacity(Capacity { connections: 100, per_address: 100, ..Capacity::default() })
        .listen("mem://archive")
        .await
        .unwrap()
        .spawn()
        .unwrap();
    let broker = Connect::to("mem://archive")
        .timeout(Duration::from_secs(2))
        .limits(Limits { answer_bytes: 256 << 20, ..Limits::default() })
        .open()
        .await
        .unwrap();
    let archive: ArchiveRef = broker.root();
    assert_eq!(archive.put(vec![0; 8 << 20]).await, Ok(8 << 20));
    assert_eq!(archive.sum(1000).await, Ok(499_500));
    drop(server);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_what_nobody_else_would() {
    let (_serving, broker) = pair(ArchiveRef::new(MyArchive)).await;
    let archive = broker.root::<ArchiveRef>().within(Duration::from_secs(5));
    let failure = archive.hang().await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::DeadlineExceeded);
}
