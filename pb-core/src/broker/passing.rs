//! A call that was passed on: its answer goes back, and what is called on its result follows before that has come.

use std::mem;
use std::sync::Arc;

use parking_lot::Mutex;

use super::forward::Request;
use super::line::Line;
use crate::message::{Body, ExportId, FailureKind, ImportId, Reply};
use crate::objects::{
    Answerer, Delivered, Distant, Leads, Pledge, Reference, Responder, Waiter, Watcher, Watchers, WireAnswer,
};

/// Passes an answer back to who asked. As long as the result may be named there it lives, and it cancels the call as it goes, which is the
/// last word on the result.
pub(super) struct Passing {
    reply: Reply,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Gone once it has answered.
    responder: Option<Responder>,
    /// Where the call went. Set behind the sending: an answer may be quicker.
    sent: Option<(Arc<dyn Distant>, ImportId)>,
    /// It has its answer.
    ended: bool,
    /// What the call gave.
    given: Option<Reference>,
    watchers: Watchers,
    /// Keeps this while the answer waits for the end of an embargo.
    waits: Option<Arc<Passing>>,
}

impl State {
    /// A call that has ended does not need what it was called on any more; and that may lead to the promise of this call by now, and would hold
    /// it, and so itself.
    fn let_target_go(&mut self) -> Option<Arc<dyn Distant>> {
        match &mut self.sent {
            Some((distant, _)) if self.ended => {
                let alone = distant.alone()?;
                Some(mem::replace(distant, alone))
            }
            _ => None,
        }
    }
}

impl Passing {
    /// For a call of a peer's that is about to be passed on.
    pub(super) fn new(request: &Request, reply: Reply) -> Arc<Self> {
        let line = Arc::clone(&request.line) as Arc<dyn Answerer>;
        let responder = Some(Responder::new(line, request.call.answer));
        let state = Mutex::new(State { responder, ..State::default() });
        Arc::new(Passing { reply, state })
    }

    /// The call was passed on to `distant`, as call `id` there. What stops it is left with who asked, as is the promise of its result.
    pub(super) fn sent(self: Arc<Self>, distant: &Arc<dyn Distant>, id: ImportId, request: Request) {
        let target = {
            let mut state = self.state.lock();
            state.sent = Some((Arc::clone(distant), id));
            state.let_target_go()
        };
        drop(target);
        let (onward, passing) = (Arc::clone(distant), Arc::downgrade(&self));
        let stop = move || {
            // Somebody may still name the result, which is broken from now on.
            onward.line().give_up(id, FailureKind::Cancelled);
            if let Some(passing) = passing.upgrade() {
                passing.give_up();
            }
        };
        let asker: &Arc<Line> = &request.line;
        Request::stop_with(asker, request.call.answer, Box::new(stop));
        if self.reply == Reply::Reference
            && let Some((asked, _)) = request.call.answer
        {
            self.promise(asker, asked, distant.promise_of(id, self.clone()));
        }
    }

    fn promise(&self, asker: &Arc<Line>, asked: ExportId, promise: Reference) {
        let refused = asker.with(|connection, _| connection.set_onward(asked, promise));
        drop(refused);
    }

    /// The call is not passed on this way: somebody else answers.
    pub(super) fn disarm(&self) {
        let responder = self.state.lock().responder.take();
        if let Some(responder) = responder {
            responder.disarm();
        }
    }

    /// Nobody waits for the answer any more.
    fn give_up(&self) {
        let before = {
            let mut state = self.state.lock();
            (state.responder.take(), state.waits.take())
        };
        drop(before);
    }

    /// What the call gave is known: whoever watches the promise looks again.
    fn give(&self, given: Option<Reference>) {
        let (watchers, target) = {
            let mut state = self.state.lock();
            (state.given, state.ended) = (given, true);
            (mem::take(&mut state.watchers), state.let_target_go())
        };
        drop(target);
        watchers.wake();
    }

    fn answer(&self, answer: WireAnswer<'_>) {
        let responder = self.state.lock().responder.take();
        if let Some(responder) = responder {
            responder.answer(answer);
        }
    }

    /// Answers with what the promise under embargo leads to, if it has settled.
    fn answer_if_settled(self: &Arc<Self>, promise: &Reference) {
        let Leads::Promise(waited) = promise.leads() else {
            return self.answer(WireAnswer::Reference(promise.clone()));
        };
        let watcher = Arc::clone(self) as Arc<dyn Watcher>;
        let Some(settled) = waited.settled_or_watch(&watcher) else { return };
        let waits = self.state.lock().waits.take();
        match settled {
            Ok(_) => self.answer(WireAnswer::Reference(promise.end())),
            Err(failure) => self.answer(WireAnswer::Failed(Box::new(failure))),
        }
        drop(waits);
    }
}

impl Waiter for Passing {
    fn settle(self: Arc<Self>, answer: Delivered) {
        let given = match &answer {
            Delivered::Reference(reference) => Some(reference.clone()),
            Delivered::Value(..) | Delivered::App(..) | Delivered::Failed(_) => None,
        };
        match answer {
            Delivered::Value(references, body) => {
                self.answer(WireAnswer::Value(&references, Body::received(body.bytes())))
            }
            Delivered::Reference(reference) => self.answer(WireAnswer::Reference(reference)),
            Delivered::App(references, body) => {
                self.answer(WireAnswer::App(&references, Body::received(body.bytes())))
            }
            Delivered::Failed(failure) => self.answer(WireAnswer::Failed(Box::new(failure))),
        }
        self.give(given);
    }

    /// Who asked is told when it has settled: then it can come home there, too, and nothing that was sent there before is behind.
    fn settle_embargoed(self: Arc<Self>, promise: Reference) {
        self.give(Some(promise.clone()));
        self.state.lock().waits = Some(Arc::clone(&self));
        self.answer_if_settled(&promise);
    }

    fn names_result(&self) -> bool {
        self.reply == Reply::Reference
    }
}

impl Watcher for Passing {
    fn wake(self: Arc<Self>) {
        if let Some(promise) = self.given() {
            self.answer_if_settled(&promise);
        }
    }
}

impl Pledge for Passing {
    fn given(&self) -> Option<Reference> {
        self.state.lock().given.clone()
    }

    fn watch(&self, watcher: &Arc<dyn Watcher>) {
        self.state.lock().watchers.add(watcher);
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        if let Some((distant, id)) = self.state.get_mut().sent.take()
            && self.reply == Reply::Reference
        {
            distant.line().cancel(id);
        }
    }
}
