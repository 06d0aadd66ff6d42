use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use pb_core::objects::{self, Promise, Reference, Renewal, Source};
use pb_core::{Broker, Deferred, Failure, FailureKind, Ran, Stub};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::connect::Target;
use crate::driving;
use crate::error::HasFailure;
use crate::reconnect::{Pauses, Reconnect, Reconnected, State, WhileDown};
use crate::renewal::NextRoot;

/// A connection that is made when something is asked for, and made again when it is lost: [`Connect::reconnecting`](crate::Connect::reconnecting).
/// Clones are handles to the same one.
///
/// [`root`](Reconnecting::root) and [`named`](Reconnecting::named) give stubs of the present connection, or of the next one; take them anew for each thing that is to be done.
/// What was in flight when a connection is lost fails as on any connection, and says whether it has run; references that came over it stay
/// broken. Nothing is sent a second time by itself but calls of methods that their trait marks `#[remote(idempotent)]`;
/// [`retry`](Reconnecting::retry) does it for calls of which you say that they may.
///
/// # What is sent again by itself
/// An idempotent call that has no answer when its connection is lost, or that a server refuses since it is leaving, is sent again on the next
/// connection, up to [`Reconnect::repeats`] times, if what it was called on is to be had there, too: the [`root`](Reconnecting::root); what
/// [`named`](Reconnecting::named) will give; the result of another such call. The last two only while they are not known: what was awaited is an object of its
/// connection. Its arguments are sent as they were, with the same deadline, and are kept until the answer comes. References among them to objects of this process, or over other connections,
/// are given anew; with one that came over a lost connection it is not sent again. Idempotent calls on a stub of the root that is older than the present connection go to the
/// present root, though the stub says that it is [broken](pb_core::Remote::on_broken). With [`WhileDown::Fail`] a call waits for one attempt to connect.
///
/// Where it fails in the end, `ran` is [`Ran::Maybe`] if it may have run any of the times, and where it could not be sent again the message says why. A call whose `Deferred` was
/// dropped or detached is not sent again, nor any after [`close`](Reconnecting::close) or without a handle. [`counters`](Reconnecting::counters) tells how many were.
///
/// It goes when its last handle, and the last stub that waits for a connection, is dropped; stubs that have one hold that. Twisted: `ReconnectingClientFactory`
/// (internet/protocol.py), `ClientService` (application/internet.py).
///
/// ```no_run
/// # use pb_client::{Connect, Reconnect};
/// # #[pb_client::remote_interface]
/// # pub trait Greeter { async fn greet(&self, name: String) -> String; }
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Connect::to("tcp://127.0.0.1:8787").reconnecting(Reconnect::default())?;
/// println!("{}", server.root::<GreeterRef>().greet("Ada".into()).await?);
/// // However often the server has restarted meanwhile.
/// println!("{}", server.root::<GreeterRef>().greet("Eve".into()).await?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Reconnecting {
    handle: Arc<Handle>,
}

impl Reconnecting {
    pub(crate) fn new(target: Target, how: Reconnect) -> Self {
        let inner = Inner {
            phase: Phase::Down,
            waiting: Vec::new(),
            patient: 0,
            driven: false,
            rest: None,
            pauses: Pauses::new(&how),
            counters: Reconnected::default(),
        };
        let handle = Arc::new_cyclic(|handle: &Weak<Handle>| {
            Handle(Arc::new(Shared {
                target,
                how,
                state: watch::Sender::new(State::Idle),
                inner: Mutex::new(inner),
                changed: Notify::new(),
                renewal: Arc::new(NextRoot::new(Weak::clone(handle))),
            }))
        });
        let reconnecting = Reconnecting { handle };
        if how.eager && tokio::runtime::Handle::try_current().is_ok() {
            reconnecting.shared().drive();
        }
        reconnecting
    }

