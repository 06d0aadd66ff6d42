//! Calls that end here, or are lost again, in the very moment in which a connection takes them: by connections of the test's own, which let
//! things happen then. Whoever ends such a call also ends what was sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use futures::FutureExt;
use parking_lot::Mutex;
use pb_core::message::{Failure, FailureKind, ImportId, Ran, Reply};
use pb_core::objects::{
    Carrier, Delivered, Distant, Encoded, NotSent, Onward, Pledge, Promise, Readiness, Reference, Renewal,
    Waiting, Watcher, WhyNot,
};
use pb_core::{Deferred, Stub, remote_interface};

#[remote_interface]
trait Thing {
    async fn say(&self) -> u8;
    #[remote(idempotent)]
    async fn look(&self) -> u8;
    #[remote(idempotent)]
    async fn open(&self) -> ThingRef;
    #[remote(idempotent)]
    async fn give(&self, other: ThingRef) -> ThingRef;
}

/// A connection that answers nothing by itself.
#[derive(Default)]
struct Wire {
    /// What happens as the next call is taken.
    meanwhile: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    calls: Mutex<Vec<Waiting>>,
    /// What was cancelled, or given up.
    ended: Mutex<Vec<i64>>,
    lost: AtomicBool,
    left: AtomicBool,
}

impl Wire {
    fn root(self: &Arc<Self>, next: Option<&Reference>) -> Reference {
        let renewal = next.map(|next| Arc::new(Next(next.clone())) as Arc<dyn Renewal>);
        Reference::distant(Arc::new(Root { wire: Arc::clone(self), id: ImportId::ROOT, call: None, renewal }))
    }

    fn meanwhile(&self, what: impl FnOnce() + Send + 'static) {
        *self.meanwhile.lock() = Some(Box::new(what));
    }

    fn sent(&self) -> usize {
        self.calls.lock().len()
    }

    fn ended(&self) -> Vec<i64> {
        self.ended.lock().clone()
    }

    /// Ends the first call that waits, as the end of the connection does.
    fn fail(&self, ran: Ran) {
        let waiting = self.calls.lock().remove(0);
        waiting.settle(Delivered::Failed(Failure::new(FailureKind::Disconnected, ran, "lost by the test")));
    }

    fn lose(&self) {
        self.lost.store(true, SeqCst);
        self.fail(Ran::Maybe);
    }
}

impl Carrier for Wire {
    fn address(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }
    fn is_lost(&self) -> bool {
        self.lost.load(SeqCst)
    }
    fn was_lost_by(&self, _: &Failure) -> bool {
        self.is_lost()
    }
    fn is_left(&self) -> bool {
        self.left.load(SeqCst)
    }
    fn call(&self, _: ImportId, _: Encoded<'_>, _: Reply, waiter: Waiting) -> Result<ImportId, NotSent> {
        let id = {
            let mut calls = self.calls.lock();
            calls.push(waiter);
            calls.len() as i64
        };
        let meanwhile = self.meanwhile.lock().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile();
        }
        Ok(ImportId(id))
    }
    fn cast(&self, _: ImportId, _: Encoded<'_>) -> Result<(), NotSent> {
        Ok(())
    }
    fn is_crowded(&self) -> bool {
        false
    }
    fn ticket(&self) -> u64 {
        0
    }
    fn park(&self, _: u64, call: Box<dyn Onward>) -> Option<Box<dyn Onward>> {
        Some(call)
    }
    fn unpark(&self, _: u64) -> Option<Box<dyn Onward>> {
        None
    }
    fn cancel(&self, id: ImportId) {
        self.ended.lock().push(id.0);
    }
    fn give_up(&self, id: ImportId, _: FailureKind) {
        self.ended.lock().push(id.0);
    }
    fn detach(&self, _: ImportId) {}
    fn break_result(&self, _: ImportId, _: Failure) {}
}

struct Root {
    wire: Arc<Wire>,
    id: ImportId,
    call: Option<Arc<dyn Pledge>>,
    renewal: Option<Arc<dyn Renewal>>,
}

impl Distant for Root {
    fn id(&self) -> ImportId {
        self.id
    }
    fn line(&self) -> &dyn Carrier {
        self.wire.as_ref()
    }
    fn broken(&self, _: &Arc<dyn Watcher>) -> Option<Failure> {
        None
    }
    fn promise_of(&self, id: ImportId, call: Arc<dyn Pledge>) -> Reference {
        let wire = Arc::clone(&self.wire);
        Reference::distant(Arc::new(Root { wire, id, call: Some(call), renewal: None }))
    }
    fn settled(&self) -> Option<Reference> {
        None
    }
    fn alone(&self) -> Option<Arc<dyn Distant>> {
        let root = || Root { wire: Arc::clone(&self.wire), id: ImportId::ROOT, call: None, renewal: None };
        self.call.is_some().then(|| Arc::new(root()) as Arc<dyn Distant>)
    }
    fn expect_cast(&self) {}
    fn ready(&self) -> Readiness {
        Box::pin(async { Ok(()) })
    }
    fn renewal(&self) -> Option<Arc<dyn Renewal>> {
        self.renewal.clone().or_else(|| Arc::clone(self.call.as_ref()?).renewal())
    }
}

