//! Where a call goes, and goes again.

use std::mem;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Instant;

use parking_lot::MutexGuard;

use super::{Origin, Phase, Slot, State, drop_in_turn};
use crate::message::{Failure, FailureKind, ImportId};
use crate::objects::again::{Again, Kept, Renewal, Repeating, WhyNot};
use crate::objects::executor::Stop;
use crate::objects::{Distant, Errors, Pledge, Promise, Reference, Waiter, trace};

impl<R: Send + 'static, K: Errors> Slot<R, K> {
    /// The call waits for `promise` to settle.
    pub(in crate::objects) fn set_queued(&self, promise: &Arc<Promise>) {
        let origin = Origin::Promise(Arc::clone(promise));
        let before = mem::replace(&mut self.state.lock().origin, origin);
        drop(before);
    }

    /// The call, which has waited, is about to be sent. `false` where it has ended meanwhile: then it must not be.
    pub(in crate::objects) fn set_going(&self) -> bool {
        self.move_on(|_| Origin::Going(0))
    }

    /// Puts another origin in the place of one, and takes the call back from where it was; unless it has ended. Where promises of it name its
    /// result there, it is taken back as this goes.
    fn move_on(&self, to: impl FnOnce(u32) -> Origin) -> bool {
        // Asked under no lock. The tables of a connection that is lost are empty.
        let stands = self.sent_to().is_some_and(|distant| !distant.line().is_lost());
        let mut cancel = stands;
        let (before, id) = {
            let mut state = self.state.lock();
            if !matches!(state.phase, Phase::Waiting) {
                return false;
            }
            let to = to(state.rare.as_ref().map_or(0, |rare| rare.lost()));
            let before = mem::replace(&mut state.origin, to);
            let id = self.id();
            if let (true, Origin::Distant(distant), Some(pledged)) = (stands, &before, &mut state.pledged) {
                // Not by what it was called on there: that may lead to its promise by now.
                let kept = distant.alone().unwrap_or_else(|| Arc::clone(distant));
                pledged.earlier.push((kept, id));
                cancel = false;
            }
            (before, id)
        };
        if let Origin::Distant(distant) = &before {
            if cancel {
                distant.line().cancel(id);
            }
            drop_in_turn(before, None);
        }
        true
    }

    /// The call, whose origin is where it was made to go and which nobody else knows yet, was sent there, as call `id`.
    #[inline]
    pub(in crate::objects) fn set_sent_first(&self, id: ImportId) {
        self.id.store(id.0, Ordering::Relaxed);
        if trace::enabled()
            && let Some(span) = self.span()
        {
            span.record("id", id.0);
        }
    }

    /// It was not sent where it was made to go, and may go elsewhere.
    #[cold]
    pub(in crate::objects) fn set_unsent(&self) {
        let before = mem::replace(&mut self.state.lock().origin, Origin::Nowhere);
        drop(before);
    }

    /// The call was sent to `distant`, as call `id` there. What was called on its result meanwhile follows it.
    pub(in crate::objects) fn set_sent(self: &Arc<Self>, distant: &Arc<dyn Distant>, id: ImportId) {
        let state = self.state.lock();
        if !matches!(state.phase, Phase::Waiting) && matches!(state.origin, Origin::Stopped) {
            drop(state);
            return distant.line().cancel(id);
        }
        self.set_sent_in(state, distant, id);
    }

    fn set_sent_in(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State<R, K>>,
        distant: &Arc<dyn Distant>,
        id: ImportId,
    ) {
        // A connection's tables keep the time themselves.
        let rare = state.rare.as_mut().map(|rare| (rare.timer.take(), rare.span.clone()));
        let before = mem::replace(&mut state.origin, Origin::Distant(Arc::clone(distant)));
        self.id.store(id.0, Ordering::Relaxed);
        let waiting = matches!(state.phase, Phase::Waiting);
        // Who asks for it later wants the next one.
        let promise = if waiting { mem::take(&mut state.promise).upgrade() } else { None };
        if promise.is_some() {
            state.pledged.get_or_insert_default();
        }
        let target = state.let_target_go();
        drop(state);
        drop(before);
        if let Some((_timer, Some(span))) = rare {
            span.record("id", id.0);
        }
        if let Some(target) = target {
            drop_in_turn(target, None);
        }
        if let Some(promise) = promise {
            promise.settle(Ok(distant.promise_of(id, Arc::clone(self) as Arc<dyn Pledge>)));
        }
    }

    /// The call was ended here as it was on its way to a connection, which may have taken it by now.
    #[cold]
    pub(super) fn stop_going(&self, kind: FailureKind) {
        let sent = match &mut self.state.lock().origin {
            origin @ Origin::Going(_) => {
                *origin = Origin::Stopped;
                None
            }
            Origin::Distant(distant) => Some((Arc::clone(distant), self.id())),
            Origin::Nowhere | Origin::Promise(_) | Origin::Stopped | Origin::Local(_) => None,
        };
        if let Some((distant, id)) = sent {
            distant.line().give_up(id, kind);
        }
    }

    /// The method of a local call runs; `stop` stops it, where that may be. Its time may be over by now.
    pub(in crate::objects) fn set_started(&self, stop: Option<Stop>) {
        let late = {
            let mut state = self.state.lock();
            match (&state.phase, stop) {
                (Phase::Waiting, stop) => {
                    state.origin = Origin::Local(stop);
                    None
                }
                (_, stop) => stop,
            }
        };
        if let Some(stop) = late {
            stop();
        }
    }
}

