//! `docs/guide/first-service.md`.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use pb_server::{Referenceable, Server, remote_interface};

/// A number that many may change.
#[remote_interface]
pub trait Counter {
    /// Adds to it, and says what it is then.
    async fn add(&self, n: u64) -> u64;
    /// What it is.
    async fn value(&self) -> u64;
}

#[derive(Default, Referenceable)]
struct Shared {
    value: AtomicU64,
}

impl Counter for Shared {
    async fn add(&self, n: u64) -> u64 {
        self.value.fetch_add(n, SeqCst) + n
    }

    async fn value(&self) -> u64 {
        self.value.load(SeqCst)
    }
}

async fn serve(address: &str) -> Result<(), Box<dyn std::error::Error>> {
    let root = CounterRef::new(Shared::default());
    let server = Server::new(root).listen(address).await?;
    println!("listening on {}", server.urls()[0]);
    server.run().await?;
    Ok(())
}

async fn add(address: &str) -> Result<u64, Box<dyn std::error::Error>> {
    let broker = pb_client::connect(address).await?;
    let counter: CounterRef = broker.root();
    let sum = counter.add(5).await?;
    Ok(sum)
}

#[tokio::test]
async fn a_client_calls_a_server() {
    tokio::spawn(async { serve("mem://first").await.map_err(|error| error.to_string()) });
    while pb_client::connect("mem://first").await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(add("mem://first").await.unwrap(), 5);
    assert_eq!(add("mem://first").await.unwrap(), 10);
}

#[tokio::test]
async fn a_call_that_is_not_awaited_is_cancelled_and_one_that_is_let_go_is_not() {
    let (_serving, client) = pb_server::pair(CounterRef::new(Shared::default())).await;
    let counter: CounterRef = client.root();
    counter.add(1).detach();
    assert_eq!(counter.value().await, Ok(1));
}

#[remote_interface]
pub trait Bank {
    async fn open(&self, owner: String);
}

#[tokio::test]
async fn what_one_sees_where_the_two_sides_do_not_meet() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = pb_client::connect(&format!("tcp://127.0.0.1:{port}")).await.err().unwrap();
    let seen = error.to_string().replace(&port.to_string(), "8787");
    assert_eq!(seen, "cannot connect to tcp://127.0.0.1:8787: Connection refused (os error 111)");

    let error = pb_client::connect("127.0.0.1:8787").await.err().unwrap();
    let seen = r#""127.0.0.1:8787" is no address: write tcp://HOST:PORT, unix://PATH or mem://NAME"#;
    assert_eq!(error.to_string(), seen);

    let (_serving, client) = pb_server::pair(CounterRef::new(Shared::default())).await;
    let bank: BankRef = client.root();
    let failure = bank.open("ada".into()).await.unwrap_err();
    assert_eq!(failure.to_string(), "the object has no method Bank/open; it offers Counter");
}