    /// The root of the server. Where there is no connection, one is asked for, and calls do as [`WhileDown`] says: they wait, or
    /// fail `Broken` with the reason as their cause, and have not run. Where there is one, this is its root for as long as it lasts, and no message is
    /// sent.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn root<S: Stub>(&self) -> S {
        S::from_reference(self.reference())
    }

    /// What the server has published as `name`, by way of its [`root`](Reconnecting::root): see [`Broker::named`].
    ///
    /// # Errors
    /// Of the `Deferred`: as [`Broker::named`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn named<S: Stub>(&self, name: &str) -> Deferred<S> {
        objects::named(&self.reference(), name)
    }

    /// Waits for a connection, also where calls would not ([`WhileDown`]), and gives its handle. It holds that connection open; it is not made again.
    ///
    /// # Errors
    /// Why it is closed.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    ///
    /// # Cancel safety
    /// Dropping the future takes the wish back, and changes nothing else.
    pub async fn broker(&self) -> Result<Broker, Failure> {
        let _patient = Patient::new(self.shared());
        let mut states = self.state();
        loop {
            states.mark_unchanged();
            match self.shared().present() {
                Present::Up(broker) => return Ok(broker),
                Present::Closed(reason) => return Err(reason),
                Present::Down => {}
            }
            // Its other end is in `self`.
            let _ = states.changed().await;
        }
    }

    /// What it is doing, and a way to wait for changes. Who looks too seldom misses states in between.
    pub fn state(&self) -> watch::Receiver<State> {
        self.shared().state.subscribe()
    }

    /// What it has done until now.
    pub fn counters(&self) -> Reconnected {
        self.shared().lock().counters
    }

    /// Ends the connection, and connects no more: what is in flight fails `Disconnected`, what waits and all later calls fail `Broken` with that as their
    /// cause, and have not run.
    pub fn close(&self) {
        let reason = Failure::new(FailureKind::Disconnected, Ran::No, "this side closed the connection");
        if let Some(broker) = self.shared().close(reason) {
            broker.close();
        }
    }

    /// Does `call` with the server's root, and again with that of the next connection where it fails because one was lost, up to `times` times more. What it is
    /// given must be fit to be done twice, as methods that their trait marks `#[remote(idempotent)]` are: a call that was lost on its way may have run, or not. All other errors, the methods' own among them, are
    /// returned at once, and at last that of the last time.
    ///
    /// [`Reconnect::repeats`] counts within each of them: a call of an idempotent method that `call` makes is first sent again by itself, and only where that has come to its end is
    /// `call` done anew, with all its repeats. So one call may be sent up to (`times` + 1) · (`repeats` + 1) times; whoever wants to count alone sets `repeats` to 0, or
    /// `times`, and leaves the other.
    ///
    /// ```no_run
    /// # use pb_client::{Failure, Reconnecting};
    /// # #[pb_client::remote_interface]
    /// # pub trait Account { async fn balance(&self) -> u64; }
    /// # async fn run(server: Reconnecting) -> Result<(), Failure> {
    /// let cents = server.retry(3, |account: AccountRef| account.balance()).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of `call`.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    ///
    /// # Cancel safety
    /// Dropping the future drops what `call` is doing.
    pub async fn retry<S, T, E, F>(&self, times: u32, mut call: impl FnMut(S) -> F) -> Result<T, E>
    where
        S: Stub,
        E: HasFailure,
        F: Future<Output = Result<T, E>>,
    {
        for _ in 0..times {
            match call(self.root()).await {
                Err(error) if error.failure().is_some_and(is_lost) => {}
                done => return done,
            }
            // Not more often than there are connections, also where calls fail at once without.
            if self.broker().await.is_err() {
                break;
            }
        }
        call(self.root()).await
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.0
    }

    fn reference(&self) -> Reference {
        self.shared().root(&self.handle)
    }
}

impl std::fmt::Debug for Reconnecting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Reconnecting").field(&*self.shared().state.borrow()).finish()
    }
}

/// Whether a call failed because its connection was lost, or there was none.
fn is_lost(failure: &Failure) -> bool {
    failure.chain().any(|failure| failure.kind == FailureKind::Disconnected)
}