/// What was called on the result of a call follows that call, where both are made again.
impl<R: Send + 'static, K: Errors> Renewal for Slot<R, K> {
    fn stems_from(&self) -> Result<Option<Arc<dyn Renewal>>, WhyNot> {
        let kept = self.state.lock().again().map(|again| Arc::clone(&again.kept));
        match kept {
            Some(kept) => Ok(Some(Arc::clone(&kept.renewal))),
            None => Err("what it was called on came over the lost connection".into()),
        }
    }

    /// Nobody asks: it stems from another one.
    fn allow(&self, _times: u32) -> Result<(), WhyNot> {
        Ok(())
    }

    fn reference(self: Arc<Self>) -> Result<Reference, WhyNot> {
        let mut state = self.state.lock();
        let repeats = state.again().is_some();
        let promise = match &state.phase {
            Phase::Waiting if repeats => Ok(Reference::promised(state.promise_here(&self))),
            _ => self.reference_in(&state).map_err(|failure| failure.message.into_string().into()),
        };
        drop(state);
        promise
    }
}

impl<R: Send + 'static, K: Errors> Repeating for Slot<R, K> {
    fn begin(&self, again: Box<Again>) {
        self.state.lock().rare.get_or_insert_default().again = Some(again);
    }

    fn waits(&self) -> bool {
        self.is_waiting()
    }

    fn going(&self, distant: &Arc<dyn Distant>) -> Option<u32> {
        let mut lost = 0;
        let goes = self.move_on(|times| {
            lost = times;
            Origin::Going(times)
        });
        let _before = self.state.lock().again().and_then(|again| again.going(distant));
        goes.then_some(lost)
    }

    fn sent(self: Arc<Self>, lost: u32, distant: &Arc<dyn Distant>, id: ImportId) {
        let state = self.state.lock();
        match state.origin {
            Origin::Going(times) if times == lost => self.set_sent_in(state, distant, id),
            // It has ended, or goes elsewhere by now.
            _ => {
                drop(state);
                distant.line().cancel(id);
            }
        }
    }

    fn queued(self: Arc<Self>, promise: &Arc<Promise>, deadline: Option<Instant>) {
        if self.move_on(|_| Origin::Promise(Arc::clone(promise))) {
            self.limit(deadline);
        }
    }

    fn sent_to(&self) -> Option<Arc<dyn Distant>> {
        self.state.lock().again().and_then(|again| again.sent_to())
    }

    fn lose(&self, failure: &Failure) -> Option<(Arc<Kept>, u32)> {
        let mut state = self.state.lock();
        if !matches!(state.phase, Phase::Waiting) || state.detached {
            return None;
        }
        let again = state.again()?;
        let times = again.lose(failure);
        Some((Arc::clone(&again.kept), times))
    }

    fn refuse(&self, failure: Failure) {
        self.fail(failure);
    }

    fn as_waiter(self: Arc<Self>) -> Weak<dyn Waiter> {
        Arc::downgrade(&self) as Weak<dyn Waiter>
    }
}