/// Where calls go next.
struct Next(Reference);

impl Renewal for Next {
    fn allow(&self, _: u32) -> Result<(), WhyNot> {
        Ok(())
    }
    fn reference(self: Arc<Self>) -> Result<Reference, WhyNot> {
        Ok(self.0.clone())
    }
}

/// The same call for whoever ends it and for whoever awaits it.
type Shared<T> = Arc<Mutex<Option<Deferred<T>>>>;

fn canceller<T: Send + 'static>(call: &Shared<T>) -> impl FnOnce() + Send + use<T> {
    let call = Arc::clone(call);
    move || Deferred::cancel(call.lock().as_ref().expect("it is here"))
}

fn ended_with<T>(call: &Shared<T>) -> (FailureKind, Ran) {
    let result = call.lock().take().expect("it is here").now_or_never().expect("it has ended");
    let failure = result.err().expect("it has failed");
    (failure.kind, failure.ran)
}

const CANCELLED: (FailureKind, Ran) = (FailureKind::Cancelled, Ran::Maybe);

#[test]
fn a_call_that_waited_and_is_cancelled_as_it_is_sent_is_cancelled_where_it_went() {
    for by_name in [false, true] {
        let (wire, promise) = (Arc::new(Wire::default()), Promise::new(None));
        let thing = ThingRef::from_reference(Reference::promised(Arc::clone(&promise)));
        let call = if by_name { thing.remote().call("Thing/say", ()) } else { thing.say() };
        let call: Shared<u8> = Arc::new(Mutex::new(Some(call)));
        wire.meanwhile(canceller(&call));
        promise.settle(Ok(wire.root(None)));
        assert_eq!(wire.sent(), 1);
        assert_eq!(ended_with(&call), CANCELLED);
        assert_eq!(wire.ended(), [1], "by name: {by_name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_whose_time_is_over_as_it_is_sent_may_have_run_and_is_cancelled_there() {
    // With a broker there is a clock.
    let nowhere = Reference::promised(Promise::new(None));
    let _both = pb_server::pair(ThingRef::from_reference(nowhere)).await;
    // Not sent where this machine stood still until its time was over.
    for time in [100, 1_000, 10_000] {
        let (wire, promise) = (Arc::new(Wire::default()), Promise::new(None));
        let thing = ThingRef::from_reference(Reference::promised(Arc::clone(&promise)));
        let call: Shared<u8> = Arc::default();
        let (end, seen) = (Arc::clone(&call), Arc::new(Mutex::new(None)));
        let noted = Arc::clone(&seen);
        wire.meanwhile(move || {
            let mut call = end.lock().take().expect("it is here");
            let until = Instant::now() + Duration::from_secs(60);
            while Instant::now() < until && noted.lock().is_none() {
                std::thread::sleep(Duration::from_millis(1));
                *noted.lock() = (&mut call).now_or_never().map(|result| result.expect_err("nobody answers"));
            }
        });
        *call.lock() = Some(thing.within(Duration::from_millis(time)).say());
        promise.settle(Ok(wire.root(None)));
        let Some(failure) = seen.lock().take() else { continue };
        assert_eq!((failure.kind, failure.ran), (FailureKind::DeadlineExceeded, Ran::Maybe));
        assert_eq!(wire.ended(), [1]);
        return;
    }
    panic!("the call was never sent");
}

#[test]
fn a_repeated_call_that_is_cancelled_as_it_is_sent_again_is_cancelled_where_it_went() {
    let [first, second] = [(); 2].map(|()| Arc::new(Wire::default()));
    let call = ThingRef::from_reference(first.root(Some(&second.root(None)))).look();
    let call: Shared<u8> = Arc::new(Mutex::new(Some(call)));
    second.meanwhile(canceller(&call));
    first.lose();
    assert_eq!((second.sent(), ended_with(&call)), (1, CANCELLED));
    assert_eq!(second.ended(), [1]);
}

#[test]
fn a_repeated_call_that_is_cancelled_as_its_connection_is_lost_is_not_sent_again() {
    struct Cancelling(Reference, Mutex<Option<Box<dyn FnOnce() + Send>>>);
    impl Renewal for Cancelling {
        fn allow(&self, _: u32) -> Result<(), WhyNot> {
            self.1.lock().take().expect("once")();
            Ok(())
        }
        fn reference(self: Arc<Self>) -> Result<Reference, WhyNot> {
            Ok(self.0.clone())
        }
    }
    let [first, second] = [(); 2].map(|()| Arc::new(Wire::default()));
    let call: Shared<u8> = Arc::default();
    let renewal = Cancelling(second.root(None), Mutex::new(Some(Box::new(canceller(&call)))));
    let renewal: Option<Arc<dyn Renewal>> = Some(Arc::new(renewal));
    let root = Root { wire: Arc::clone(&first), id: ImportId::ROOT, call: None, renewal };
    *call.lock() = Some(ThingRef::from_reference(Reference::distant(Arc::new(root))).look());
    first.lose();
    assert_eq!(ended_with(&call), CANCELLED);
    assert_eq!(second.sent(), 0);
}

#[test]
fn who_is_told_late_that_a_call_was_sent_changes_nothing_of_its_next_time() {
    let [first, second, third] = [(); 3].map(|()| Arc::new(Wire::default()));
    let last = third.root(None);
    let next = second.root(Some(&last));
    // Whatever was called on it is renewed by the first reference alone.
    let renewal = Arc::new(Wires(Mutex::new(vec![last, next])));
    let root = Root { wire: Arc::clone(&first), id: ImportId::ROOT, call: None, renewal: Some(renewal) };
    let call = ThingRef::from_reference(Reference::distant(Arc::new(root))).look();
    let lost = Arc::clone(&second);
    second.meanwhile(move || lost.lose());
    first.lose();
    assert_eq!((second.ended(), third.sent()), (vec![1], 1));
    Deferred::cancel(&call);
    assert_eq!((second.ended(), third.ended()), (vec![1], vec![1]), "it is cancelled where it is");
}

/// One connection behind the other; the next is last.
struct Wires(Mutex<Vec<Reference>>);

impl Renewal for Wires {
    fn allow(&self, _: u32) -> Result<(), WhyNot> {
        Ok(())
    }
    fn reference(self: Arc<Self>) -> Result<Reference, WhyNot> {
        Ok(self.0.lock().pop().expect("another one"))
    }
}

#[test]
fn a_call_that_a_leaving_server_refused_is_taken_back_there_once_nobody_names_it_there() {
    for promised in [false, true] {
        let [first, second] = [(); 2].map(|()| Arc::new(Wire::default()));
        let call = ThingRef::from_reference(first.root(Some(&second.root(None)))).open();
        let promise = promised.then(|| call.promised());
        first.left.store(true, SeqCst);
        first.fail(Ran::No);
        assert_eq!(second.sent(), 1);
        assert_eq!(first.ended(), if promised { vec![] } else { vec![1] });
        drop(call);
        drop(promise);
        assert_eq!((first.ended(), second.ended()), (vec![1], vec![1]), "promised: {promised}");
    }
}

#[test]
fn what_a_lost_connection_had_of_a_call_is_not_taken_back_there() {
    let [first, second] = [(); 2].map(|()| Arc::new(Wire::default()));
    let call = ThingRef::from_reference(first.root(Some(&second.root(None)))).open();
    first.lose();
    drop(call);
    assert_eq!((first.ended(), second.ended()), (vec![], vec![1]));
}

/// By way of each other they would be asked on the stack, which ends a process where it ends.
#[test]
fn whether_a_long_chain_may_be_made_again_is_asked_link_by_link() {
    const LONG: usize = 100_000;
    let [first, second] = [(); 2].map(|()| Arc::new(Wire::default()));
    let mut chain = vec![ThingRef::from_reference(first.root(Some(&second.root(None)))).open()];
    for at in 1..LONG {
        chain.push(chain[at - 1].promised().open());
    }
    let last = first.calls.lock().pop().expect("the chain's last");
    first.lost.store(true, SeqCst);
    last.settle(Delivered::Failed(Failure::new(FailureKind::Disconnected, Ran::Maybe, "lost by the test")));
    let mut last = chain.pop().expect("the last");
    assert!((&mut last).now_or_never().is_none(), "it waits for the one before it");
    drop(chain);
    drop(last);
    assert_eq!(second.sent(), 0);
}

#[test]
fn a_kept_call_whose_own_promise_is_among_its_arguments_is_cancelled_when_nobody_else_wants_it() {
    let (wire, promise) = (Arc::new(Wire::default()), Promise::new(None));
    let argument = ThingRef::from_reference(Reference::promised(Arc::clone(&promise)));
    let call = ThingRef::from_reference(wire.root(Some(&wire.root(None)))).give(argument);
    promise.settle(Ok(call.promised().as_reference().clone()));
    drop(promise);
    assert_eq!(wire.ended(), [0; 0]);
    drop(call);
    assert_eq!(wire.ended(), [1]);
}
