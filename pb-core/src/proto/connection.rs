use std::collections::VecDeque;
use std::time::Instant;

use hashbrown::HashMap;

use super::casts::Casts;
use super::exports::Exports;
use super::imports::{Import, Imports};
use super::incoming::unpin;
use super::lagging::Lagging;
use super::last_words::LastWords;
use super::leaving::Departure;
use super::limits::{LAST_WORD_BYTES, RELEASE_BATCH, RELEASE_BYTES, RELEASE_HEAD_BYTES};
use super::names::Names;
use super::silence::{Due, Silence, Silent};
use super::timers::{earlier, exceeded};
use super::{Garbage, Host, Limits, Notice, Outbox, Request, TableSizes, Task, Violation};
use crate::message::{
    ExportId, Failure, FailureKind, Grants, Hello, ImportId, MAX_FRAME_BYTES, Message, Ping, Ran, Release,
    features,
};

/// One side of one connection: what each side may name, and what is on its way.
pub struct Connection<H: Host> {
    pub(super) host: H,
    pub(super) limits: Limits,
    /// The peer's grants; the fixed minimum until its hello has come.
    pub(super) granted: Grants,
    greeted: bool,
    /// Whether the peer's hello says that it understands `goaway`.
    pub(super) drain: bool,
    pub(super) exports: Exports<H>,
    pub(super) imports: Imports<H>,
    pub(super) names: Names<H>,
    pub(super) embargoes: HashMap<u64, Embargo<H>>,
    pub(super) last_embargo: u64,
    pub(super) strikes: u64,
    pub(super) silence: Silence,
    /// Last words that go out with the next batch.
    pub(super) releases: LastWords,
    /// Whether the peer's hello says that it counts casts and gives them back.
    pub(super) credit: bool,
    /// The peer's casts that have not ended, and those that have and are not given back.
    pub(super) casts: Casts,
    pub(super) casts_extra: u64,
    /// Calls of the peer's that are answered and count against its grant as long as it cannot know.
    pub(super) lagging: Lagging,
    pub(super) ended_casts: Casts,
    /// Echoes that the peer has asked for and that are not sent.
    pub(super) echoes: u64,
    pub(super) tasks: VecDeque<Task<H>>,
    pub(super) notices: VecDeque<Notice<H>>,
    pub(super) garbage: Vec<Garbage<H>>,
    pub(super) leaving: Departure,
    /// New exports that may break.
    pub(super) exported: Vec<(ExportId, H::Handle)>,
    pub(super) ended: Option<Failure>,
    /// Objects that the peer held then.
    held_at_end: u32,
    /// Somebody is told what happens.
    pub(super) watched: bool,
}

/// A promise whose old path may still hold calls of ours (`docs/protocol.md`, section 9).
pub(super) struct Embargo<H: Host> {
    /// The call whose result came home.
    pub(super) result: ImportId,
    /// What new calls wait on.
    pub(super) promise: H::Handle,
    /// Our own object.
    pub(super) home: H::Handle,
}

impl<H: Host> Connection<H> {
    /// A connection that serves `root` to its peer, or nothing. The hello is the owner's to send: [`Connection::hello`].
    pub fn new(host: H, root: Option<H::Handle>, limits: Limits) -> Self {
        let limits = limits.at_least_minimum();
        let exported = root.iter().filter(|root| host.may_break(root));
        let exported = exported.map(|root| (ExportId::ROOT, root.clone())).collect();
        Connection {
            host,
            limits,
            granted: Grants::MINIMUM,
            greeted: false,
            drain: false,
            exports: Exports::new(root),
            imports: Imports::new(),
            names: Names::new(),
            embargoes: HashMap::new(),
            last_embargo: 0,
            strikes: 0,
            silence: Silence::new(&limits),
            releases: LastWords::default(),
            credit: false,
            casts: Casts::default(),
            casts_extra: 0,
            lagging: Lagging::default(),
            ended_casts: Casts::default(),
            echoes: 0,
            tasks: VecDeque::new(),
            notices: VecDeque::new(),
            garbage: Vec::new(),
            leaving: Departure::default(),
            exported,
            ended: None,
            held_at_end: 0,
            watched: false,
        }
    }

    /// The first message to send.
    pub fn hello(&self) -> Hello {
        let features = features::CREDIT | features::DRAIN;
        Hello { versions: (VERSION, VERSION), features, grants: self.limits.grants() }
    }

    /// The owner's own part of the connection.
    pub fn host(&self) -> &H {
        &self.host
    }

