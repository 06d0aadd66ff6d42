mod ending;

use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use pb_core::message::Reply;
use pb_core::proto::Limits;

use super::graph::{self, Shadow, To};
use super::{Action, End, How, Method, Ref, Run};
use crate::net::{Call, Ended, Handle, Lent, Network, Object};

/// What happened in a run, to see that runs are worth something.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[allow(missing_docs, reason = "each is a count of what its name says")]
pub struct Tally {
    pub calls: usize,
    pub arrived: usize,
    pub passed_on: usize,
    pub resolved: usize,
    pub rejected: usize,
    pub embargoes: usize,
    pub cancels: usize,
    /// Calls that waited for themselves in the end.
    pub circles: usize,
    /// Calls that ended because their time was over.
    pub late: usize,
    /// References that were taken back.
    pub revoked: usize,
}

impl Tally {
    /// Adds another run's.
    pub fn add(&mut self, other: &Tally) {
        self.calls += other.calls;
        self.arrived += other.arrived;
        self.passed_on += other.passed_on;
        self.resolved += other.resolved;
        self.rejected += other.rejected;
        self.embargoes += other.embargoes;
        self.cancels += other.cancels;
        self.circles += other.circles;
        self.late += other.late;
        self.revoked += other.revoked;
    }
}

/// Plays a run, with everything checked: each call arrives once, where the shadow says and behind those before it; each ends as the shadow
/// says; in the end every node's tables are empty and every object is gone.
///
/// # Errors
/// What was wrong, with the run's dialogue. Some faults are found by the network, which panics.
pub fn play(run: &Run) -> Result<Tally, String> {
    let mut play = Play::new(run);
    let result = run.actions.iter().try_for_each(|action| {
        play.act(*action)?;
        play.look()
    });
    let result = result.and_then(|()| play.wind_up());
    match result {
        Ok(()) => play.finish(),
        Err(wrong) => {
            let dump = play.network.dump();
            // What is wrong may be wrong when things are dropped, too.
            std::mem::forget(play);
            Err(format!("{wrong}\n{dump}"))
        }
    }
}

struct Play {
    network: Network,
    shadow: Shadow,
    programs: Vec<Program>,
    links: Vec<(usize, usize)>,
    /// Objects made by programs, not by methods: their weak selves and their shadows.
    own: Vec<(Weak<Object>, usize)>,
    /// The objects that calls made.
    made: Vec<Option<usize>>,
    start: Instant,
    tally: Tally,
}

/// What the program of one node holds.
#[derive(Default)]
struct Program {
    held: Vec<Held>,
    calls: Vec<Made>,
    /// How many of the node's arrivals were looked at.
    seen: usize,
    /// References to the roots of its peers.
    roots: Vec<Held>,
    /// What it can take back, and its shadow.
    lent: Vec<(Rc<Lent>, usize)>,
    /// How many milliseconds the next call has.
    hurry: Option<u8>,
}

/// A reference.
#[derive(Clone)]
struct Held {
    handle: Handle,
    path: Path,
}

/// Where a reference leads, and the number by which its calls are known, with how many there were.
#[derive(Clone)]
struct Path {
    to: To,
    number: usize,
    count: Rc<Cell<u32>>,
}

struct Made {
    call: Call,
    tag: usize,
    /// The one that calls through its promise, and through what it ends with, take.
    result: Path,
}

impl Play {
    fn new(run: &Run) -> Play {
        let mut network = Network::new(usize::from(run.nodes));
        let limits = if run.small { small() } else { Limits::default() };
        let links: Vec<_> =
            run.links.iter().map(|(one, other)| (usize::from(*one), usize::from(*other))).collect();
        links.iter().for_each(|(one, other)| network.connect_with(*one, *other, limits, limits));
        network.run();
        let mut shadow = Shadow::default();
        shadow.lenient = run.small;
        for node in 0..network.count() {
            shadow.object(node); // Its root.
        }
        let mut programs: Vec<Program> = (0..network.count()).map(|_| Program::default()).collect();
        for (one, other) in links.iter().flat_map(|(one, other)| [(*one, *other), (*other, *one)]) {
            let path = path(&mut shadow, To::Object(other));
            programs[one].roots.push(Held { handle: network.root(one, other), path });
        }
        let (start, tally) = (network.now(), Tally::default());
        Play { network, shadow, programs, links, own: Vec::new(), made: Vec::new(), start, tally }
    }

