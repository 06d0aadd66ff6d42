//! Drives one connection: bytes into [`Connection`](crate::proto::Connection) and out of it, methods started, answers told.
//! One task reads and starts methods, one writes; callers append from their own threads.

mod after;
mod alarm;
mod arrivals;
mod batches;
mod bell;
mod breaking;
mod busy_wait;
mod chunks;
mod counters;
mod forward;
mod lanes;
mod leaving;
mod line;
mod link;
mod looking;
mod onlookers;
mod outgoing;
mod owed;
mod parked;
mod passing;
mod reading;
mod ready;
mod refusing;
mod room;
mod seen;
mod stages;
mod stranger;
mod traced;
mod watchdog;
mod wiring;
mod writing;

use std::sync::Arc;
use std::time::Duration;

use crate::defer::Deferred;
use crate::message::{AbortCode, Failure};
use crate::objects::{self, BoxTask, Executor, Names, Reference, Renewal, Stop, Stub};
pub use crate::proto::{Limits, TableSizes};
use crate::reactor::{Piped, Stream};
pub use counters::{BusyWaits, Counters, Failures, Traffic};
pub use lanes::Lanes;
pub use leaving::Leaving;
use line::Line;
use link::Link;
pub use looking::{Backlog, Held, InFlight, MethodUse, NotStopped};
pub use onlookers::{Content, End, Happening, Numbered, Onlooker, Passed, Recorder, Witness};
pub use refusing::{refuse, refuse_briefly};

/// One connection to a peer. Clones are handles to the same connection.
///
/// A connection that was made by connecting lives as long as a handle, a stub or a `Deferred` of it does; objects given to the peer alone
/// don't hold it. Twisted: `Broker` (spread/pb.py).
#[derive(Clone)]
pub struct Broker {
    link: Arc<Link>,
}

/// How a connection is set up.
pub struct Config {
    /// What the peer may call first; nothing where absent.
    pub root: Option<Reference>,
    /// What the peer may get by name, where there is a root.
    pub names: Names,
    /// What the peer may make us keep.
    pub limits: Limits,
    /// How long the peer's hello may take, 10 ms to an hour; default 5 s. Then the connection ends.
    pub handshake: Duration,
    /// Whether the connection lives until the peer leaves, as a server's does; else it ends with the last handle.
    pub stays: bool,
    /// What the connections share that run beside this one, where they are many, as a server's are; a connection without takes its turns
    /// as they come.
    pub lanes: Option<Lanes>,
    /// Who looks on from the first frame. Mostly nobody.
    pub onlookers: Vec<Onlooker>,
}

/// A connection that serves nothing, as a client's does, with default limits.
impl Default for Config {
    fn default() -> Self {
        Config {
            root: None,
            names: Names::default(),
            limits: Limits::default(),
            handshake: Duration::from_secs(5),
            stays: false,
            lanes: None,
            onlookers: Vec::new(),
        }
    }
}

