//! The same runs on real brokers: what `play` proves of the tables, this proves of what drives them. The programs are objects behind
//! stubs, the links pipes whose bytes come in odd pieces; the runtime has one thread and a clock that stands still.

mod ending;
mod link;
mod things;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use pb_core::message::{Cause, Failure, FailureKind};
use pb_server::{CallError, Deferred, Revoker};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::graph::{self, Shadow, To};
use super::{Action, End, How, Method, Ref, Run, Tally};
use link::{Link, link};
use things::{Name, ThingRef, Told, World, lock};

/// Plays a run on real brokers, with the same checks as [`play`](super::play).
///
/// # Errors
/// What was wrong.
pub fn play_for_real(run: &Run) -> Result<Tally, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let mut play = Play::new(run).await?;
        for action in &run.actions {
            play.act(*action).await?;
            play.look()?;
        }
        play.wind_up().await?;
        let tally = Tally { calls: play.made.len(), arrived: play.seen, ..Tally::default() };
        play.finish().await.map(|()| tally)
    })
}

struct Play {
    world: Arc<World>,
    shadow: Shadow,
    programs: Vec<Program>,
    links: Vec<Link>,
    /// The shadows of objects made by programs, and of those that calls made.
    own: Vec<usize>,
    made: Vec<Option<usize>>,
    seen: usize,
    start: Instant,
}

#[derive(Default)]
struct Program {
    held: Vec<Held>,
    roots: Vec<Held>,
    calls: Vec<Made>,
    /// What it can take back, and its shadow.
    lent: Vec<(Revoker, usize)>,
    /// How many milliseconds the next call has.
    hurry: Option<u8>,
}

#[derive(Clone)]
struct Held {
    stub: ThingRef,
    path: Path,
    /// How long calls on it have: on the promise of a call's result as long as that call.
    within: Option<Duration>,
}

#[derive(Clone)]
struct Path {
    to: To,
    number: usize,
    count: Rc<Cell<u32>>,
}

struct Made {
    call: Pending,
    tag: usize,
    result: Path,
    within: Option<Duration>,
}

enum Pending {
    One(Deferred<ThingRef, CallError<Told>>),
    Value(Deferred<u64>),
}

/// What a call has ended with.
#[derive(Debug)]
enum Got {
    Reference(ThingRef),
    Value(u64),
    Error(Vec<ThingRef>),
    Failed(Failure),
}

/// Until nothing moves: the clock goes on only when every task waits.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

impl Play {
    async fn new(run: &Run) -> Result<Play, String> {
        let world = Arc::new(World::default());
        let mut shadow = Shadow::default();
        let count = usize::from(run.nodes);
        let roots: Vec<_> = (0..count).map(|node| world.thing(node, Name::Root(node))).collect();
        roots.iter().enumerate().for_each(|(node, _)| _ = shadow.object(node));
        let mut programs: Vec<Program> = (0..count).map(|_| Program::default()).collect();
        let mut links = Vec::new();
        for nodes in &run.links {
            let nodes = [usize::from(nodes.0), usize::from(nodes.1)];
            let link = link(nodes, nodes.map(|node| &roots[node])).await?;
            for (end, other) in [(0, 1), (1, 0)] {
                let path = path(&mut shadow, To::Object(nodes[other]));
                programs[nodes[end]].roots.push(Held { stub: link.brokers[end].root(), path, within: None });
            }
            links.push(link);
        }
        let (own, made, start) = (Vec::new(), Vec::new(), Instant::now());
        Ok(Play { world, shadow, programs, links, own, made, seen: 0, start })
    }