    fn act(&mut self, action: Action) -> Result<(), String> {
        let nodes = self.network.count();
        let node = |at: u8| usize::from(at) % nodes;
        match action {
            Action::Call { at, how, method, on, with } => self.call(node(at), how, method, on, with),
            Action::Promise { at, call } => self.promise(node(at), call),
            Action::Take { at, call } => self.take(node(at), call),
            Action::Cancel { at, call } => {
                if let Some(made) = self.remove_call(node(at), call) {
                    drop(made);
                }
            }
            Action::Detach { at, call } => {
                if let Some(made) = self.remove_call(node(at), call) {
                    self.shadow.get(made.tag).alone = true;
                    made.call.detach();
                }
            }
            Action::Release { at, held } => {
                let all = &mut self.programs[node(at)].held;
                if let Some(at) = pick(all, held) {
                    drop(all.swap_remove(at));
                }
            }
            Action::Hurry { at, millis } => self.programs[node(at)].hurry = Some(millis),
            Action::Pass { millis } => self.pass(millis.into())?,
            Action::Lend { at, held } => self.lend(node(at), held),
            Action::Revoke { at, lent } => self.revoke(node(at), lent),
            Action::Arguments { at, waiting } => self.arguments(node(at), waiting),
            Action::Answer { at, waiting, end } => self.answer(node(at), waiting, end),
            Action::Deliver { way } => self.deliver(way),
            Action::Settle => self.settle()?,
            Action::Flush { way } => {
                let (from, to) = self.way(way);
                self.network.side(from, to).flush();
            }
            Action::Block { way } => {
                let (from, to) = self.way(way);
                self.network.block(from, to);
            }
            Action::Unblock { way } => {
                let (from, to) = self.way(way);
                self.network.unblock(from, to);
            }
            Action::Cut { link } => {
                let (one, other) = self.links[usize::from(link) % self.links.len()];
                self.shadow.lenient = true;
                self.network.cut(one, other);
            }
            Action::Lose { way } => {
                let (from, to) = self.way(way);
                self.shadow.lenient = true;
                self.network.lose(from, to);
            }
            Action::Tell { way } => {
                let (at, peer) = self.way(way);
                self.shadow.lenient = true;
                self.network.tell(at, peer);
            }
        }
        Ok(())
    }

    fn way(&self, way: u8) -> (usize, usize) {
        let way = usize::from(way) % (2 * self.links.len());
        let (one, other) = self.links[way / 2];
        if way.is_multiple_of(2) { (one, other) } else { (other, one) }
    }

    /// The next message of the first way from `way` on that has one and is open.
    fn deliver(&mut self, way: u8) {
        for step in 0..2 * self.links.len() {
            let (from, to) = self.way(way.wrapping_add(step as u8));
            if self.network.has_open(from, to) && self.network.deliver(from, to) {
                return;
            }
        }
    }

