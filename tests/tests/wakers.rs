//! Wakers that look at what they wait for as they are woken or dropped: the broker does neither under a lock of its own.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use pb_server::{Referenceable, pair, remote_interface};

#[remote_interface]
trait Door {
    /// Never opens.
    async fn open(&self) -> DoorRef;
    async fn number(&self) -> u64;
}

#[derive(Referenceable)]
struct MyDoor;

impl Door for MyDoor {
    async fn open(&self) -> DoorRef {
        std::future::pending().await
    }
    async fn number(&self) -> u64 {
        7
    }
}

type Work = Box<dyn FnOnce() + Send>;

/// Does its work once, as it is woken or as the last of it is dropped, whichever it was made for.
struct Curious {
    work: Mutex<Option<Work>>,
    at_wake: bool,
    done: Arc<AtomicUsize>,
}

impl Curious {
    fn waker(at_wake: bool, done: &Arc<AtomicUsize>, work: impl FnOnce() + Send + 'static) -> Waker {
        let work: Work = Box::new(work);
        Waker::from(Arc::new(Curious { work: Mutex::new(Some(work)), at_wake, done: Arc::clone(done) }))
    }

    fn look(&self) {
        let work = self.work.lock().expect("no panic under it").take();
        if let Some(work) = work {
            work();
            self.done.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Wake for Curious {
    fn wake(self: Arc<Self>) {
        if self.at_wake {
            self.look();
        }
    }
}

impl Drop for Curious {
    fn drop(&mut self) {
        if !self.at_wake {
            self.look();
        }
    }
}

/// Runs `test` on a thread of its own with a runtime: one that waits for itself is a failure, not a test that hangs.
#[track_caller]
fn without_waiting_for_itself<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let (done, wait) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(test());
        let _ = done.send(());
    });
    let ended = wait.recv_timeout(Duration::from_secs(60));
    assert!(ended.is_ok(), "it panicked, or waits for a lock that its own thread holds: {ended:?}");
}

fn poll_once<T>(future: Pin<&mut (impl Future<Output = T> + ?Sized)>, waker: &Waker) -> Poll<T> {
    future.poll(&mut Context::from_waker(waker))
}

type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

#[test]
fn a_deferred_drops_the_waker_that_another_replaces_under_no_lock() {
    for far in [false, true] {
        without_waiting_for_itself(move || async move {
            let own = DoorRef::new(MyDoor);
            let (_server, client) = pair(own.clone()).await;
            let root = if far { client.root() } else { own };
            let mut opening = Box::pin(root.open());
            let promised = opening.promised();
            let done = Arc::default();
            let waker = Curious::waker(false, &done, move || {
                // It asks the call that it waited for.
                let mut broken = Box::pin(promised.remote().on_broken());
                assert!(poll_once(broken.as_mut(), Waker::noop()).is_pending());
                drop(promised.open());
            });
            assert!(poll_once(opening.as_mut(), &waker).is_pending());
            drop(waker);
            assert_eq!(done.load(Ordering::SeqCst), 0);
            assert!(poll_once(opening.as_mut(), Waker::noop()).is_pending());
            assert_eq!(done.load(Ordering::SeqCst), 1);
            assert_eq!(client.root::<DoorRef>().number().await, Ok(7));
        });
    }
}

#[test]
fn who_waits_for_a_reference_to_break_drops_the_waker_that_another_replaces_under_no_lock() {
    without_waiting_for_itself(|| async {
        let (lent, revoker) = DoorRef::new(MyDoor).remote().revocable::<DoorRef>();
        let mut broken = Box::pin(lent.remote().on_broken());
        let done = Arc::default();
        let waker = Curious::waker(false, &done, move || revoker.revoke("by a waker"));
        assert!(poll_once(broken.as_mut(), &waker).is_pending());
        drop(waker);
        // The reference breaks within this poll, or this one's waker is woken.
        let reason = broken.await;
        assert_eq!(done.load(Ordering::SeqCst), 1);
        assert!(format!("{reason:?}").contains("by a waker"), "{reason:?}");
    });
}

/// A ping that nobody answers as long as the test does not let the tasks run, polled once with `waker`.
fn pinging(broker: &pb_server::Broker, waker: &Waker) -> Waiting {
    let broker = broker.clone();
    let mut ping: Waiting = Box::pin(async move {
        let _ = broker.ping().await;
    });
    assert!(poll_once(ping.as_mut(), waker).is_pending());
    ping
}

#[test]
fn a_ping_that_is_dropped_drops_its_waker_under_no_lock() {
    without_waiting_for_itself(|| async {
        let (_server, client) = pair(DoorRef::new(MyDoor)).await;
        let done = Arc::default();
        let asking = client.clone();
        let waker = Curious::waker(false, &done, move || drop(pinging(&asking, Waker::noop())));
        let ping = pinging(&client, &waker);
        drop((waker, ping));
        assert_eq!(done.load(Ordering::SeqCst), 1);
        client.ping().await.expect("the peer lives");
    });
}

#[test]
fn a_waker_that_drops_its_own_ping_is_woken_under_no_lock() {
    without_waiting_for_itself(|| async {
        let (_server, client) = pair(DoorRef::new(MyDoor)).await;
        let ping: Arc<Mutex<Option<Waiting>>> = Arc::default();
        let (own, done) = (Arc::clone(&ping), Arc::default());
        let waker = Curious::waker(true, &done, move || drop(own.lock().expect("no panic under it").take()));
        *ping.lock().expect("no panic under it") = Some(pinging(&client, &waker));
        client.close();
        client.finished().await;
        assert_eq!(done.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_waker_that_calls_is_woken_under_no_lock() {
    without_waiting_for_itself(|| async {
        let (_server, client) = pair(DoorRef::new(MyDoor)).await;
        let root: DoorRef = client.root();
        let mut call = Box::pin(root.number());
        let (again, done) = (root.clone(), Arc::default());
        let waker = Curious::waker(true, &done, move || drop(again.number()));
        assert!(poll_once(call.as_mut(), &waker).is_pending());
        while done.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(call.await, Ok(7));
    });
}

#[test]
fn a_waker_that_panics_ends_no_connection_and_keeps_no_other_call_from_its_answer() {
    without_waiting_for_itself(|| async {
        let (_server, client) = pair(DoorRef::new(MyDoor)).await;
        let door: DoorRef = client.root();
        let done = Arc::new(AtomicUsize::new(0));
        let panics = Curious::waker(true, &done, || panic!("a waker that panics, on purpose"));
        let mut first = Box::pin(door.number());
        assert!(poll_once(first.as_mut(), &panics).is_pending());
        let others = (0..20).map(|_| door.number()).collect::<Vec<_>>();
        for other in others {
            assert_eq!(other.await, Ok(7));
        }
        // It was woken in vain, and its answer is there.
        assert_eq!(first.await, Ok(7));
        assert_eq!(door.number().await, Ok(7));
    });
}
