use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use pb_core::message::{Failure, FailureKind, Message, Ran};
use pb_core::proto::{Limits, TableSizes, Violation};
use pb_core::wire::frame;

use super::log::Log;
use super::node::Node;
use super::oracle::{End, Oracle};
use super::side::Side;

/// Any number of programs, the connections between some of them, and the links that those run on.
///
/// Nodes go by numbers from 0, and are called A, B, C … where people read. Messages wait in the links, each way for itself, and arrive one at
/// a time when the test says so. A link's way can be blocked and unblocked, lose everything silently, or take time; a link can be cut. Time
/// is virtual: it stands still but for [`Network::advance`], [`Network::run_for`], and links that take some.
///
/// Every message is watched by an [`Oracle`], which ends the test at the first that breaks the protocol.
pub struct Network {
    nodes: Vec<Rc<Node>>,
    links: Vec<Link>,
    log: Rc<Log>,
    finished: Cell<bool>,
}

struct Link {
    nodes: [usize; 2],
    sides: [Rc<Side>; 2],
}

impl Network {
    /// `count` programs without connections, each with a root object.
    pub fn new(count: usize) -> Self {
        let name = |at: usize| match u8::try_from(at) {
            Ok(at @ 0..26) => char::from(b'A' + at).to_string(),
            _ => format!("N{at}"),
        };
        Network {
            nodes: (0..count).map(|at| Node::new(&name(at))).collect(),
            links: Vec::new(),
            log: Rc::new(Log::new()),
            finished: Cell::new(false),
        }
    }

    /// `count` programs, each connected with each other, which have greeted each other.
    pub fn mesh(count: usize) -> Self {
        let mut network = Network::new(count);
        for one in 0..count {
            (one + 1..count).for_each(|other| network.connect(one, other));
        }
        network.run();
        network.log.clear();
        network
    }

    /// `count` programs in a row, each connected with the next, which have greeted each other.
    pub fn row(count: usize) -> Self {
        let mut network = Network::new(count);
        (1..count).for_each(|other| network.connect(other - 1, other));
        network.run();
        network.log.clear();
        network
    }

    /// Makes a connection with default limits; the hellos are on their way. One between the same two that was there before is past.
    pub fn connect(&mut self, one: usize, other: usize) {
        self.connect_with(one, other, Limits::default(), Limits::default());
    }

    /// The same with what each grants the other.
    pub fn connect_with(&mut self, one: usize, other: usize, ones: Limits, others: Limits) {
        let oracle = Rc::new(RefCell::new(Oracle::default()));
        let (a, b) = (&self.nodes[one], &self.nodes[other]);
        let sides = [
            Side::new(a, b, ones, &self.log, &oracle, End::One),
            Side::new(b, a, others, &self.log, &oracle, End::Other),
        ];
        self.links.push(Link { nodes: [one, other], sides });
    }

    /// One program.
    pub fn node(&self, at: usize) -> &Rc<Node> {
        &self.nodes[at]
    }

    /// How many programs there are.
    pub fn count(&self) -> usize {
        self.nodes.len()
    }

    /// `at`'s end of its connection with `peer`, the newest where there were several.
    ///
    /// # Panics
    /// When the two never had one.
    pub fn side(&self, at: usize, peer: usize) -> &Rc<Side> {
        self.find(at, peer).unwrap_or_else(|| panic!("{at} and {peer} are not connected"))
    }

    /// Whether two programs have, or had, a connection.
    pub fn are_linked(&self, at: usize, peer: usize) -> bool {
        self.find(at, peer).is_some()
    }

    fn find(&self, at: usize, peer: usize) -> Option<&Rc<Side>> {
        self.links.iter().rev().find_map(|link| match link.nodes {
            nodes if nodes == [at, peer] => Some(&link.sides[0]),
            nodes if nodes == [peer, at] => Some(&link.sides[1]),
            _ => None,
        })
    }

    fn sides(&self) -> impl Iterator<Item = (&Rc<Side>, &Rc<Side>)> {
        self.links.iter().flat_map(|link| {
            let [one, other] = &link.sides;
            [(one, other), (other, one)]
        })
    }

    /// What `at` calls `peer`'s root object by.
    pub fn root(&self, at: usize, peer: usize) -> super::Handle {
        self.side(at, peer).peers_root()
    }

    /// Holds back what `from` has sent and will send to `to`.
    pub fn block(&self, from: usize, to: usize) {
        self.set_blocked(from, to, true);
    }

    /// Lets it arrive again.
    pub fn unblock(&self, from: usize, to: usize) {
        self.set_blocked(from, to, false);
    }

