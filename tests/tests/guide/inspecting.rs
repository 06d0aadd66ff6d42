//! `docs/guide/inspecting.md`.

use std::sync::atomic::{AtomicU64, Ordering};

use pb_server::inspect::{Inspect, InspectorDoorRef, Query};
use pb_server::{Referenceable, Server, remote_interface};

#[remote_interface]
pub trait Account {
    async fn deposit(&self, cents: u64, pin: [u8; 4]) -> Option<u64>;
}

#[derive(Referenceable)]
struct Savings {
    #[inspect]
    owner: String,
    #[inspect]
    cents: AtomicU64,
    pin: [u8; 4], // nobody sees this
}

impl Account for Savings {
    async fn deposit(&self, cents: u64, pin: [u8; 4]) -> Option<u64> {
        (pin == self.pin).then(|| self.cents.fetch_add(cents, Ordering::Relaxed) + cents)
    }
}

#[tokio::test]
async fn a_server_lets_itself_be_looked_into() {
    let dir = tempfile::tempdir().unwrap();
    let address = format!("unix://{}/bank.inspect", dir.path().display());
    let savings = Savings { owner: "ada".into(), cents: 7.into(), pin: [7; 4] };
    let server = Server::new(AccountRef::new(savings)).listen("tcp://127.0.0.1:0").await.unwrap();
    let server = server.inspect(Inspect::at(address)).await.unwrap();
    let running = server.spawn().unwrap();
    let client = pb_client::connect(running.url()).await.unwrap();
    let account: AccountRef = client.root();
    assert_eq!(account.deposit(3, [7; 4]).await, Ok(Some(10)));

    let broker = pb_client::connect(running.inspector_url().unwrap()).await.unwrap();
    let door: InspectorDoorRef = broker.root();
    let inspector = door.enter(String::new()).await.unwrap();
    let listed = inspector.objects(Query { limit: 10, ..Query::default() }).await.unwrap();
    assert_eq!((listed.total, listed.rows[0].calls), (1, 1));
    let shown = inspector.object(listed.rows[0].id, false).await.unwrap();
    let fields: Vec<_> = shown.fields.iter().map(|field| (&*field.name, &*field.value)).collect();
    assert_eq!(fields, [("owner", "\"ada\""), ("cents", "10")]);
}
