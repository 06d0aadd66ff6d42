//! Capabilities into handles and back.

use std::mem;

use bytes::Bytes;

use super::imports::Reached;
use super::limits::{CAP_BYTES, ENVELOPE_BYTES};
use super::{Carried, Connection, Garbage, Host, Key, Outbox, Place, Violation};
use crate::message::{
    CallOptions, Cap, Cause, ExportId, Failure, FailureKind, ImportId, MAX_CAPS, Message, Payload, Ran,
    Unimplemented,
};

/// A capability that can be sent, before anything is counted for it.
pub(super) enum Planned<H> {
    /// Of ours; whether the peer does not hold it yet.
    Mine(Key, H, bool),
    Yours(ImportId),
}

/// How many entries sending them takes.
pub(super) fn new_entries<H>(planned: &[Planned<H>]) -> u64 {
    planned.iter().filter(|planned| matches!(planned, Planned::Mine(_, _, true))).count() as u64
}

impl<H: Host> Connection<H> {
    /// Turns a received payload's capabilities into handles.
    /// `unasked`: they are not part of an answer to a call of ours.
    // Mostly there are none, and then nothing is moved about.
    #[inline(always)]
    pub(super) fn take_in(&mut self, payload: &mut Payload, unasked: bool) -> Result<Carried<H>, Violation> {
        let handles =
            if payload.caps.is_empty() { Vec::new() } else { self.take_in_caps(&payload.caps, unasked)? };
        Ok(Carried { handles, body: mem::take(&mut payload.body) })
    }

    fn take_in_caps(&mut self, caps: &[Cap], unasked: bool) -> Result<Vec<H::Handle>, Violation> {
        let mut handles = Vec::with_capacity(caps.len());
        for cap in caps {
            match self.take_in_cap(*cap, unasked) {
                Ok(handle) => handles.push(handle),
                Err(violation) => {
                    self.garbage.push(Garbage::Handles(handles));
                    return Err(violation);
                }
            }
        }
        Ok(handles)
    }

    /// Turns one received capability into a handle.
    pub(super) fn take_in_cap(&mut self, cap: Cap, unasked: bool) -> Result<H::Handle, Violation> {
        match cap {
            Cap::Mine(id) => self.imports.mention(&self.host, id, self.limits.imports, unasked),
            Cap::MyPromise(_) => Err(Violation::NotOffered { feature: "promises as capabilities" }),
            Cap::Yours(id) => {
                let host = &self.host;
                match self.exports.come_home(id.turned(), || host.promise())? {
                    Ok(handle) => Ok(handle),
                    Err(failure) => Ok(self.host.broken(failure)),
                }
            }
        }
    }

    /// Takes in the capabilities of a message of a type that this side does not know, lets go of them, and says so.
    ///
    /// # Errors
    /// As for any message; [`Violation::BeforeHello`] before the peer's hello.
    pub fn handle_unknown(
        &mut self,
        message_type: u8,
        caps: Vec<Cap>,
        out: &mut impl Outbox,
    ) -> Result<(), Violation> {
        if self.ended().is_some() {
            return Ok(());
        }
        if !self.is_greeted() {
            return Err(Violation::BeforeHello);
        }
        let carried = self.take_in(&mut Payload { caps, body: Bytes::new() }, true)?;
        self.garbage.push(Garbage::Handles(carried.handles));
        out.send(Message::Unimplemented(Unimplemented { message_type }));
        self.check_budget(out)
    }

    /// Looks at what `handles` would be on the wire; counts nothing yet.
    // Mostly there are none.
    #[inline(always)]
    pub(super) fn plan(&mut self, handles: &[H::Handle]) -> Result<Vec<Planned<H::Handle>>, Failure> {
        if handles.is_empty() { Ok(Vec::new()) } else { self.plan_all(handles) }
    }

    fn plan_all(&mut self, handles: &[H::Handle]) -> Result<Vec<Planned<H::Handle>>, Failure> {
        if handles.len() > MAX_CAPS {
            let message = format!("{} references in one message; {MAX_CAPS} are allowed", handles.len());
            return Err(Failure::new(FailureKind::Failed, Ran::No, message));
        }
        let mut planned = Vec::with_capacity(handles.len());
        for handle in handles {
            match self.plan_one(handle) {
                Ok(plan) => planned.push(plan),
                Err(failure) => return Err(self.unplan(planned, failure)),
            }
        }
        let (new, limit) = (new_entries(&planned), self.granted.imports.min(self.limits.exports));
        let held = self.exports.held_count();
        if new > 0 && held + new > limit {
            let message = format!("the peer holds {held} of our objects and may hold {limit}");
            return Err(self.unplan(planned, Failure::new(FailureKind::Overloaded, Ran::No, message)));
        }
        Ok(planned)
    }