    /// The same, to be changed.
    pub fn host_mut(&mut self) -> &mut H {
        &mut self.host
    }

    /// Whether the peer's hello has come.
    pub fn is_greeted(&self) -> bool {
        self.greeted
    }

    /// Takes one message in, which was read at `now`.
    ///
    /// # Errors
    /// What the peer did wrong. The owner sends `abort`, closes, and calls [`Connection::end`]; until then the tables keep what they had.
    pub fn handle(
        &mut self,
        mut message: Message,
        now: Instant,
        out: &mut impl Outbox,
    ) -> Result<(), Violation> {
        self.take_message(&mut message, now, out)
    }

    /// The same where the message stays where it was decoded: what is needed of it is taken out, and the rest is worth nothing then. Messages
    /// are large, and moving one as soon as it is made costs more than taking it in.
    ///
    /// # Errors
    /// As [`Connection::handle`].
    #[inline(always)]
    pub fn take_message(
        &mut self,
        message: &mut Message,
        now: Instant,
        out: &mut impl Outbox,
    ) -> Result<(), Violation> {
        if self.ended.is_some() {
            return Ok(());
        }
        if !self.greeted {
            return self.greet(message, now, out);
        }
        self.dispatch(message, now, out)?;
        self.check_budget(out)
    }

    fn greet(&mut self, message: &Message, now: Instant, out: &mut impl Outbox) -> Result<(), Violation> {
        match message {
            Message::Hello(hello) => self.on_hello(hello, now, out),
            Message::Abort(abort) => self.on_abort(abort),
            _ => Err(Violation::BeforeHello),
        }
    }

    #[inline(always)]
    fn dispatch(
        &mut self,
        message: &mut Message,
        now: Instant,
        out: &mut impl Outbox,
    ) -> Result<(), Violation> {
        match message {
            Message::Hello(_) => Err(Violation::SecondHello),
            Message::Call(call) => self.on_call(call, now, out),
            Message::Cast(cast) => self.on_cast(cast, now, out),
            Message::Resolve(resolve) => self.on_resolve(resolve, out),
            Message::Reject(reject) => self.on_reject(reject),
            Message::Release(release) => self.on_release(release),
            Message::Cancel(cancel) => self.on_cancel(*cancel, out),
            Message::Disembargo(disembargo) => self.on_disembargo(*disembargo),
            Message::Ping(ping) => {
                out.send(Message::Pong(*ping));
                Ok(())
            }
            Message::Abort(abort) => self.on_abort(abort),
            Message::Credit(credit) => self.on_credit(*credit),
            Message::Goaway(goaway) => self.on_goaway(goaway, now),
            Message::Pong(Ping { nonce }) => {
                self.notices.push_back(Notice::Pong(*nonce));
                Ok(())
            }
            Message::Unimplemented(_) => Ok(()),
        }
    }

    /// When [`Connection::handle_timeout`] is to be called; it may have moved after every call of another method.
    pub fn poll_timeout(&self) -> Option<Instant> {
        earlier(earlier(self.silence.timeout(), self.leaving_deadline()), self.next_deadline())
    }

    /// Does what is due at `now`. Too early it changes nothing.
    ///
    /// # Errors
    /// The peer is taken for dead. The owner sends `abort`, closes, and calls [`Connection::end`].
    pub fn handle_timeout(&mut self, now: Instant, out: &mut impl Outbox) -> Result<(), Silent> {
        self.expire(now, out);
        self.check_leaving(now);
        match self.silence.due(now) {
            Due::Nothing => Ok(()),
            Due::Ping(nonce) => {
                out.send(Message::Ping(Ping { nonce }));
                Ok(())
            }
            Due::Dead(silent) => Err(silent),
        }
    }

    /// Some bytes of the peer's were read, whether or not they are a message.
    pub fn heard(&mut self, now: Instant) {
        self.exports.clock.set(now);
        if self.greeted && self.ended.is_none() {
            self.silence.heard(now);
        }
    }

    /// Asks the peer whether it is there. [`Notice::Pong`] with the nonce that this returns is the answer.
    pub fn ping(&mut self, out: &mut impl Outbox) -> u64 {
        let nonce = self.silence.next_nonce();
        out.send(Message::Ping(Ping { nonce }));
        nonce
    }

