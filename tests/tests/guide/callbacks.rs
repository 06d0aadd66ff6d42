//! `docs/guide/callbacks.md`. Most of what the page shows is the examples `counter` and `jobs`.

use std::sync::Arc;
use std::time::Duration;

use pb_server::{FailureKind, Referenceable, pair, remote_interface};
use tokio::sync::Mutex;

#[remote_interface]
pub trait Room {
    async fn enter(&self, talker: TalkerRef);
    async fn names(&self) -> Vec<String>;
}

#[remote_interface]
pub trait Talker {
    async fn name(&self) -> String;
    async fn welcome(&self);
}

#[derive(Default, Referenceable)]
struct Locked {
    inside: Mutex<Vec<String>>,
}

impl Room for Locked {
    async fn enter(&self, talker: TalkerRef) {
        let mut inside = self.inside.lock().await;
        inside.push(talker.name().await.unwrap_or_default());
        // Wrong: the lock is held while somebody else's code runs.
        let _ = talker.welcome().await;
    }

    async fn names(&self) -> Vec<String> {
        self.inside.lock().await.clone()
    }
}

#[derive(Default, Referenceable)]
struct Unlocked {
    inside: std::sync::Mutex<Vec<String>>,
}

impl Room for Unlocked {
    async fn enter(&self, talker: TalkerRef) {
        let name = talker.name().await.unwrap_or_default();
        self.inside.lock().unwrap().push(name);
        let _ = talker.welcome().await;
    }

    async fn names(&self) -> Vec<String> {
        self.inside.lock().unwrap().clone()
    }
}

/// Looks around as it is welcomed.
#[derive(Referenceable)]
struct Curious {
    room: RoomRef,
    saw: std::sync::Mutex<Vec<String>>,
}

impl Talker for Curious {
    async fn name(&self) -> String {
        "ada".into()
    }

    async fn welcome(&self) {
        let names = self.room.names().await.unwrap_or_default();
        self.saw.lock().unwrap().extend(names);
    }
}

async fn enter(room: RoomRef) -> (Result<(), pb_server::Failure>, Vec<String>) {
    let (_serving, client) = pair(room).await;
    let room: RoomRef = client.root();
    let ada = Arc::new(Curious { room: room.clone(), saw: Default::default() });
    let entered = room.within(Duration::from_secs(5)).enter(TalkerRef::new(Arc::clone(&ada))).await;
    let saw = ada.saw.lock().unwrap().clone();
    (entered, saw)
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_held_across_a_callback_waits_for_ever_and_one_that_is_not_does_not() {
    let (entered, saw) = enter(RoomRef::new(Locked::default())).await;
    let failure = entered.unwrap_err();
    assert_eq!(failure.kind, FailureKind::DeadlineExceeded);
    assert_eq!(failure.to_string(), "the deadline passed before the answer");
    assert!(saw.is_empty());
    assert_eq!(enter(RoomRef::new(Unlocked::default())).await, (Ok(()), vec!["ada".into()]));
}

#[tokio::test]
async fn an_object_that_comes_home_is_the_object_itself() {
    let (_serving, client) = pair(RoomRef::new(Unlocked::default())).await;
    let ada = Arc::new(Curious { room: client.root(), saw: Default::default() });
    let talker = TalkerRef::new(Arc::clone(&ada));
    let again = talker.remote().local::<Curious>().expect("it is here");
    assert!(Arc::ptr_eq(&again, &ada));
}

#[remote_interface]
pub trait Asked {
    async fn how_many(&self) -> u32;
}

#[derive(Referenceable)]
#[referenceable(Talker, Asked)]
struct Owner {
    name: String,
}

impl Talker for Owner {
    async fn name(&self) -> String {
        self.name.clone()
    }

    async fn welcome(&self) {}
}

impl Asked for Owner {
    async fn how_many(&self) -> u32 {
        7
    }
}

#[derive(Referenceable)]
struct Forgetful;

impl Talker for Forgetful {
    async fn name(&self) -> String {
        "emma".into()
    }

    async fn welcome(&self) {}
}

#[tokio::test]
async fn an_object_has_the_interfaces_that_its_derive_lists() {
    let (_serving, broker) = pair(TalkerRef::new(Owner { name: "ada".into() })).await;
    let talker: TalkerRef = broker.root();
    let asked: AskedRef = talker.remote().cast();
    assert_eq!((asked.how_many().await, talker.name().await), (Ok(7), Ok("ada".into())));
    let (_serving, broker) = pair(TalkerRef::new(Forgetful)).await;
    let asked: AskedRef = broker.root::<TalkerRef>().remote().cast();
    let failure = asked.how_many().await.unwrap_err();
    assert_eq!(failure.to_string(), "the object has no method Asked/how_many; it offers Talker");
}
