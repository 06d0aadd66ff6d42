//! `docs/guide/from-tarpc.md`: its pb side.

use std::time::Duration;

use pb_server::{CallContext, Referenceable, pair, remote_interface};

#[remote_interface]
pub trait World {
    async fn hello(&self, cx: &CallContext, name: String) -> String;
}

#[derive(Referenceable)]
struct MyWorld;

impl World for MyWorld {
    async fn hello(&self, cx: &CallContext, name: String) -> String {
        match cx.deadline() {
            Some(_) => format!("Quickly: hello, {name}!"),
            None => format!("Hello, {name}!"),
        }
    }
}

#[tokio::test]
async fn the_same_with_and_without_a_deadline() {
    let (_serving, broker) = pair(WorldRef::new(MyWorld)).await;
    let world: WorldRef = broker.root();
    assert_eq!(world.hello("Ada".into()).await, Ok("Hello, Ada!".into()));
    let quick = world.within(Duration::from_secs(10));
    assert_eq!(quick.hello("Ada".into()).await, Ok("Quickly: hello, Ada!".into()));
}
