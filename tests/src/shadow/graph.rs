use std::collections::HashSet;
use std::time::Duration;

use super::{How, Method};

/// Plain pointers beside a run: which object every reference means, and what every call must end with.
#[derive(Default)]
pub(super) struct Shadow {
    objects: Vec<Object>,
    calls: Vec<Call>,
    lent: Vec<Lent>,
    /// The time since the run began.
    pub(super) now: Duration,
    /// The last number that arrived through each reference.
    arrived: Vec<u32>,
    /// The network was damaged, or is so narrow that calls may be refused: any call may fail, but none may go astray.
    pub(super) lenient: bool,
}

/// Where a reference leads.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum To {
    Object(usize),
    /// To what a call ends with.
    Result(usize),
    /// To what was lent, until it is taken back.
    Lent(usize),
}

/// The end of the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reached {
    Object(usize),
    /// Nowhere.
    Nothing,
    /// To itself, through results that are all known.
    Circle,
    /// Nobody knows yet.
    Open,
}

struct Object {
    node: usize,
    kept: Vec<To>,
}

struct Lent {
    to: To,
    /// How many calls had been made when it was taken back.
    revoked: Option<usize>,
}

/// A call as it was made.
pub(super) struct Call {
    pub(super) on: To,
    pub(super) with: Vec<To>,
    pub(super) method: Method,
    pub(super) how: How,
    /// Which reference it went through, and its number there.
    pub(super) through: (usize, u32),
    pub(super) arrived: bool,
    pub(super) ended: Option<Ended>,
    /// Its caller gave it up: it may end in any way, or not at all.
    pub(super) dropped: bool,
    /// Its caller does not wait for it, and nothing can cancel it.
    pub(super) alone: bool,
    /// When its time is over: from then on it may end in any way, but has ended.
    pub(super) deadline: Option<Duration>,
}

/// What a method gave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Ended {
    Value(Vec<To>),
    Reference(To),
    Error(Vec<To>),
    Failed,
}

impl Shadow {
    pub(super) fn object(&mut self, node: usize) -> usize {
        self.objects.push(Object { node, kept: Vec::new() });
        self.objects.len() - 1
    }

    /// A new reference, by whose number its calls are known.
    pub(super) fn reference(&mut self) -> usize {
        self.arrived.push(0);
        self.arrived.len() - 1
    }

    /// Lends what leads to `to`.
    pub(super) fn lend(&mut self, to: To) -> usize {
        self.lent.push(Lent { to, revoked: None });
        self.lent.len() - 1
    }

    /// Takes back what was lent: no call that is made from here on gets through.
    pub(super) fn revoke(&mut self, lent: usize) {
        self.lent[lent].revoked.get_or_insert(self.calls.len());
    }

    /// Whether the time of a call is over.
    pub(super) fn is_late(&self, call: usize) -> bool {
        self.calls[call].deadline.is_some_and(|deadline| deadline <= self.now)
    }

    pub(super) fn calls(&self) -> usize {
        self.calls.len()
    }

    pub(super) fn call(&mut self, call: Call) {
        self.calls.push(call);
    }

    pub(super) fn get(&mut self, call: usize) -> &mut Call {
        &mut self.calls[call]
    }

    /// Call `tag` has arrived at `node`, on `object`; `made` is the object that it makes, where it makes one.
    pub(super) fn arrive(&mut self, tag: usize, node: usize, object: usize) -> Result<Option<usize>, String> {
        let wanted = self.reach(self.calls[tag].on);
        let call = &mut self.calls[tag];
        if std::mem::replace(&mut call.arrived, true) {
            return Err(format!("call {tag} has arrived twice"));
        }
        if wanted != Reached::Object(object) || self.objects[object].node != node {
            return Err(format!(
                "call {tag} has arrived at object {object} of node {node}, not at {wanted:?}"
            ));
        }
        if self.is_taken_back(tag) {
            return Err(format!("call {tag} has arrived by way of what had been taken back before"));
        }
        let (through, number) = self.calls[tag].through;
        let before = std::mem::replace(&mut self.arrived[through], number);
        if before >= number {
            return Err(format!(
                "call {tag}, number {number} through reference {through}, came behind {before}"
            ));
        }
        let call = &self.calls[tag];
        let (how, with, method) = (call.how, call.with.clone(), call.method);
        let mut made = None;
        let ended = match method {
            Method::Hold => return Ok(None),
            Method::Say | Method::Keep | Method::Forget => given(how, Vec::new(), false),
            Method::Echo => given(how, with.clone(), true),
            Method::Fail => Ended::Error(with.clone()),
            Method::Open => {
                let object = self.object(node);
                made = Some(object);
                given(how, vec![To::Object(object)], true)
            }
            Method::Kept => {
                given(how, self.objects[object].kept.first().copied().into_iter().collect(), true)
            }
        };
        match method {
            Method::Keep => self.objects[object].kept.extend(with),
            Method::Forget => self.objects[object].kept.clear(),
            _ => {}
        }
        self.calls[tag].ended = Some(ended);
        Ok(made)
    }

