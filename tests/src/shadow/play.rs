use std::cell::Cell;
use std::rc::{Rc, Weak};

use pb_core::message::Reply;
use pb_core::proto::Limits;

use super::graph::{self, Shadow, To};
use super::{Action, End, How, Method, Ref, Run};
use crate::net::{Call, Ended, Handle, Network, Object, TOO_MANY_HOPS};

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
        Play { network, shadow, programs, links, own: Vec::new(), made: Vec::new(), tally: Tally::default() }
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
        });
        self.made.push(None);
        let handles: Vec<_> = with.iter().map(|held| held.handle.clone()).collect();
        let (node, body) = (self.network.node(at), tag.to_string());
        let reply = match how {
            How::Cast => return node.cast(&on.handle, method.name(), &body, &handles),
            How::Value => Reply::Value,
            How::Reference => Reply::Reference,
        };
        let call = node.call(&on.handle, method.name(), &body, &handles, reply);
        let result = path(&mut self.shadow, To::Result(tag));
        self.programs[at].calls.push(Made { call, tag, result });
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

    /// Everything ends: what is under way arrives, methods that wait are answered until none does, and every reference is called once more.
    fn wind_up(&mut self) -> Result<(), String> {
        for (from, to) in self.links.clone().into_iter().flat_map(|(one, other)| [(one, other), (other, one)])
        {
            self.network.unblock(from, to);
        }
        self.end_all()?;
        for at in 0..self.programs.len() {
            for held in self.programs[at].held.clone().into_iter().rev().take(PROBES) {
                self.send(at, How::Value, Method::Say, &held, &[]);
                self.look()?;
            }
        }
        self.end_all()?;
        // What was lost without a word is known at last.
        if self.shadow.lenient {
            self.tell_all();
            self.end_all()?;
        }
        self.judge()
    }

    fn end_all(&mut self) -> Result<(), String> {
        loop {
            self.settle()?;
            let waits = |at: &usize| self.network.node(*at).waiting_count() > 0;
            let Some(at) = (0..self.programs.len()).find(waits) else { return Ok(()) };
            // Each second one with something that is held: a promise at times, and so a circle.
            let (_, given) = self.network.node(at).waiting_at(0);
            let end = if given.is_empty() { End::One(Ref::Held(self.made.len() as u8)) } else { End::Given };
            self.answer(at, 0, end);
            self.look()?;
        }
    }

    fn tell_all(&mut self) {
        for (one, other) in self.links.clone() {
            if self.network.is_damaged(one, other) {
                self.network.tell(one, other);
                self.network.tell(other, one);
            }
        }
    }

    /// Every call that was not given up has ended as it must, or waits for itself.
    fn judge(&mut self) -> Result<(), String> {
        let mut circles = 0;
        for program in &self.programs {
            for Made { call, tag, .. } in &program.calls {
                let Some(ended) = call.ended() else {
                    self.shadow.waits_for_itself(*tag)?;
                    circles += 1;
                    continue;
                };
                let shadow = self.shadow.get(*tag).ended.clone();
                let right = match (&ended, &shadow) {
                    (Ended::Value(handles, _), Some(graph::Ended::Value(given)))
                    | (Ended::App(handles, _), Some(graph::Ended::Error(given))) => {
                        handles.len() == given.len()
                    }
                    (Ended::Reference(_), Some(graph::Ended::Reference(_))) => true,
                    (Ended::Failed(failure), _) => self.shadow.may_fail(*tag) || is_far(failure),
                    _ => false,
                };
                if !right {
                    return Err(format!("call {tag} has ended wrongly: {call:?}; the shadow: {shadow:?}"));
                }
            }
        }
        self.tally.circles = circles;
        Ok(())
    }

    fn finish(mut self) -> Result<Tally, String> {
        let mut tally = self.tally;
        let programs = std::mem::take(&mut self.programs);
        drop(programs);
        if self.shadow.is_stuck() {
            self.links.iter().for_each(|(one, other)| self.network.cut(*one, *other));
        }
        let nodes: Vec<_> = (0..self.network.count()).map(|at| Rc::clone(self.network.node(at))).collect();
        // What runs at the end counts too; but a network that has finished is gone.
        let sent = |message_type| self.network.sent(message_type);
        (tally.calls, tally.resolved, tally.rejected) = (sent(2), sent(4), sent(5));
        (tally.cancels, tally.embargoes) = (sent(7), sent(8) / 2);
        self.network.finish();
        for node in nodes {
            tally.arrived += node.arrived_since(0).len();
            tally.passed_on += node.passed_on();
            if node.living() > 0 {
                return Err(format!("{} objects live on at {}", node.living(), node.name()));
            }
        }
        match self.own.iter().position(|(object, _)| object.strong_count() > 0) {
            Some(at) => Err(format!("object o{at} lives on")),
            None => Ok(tally),
        }
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

/// A path that grew over too many middlemen fails by rule; or what broke for that.
fn is_far(failure: &pb_core::message::Failure) -> bool {
    failure.message.contains(TOO_MANY_HOPS)
        || failure.cause.as_deref().is_some_and(|cause| match cause {
            pb_core::message::Cause::Broker(cause) => is_far(cause),
            pb_core::message::Cause::App(_) => false,
        })
}

/// References of each node that are called once more in the end: the newest.
const PROBES: usize = 16;

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
