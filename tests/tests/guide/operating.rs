//! `docs/guide/operating.md`.

use pb_client::trace::{self, TraceParent};
use pb_server::{CallContext, Referenceable, Server, remote_interface};

#[remote_interface]
pub trait Mill {
    async fn grind(&self, kilos: u64) -> Result<u64, String>;
    async fn trace(&self, cx: &CallContext) -> Option<String>;
}

#[derive(Referenceable)]
struct MyMill;

impl Mill for MyMill {
    async fn grind(&self, kilos: u64) -> Result<u64, String> {
        if kilos > 100 { Err("too much".into()) } else { Ok(kilos) }
    }

    async fn trace(&self, cx: &CallContext) -> Option<String> {
        cx.traceparent().map(|parent| parent.to_string())
    }
}

#[tokio::test]
async fn connections_and_calls_are_counted() {
    let server = Server::new(MillRef::new(MyMill))
        .on_connected(|peer, _broker| println!("{peer}"))
        .on_disconnected(|peer, ended| println!("{peer}: {}, {:?}", ended.reason, ended.lasted))
        .listen("mem://mill")
        .await
        .unwrap();
    let running = server.spawn().unwrap();
    let broker = pb_client::connect("mem://mill").await.unwrap();
    let mill: MillRef = broker.root();
    assert_eq!(mill.grind(7).await, Ok(7));
    assert!(mill.grind(700).await.is_err());
    let counters = broker.counters();
    println!("{} calls, {} bytes", counters.sent.calls, counters.sent.bytes);
    println!("{} failed", counters.received.failures.total() + counters.received.errors);
    println!("{} objects of theirs are held", counters.tables.imports);
    assert_eq!((counters.sent.calls, counters.received.values, counters.received.errors), (2, 1, 1));
    assert_eq!(running.statistics().open, 1);
}

#[tokio::test]
async fn a_trace_goes_with_its_calls() {
    let (_serving, broker) = pb_server::pair(MillRef::new(MyMill)).await;
    let mill: MillRef = broker.root();
    let parent: TraceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
    let seen = trace::scope(parent, async { mill.trace().await }).await;
    assert_eq!(seen, Ok(Some(parent.to_string())));
    assert_eq!(mill.trace().await, Ok(None));
}