    async fn act(&mut self, action: Action) -> Result<(), String> {
        let count = self.programs.len();
        let node = |at: u8| usize::from(at) % count;
        match action {
            Action::Call { at, how, method, on, with } => {
                let on = self.resolve(node(at), on);
                let with: Vec<_> =
                    with.into_iter().flatten().map(|one| self.resolve(node(at), one)).collect();
                self.call(node(at), how, method, &on, &with);
            }
            Action::Promise { at, call } => self.promise(node(at), call),
            Action::Take { at, call } => self.take(node(at), call)?,
            Action::Cancel { at, call } => drop(self.remove(node(at), call)),
            Action::Detach { at, call } => {
                if let Some(made) = self.remove(node(at), call) {
                    self.shadow.get(made.tag).alone = true;
                    match made.call {
                        Pending::One(call) => call.detach(),
                        Pending::Value(call) => call.detach(),
                    }
                }
            }
            Action::Release { at, held } => {
                let all = &mut self.programs[node(at)].held;
                if let Some(at) = usize::from(held).checked_rem(all.len()) {
                    drop(all.swap_remove(at));
                }
            }
            Action::Hurry { at, millis } => self.programs[node(at)].hurry = Some(millis),
            Action::Pass { millis } => self.pass(millis.into()).await?,
            Action::Lend { at, held } => self.lend(node(at), held),
            Action::Revoke { at, lent } => self.revoke(node(at), lent),
            Action::Arguments { at, waiting } => self.arguments(node(at), waiting),
            Action::Answer { at, waiting, end } => self.answer(node(at), waiting, end),
            Action::Deliver { way } => {
                for _ in 0..=way % 16 {
                    tokio::task::yield_now().await;
                }
            }
            Action::Settle | Action::Flush { .. } => settle().await,
            Action::Block { way } => self.block(way, true),
            Action::Unblock { way } => self.block(way, false),
            Action::Cut { link } | Action::Lose { way: link } => {
                self.shadow.lenient = true;
                let link = &self.links[usize::from(link) % self.links.len()];
                link.pumps.iter().for_each(JoinHandle::abort);
            }
            Action::Tell { way } => {
                self.shadow.lenient = true;
                let link = &self.links[usize::from(way) % self.links.len()];
                link.brokers[usize::from(way) % 2].close();
            }
        }
        Ok(())
    }

    fn block(&self, way: u8, blocked: bool) {
        let link = &self.links[usize::from(way) / 2 % self.links.len()];
        link.blocked[usize::from(way) % 2].send_replace(blocked);
    }

    fn resolve(&mut self, at: usize, reference: Ref) -> Held {
        let program = &self.programs[at];
        match reference {
            Ref::Held(held) if !program.held.is_empty() => {
                program.held[usize::from(held) % program.held.len()].clone()
            }
            Ref::Root(root) | Ref::Held(root) if !program.roots.is_empty() => {
                program.roots[usize::from(root) % program.roots.len()].clone()
            }
            _ => {
                let object = self.shadow.object(at);
                let stub = self.world.thing(at, Name::Own(self.own.len()));
                self.own.push(object);
                Held { stub, path: path(&mut self.shadow, To::Object(object)), within: None }
            }
        }
    }

    fn call(&mut self, at: usize, how: How, method: Method, on: &Held, with: &[Held]) {
        let number = self.shadow.calls();
        on.path.count.set(on.path.count.get() + 1);
        let gives_one = !matches!(method, Method::Say | Method::Keep | Method::Forget);
        // The types decide what is asked for; only `note` is a cast.
        let (how, method) = match (how, gives_one) {
            (How::Cast, _) => (How::Cast, Method::Say),
            (_, true) => (How::Reference, method),
            (_, false) => (How::Value, method),
        };
        let takes = matches!(method, Method::Keep | Method::Echo | Method::Fail | Method::Hold);
        let with = if takes { with } else { &[] };
        let hurry = self.programs[at].hurry.take().map(|millis| Duration::from_millis(millis.into()));
        let within = hurry.or(on.within);
        self.shadow.now = self.start.elapsed();
        self.shadow.call(graph::Call {
            on: on.path.to,
            with: with.iter().map(|held| held.path.to).collect(),
            method,
            how,
            through: (on.path.number, on.path.count.get()),
            arrived: false,
            ended: None,
            dropped: how == How::Cast,
            alone: how == How::Cast,
            deadline: within.map(|within| self.shadow.now + within),
        });
        self.made.push(None);
        let hurried = hurry.map(|within| on.stub.within(within));
        let (stub, tag) = (hurried.as_ref().unwrap_or(&on.stub), number as u64);
        let mut given = with.iter().map(|held| held.stub.clone());
        let (first, second) = (given.next(), given.next());
        let call = match method {
            Method::Say if how == How::Cast => return stub.note(tag),
            Method::Say => Pending::Value(stub.say(tag)),
            Method::Keep => Pending::Value(stub.keep(tag, first, second)),
            Method::Forget => Pending::Value(stub.forget(tag)),
            Method::Open => Pending::One(stub.open(tag)),
            Method::Kept => Pending::One(stub.kept(tag)),
            Method::Echo => Pending::One(stub.echo(tag, first, second)),
            Method::Fail => Pending::One(stub.fail(tag, first, second)),
            Method::Hold => Pending::One(stub.hold(tag, first, second)),
        };
        let result = path(&mut self.shadow, To::Result(number));
        self.programs[at].calls.push(Made { call, tag: number, result, within });
    }

