//! A live server against peers that send what they must not. Which attack each test meets stands in `attacks.md`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Once};

use pb_core::Bytes;
use pb_core::message::*;
use pb_core::wire::frame::MAGIC;
use pb_server::{CallError, Limits, Referenceable, Running, Server, remote_interface};
use pb_tests::golden;
use pb_tests::hostile::{Dice, damaged, framed};
use pb_tests::raw::{Raw, bytes_call, call, hello, with_caps};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

mod hostile_peers {
    mod bodies;
    mod frames;
    mod greetings;
    mod ids;
    mod methods;
}

#[remote_interface]
trait Target {
    async fn say(&self, text: String) -> String;
    async fn calls(&self) -> u64;
    async fn open(&self) -> ThingRef;
    async fn nest(&self, value: Nest) -> u32;
    async fn numbers(&self, values: Vec<u64>) -> u64;
    async fn units(&self, values: Vec<()>) -> u64;
    async fn things(&self, things: Vec<ThingRef>) -> u64;
    async fn keep(&self, thing: ThingRef);
    async fn large(&self, bytes: u32) -> Vec<u8>;
    async fn hold(&self) -> u64;
    async fn fail(&self) -> Result<ThingRef, String>;
    async fn echo(&self, thing: ThingRef) -> ThingRef;
    async fn take(&self, box_number: u32) -> ThingRef;
    async fn put(&self, box_number: u32, thing: ThingRef);
    async fn panics(&self) -> u64;
    async fn bomb(&self) -> ThingRef;
    async fn bounce(&self, depth: u32, partner: PartnerRef) -> u32;
    #[remote(oneway)]
    async fn note(&self, text: String);
}

#[remote_interface]
trait Partner {
    async fn bounce(&self, depth: u32) -> u32;
}

#[remote_interface]
trait Thing {
    async fn touch(&self) -> u64;
}

#[derive(Serialize, Deserialize)]
enum Nest {
    Leaf(u8),
    List(Vec<Nest>),
}

#[derive(Referenceable, Default)]
struct Victim {
    calls: AtomicU64,
    kept: std::sync::Mutex<Vec<ThingRef>>,
    boxes: std::sync::Mutex<HashMap<u32, oneshot::Sender<ThingRef>>>,
}

#[derive(Referenceable)]
struct Plain;

/// Its drop panics.
#[derive(Referenceable)]
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("intended: the secret of Bomb");
    }
}

impl Target for Victim {
    async fn say(&self, text: String) -> String {
        self.calls.fetch_add(1, Ordering::Relaxed);
        text
    }
    async fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
    async fn open(&self) -> ThingRef {
        ThingRef::new(Plain)
    }
    async fn nest(&self, value: Nest) -> u32 {
        let (mut depth, mut at) = (0, &value);
        while let Nest::List(values) = at
            && let Some(first) = values.first()
        {
            (depth, at) = (depth + 1, first);
        }
        depth
    }
    async fn numbers(&self, values: Vec<u64>) -> u64 {
        values.len() as u64
    }
    async fn units(&self, values: Vec<()>) -> u64 {
        values.len() as u64
    }
    async fn things(&self, things: Vec<ThingRef>) -> u64 {
        things.len() as u64
    }
    async fn keep(&self, thing: ThingRef) {
        self.kept.lock().expect("nobody panics in it").push(thing);
    }
    async fn large(&self, bytes: u32) -> Vec<u8> {
        vec![7; bytes as usize]
    }
    async fn hold(&self) -> u64 {
        std::future::pending().await
    }
    async fn fail(&self) -> Result<ThingRef, String> {
        Err("no such thing".to_owned())
    }
    async fn echo(&self, thing: ThingRef) -> ThingRef {
        thing
    }
    async fn take(&self, box_number: u32) -> ThingRef {
        let (sender, receiver) = oneshot::channel();
        self.boxes.lock().expect("nobody panics in it").insert(box_number, sender);
        receiver.await.expect("somebody puts something in")
    }
    async fn put(&self, box_number: u32, thing: ThingRef) {
        let sender = self.boxes.lock().expect("nobody panics in it").remove(&box_number);
        let _ = sender.expect("somebody takes").send(thing);
    }
    async fn panics(&self) -> u64 {
        panic!("intended: the secret of panics")
    }
    async fn bomb(&self) -> ThingRef {
        ThingRef::new(Bomb)
    }
    async fn bounce(&self, depth: u32, partner: PartnerRef) -> u32 {
        match depth {
            0 => 0,
            depth => partner.bounce(depth - 1).await.map_or(0, |deeper| deeper + 1),
        }
    }
    async fn note(&self, _text: String) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }
}

impl Thing for Plain {
    async fn touch(&self) -> u64 {
        1
    }
}

impl Thing for Bomb {
    async fn touch(&self) -> u64 {
        2
    }
}

/// A server under attack.
struct Attacked {
    running: Running,
    url: String,
}

impl Attacked {
    async fn start() -> Attacked {
        Attacked::with(Limits::default()).await
    }

    async fn with(limits: Limits) -> Attacked {
        count_panics();
        let server = Server::new(TargetRef::new(Victim::default())).limits(limits);
        let server = server.listen("tcp://127.0.0.1:0").await.expect("a free port");
        let url = server.urls().remove(0);
        Attacked { running: server.spawn().expect("it listens"), url }
    }

    async fn greeted(&self) -> Raw {
        Raw::greeted(&self.url).await
    }

    /// Sends bytes behind a good hello, and returns the abort that they bring about.
    async fn abort_for(&self, bytes: &[u8]) -> Abort {
        let mut raw = self.greeted().await;
        raw.send(bytes).await;
        raw.abort().await
    }

    /// The same with messages.
    async fn abort_for_messages(&self, messages: &[Message]) -> Abort {
        let mut raw = self.greeted().await;
        for message in messages {
            raw.message(message).await;
        }
        raw.abort().await
    }

    /// An honest client is served as ever, and nothing has panicked that was not meant to.
    async fn serves_on(self) {
        let broker = pb_client::connect(&self.url).await.expect("the server lives");
        let target: TargetRef = broker.root();
        assert_eq!(target.say("honest".to_owned()).await.as_deref(), Ok("honest"));
        assert_eq!(target.open().touch().await, Ok(1));
        drop((target, broker));
        assert_eq!(PANICS.load(Ordering::SeqCst), 0, "something has panicked");
        self.running.shutdown().await;
    }
}

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Counts panics of which the text does not say that they were intended.
fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.payload_as_str().unwrap_or_default();
            if !text.starts_with("intended") {
                PANICS.fetch_add(1, Ordering::SeqCst);
                default(info);
            }
        }));
    });
}

/// The answer to a call: its value, or the failure's kind.
fn outcome(message: Option<Message>) -> Result<Bytes, FailureKind> {
    match message {
        Some(Message::Resolve(resolve)) => Ok(resolve.payload.body),
        Some(Message::Reject(Reject { rejection: Rejection::Broker(failure), .. })) => Err(failure.kind),
        other => panic!("no answer, but {other:?}"),
    }
}