    fn on_hello(&mut self, hello: &Hello, now: Instant, out: &mut impl Outbox) -> Result<(), Violation> {
        let (lowest, highest) = hello.versions;
        if lowest > VERSION || highest < VERSION {
            return Err(Violation::Version { lowest, highest });
        }
        let (granted, least) = (hello.grants.frame_bytes, Grants::MINIMUM.frame_bytes);
        if granted < least {
            return Err(Violation::FramesTooSmall { granted, least });
        }
        self.granted = hello.grants;
        self.granted.frame_bytes = granted.min(MAX_FRAME_BYTES);
        self.greeted = true;
        self.imports.free();
        self.silence.heard(now);
        self.credit = hello.features & features::CREDIT != 0;
        if !self.credit {
            self.imports.casts = Casts::default();
        }
        self.drain = hello.features & features::DRAIN != 0;
        self.say_goaway(now, out);
        Ok(())
    }

    fn on_abort(&mut self, abort: &crate::message::Abort) -> Result<(), Violation> {
        let message = format!("the peer ended the connection: {}", abort.reason);
        self.end(Failure::new(FailureKind::Disconnected, Ran::Maybe, message));
        Ok(())
    }

    /// The next thing to do in order. Calls that were cancelled, or whose time was over, before they started are answered instead.
    pub fn poll_task(&mut self, out: &mut impl Outbox) -> Option<Task<H>> {
        while let Some(task) = self.tasks.pop_front() {
            let Task::Start(start) = task else { return Some(task) };
            let Some((id, failure)) = self.unwanted(&start.request) else { return Some(Task::Start(start)) };
            self.garbage.push(Garbage::Handle(start.target));
            self.garbage.push(Garbage::Handles(start.request.arguments.handles));
            self.reject(id, failure, out);
        }
        None
    }

    /// All that [`Connection::poll_task`] would give, into `tasks`, which is empty. What need not be done after all goes back by
    /// [`Connection::put_back`].
    #[inline]
    pub fn take_tasks(&mut self, tasks: &mut VecDeque<Task<H>>, out: &mut impl Outbox) {
        if self.tasks.is_empty() {
            return;
        }
        if self.exports.are_all_wanted() {
            std::mem::swap(&mut self.tasks, tasks);
            return shrink(&mut self.tasks);
        }
        while let Some(task) = self.poll_task(out) {
            tasks.push_back(task);
        }
    }

    /// All that [`Connection::poll_notice`] would give, into `notices`, which is empty.
    #[inline]
    pub fn take_notices(&mut self, notices: &mut VecDeque<Notice<H>>) {
        if !self.notices.is_empty() {
            std::mem::swap(&mut self.notices, notices);
            shrink(&mut self.notices);
        }
    }

    /// Takes back what was taken out and is not done: it goes in front. After the end of the connection no call starts.
    pub fn put_back(&mut self, notices: &mut VecDeque<Notice<H>>, tasks: &mut VecDeque<Task<H>>) {
        notices.append(&mut self.notices);
        std::mem::swap(&mut self.notices, notices);
        for task in tasks.iter_mut() {
            if let Task::Start(start) = task {
                unpin(&mut start.request.arguments.body);
            }
        }
        tasks.append(&mut self.tasks);
        std::mem::swap(&mut self.tasks, tasks);
        if self.ended.is_some() {
            self.scrap_tasks();
        }
    }

    /// Why a call need not be started any more, if that is so.
    fn unwanted(&mut self, request: &Request<H>) -> Option<(ExportId, Failure)> {
        let (id, _) = request.answer?;
        if self.exports.is_cancelled(id) {
            return Some((id, Failure::cancelled_early()));
        }
        let expired = request.deadline.is_some() && self.exports.running(id).is_none_or(|one| one.expired);
        expired.then(|| (id, exceeded(Ran::No)))
    }

    /// Whether [`Connection::poll_task`] has something.
    pub fn has_tasks(&self) -> bool {
        !self.tasks.is_empty()
    }

    /// The next thing to tell.
    pub fn poll_notice(&mut self) -> Option<Notice<H>> {
        self.notices.pop_front()
    }

    /// Whether [`Connection::poll_notice`] has something.
    pub fn has_notices(&self) -> bool {
        !self.notices.is_empty()
    }

    /// Whether something has left the tables ([`Connection::take_garbage`]), or is to be watched ([`Connection::take_exported`]).
    #[inline]
    pub fn has_garbage(&self) -> bool {
        !self.garbage.is_empty() || !self.exported.is_empty()
    }