    fn set_blocked(&self, from: usize, to: usize, blocked: bool) {
        let before = self.side(from, to).way.blocked.replace(blocked);
        if before != blocked {
            let what = if blocked { "blocked" } else { "unblocked" };
            self.log.done(format!("{} → {} is {what}", self.nodes[from].name(), self.nodes[to].name()));
        }
    }

    /// How long what `from` sends to `to` takes from now on. What was sent arrives before what is sent later all the same.
    pub fn delay(&self, from: usize, to: usize, delay: Duration) {
        self.side(from, to).way.delay.set(delay);
    }

    /// Loses what `from` has sent and will send to `to`. Neither learns of it.
    pub fn lose(&self, from: usize, to: usize) {
        let side = self.side(from, to);
        side.way.lost.set(true);
        side.lose_wire();
        self.log.done(format!("{} → {} is cut silently", self.nodes[from].name(), self.nodes[to].name()));
    }

    /// Ends a connection: what is on its way is lost, and both learn it now.
    pub fn cut(&self, one: usize, other: usize) {
        self.lose(one, other);
        self.lose(other, one);
        self.tell(one, other);
        self.tell(other, one);
    }

    /// Tells `at` that its connection with `peer` has ended; what it has sent still arrives.
    pub fn tell(&self, at: usize, peer: usize) {
        let (name, peers) = (self.nodes[at].name(), self.nodes[peer].name());
        self.log.done(format!("{name} learns that its connection with {peers} has ended"));
        let reason = Failure::new(FailureKind::Disconnected, Ran::Maybe, "cut by the test");
        self.side(at, peer).end(reason);
    }

    /// Delivers the next message from `from` to `to`, blocked, delayed or not. Says whether there was one.
    ///
    /// # Errors
    /// What the message broke, by `to`'s judgement; it has said so and has ended.
    pub fn try_deliver(&self, from: usize, to: usize) -> Result<bool, Violation> {
        pass(self.side(from, to), self.side(to, from))
    }

    /// Delivers the next message from `from` to `to`, blocked, delayed or not. Says whether there was one.
    ///
    /// # Panics
    /// When `to` calls it a violation.
    pub fn deliver(&self, from: usize, to: usize) -> bool {
        self.checked(self.try_deliver(from, to))
    }

    fn checked(&self, delivered: Result<bool, Violation>) -> bool {
        delivered.unwrap_or_else(|violation| panic!("{violation}\n{}", self.dump()))
    }

    /// Delivers everything on ways that are not blocked, until nothing moves. Time passes only where nothing else than it is waited for.
    ///
    /// # Panics
    /// When somebody calls a message a violation.
    pub fn run(&self) {
        while self.step() {}
    }

    /// Delivers the first message that is on a way that is not blocked. Says whether there was one.
    ///
    /// # Panics
    /// When somebody calls it a violation.
    pub fn step(&self) -> bool {
        if self.deliver_first(self.log.now()) {
            return true;
        }
        let Some(due) = self.next_arrival() else { return false };
        self.handle_timeouts(due);
        self.log.pass_to(due);
        self.deliver_first(due)
    }

    /// Whether something is on the way from `from` to `to`, and that is not blocked.
    pub fn has_open(&self, from: usize, to: usize) -> bool {
        let side = self.side(from, to);
        !side.way.blocked.get() && side.arrives().is_some()
    }

    /// Whether something between two was lost, or one of them knows their connection to have ended.
    pub fn is_damaged(&self, one: usize, other: usize) -> bool {
        [self.side(one, other), self.side(other, one)]
            .iter()
            .any(|side| side.way.lost.get() || side.ended().is_some())
    }

    /// Delivers the first message that is due.
    fn deliver_first(&self, now: Instant) -> bool {
        for (from, to) in self.sides() {
            if !from.way.blocked.get() && from.arrives().is_some_and(|due| due <= now) {
                return self.checked(pass(from, to));
            }
        }
        false
    }

    fn next_arrival(&self) -> Option<Instant> {
        self.sides().filter(|(from, _)| !from.way.blocked.get()).filter_map(|(from, _)| from.arrives()).min()
    }

