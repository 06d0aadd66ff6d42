use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::reference::Leads;
use super::trace::TraceParent;
use super::watch::Sleeper;
use super::{Access, Fate, Reference, Revoker, Stub, Watcher};
use crate::message::Failure;

/// What can be done with a stub beside calling its methods: `stub.remote()`.
///
/// [`call`](Remote::call) to call a method by its name, [`describe`](Remote::describe) to ask which there are, [`invoke`](Remote::invoke) to call one of those,
/// [`cast`](Remote::cast) to another interface, [`local`](Remote::local) to get the object itself where it is one of this process,
/// [`same`](Remote::same) to compare, [`on_broken`](Remote::on_broken) to learn when it is lost, [`with_metadata`](Remote::with_metadata)
/// to mark calls.
///
/// It borrows the stub, is free to make, and holds nothing. Twisted: what a `RemoteReference` can beside `callRemote` (spread/pb.py).
pub struct Remote<'a, S>(&'a S);

impl<S> Clone for Remote<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Remote<'_, S> {}

impl<'a, S: Stub> Remote<'a, S> {
    #[doc(hidden)]
    pub fn new(stub: &'a S) -> Self {
        Remote(stub)
    }

    pub(super) fn access(self) -> &'a Access {
        self.0.as_access()
    }

    fn reference(self) -> &'a Reference {
        self.0.as_reference()
    }

    /// The same reference as a stub whose calls carry this entry of metadata, such as `traceparent`, as its clones' and promises' do: the
    /// method finds it in its [`CallContext`](super::CallContext), and its own calls inherit it. It replaces an entry of the same key, also an
    /// inherited one.
    ///
    /// A call that has more than 16 entries, those that it inherits included, or one with a key of no or more than 256 bytes or a value
    /// of more than 256, fails `Failed` and is not sent. They count as bytes of its frame.
    #[must_use]
    pub fn with_metadata(self, key: impl Into<Box<str>>, value: impl Into<Bytes>) -> S {
        S::from_access(self.0.as_access().with_metadata(key.into(), value.into()))
    }

    /// The same reference as a stub whose calls belong to that trace, instead of the one that they would inherit: its `traceparent` is an entry of
    /// their [metadata](Remote::with_metadata). [`trace::scope`](crate::trace::scope) does it for all calls of a program's part.
    #[must_use]
    pub fn with_traceparent(self, parent: TraceParent) -> S {
        self.with_metadata(TraceParent::KEY, parent.to_string())
    }

    /// The same reference, whose calls without the trait ([`call`](Remote::call), [`try_call`](Remote::try_call), [`invoke`](Remote::invoke)) take answers
    /// of up to `bytes`, as those of its clones and promises: whatever the method's description says. A method that is called by its trait says so there,
    /// `#[remote(answer_bytes = N)]`. 0 is what a call takes of which nobody says anything, 64 KiB.
    ///
    /// The bytes are reserved from this side's [`Limits::answer_bytes`](crate::proto::Limits::answer_bytes) while the call waits: a call that asks for more than all
    /// of them fails, and has not run.
    #[must_use = "the calls of the reference that this returns take such answers"]
    pub fn with_answer_bytes(self, bytes: u64) -> S {
        S::from_access(self.access().with_answer_bytes(bytes))
    }

    /// The same reference as another interface. Free: no message. If the object does not offer it, calls fail `Unimplemented`.
    pub fn cast<T: Stub>(self) -> T {
        T::from_access(self.0.as_access().clone())
    }

    /// Our own object behind the reference, once it is known to be here and to be a `T`: for example when a reference that
    /// was given away has come home. A promise that is not settled yet gives `None`.
    pub fn local<T: Send + Sync + 'static>(self) -> Option<Arc<T>> {
        match self.reference().end().leads() {
            Leads::Local(object) => object.object().downcast().ok(),
            _ => None,
        }
    }

    /// Whether both lead to one object, handed out as one interface: the same object behind `TRef::new` of two traits is two references,
    /// a [`cast`](Remote::cast) is the same one. Of promises only settled ones are looked through. Stubs are not `Eq`: a promise's identity
    /// is known only when it settles. The peer's root has two references: the one that a connection begins with, and the one that comes when the
    /// peer sends it.
    pub fn same<T: Stub>(self, other: &T) -> bool {
        self.reference().end().key() == other.as_reference().end().key()
    }

    /// Waits until a call on the reference would not be refused for want of room (`Overloaded`): see
    /// [`Broker::ready`](crate::Broker::ready). Objects of this process, and promises that are settled here, are always ready.
    ///
    /// # Errors
    /// Why the reference is broken.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn ready(self) -> Result<(), Failure> {
        let end = self.reference().end();
        let room = match end.leads() {
            Leads::Distant(distant) => distant.ready(),
            Leads::Broken(failure) => return Err(failure.clone()),
            Leads::Local(_) | Leads::Promise(_) => return Ok(()),
        };
        room.await
    }

    /// The same reference in a form that can be taken back: hand out the stub, keep the [`Revoker`]. It is a reference of its own, not
    /// [`same`](Remote::same) as this one, and [`local`](Remote::local) does not see through it; calls on it go where this one leads.
    ///
    /// ```
    /// # use pb_core::{Referenceable, remote_interface};
    /// # #[remote_interface]
    /// # trait Account { async fn deposit(&self, cents: u64) -> u64; }
    /// # #[derive(Referenceable)] struct MyAccount;
    /// # impl Account for MyAccount { async fn deposit(&self, cents: u64) -> u64 { cents } }
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// let account = AccountRef::new(MyAccount);
    /// let (lent, revoker) = account.remote().revocable::<AccountRef>();
    /// assert_eq!(lent.deposit(1).await, Ok(1));
    /// revoker.revoke("the audit is over");
    /// assert!(lent.deposit(1).await.is_err());
    /// assert_eq!(account.deposit(1).await, Ok(1));
    /// # });
    /// ```
    pub fn revocable<T: Stub>(self) -> (T, Revoker) {
        let (reference, revoker) = Revoker::lend(self.reference().clone());
        (T::from_reference(reference), revoker)
    }

    /// Why the reference is broken, where it is by now; [`on_broken`](Remote::on_broken) waits for that. A connection that is lost and has not been
    /// noticed yet has broken nothing so far.
    ///
    /// ```
    /// # use pb_core::{Referenceable, remote_interface};
    /// # #[remote_interface]
    /// # trait Watcher { #[remote(oneway)] async fn changed(&self, value: u64); }
    /// # fn tell(mut watchers: Vec<WatcherRef>, value: u64) {
    /// watchers.retain(|watcher| watcher.remote().broken().is_none());
    /// watchers.iter().for_each(|watcher| watcher.changed(value));
    /// # }
    /// ```
    pub fn broken(self) -> Option<Failure> {
        let nobody = Arc::<Sleeper>::default() as Arc<dyn Watcher>;
        match self.reference().clone().watch(&nobody) {
            Fate::Broken(failure) => Some(failure),
            Fate::Open | Fate::Lasts => None,
        }
    }

    /// Waits until the reference is broken: its connection ended, its owner broke it, its promise failed, or it was
    /// [revoked](Remote::revocable). However many processes stand between, the owner's reason comes. A reference to an object of this process
    /// never breaks.
    ///
    /// The future holds the reference: as long as it lives, so do the object and the connection that it came by. Where an object of yours stands
    /// for this one, [`Revoker::revoke_with`] lets go with it; [`broken`](Remote::broken) holds nothing.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing; a new one still learns the reason.
    pub fn on_broken(self) -> Broken {
        Broken { reference: self.reference().clone(), sleeper: Arc::default() }
    }
}

/// The future of [`Remote::on_broken`]. Resolves once with the reason.
pub struct Broken {
    reference: Reference,
    sleeper: Arc<Sleeper>,
}

impl Broken {
    /// Wakes the task that waits.
    pub(super) fn watcher(&self) -> Arc<dyn Watcher> {
        Arc::clone(&self.sleeper) as Arc<dyn Watcher>
    }
}

impl Future for Broken {
    type Output = Failure;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Failure> {
        self.sleeper.wake_by(cx);
        let watcher = self.watcher();
        match self.reference.watch(&watcher) {
            Fate::Broken(failure) => Poll::Ready(failure),
            Fate::Open | Fate::Lasts => Poll::Pending,
        }
    }
}