    /// Delivers everything, looking at each step.
    fn settle(&mut self) -> Result<(), String> {
        while self.network.step() {
            self.look()?;
        }
        Ok(())
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
                let shadow = self.shadow.object(at);
                let object = Object::new(&format!("o{}", self.own.len()));
                self.own.push((Rc::downgrade(&object), shadow));
                let path = path(&mut self.shadow, To::Object(shadow));
                Held { handle: Handle::Object(object), path }
            }
        }
    }

    fn call(&mut self, at: usize, how: How, method: Method, on: Ref, with: [Option<Ref>; 2]) {
        let on = self.resolve(at, on);
        let with: Vec<_> = with.into_iter().flatten().map(|one| self.resolve(at, one)).collect();
        self.send(at, how, method, &on, &with);
    }

    fn send(&mut self, at: usize, how: How, method: Method, on: &Held, with: &[Held]) {
        let tag = self.shadow.calls();
        on.path.count.set(on.path.count.get() + 1);
        let within = self.programs[at].hurry.take().map(|millis| Duration::from_millis(millis.into()));
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
        let handles: Vec<_> = with.iter().map(|held| held.handle.clone()).collect();
        let (node, body) = (self.network.node(at), tag.to_string());
        let timed = |call: &dyn Fn() -> Option<Call>| match within {
            Some(within) => self.network.within(at, within, call),
            None => call(),
        };
        let reply = if how == How::Reference { Reply::Reference } else { Reply::Value };
        let call = timed(&|| match how {
            How::Cast => {
                node.cast(&on.handle, method.name(), &body, &handles);
                None
            }
            _ => Some(node.call(&on.handle, method.name(), &body, &handles, reply)),
        });
        let Some(call) = call else { return };
        let result = path(&mut self.shadow, To::Result(tag));
        self.programs[at].calls.push(Made { call, tag, result });
    }

    /// Time passes. A call whose time is over by then has ended for its caller, whatever the others do.
    fn pass(&mut self, millis: u64) -> Result<(), String> {
        self.network.advance(Duration::from_millis(millis));
        self.shadow.now = self.network.now() - self.start;
        self.look()?;
        let waits = |made: &&Made| self.shadow.is_late(made.tag) && !made.call.has_ended();
        match self.programs.iter().flat_map(|program| &program.calls).find(waits) {
            Some(made) => Err(format!("call {} waits on, though its time is over", made.tag)),
            None => Ok(()),
        }
    }

    fn lend(&mut self, at: usize, held: u8) {
        let Held { handle, path: Path { to, .. } } = self.resolve(at, Ref::Held(held));
        let (lent, shadow) = (Lent::of(&handle), self.shadow.lend(to));
        let path = path(&mut self.shadow, To::Lent(shadow));
        self.programs[at].held.push(Held { handle: Handle::Lent(Rc::clone(&lent)), path });
        self.programs[at].lent.push((lent, shadow));
    }

    fn revoke(&mut self, at: usize, lent: u8) {
        let all = &mut self.programs[at].lent;
        let Some(index) = pick(all, lent) else { return };
        let (lent, shadow) = all.swap_remove(index);
        self.shadow.revoke(shadow);
        self.network.node(at).revoke(&lent);
        self.tally.revoked += 1;
    }

    fn promise(&mut self, at: usize, call: u8) {
        let program = &mut self.programs[at];
        let Some(index) = pick(&program.calls, call) else { return };
        let Made { call, result, .. } = &program.calls[index];
        if call.is_reference() {
            let held = Held { handle: call.promised(), path: result.clone() };
            program.held.push(held);
        }
    }

    /// What a call ended with: the calls through its promise and through its result are through one reference.
    fn take(&mut self, at: usize, call: u8) {
        let Some(index) = pick(&self.programs[at].calls, call) else { return };
        if !self.programs[at].calls[index].call.has_ended() {
            return;
        }
        let Some(made) = self.remove_call(at, call) else { return };
        let given = match self.shadow.get(made.tag).ended.clone() {
            Some(graph::Ended::Value(given) | graph::Ended::Error(given)) => given,
            _ => Vec::new(),
        };
        match made.call.ended() {
            Some(Ended::Reference(handle)) => {
                self.programs[at].held.push(Held { handle, path: made.result });
            }
            Some(Ended::Value(handles, _) | Ended::App(handles, _)) => self.hold(at, handles, given),
            Some(Ended::Failed(_)) | None => {}
        }
    }

    fn remove_call(&mut self, at: usize, call: u8) -> Option<Made> {
        let calls = &mut self.programs[at].calls;
        let made = calls.swap_remove(pick(calls, call)?);
        if !made.call.has_ended() {
            self.shadow.get(made.tag).dropped = true;
        }
        Some(made)
    }

    fn arguments(&mut self, at: usize, waiting: u8) {
        let node = self.network.node(at);
        if node.waiting_count() == 0 {
            return;
        }
        let (body, handles) = node.waiting_at(usize::from(waiting) % node.waiting_count());
        let given = self.shadow.get(tag_of(&body)).with.clone();
        self.hold(at, handles, given);
    }

    fn hold(&mut self, at: usize, handles: Vec<Handle>, given: Vec<To>) {
        for (handle, to) in handles.into_iter().zip(given) {
            let path = path(&mut self.shadow, to);
            self.programs[at].held.push(Held { handle, path });
        }
    }

    fn answer(&mut self, at: usize, waiting: u8, end: End) {
        let node = Rc::clone(self.network.node(at));
        if node.waiting_count() == 0 {
            return;
        }
        let started = node.take_at(usize::from(waiting) % node.waiting_count());
        let tag = tag_of(&started.body);
        let (how, given) = (self.shadow.get(tag).how, self.shadow.get(tag).with.clone());
        let (ended, shadow) = match end {
            End::Given => {
                (Ended::Value(started.handles.clone(), "given".into()), graph::told(how, Ok(given)))
            }
            End::One(reference) => {
                let held = self.resolve(at, reference);
                (Ended::Reference(held.handle), graph::told(how, Err(held.path.to)))
            }
            End::Error => (Ended::App(started.handles.clone(), "error".into()), graph::Ended::Error(given)),
        };
        self.shadow.get(tag).ended = Some(shadow);
        node.answer(started, ended);
    }

    /// Checks what has arrived since the last look.
    fn look(&mut self) -> Result<(), String> {
        for at in 0..self.programs.len() {
            let arrivals = self.network.node(at).arrived_since(self.programs[at].seen);
            self.programs[at].seen += arrivals.len();
            for arrival in arrivals {
                let tag = tag_of(std::str::from_utf8(&arrival.body).unwrap_or_default());
                let object = match arrival.object.as_str() {
                    "root" => at,
                    name => match name.strip_prefix('o') {
                        Some(own) => self.own[tag_of(own)].1,
                        None => self.made[tag_of(name)].ok_or("an object that nobody made was called")?,
                    },
                };
                self.made[tag] = self.shadow.arrive(tag, at, object)?;
            }
        }
        Ok(())
    }
}

fn path(shadow: &mut Shadow, to: To) -> Path {
    Path { to, number: shadow.reference(), count: Rc::default() }
}

fn pick<T>(all: &[T], number: u8) -> Option<usize> {
    usize::from(number).checked_rem(all.len())
}

fn tag_of(text: &str) -> usize {
    text.parse().expect("bodies and names are numbers here")
}

/// The smallest grants that there are; nobody may pass them even once.
fn small() -> Limits {
    Limits {
        frame_bytes: 4096,
        calls: 16,
        call_bytes: 65_536,
        imports: 16,
        exports: 16,
        names: 16,
        strikes: 0,
        ..Limits::default()
    }
}