    async fn pass(&mut self, millis: u64) -> Result<(), String> {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        self.shadow.now = self.start.elapsed();
        self.look()
    }

    fn lend(&mut self, at: usize, held: u8) {
        let Held { stub, path: Path { to, .. }, .. } = self.resolve(at, Ref::Held(held));
        let ((stub, revoker), shadow) = (stub.remote().revocable(), self.shadow.lend(to));
        let path = path(&mut self.shadow, To::Lent(shadow));
        self.programs[at].held.push(Held { stub, path, within: None });
        self.programs[at].lent.push((revoker, shadow));
    }

    fn revoke(&mut self, at: usize, lent: u8) {
        let all = &mut self.programs[at].lent;
        let Some(index) = usize::from(lent).checked_rem(all.len()) else { return };
        let (revoker, shadow) = all.swap_remove(index);
        self.shadow.revoke(shadow);
        revoker.revoke("told to");
    }

    fn promise(&mut self, at: usize, call: u8) {
        let program = &mut self.programs[at];
        let Some(index) = usize::from(call).checked_rem(program.calls.len()) else { return };
        let Made { call: Pending::One(call), result, within, .. } = &program.calls[index] else { return };
        let held = Held { stub: call.promised(), path: result.clone(), within: *within };
        program.held.push(held);
    }

    fn remove(&mut self, at: usize, call: u8) -> Option<Made> {
        let calls = &mut self.programs[at].calls;
        let made = calls.swap_remove(usize::from(call).checked_rem(calls.len())?);
        self.shadow.get(made.tag).dropped = true;
        Some(made)
    }

    fn take(&mut self, at: usize, call: u8) -> Result<(), String> {
        let calls = &mut self.programs[at].calls;
        let Some(index) = usize::from(call).checked_rem(calls.len()) else { return Ok(()) };
        let made = calls.swap_remove(index);
        if let Some(made) = self.judge(at, made)? {
            self.programs[at].calls.push(made);
        }
        Ok(())
    }

    /// What a call ended with, checked and held; the call itself where it has not ended.
    fn judge(&mut self, at: usize, mut made: Made) -> Result<Option<Made>, String> {
        let tag = made.tag;
        let ended = match &mut made.call {
            Pending::One(call) => call.now_or_never().map(|ended| match ended {
                Ok(stub) => Got::Reference(stub),
                Err(CallError::App(told)) => Got::Error(told.given),
                Err(CallError::Broker(failure)) => Got::Failed(failure),
            }),
            Pending::Value(call) => call.now_or_never().map(|ended| match ended {
                Ok(value) => Got::Value(value),
                Err(failure) => Got::Failed(failure),
            }),
        };
        let Some(ended) = ended else { return Ok(Some(made)) };
        self.look()?;
        self.shadow.now = self.start.elapsed();
        let shadow = self.shadow.get(tag).ended.clone();
        let right = match (&ended, &shadow) {
            (Got::Reference(_), Some(graph::Ended::Reference(_))) => true,
            (Got::Value(value), Some(graph::Ended::Value(_))) => *value == tag as u64,
            (Got::Error(got), Some(graph::Ended::Error(given))) => got.len() == given.len(),
            (Got::Error(got), Some(graph::Ended::Failed)) => got.is_empty(),
            (Got::Failed(failure), _) if failure.kind == FailureKind::DeadlineExceeded => {
                self.shadow.is_late(tag)
            }
            (Got::Failed(failure), _) => self.shadow.may_fail(tag) || is_far(failure),
            _ => false,
        };
        if !right {
            return Err(format!("call {tag} has ended with {ended:?}; the shadow: {shadow:?}"));
        }
        match (ended, shadow) {
            (Got::Reference(stub), _) => {
                self.programs[at].held.push(Held { stub, path: made.result.clone(), within: None });
            }
            (Got::Error(got), Some(graph::Ended::Error(given))) => self.hold(at, got, given),
            _ => {}
        }
        Ok(None)
    }