/// What its handles, and the promises that wait for a connection, hold.
pub(crate) struct Handle(pub(crate) Arc<Shared>);

impl Source for Handle {
    fn waits_for(&self) -> Option<Arc<Promise>> {
        None
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let why = "the last handle of the reconnecting connection was dropped";
        // Its own handle of the connection goes with this; stubs keep theirs.
        self.0.close(Failure::new(FailureKind::Disconnected, Ran::No, why));
    }
}

/// What handles and the driving task share.
pub(crate) struct Shared {
    pub(crate) target: Target,
    pub(crate) how: Reconnect,
    pub(crate) state: watch::Sender<State>,
    inner: Mutex<Inner>,
    /// Something is asked for, or it was closed.
    pub(crate) changed: Notify,
    /// Of the roots that it gives.
    renewal: Arc<NextRoot>,
}

struct Inner {
    phase: Phase,
    /// Roots of the next connection. Who waits holds them.
    waiting: Vec<Weak<Promise>>,
    /// How many wait for a connection however often it fails.
    patient: usize,
    /// The task that connects runs.
    driven: bool,
    /// When it may connect again, and why it must rest.
    rest: Option<(Instant, Failure)>,
    pauses: Pauses,
    counters: Reconnected,
}

enum Phase {
    Down,
    Up(Broker),
    Closed(Failure),
}

enum Present {
    Down,
    Up(Broker),
    Closed(Failure),
}