    /// What left the tables. To be dropped where no lock is held: it may run anybody's `Drop`.
    pub fn take_garbage(&mut self) -> Vec<Garbage<H>> {
        std::mem::take(&mut self.garbage)
    }

    /// Whether there are last words or credit to send: [`Connection::flush`].
    pub fn has_last_words(&self) -> bool {
        !self.releases.is_empty() || self.owes_credit()
    }

    /// Bytes that the last words take that are collected and not sent.
    #[inline]
    pub fn last_words_bytes(&self) -> usize {
        self.releases.len() * LAST_WORD_BYTES as usize
    }

    /// Sends the last words collected, in messages of at most 1,024 entries, and the credit that is due. What a peer that does not read
    /// would have to wait for anyhow stays here.
    pub fn flush(&mut self, out: &mut impl Outbox) {
        let most = release_batch(self.granted.frame_bytes);
        while !self.releases.is_empty() && !self.is_unread(out) {
            out.send(Message::Release(Release { mentions: self.releases.take(most) }));
            self.imports.free();
        }
        self.give_credit(out);
    }

    /// Why the connection has ended, if it has.
    pub fn ended(&self) -> Option<&Failure> {
        self.ended.as_ref()
    }

    /// How many objects of ours the peer held when the connection ended; 0 before.
    pub fn held_at_end(&self) -> u64 {
        self.held_at_end.into()
    }

    /// Why the peer's root is broken, if its owner has said so.
    pub fn root_broken(&self) -> Option<&Failure> {
        self.imports.root_broken.as_ref()
    }

    /// How many entries each table has.
    pub fn sizes(&self) -> TableSizes {
        let (exports, answers) = self.exports.sizes();
        let (imports, calls) = self.imports.sizes();
        TableSizes { exports, imports, calls, answers, embargoes: self.embargoes.len() }
    }

    /// Ends the connection: every call in flight fails once with `reason`, every reference breaks once, running methods are stopped,
    /// all tables are empty. What is still to be told stands in [`Connection::poll_notice`] and [`Connection::poll_task`].
    /// Ending twice changes nothing.
    pub fn end(&mut self, reason: Failure) {
        if self.ended.is_some() {
            return;
        }
        self.held_at_end = u32::try_from(self.exports.sizes().0).unwrap_or(u32::MAX);
        self.scrap_tasks();
        let (cancellers, promises) = self.exports.clear(&mut self.garbage);
        self.notices.extend(cancellers.into_iter().map(Notice::Cancel));
        // Somebody else may hold them still, and wait.
        self.tasks.extend(promises.into_iter().map(|promise| Task::Settle(promise, Err(reason.clone()))));
        self.fail_calls(&reason);
        let (results, proxies) = self.imports.clear();
        self.notices.extend(proxies.map(|proxy| Notice::Broken(proxy, reason.clone())));
        for result in results {
            match result {
                Import::Moved(handle) => self.garbage.push(Garbage::Handle(handle)),
                Import::Asked(_) | Import::Rejected(_) => {}
            }
        }
        self.fail_embargoes(&reason);
        self.garbage.extend(self.exported.drain(..).map(|(_, handle)| Garbage::Handle(handle)));
        self.releases = LastWords::default();
        self.ended_casts = Casts::default();
        self.silence.stop();
        self.ended = Some(reason);
    }

    /// Calls that have not started never will; promises that were to be settled still are.
    fn scrap_tasks(&mut self) {
        self.echoes = 0;
        self.lagging.clear();
        for task in std::mem::take(&mut self.tasks) {
            match task {
                Task::Start(start) => {
                    self.garbage.push(Garbage::Handle(start.target));
                    self.garbage.push(Garbage::Handles(start.request.arguments.handles));
                }
                Task::Settle(..) => self.tasks.push_back(task),
                Task::Echo(_) => {}
            }
        }
    }
}

/// Gives back the room of a queue that is empty and was long.
#[inline]
fn shrink<T>(queue: &mut VecDeque<T>) {
    if queue.capacity() > KEPT_QUEUE {
        *queue = VecDeque::new();
    }
}

/// How many releases fit into one frame of the peer's.
fn release_batch(frame_bytes: u64) -> usize {
    let fitting = frame_bytes.saturating_sub(RELEASE_HEAD_BYTES) / RELEASE_BYTES;
    (fitting as usize).clamp(1, RELEASE_BATCH)
}

/// Places of a queue that are kept while it is empty.
const KEPT_QUEUE: usize = 128;
/// The version of the protocol that this side speaks.
const VERSION: u32 = 1;