    pub(super) fn unplan(&mut self, planned: Vec<Planned<H::Handle>>, failure: Failure) -> Failure {
        for plan in planned {
            if let Planned::Mine(_, handle, _) = plan {
                self.garbage.push(Garbage::Handle(handle));
            }
        }
        failure
    }

    fn plan_one(&mut self, handle: &H::Handle) -> Result<Planned<H::Handle>, Failure> {
        let mut handle = handle.clone();
        for _ in 0..MAX_STEPS {
            // Even a clone may be the last one by now, so none is dropped here.
            if let Some(next) = self.host.settled(&handle) {
                self.garbage.push(Garbage::Handle(mem::replace(&mut handle, next)));
                continue;
            }
            let id = match self.host.place(&handle) {
                // Else it has settled meanwhile.
                Place::Ours(key) if key == self.host.key(&handle) => {
                    let new = self.exports.is_new(&self.host, key);
                    return Ok(Planned::Mine(key, handle, new));
                }
                Place::Ours(_) => continue,
                Place::Peers(id) => id,
            };
            self.garbage.push(Garbage::Handle(handle));
            handle = match self.imports.reach(id) {
                Reached::Object | Reached::Asked(_) => return Ok(Planned::Yours(id)),
                Reached::Moved(to) => to,
                Reached::Dead(failure) => return Err(Failure::broken_by(Cause::Broker(failure))),
                Reached::Unknown => {
                    return Err(Failure::new(
                        FailureKind::Broken,
                        Ran::No,
                        "a reference in the message is broken",
                    ));
                }
            };
        }
        self.garbage.push(Garbage::Handle(handle));
        Err(Failure::circular())
    }

    /// Whether `handle` leads to the promise of our call `id`, which is about to settle to it.
    pub(super) fn leads_to(&mut self, handle: &H::Handle, id: ImportId) -> bool {
        let mut next = Some(handle.clone());
        for _ in 0..MAX_STEPS {
            let Some(handle) = next.take() else { return false };
            next = self.host.settled(&handle);
            if next.is_none()
                && let Place::Peers(at) = self.host.place(&handle)
            {
                if at == id {
                    self.garbage.push(Garbage::Handle(handle));
                    return true;
                }
                if let Reached::Moved(to) = self.imports.reach(at) {
                    next = Some(to);
                }
            }
            self.garbage.push(Garbage::Handle(handle));
        }
        self.garbage.extend(next.map(Garbage::Handle));
        true
    }

    /// Counts what was planned. From here on the message must be sent.
    /// `asked`: it is an answer.
    #[inline(always)]
    pub(super) fn commit(&mut self, planned: Vec<Planned<H::Handle>>, asked: bool) -> Vec<Cap> {
        if planned.is_empty() { Vec::new() } else { self.commit_all(planned, asked) }
    }

    fn commit_all(&mut self, planned: Vec<Planned<H::Handle>>, asked: bool) -> Vec<Cap> {
        planned
            .into_iter()
            .map(|plan| match plan {
                Planned::Mine(key, handle, new) => Cap::Mine(self.commit_one(key, handle, new, asked)),
                Planned::Yours(id) => Cap::Yours(id),
            })
            .collect()
    }

    /// Counts one mention. `new`: the peer did not hold it as the message was planned, of which this may be the second mention.
    fn commit_one(&mut self, key: Key, handle: H::Handle, new: bool, asked: bool) -> ExportId {
        let told = new && (self.watched || self.host.may_break(&handle));
        let known = self.exports.mention_again(&self.host, key);
        match known {
            Some(id) => {
                self.garbage.push(Garbage::Handle(handle));
                id
            }
            None => {
                let seen = told.then(|| handle.clone());
                let id = self.exports.export(&self.host, handle, asked);
                seen.into_iter().for_each(|handle| self.has_exported(id, handle));
                id
            }
        }
    }

    #[cold]
    fn has_exported(&mut self, id: ExportId, handle: H::Handle) {
        if self.watched {
            self.tell_exported(id, &handle);
        }
        if self.host.may_break(&handle) {
            self.exported.push((id, handle));
        } else {
            self.garbage.push(Garbage::Handle(handle));
        }
    }

    /// Whether a message of this size is one that the peer takes.
    pub(super) fn fits(
        &self,
        what: &str,
        body: usize,
        caps: usize,
        options: Option<&CallOptions>,
    ) -> Result<(), Failure> {
        let metadata = options.map_or(0, CallOptions::metadata_bytes);
        let bytes = body as u64 + caps as u64 * CAP_BYTES + metadata as u64 + ENVELOPE_BYTES;
        if bytes <= self.granted.frame_bytes {
            return Ok(());
        }
        let message = format!(
            "the {what} takes {bytes} bytes; the peer takes frames of at most {}",
            self.granted.frame_bytes
        );
        Err(Failure::new(FailureKind::Failed, Ran::No, message))
    }
}

/// Promises that a reference leads through, at the most: more are taken for a circle.
const MAX_STEPS: usize = 1 << 16;
