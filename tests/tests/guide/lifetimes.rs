//! `docs/guide/lifetimes.md`. The worker that goes back to its queue is the example `jobs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use pb_server::{Broker, Referenceable, pair, remote_interface};
use tokio::sync::watch;

#[remote_interface]
pub trait Desk {
    async fn open(&self) -> FileRef;
    async fn keep(&self, file: FileRef);
}

#[remote_interface]
pub trait File {
    async fn text(&self) -> String;
    async fn wait(&self) -> String;
    #[remote(run_to_end)]
    async fn save(&self);
}

#[derive(Default, Referenceable)]
struct MyDesk {
    open: Arc<AtomicUsize>,
    saved: watch::Sender<usize>,
    kept: std::sync::Mutex<Option<FileRef>>,
}

impl Desk for MyDesk {
    async fn open(&self) -> FileRef {
        self.open.fetch_add(1, SeqCst);
        FileRef::new(MyFile { open: Arc::clone(&self.open), saved: self.saved.clone() })
    }

    async fn keep(&self, file: FileRef) {
        *self.kept.lock().unwrap() = Some(file);
    }
}

/// An object lives as long as somebody holds a reference to it, here or elsewhere.
#[derive(Referenceable)]
struct MyFile {
    open: Arc<AtomicUsize>,
    saved: watch::Sender<usize>,
}

impl Drop for MyFile {
    fn drop(&mut self) {
        self.open.fetch_sub(1, SeqCst);
    }
}

impl File for MyFile {
    async fn text(&self) -> String {
        "hello".into()
    }

    async fn wait(&self) -> String {
        std::future::pending().await
    }

    async fn save(&self) {
        tokio::task::yield_now().await;
        self.saved.send_modify(|saved| *saved += 1);
    }
}

/// Waits until both sides hold nothing of each other.
async fn settled(serving: &Broker, client: &Broker) {
    client.idle().await;
    serving.idle().await;
}

#[tokio::test]
async fn an_object_lives_as_long_as_somebody_holds_it() {
    let desk = Arc::new(MyDesk::default());
    let (serving, broker) = pair(DeskRef::new(Arc::clone(&desk))).await;
    let file = broker.root::<DeskRef>().open().await.unwrap();
    let same = file.clone();
    drop(file);
    assert_eq!(same.text().await, Ok("hello".into()));
    drop(same);
    settled(&serving, &broker).await;
    assert_eq!(desk.open.load(SeqCst), 0);
}

#[tokio::test]
async fn dropping_a_call_stops_its_method_unless_it_runs_to_its_end() {
    let desk = Arc::new(MyDesk::default());
    let mut saved = desk.saved.subscribe();
    let (serving, broker) = pair(DeskRef::new(Arc::clone(&desk))).await;
    let file = broker.root::<DeskRef>().open().await.unwrap();
    let waiting = file.wait();
    drop(waiting);
    drop(file.save());
    drop(file);
    saved.wait_for(|saved| *saved == 1).await.unwrap();
    settled(&serving, &broker).await;
    assert_eq!(desk.open.load(SeqCst), 0, "no method runs that would hold it");
}

#[tokio::test]
async fn a_client_that_only_gave_objects_away_is_gone_unless_it_waits() {
    let desk = Arc::new(MyDesk::default());
    let (_serving, broker) = pair(DeskRef::new(Arc::clone(&desk))).await;
    let mine = FileRef::new(MyFile { open: Arc::default(), saved: watch::Sender::default() });
    broker.root::<DeskRef>().keep(mine).await.unwrap();
    let theirs = desk.kept.lock().unwrap().clone().unwrap();
    assert_eq!(theirs.text().await, Ok("hello".into()));
    assert!(theirs.remote().broken().is_none());
    // The last handle of the connection: a program that is to be called back keeps one, as by `broker.closed().await`.
    drop(broker);
    let failure = theirs.remote().on_broken().await;
    assert_eq!(failure.to_string(), "the peer ended the connection: closing");
    assert!(theirs.remote().broken().is_some());
}

#[tokio::test]
async fn what_was_lent_is_taken_back() {
    let (serving, broker) = pair(DeskRef::new(MyDesk::default())).await;
    let file = broker.root::<DeskRef>().open().await.unwrap();
    let (lent, revoker) = file.remote().revocable::<FileRef>();
    assert_eq!(lent.text().await, Ok("hello".into()));
    revoker.revoke("closing time");
    let failure = lent.text().await.unwrap_err();
    assert_eq!(failure.to_string(), "the reference that was called is broken: closing time");
    assert_eq!(file.text().await, Ok("hello".into()));
    drop((file, lent, revoker));
    settled(&serving, &broker).await;
}

#[tokio::test]
async fn a_program_that_ends_leaves_nothing_behind_that_it_asked_for() {
    for finishing in [false, true] {
        let desk = Arc::new(MyDesk::default());
        let mut saved = desk.saved.subscribe();
        let (_serving, broker) = pair(DeskRef::new(Arc::clone(&desk))).await;
        let file = broker.root::<DeskRef>().open().await.unwrap();
        file.save().detach();
        drop(file);
        if finishing {
            broker.close(); // no further calls; methods that still run are stopped, detached or not
            broker.finished().await; // what was sent before has left
        } else {
            broker.idle().await; // everything that was asked for is answered, everything that was lent is back
        }
        drop(broker);
        // It has arrived: `save` runs to its end, whatever becomes of the connection.
        saved.wait_for(|saved| *saved == 1).await.unwrap();
    }
}