    fn hold(&mut self, at: usize, stubs: Vec<ThingRef>, given: Vec<To>) {
        for (stub, to) in stubs.into_iter().zip(given) {
            let path = path(&mut self.shadow, to);
            self.programs[at].held.push(Held { stub, path, within: None });
        }
    }

    fn arguments(&mut self, at: usize, waiting: u8) {
        let tags = self.world.waiting_at(at);
        let Some(index) = usize::from(waiting).checked_rem(tags.len()) else { return };
        let given = match lock(&self.world.waiting).iter().find(|one| one.tag == tags[index]) {
            Some(one) => one.given.clone(),
            None => return,
        };
        let shadows = self.shadow.get(tags[index] as usize).with.clone();
        self.hold(at, given, shadows);
    }

    fn answer(&mut self, at: usize, waiting: u8, end: End) {
        let tags = self.world.waiting_at(at);
        let Some(index) = usize::from(waiting).checked_rem(tags.len()) else { return };
        let tag = tags[index] as usize;
        let one = match end {
            End::One(reference) => Some(self.resolve(at, reference)),
            End::Given | End::Error => None,
        };
        let waiting = {
            let mut waiting = lock(&self.world.waiting);
            let Some(at) = waiting.iter().position(|one| one.tag == tag as u64) else { return };
            waiting.remove(at)
        };
        let given = self.shadow.get(tag).with.clone();
        let (answer, shadow) = match (end, one, waiting.given.first().cloned(), given.first()) {
            (End::One(_), Some(held), ..) => (Ok(held.stub), graph::Ended::Reference(held.path.to)),
            (End::Given, _, Some(stub), Some(to)) => (Ok(stub), graph::Ended::Reference(*to)),
            (End::Error, ..) => (Err(Told { given: waiting.given.clone() }), graph::Ended::Error(given)),
            _ => (Err(Told::default()), graph::Ended::Failed),
        };
        self.shadow.get(tag).ended = Some(shadow);
        let unheard = waiting.answer.send(answer);
        drop((unheard, waiting.given));
    }

    /// Checks what has arrived since the last look.
    fn look(&mut self) -> Result<(), String> {
        let arrivals = lock(&self.world.arrived)[self.seen..].to_vec();
        self.seen += arrivals.len();
        for (node, name, tag) in arrivals {
            let object = match name {
                Name::Root(node) => node,
                Name::Own(own) => self.own[own],
                Name::Made(by) => self.made[by as usize].ok_or("an object that nobody made was called")?,
            };
            self.made[tag as usize] = self.shadow.arrive(tag as usize, node, object)?;
        }
        Ok(())
    }
}

fn path(shadow: &mut Shadow, to: To) -> Path {
    Path { to, number: shadow.reference(), count: Rc::default() }
}

/// A path that grew over too many middlemen fails by rule; or what broke for that.
fn is_far(failure: &Failure) -> bool {
    failure.message.contains("middlemen")
        || failure.cause.as_deref().is_some_and(|cause| match cause {
            Cause::Broker(cause) => is_far(cause),
            Cause::App(_) => false,
        })
}