    /// Whether call `tag` was made when something on its way had been taken back.
    fn is_taken_back(&self, tag: usize) -> bool {
        let mut at = self.calls[tag].on;
        for _ in 0..=self.calls.len() + self.lent.len() {
            match at {
                To::Lent(lent) if self.lent[lent].revoked.is_some_and(|calls| calls <= tag) => return true,
                To::Lent(lent) => at = self.lent[lent].to,
                To::Result(call) => match &self.calls[call].ended {
                    Some(Ended::Reference(next)) => at = *next,
                    _ => return false,
                },
                To::Object(_) => return false,
            }
        }
        false
    }

    /// Where a reference leads by what is known. What went through something lent before that was taken back goes on.
    pub(super) fn reach(&self, to: To) -> Reached {
        let mut at = to;
        for _ in 0..=self.calls.len() + self.lent.len() {
            match at {
                To::Object(object) => return Reached::Object(object),
                To::Lent(lent) => at = self.lent[lent].to,
                To::Result(call) => match &self.calls[call].ended {
                    Some(Ended::Reference(next)) => at = *next,
                    Some(_) => return Reached::Nothing,
                    None => return Reached::Open,
                },
            }
        }
        Reached::Circle
    }

    /// Whether a reference is sure to lead to its object: no call on the way was given up or late, and nothing was taken back.
    fn is_sure(&self, to: To) -> bool {
        let mut at = to;
        for _ in 0..=self.calls.len() + self.lent.len() {
            match at {
                To::Object(_) => return true,
                To::Lent(lent) if self.lent[lent].revoked.is_some() => return false,
                To::Lent(lent) => at = self.lent[lent].to,
                To::Result(call) if self.calls[call].dropped || self.is_late(call) => return false,
                To::Result(call) => match &self.calls[call].ended {
                    Some(Ended::Reference(next)) => at = *next,
                    _ => return false,
                },
            }
        }
        false
    }

    /// Whether a call may fail: what it is called on, is given or gives does not surely lead to an object.
    pub(super) fn may_fail(&self, tag: usize) -> bool {
        let call = &self.calls[tag];
        let given: &[To] = match &call.ended {
            Some(Ended::Value(given) | Ended::Error(given)) => given,
            Some(Ended::Reference(one)) => std::slice::from_ref(one),
            Some(Ended::Failed) => return true,
            None => &[],
        };
        let mut all = std::iter::once(&call.on).chain(&call.with).chain(given);
        self.lenient || call.dropped || self.is_late(tag) || all.any(|to| !self.is_sure(*to))
    }

    /// Whether something waits for itself that nothing can cancel, or that is held by the arguments of another that waits, or leads to itself:
    /// a circle of references between processes, which only the end of the connection frees.
    pub(super) fn is_stuck(&self) -> bool {
        let holds_open =
            |call: &Call| call.with.iter().any(|to| !matches!(self.reach(*to), Reached::Object(_)));
        let stuck = |tag: usize| {
            let call = &self.calls[tag];
            (call.alone || holds_open(call)) && self.waits_for_itself(tag).is_ok()
        };
        let circle = |tag: usize| self.reach(To::Result(tag)) == Reached::Circle;
        (0..self.calls.len()).any(|tag| stuck(tag) || circle(tag))
    }

    /// Whether a call waits for itself, by way of others: nobody can ever answer it. Everything has arrived and every method has ended.
    pub(super) fn waits_for_itself(&self, tag: usize) -> Result<(), String> {
        let (mut at, mut seen) = (tag, HashSet::from([tag]));
        loop {
            if self.calls[at].arrived || matches!(self.calls[at].ended, Some(Ended::Failed)) {
                return Err(format!("call {tag} waits for call {at}, which has arrived"));
            }
            if self.is_late(at) {
                return Err(format!("call {tag} waits for call {at}, whose time is over"));
            }
            let mut to = self.calls[at].on;
            at = loop {
                match to {
                    To::Object(object) => {
                        return Err(format!("call {tag} was lost: call {at} was to reach object {object}"));
                    }
                    To::Lent(lent) => to = self.lent[lent].to,
                    To::Result(call) if !seen.insert(call) => return Ok(()),
                    To::Result(call) => match &self.calls[call].ended {
                        Some(Ended::Reference(next)) => to = *next,
                        Some(_) => {
                            return Err(format!("call {tag} waits on, though call {call} gave no reference"));
                        }
                        None => break call,
                    },
                }
            };
        }
    }
}

/// What a method ends with that gives `references`, called for one of them or all.
fn given(how: How, references: Vec<To>, may_be_one: bool) -> Ended {
    match (how, references.first()) {
        (How::Reference, Some(first)) if may_be_one => Ended::Reference(*first),
        (How::Reference, _) => Ended::Failed,
        _ => Ended::Value(references),
    }
}

/// What a method ends with that was told to, and gives `references`.
pub(super) fn told(how: How, value: Result<Vec<To>, To>) -> Ended {
    match (how, value) {
        (How::Reference, Err(one)) => Ended::Reference(one),
        (How::Value | How::Cast, Ok(references)) => Ended::Value(references),
        _ => Ended::Failed,
    }
}