/// What the driving task is to do.
pub(crate) enum Wish {
    /// Nobody wants a connection.
    Nothing,
    /// Rest, for that reason.
    Rest(Instant, Failure),
    /// Connect.
    Connect,
    /// End.
    End,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nobody else's code runs under it.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn root(self: &Arc<Self>, handle: &Arc<Handle>) -> Reference {
        if self.how.while_down == WhileDown::Fail {
            let inner = self.lock();
            if let (Phase::Down, Some((until, reason))) = (&inner.phase, &inner.rest)
                && Instant::now() < *until
            {
                return Reference::broken(Arc::new(reason.clone()));
            }
        }
        self.next_root(handle)
    }

    /// The root of the present connection, or of the next one, however long that takes.
    pub(crate) fn next_root(self: &Arc<Self>, handle: &Arc<Handle>) -> Reference {
        let mut inner = self.lock();
        match &inner.phase {
            Phase::Closed(reason) => return Reference::broken(Arc::new(reason.clone())),
            Phase::Up(broker) if is_usable(broker) => return self.root_of(broker),
            // The driving task is about to see it.
            Phase::Up(_) | Phase::Down => {}
        }
        let promise = Promise::new(Some(Arc::clone(handle) as Arc<dyn Source>));
        inner.waiting.retain(|waiting| waiting.strong_count() > 0);
        inner.waiting.push(Arc::downgrade(&promise));
        drop(inner);
        self.drive();
        Reference::promised(promise)
    }

    fn root_of(&self, broker: &Broker) -> Reference {
        broker.renewed_root(Arc::clone(&self.renewal) as Arc<dyn Renewal>)
    }

    /// Counts a call that is sent again. Says whether there will be a connection for it.
    pub(crate) fn repeat(&self) -> bool {
        let mut inner = self.lock();
        let open = !matches!(inner.phase, Phase::Closed(_));
        inner.counters.repeated += u64::from(open);
        open
    }

    /// Lets the task look that connects, and starts it where it does not run yet.
    fn drive(self: &Arc<Self>) {
        if !std::mem::replace(&mut self.lock().driven, true) {
            tokio::spawn(driving::run(Arc::clone(self)));
        }
        self.changed.notify_one();
    }

    fn present(&self) -> Present {
        match &self.lock().phase {
            Phase::Closed(reason) => Present::Closed(reason.clone()),
            Phase::Up(broker) if is_usable(broker) => Present::Up(broker.clone()),
            Phase::Up(_) | Phase::Down => Present::Down,
        }
    }

    /// What is to be done where there is no connection.
    pub(crate) fn wish(&self) -> Wish {
        let mut inner = self.lock();
        inner.waiting.retain(|waiting| waiting.strong_count() > 0);
        match (&inner.phase, &inner.rest) {
            (Phase::Closed(_), _) => Wish::End,
            _ if !self.how.eager && inner.patient == 0 && inner.waiting.is_empty() => Wish::Nothing,
            (_, Some((until, reason))) if Instant::now() < *until => Wish::Rest(*until, reason.clone()),
            _ => Wish::Connect,
        }
    }

    /// Whoever looks on is told of changes only, and of none behind the end.
    pub(crate) fn show(&self, state: State) {
        self.state.send_if_modified(|shown| {
            let changes = *shown != state && !matches!(shown, State::Closed { .. });
            if changes {
                *shown = state;
            }
            changes
        });
    }

    /// There is a connection: whoever waits has its root.
    pub(crate) fn up(&self, broker: &Broker) {
        let waiting = {
            let mut inner = self.lock();
            if let Phase::Closed(_) = inner.phase {
                return;
            }
            inner.phase = Phase::Up(broker.clone());
            inner.rest = None;
            inner.counters.connections += 1;
            std::mem::take(&mut inner.waiting)
        };
        self.show(State::Connected { peer: broker.peer().into() });
        for promise in waiting.iter().filter_map(Weak::upgrade) {
            promise.settle(Ok(self.root_of(broker)));
        }
    }

    /// There is none, behind so many failures in a row. A connection that was lost takes nobody with it who waits for the next.
    pub(crate) fn down(&self, reason: Failure, failures: u32, lost: bool) {
        let (before, failed) = {
            let mut inner = self.lock();
            if let Phase::Closed(_) = inner.phase {
                return;
            }
            let counter = if lost { &mut inner.counters.lost } else { &mut inner.counters.failed };
            *counter += 1;
            let pause = inner.pauses.next(failures);
            inner.rest = Some((Instant::now() + pause, reason.clone()));
            let fails = self.how.while_down == WhileDown::Fail && !lost;
            let failed = if fails { std::mem::take(&mut inner.waiting) } else { Vec::new() };
            (std::mem::replace(&mut inner.phase, Phase::Down), failed)
        };
        drop(before);
        fail(&failed, &reason);
    }

    /// It connects no more. Gives the connection that there is.
    pub(crate) fn close(&self, reason: Failure) -> Option<Broker> {
        let (phase, waiting) = {
            let mut inner = self.lock();
            if let Phase::Closed(_) = inner.phase {
                return None;
            }
            let phase = std::mem::replace(&mut inner.phase, Phase::Closed(reason.clone()));
            (phase, std::mem::take(&mut inner.waiting))
        };
        self.show(State::Closed { reason: reason.clone() });
        self.changed.notify_one();
        fail(&waiting, &reason);
        match phase {
            Phase::Up(broker) => Some(broker),
            Phase::Down | Phase::Closed(_) => None,
        }
    }
}

fn fail(waiting: &[Weak<Promise>], reason: &Failure) {
    for promise in waiting.iter().filter_map(Weak::upgrade) {
        promise.settle(Err(reason.clone()));
    }
}

/// Whether calls on the root go out: neither is the connection lost, nor does the server leave.
fn is_usable(broker: &Broker) -> bool {
    broker.lost().is_none() && broker.peer_leaving().is_none()
}

/// Somebody who waits for a connection, however often it fails.
struct Patient<'a>(&'a Arc<Shared>);

impl<'a> Patient<'a> {
    fn new(shared: &'a Arc<Shared>) -> Self {
        shared.lock().patient += 1;
        shared.drive();
        Patient(shared)
    }
}

impl Drop for Patient<'_> {
    fn drop(&mut self) {
        self.0.lock().patient -= 1;
    }
}