    fn handle_timeouts(&self, until: Instant) {
        let of_sides =
            || self.sides().filter_map(|(side, _)| Some((side.timeout()?, side))).min_by_key(|due| due.0);
        let of_nodes =
            || self.nodes.iter().filter_map(|node| Some((node.timeout()?, node))).min_by_key(|due| due.0);
        loop {
            match (of_sides(), of_nodes()) {
                (side, Some((due, node)))
                    if due <= until && side.as_ref().is_none_or(|side| due <= side.0) =>
                {
                    self.log.pass_to(due);
                    node.expire(due);
                }
                (Some((due, side)), _) if due <= until => {
                    self.log.pass_to(due);
                    side.handle_timeout();
                }
                _ => break,
            }
        }
    }

    /// Lets `duration` pass. What falls due on a side meanwhile is done at its very time, the earlier first; messages stay where they are.
    pub fn advance(&self, duration: Duration) {
        let until = self.log.now() + duration;
        self.handle_timeouts(until);
        self.log.pass_to(until);
    }

    /// Lets `duration` pass in which no side looks at the clock, as on a machine that stood still; then all do.
    pub fn sleep(&self, duration: Duration) {
        self.log.pass_to(self.log.now() + duration);
        self.advance(Duration::ZERO);
    }

    /// Lets `duration` pass, and everything happen at its time: messages arrive, sides do what is due.
    ///
    /// # Panics
    /// When somebody calls a message a violation.
    pub fn run_for(&self, duration: Duration) {
        let until = self.log.now() + duration;
        loop {
            while self.deliver_first(self.log.now()) {}
            let nodes = self.nodes.iter().filter_map(|node| node.timeout());
            let sides = self.sides().filter_map(|(side, _)| side.timeout());
            let due = sides.chain(nodes).chain(self.next_arrival()).min();
            let Some(due) = due.filter(|due| *due <= until) else { break };
            self.handle_timeouts(due);
            self.log.pass_to(due);
        }
        self.log.pass_to(until);
    }

    /// Everything that `at` calls in `work` must have ended `within` so long from now.
    pub fn within<T>(&self, at: usize, within: Duration, work: impl FnOnce() -> T) -> T {
        self.nodes[at].within(self.now() + within, work)
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.log.now()
    }

    /// Puts a message of the test's own on the link from `from` to `to`, behind what is there; `from`'s tables know nothing of it.
    pub fn inject(&self, from: usize, to: usize, message: &Message) {
        let mut frame = Vec::new();
        frame::encode(message, &mut frame);
        self.side(from, to).put_on_the_wire(&frame);
    }

    /// What the tables have sent, in the style of `docs/protocol.md`, section 15.
    pub fn dialogue(&self) -> Vec<String> {
        self.log.dialogue()
    }

    /// The run so far for people: at which time who sent what to whom, and what the test did to the links.
    pub fn dump(&self) -> String {
        self.log.dump()
    }

    /// How many messages of a type, by its number on the wire, the tables have sent.
    pub fn sent(&self, message_type: u8) -> usize {
        self.log.count(message_type)
    }

    pub(super) fn clear_log(&self) {
        self.log.clear();
    }

    /// Delivers what is left, and asserts that nothing is: no entry in any table, no waiting method, no open call, no promise to be settled;
    /// and that of all connections that never ended the counts add up.
    pub fn finish(self) {
        self.wind_up();
        self.sides().for_each(|(side, _)| side.assert_empty());
        self.nodes.iter().for_each(|node| node.assert_idle(|| self.dump()));
    }

    /// Delivers what is left, and asserts that the tables hold exactly what `left` says: of the end that the first node has with the second.
    /// All others are empty.
    pub fn finish_with(self, left: &[(usize, usize, TableSizes)]) {
        self.wind_up();
        for (at, peer, sizes) in left {
            let (name, peers) = (self.nodes[*at].name(), self.nodes[*peer].name());
            assert_eq!(
                self.side(*at, *peer).sizes(),
                *sizes,
                "tables of {name} to {peers} after\n{}",
                self.dump()
            );
        }
        let named = |side| left.iter().any(|(at, peer, _)| Rc::ptr_eq(self.side(*at, *peer), side));
        self.sides().filter(|(side, _)| !named(side)).for_each(|(side, _)| side.assert_empty());
    }

    fn wind_up(&self) {
        self.finished.set(true);
        self.sides().for_each(|(side, _)| side.way.blocked.set(false));
        self.nodes.iter().for_each(|node| node.forget_kept());
        self.run();
    }
}

/// Delivers the next message from one side to the other.
fn pass(from: &Side, to: &Rc<Side>) -> Result<bool, Violation> {
    match from.next_frame() {
        Some(frame) => to.receive(&frame).map(|()| true),
        None => Ok(false),
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        assert!(self.finished.get() || std::thread::panicking(), "a test must end with finish()");
    }
}