impl Broker {
    /// Runs the protocol on a stream, in tasks of the current tokio runtime, and waits for the peer's hello.
    ///
    /// # Errors
    /// `Disconnected` or `Protocol`: the stream ended, the peer does not want the connection, something else than this protocol answered, or
    /// nothing did within [`Config::handshake`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub async fn open(stream: Stream, config: Config) -> Result<Broker, Failure> {
        let broker = Broker::start(stream, config);
        broker.greeted().await?;
        Ok(broker)
    }

    /// The same without waiting: calls may be made at once, and fail where no hello comes.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(stream: Stream, config: Config) -> Broker {
        install_executor();
        Broker { link: Line::start(stream, config) }
    }

    /// The broker as a [`Protocol`](crate::reactor::Protocol) like any other, which a factory may make: once it has its connection, `with` is
    /// called with the broker of it, as [`Broker::start`] makes it, and must not wait. [`Broker::start`] on a stream does the same, without the
    /// copy in each direction that this costs.
    ///
    /// ```
    /// use pb_core::broker::{Broker, Config};
    /// use pb_core::reactor::{Reactor, for_protocol};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let reactor = Reactor::new();
    /// let config = || Config { stays: true, ..Config::default() };
    /// reactor.listen("mem://bank", for_protocol(move || Broker::protocol(config(), drop))).await?;
    /// # Ok::<(), pb_core::reactor::ListenError>(())
    /// # }).unwrap();
    /// ```
    pub fn protocol(config: Config, with: impl FnOnce(Broker) + Send + 'static) -> Piped {
        Piped::new(move |stream| with(Broker::start(stream, config)))
    }

    /// Waits for the peer's hello.
    ///
    /// # Errors
    /// Why the connection has ended; see [`Broker::open`].
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn greeted(&self) -> Result<(), Failure> {
        self.link.line().greeted().await
    }

    /// The peer's root object. No message is sent: whether the peer serves one, and of this interface, its first call tells.
    pub fn root<S: Stub>(&self) -> S {
        S::from_reference(self.link.root())
    }

    /// The same without a type, for those that build on the broker.
    pub fn root_reference(&self) -> Reference {
        self.link.root()
    }

    /// The same, for those that connect again: calls on it of methods that are `#[remote(idempotent)]` go where `renewal` says once the
    /// connection is lost, or left by the peer, and so do those that were on their way then and have no answer.
    pub fn renewed_root(&self, renewal: Arc<dyn Renewal>) -> Reference {
        self.link.renewed_root(renewal)
    }

    /// What the peer has published as `name`. The call is sent at once, and what is called on the result goes with it: no further round trip.
    ///
    /// # Errors
    /// Of the `Deferred`: `Unimplemented` where the peer has published nothing under that name (which others there are, nobody is told), `Refused` where
    /// it serves nothing at all; and as for any call.
    pub fn named<S: Stub>(&self, name: &str) -> Deferred<S> {
        objects::named(&self.link.root(), name)
    }

    /// The peer's address, for people.
    pub fn peer(&self) -> &str {
        self.link.line().peer_address()
    }

    /// Waits until the connection has ended, and says why. What was sent before the end may still be leaving: a program that exits then waits
    /// for [`Broker::finished`] too.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn closed(&self) -> Failure {
        self.link.line().closed().await
    }

    /// Why no call of ours is answered any more, where that is so: the connection has ended, or the peer says nothing more.
    pub fn lost(&self) -> Option<Failure> {
        self.link.line().lost()
    }

    /// Waits until the connection has ended and everything that was sent before the end has left, or cannot leave any more.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn finished(&self) {
        self.link.line().finished().await;
    }

    /// Ends the connection: what was sent before still leaves, calls in flight fail `Disconnected`, references break, methods that run for
    /// the peer are stopped.
    pub fn close(&self) {
        self.link.line().close("this side closed the connection");
    }

    /// The same, and tells the peer why: `reason` is for people, at most 1,024 bytes; the rest is cut.
    pub fn close_saying(&self, reason: &str) {
        self.link.line().close_saying(reason, AbortCode::Closing, reason);
    }

    /// The same where there is no room for the peer, by the abort code for limits (4): it is to come back later.
    pub fn turn_away(&self, reason: &str) {
        self.link.line().close_saying(reason, AbortCode::Limit, reason);
    }

    /// Asks the peer whether it is there, and returns how long its answer took: what travels before the question, and the peer's own
    /// work in front of its answer, included. It need not be called to keep a connection: a silent peer is asked on its own
    /// ([`Limits::ping_after`]).
    ///
    /// # Errors
    /// Why the connection has ended, where it has, before or while this waits: at the latest when the peer has been silent for
    /// [`Limits::dead_after`]. A peer that has ended its direction of the stream answers no more: that is an error at once, although what it
    /// asked for is still answered.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing; the answer is ignored when it comes.
    pub async fn ping(&self) -> Result<Duration, Failure> {
        let asked = tokio::time::Instant::now();
        self.link.line().ping().await?;
        Ok(asked.elapsed())
    }

    /// Waits until a call or a cast would not be refused for want of room: the peer grants one more, half of the bytes that it grants are free
    /// (1 MiB by default), and this side has the bytes for a default answer. Another caller may take the
    /// room first all the same; then the call fails `Overloaded`, has not run, and can be tried again.
    ///
    /// # Errors
    /// Why the connection has ended.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn ready(&self) -> Result<(), Failure> {
        self.link.line().ready().await
    }

    /// Leaves in good order. The peer is told `reason` (for people, at most 1,024 bytes; the rest is cut) and the `time` that it has, at
    /// most 49 days. Calls that it makes on our root from now on fail `Disconnected` and do not run, one-way ones are dropped; all other
    /// calls go on, in both directions, also new ones on objects that it holds. The connection closes when the time is over, or as soon as
    /// the peer holds nothing of ours and nothing is in flight or runs; then methods that still run for it are stopped, and what was sent has left
    /// when this returns. A peer that knows nothing of leaving is not told, and treated alike.
    ///
    /// # Cancel safety
    /// The first poll begins it for good: dropping the future later only stops waiting. A second call can shorten the time.
    pub async fn leave(&self, time: Duration, reason: &str) {
        self.link.line().leave(time, reason);
        self.finished().await;
    }

    /// Waits until the peer begins to leave ([`Broker::leave`]): its reason, and the time that is left. Until it closes, objects of its that
    /// are held here can be called; new calls on its root fail at once, `Disconnected` and not run.
    ///
    /// # Errors
    /// Why the connection has ended, where it did without.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn leaving(&self) -> Result<Leaving, Failure> {
        self.link.line().leaving().await
    }

    /// What the peer said when it began to leave; nothing where it has not.
    pub fn peer_leaving(&self) -> Option<Leaving> {
        self.link.line().farewell()
    }

    /// Waits until nothing remains on the connection: no reference to an object of either side, no call, no one-way call that runs, no
    /// result that was not released, and nothing that is still to be sent about them. The root objects and stubs of them do not count. An ended connection is idle.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn idle(&self) {
        self.link.line().idle().await;
    }

    /// Whether [`Broker::idle`] would return at once.
    pub fn is_idle(&self) -> bool {
        self.link.line().is_idle()
    }

    /// How often what the peer sent has held up this connection for a second or longer: a method that blocked its thread, by a long computation
    /// or `std::thread::sleep`, before it first waited, or a value that did as it was read or dropped. What comes behind it on the connection waits
    /// meanwhile; `tokio::task::spawn_blocking` is for such work. A process that was stopped counts as held up, too.
    pub fn held_up(&self) -> u64 {
        self.link.line().watchdog.count()
    }

    /// How many entries the connection's tables have: all 0 where nothing is in flight and nothing is held.
    pub fn tables(&self) -> TableSizes {
        self.link.line().sizes()
    }

    /// What has gone over the connection until now: calls, answers, failures by kind, bytes, both ways; and the sizes of its tables. One lock is taken
    /// for a moment, so it may be asked often; also when the connection has ended.
    ///
    /// ```
    /// # use pb_core::{Broker, FailureKind};
    /// # fn report(broker: &Broker) {
    /// let now = broker.counters();
    /// println!("{} calls made, {} answered", now.sent.calls, now.received.values + now.received.errors);
    /// println!("{} of the peer's were refused", now.sent.failures.of(FailureKind::Overloaded));
    /// # }
    /// ```
    pub fn counters(&self) -> Counters {
        self.link.line().counters()
    }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("peer", &self.peer()).finish_non_exhaustive()
    }
}

/// Lets methods of objects in this process run on tokio. Done by everything that makes a reference or a connection.
pub fn install_executor() {
    objects::install(Executor { spawn, now, sleep_until });
}

fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}

fn sleep_until(time: std::time::Instant) -> BoxTask {
    // Made where it is polled: in the runtime.
    Box::pin(async move { tokio::time::sleep_until(time.into()).await })
}

fn spawn(task: BoxTask) -> Result<Stop, BoxTask> {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => {
            let handle = runtime.spawn(task).abort_handle();
            Ok(Box::new(move || handle.abort()))
        }
        Err(_) => Err(task),
    }
}
