//! `docs/guide/from-twisted-pb.md`.

use std::sync::{Arc, Mutex};

use pb_server::{CallError, Referenceable, pair, remote_interface};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, PartialEq, Clone, Debug)]
pub struct Line {
    pub from: String,
    pub text: String,
    #[serde(skip)]
    pub seen: bool, // stays at home
}

/// What a client has: its mind.
#[remote_interface]
pub trait Mind {
    async fn hear(&self, line: Line);
}

/// What everybody gets: the root.
#[remote_interface]
pub trait Door {
    async fn login(&self, name: String, password: String, mind: MindRef) -> Result<UserRef, Denied>;
}

/// What one user gets: his avatar.
#[remote_interface]
pub trait User {
    async fn say(&self, text: String) -> u64;
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
pub struct Denied;

#[derive(Default, Referenceable)]
struct Entrance {
    minds: Arc<Mutex<Vec<MindRef>>>,
}

impl Door for Entrance {
    async fn login(&self, name: String, password: String, mind: MindRef) -> Result<UserRef, Denied> {
        if password != "sesame" {
            return Err(Denied);
        }
        self.minds.lock().unwrap().push(mind);
        Ok(UserRef::new(Avatar { name, minds: Arc::clone(&self.minds) }))
    }
}

/// Ada's, if she has it: nobody else was given it, so `self` says who calls.
#[derive(Referenceable)]
struct Avatar {
    name: String,
    minds: Arc<Mutex<Vec<MindRef>>>,
}

impl User for Avatar {
    async fn say(&self, text: String) -> u64 {
        let line = Line { from: self.name.clone(), text, seen: true };
        let mut minds = self.minds.lock().unwrap().clone();
        minds.retain(|mind| mind.remote().broken().is_none());
        let mut heard = 0;
        for mind in minds {
            heard += u64::from(mind.hear(line.clone()).await.is_ok());
        }
        heard
    }
}

#[derive(Clone, Default, Referenceable)]
struct Screen(Arc<Mutex<Vec<Line>>>);

impl Mind for Screen {
    async fn hear(&self, line: Line) {
        self.0.lock().unwrap().push(line);
    }
}

#[tokio::test]
async fn an_avatar_knows_whose_it_is_and_reaches_minds() {
    let (_serving, broker) = pair(DoorRef::new(Entrance::default())).await;
    let (screen, door) = (Screen::default(), broker.root::<DoorRef>());
    let mind = MindRef::new(screen.clone());
    let denied = door.login("eve".into(), "guess".into(), mind.clone()).await;
    assert_eq!(denied.err(), Some(CallError::App(Denied)));
    // Login and the first call: one round trip.
    let heard = door.login("ada".into(), "sesame".into(), mind).say("hello".into()).await;
    assert_eq!(heard, Ok(1));
    let line = Line { from: "ada".into(), text: "hello".into(), seen: false };
    assert_eq!(*screen.0.lock().unwrap(), [line]);
}
