//! A result that comes, and what is to be made of it: one list, however many callbacks, so that no length of it nests anything.

use std::any::Any;
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};

use super::Deferred;
use super::depth::drop_quietly;
use crate::message::{Failure, FailureKind, Ran};

/// A `Result<T, E>` of types that whoever takes it knows.
pub(super) type Erased = Box<dyn Any + Send>;

/// What a callback gets the result in, and leaves the next one in.
type Stage = Box<dyn FnOnce(Erased) -> Step + Send>;

/// What came of waiting, or of a callback.
pub struct Step(Made);

enum Made {
    Result(Erased),
    /// Another one to wait for, in the place of the one before.
    Flow(Flow),
}

impl Step {
    pub(super) fn result<T: Send + 'static, E: Send + 'static>(result: Result<T, E>) -> Self {
        Step(Made::Result(Box::new(result)))
    }

    pub(super) fn goes(flow: Flow) -> Self {
        Step(Made::Flow(flow))
    }
}

/// Something to wait for, of known types. What panics in it is a failure.
pub(super) trait Work<T, E>: Send {
    /// Its end, once.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Next<T, E>>;
    /// Ends soon, with `why` if with nothing else. `false` where it has ended, and only waits to be polled.
    fn cancel(&mut self, why: Failure) -> bool;
}

/// The end of a [`Work`].
pub(super) enum Next<T, E> {
    Result(Result<T, E>),
    Deferred(Deferred<T, E>),
}

/// What is waited for, and the callbacks behind it in their order.
pub struct Flow {
    source: Box<dyn Source>,
    stages: VecDeque<Stage>,
    /// A cancel that met a source which had ended: what is waited for next is cancelled, before so many callbacks are left.
    cancel: Option<(Failure, usize)>,
}

trait Source: Send {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step>;
    fn cancel(&mut self, why: Failure) -> bool;
}

impl Flow {
    pub(super) fn of<T: Send + 'static, E: From<Failure> + Send + 'static>(
        work: impl Work<T, E> + 'static,
    ) -> Self {
        Flow { source: Box::new(Typed { work, ends: PhantomData }), stages: VecDeque::new(), cancel: None }
    }

    /// Adds a callback on a `Result<T, E>`, which leaves a `Result<U, F>`.
    pub(super) fn push<T, E, U, F>(&mut self, callback: impl FnOnce(Result<T, E>) -> Step + Send + 'static)
    where
        T: Send + 'static,
        E: Send + 'static,
        U: Send + 'static,
        F: From<Failure> + Send + 'static,
    {
        // It came after the cancel.
        if let Some((_, left)) = &mut self.cancel {
            *left += 1;
        }
        // One net for the callback and the drop of what it leaves in its closure.
        self.stages.push_back(Box::new(move |result| {
            match catch_unwind(AssertUnwindSafe(move || callback(unpack(result)))) {
                Ok(step) => step,
                Err(panic) => {
                    drop_quietly(panic);
                    panicked::<U, F>("a callback of a Deferred panicked")
                }
            }
        }));
    }

    /// What comes out at its end. Runs callbacks, so to be called under no lock.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Erased> {
        loop {
            let mut step = match self.source.poll(cx) {
                Poll::Ready(step) => step,
                Poll::Pending => match self.cancel.take() {
                    Some((why, left)) => {
                        if !self.source.cancel(why.clone()) {
                            self.cancel = Some((why, left));
                        }
                        continue;
                    }
                    None => return Poll::Pending,
                },
            };
            // What has ended is not held while its callbacks run.
            drop_quietly(std::mem::replace(&mut self.source, Box::new(Gone)));
            loop {
                let result = match step.0 {
                    Made::Result(result) => result,
                    Made::Flow(flow) => break self.follow(flow),
                };
                self.cancel.take_if(|(_, left)| *left == self.stages.len());
                match self.stages.pop_front() {
                    Some(stage) => step = stage(result),
                    None => return Poll::Ready(result),
                }
            }
        }
    }

    /// Goes on with another one, whose callbacks come first.
    fn follow(&mut self, flow: Flow) {
        self.source = flow.source;
        // What has ended without having to wait has nothing to be cancelled.
        if let Some((why, left)) = flow.cancel {
            self.cancel.get_or_insert((why, left + self.stages.len()));
        }
        for stage in flow.stages.into_iter().rev() {
            self.stages.push_front(stage);
        }
    }

    /// Cancels what it waits for; where that has ended, what it waits for next.
    pub(super) fn cancel(&mut self, why: Failure) {
        if !self.source.cancel(why.clone()) {
            self.cancel.get_or_insert((why, 0));
        }
    }
}

/// Takes a result out of its box.
pub(super) fn unpack<T: 'static, E: 'static>(result: Erased) -> Result<T, E> {
    match result.downcast::<Result<T, E>>() {
        Ok(result) => *result,
        Err(_) => unreachable!("each callback is added with the type that the one before it leaves"),
    }
}

struct Typed<W, T, E> {
    work: W,
    ends: PhantomData<fn() -> Result<T, E>>,
}

impl<W, T, E> Source for Typed<W, T, E>
where
    W: Work<T, E>,
    T: Send + 'static,
    E: From<Failure> + Send + 'static,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        match catch_unwind(AssertUnwindSafe(|| self.work.poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(Next::Result(result))) => Poll::Ready(Step::result(result)),
            Ok(Poll::Ready(Next::Deferred(deferred))) => Poll::Ready(Step::goes(deferred.into_flow())),
            Err(panic) => {
                drop_quietly(panic);
                Poll::Ready(panicked::<T, E>("what a Deferred waits for panicked"))
            }
        }
    }

    fn cancel(&mut self, why: Failure) -> bool {
        match catch_unwind(AssertUnwindSafe(|| self.work.cancel(why))) {
            Ok(taken) => taken,
            Err(panic) => {
                drop_quietly(panic);
                true
            }
        }
    }
}

fn panicked<T: Send + 'static, E: From<Failure> + Send + 'static>(what: &str) -> Step {
    Step::result::<T, E>(Err(E::from(Failure::new(FailureKind::Internal, Ran::Yes, what))))
}

/// In the place of what has ended.
struct Gone;

impl Source for Gone {
    fn poll(&mut self, _cx: &mut Context<'_>) -> Poll<Step> {
        Poll::Pending
    }

    fn cancel(&mut self, _why: Failure) -> bool {
        true
    }
}

impl<T: Send + 'static, E: Send + 'static> Work<T, E> for Deferred<T, E> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Next<T, E>> {
        self.pending.poll(cx).map(Next::Result)
    }

    fn cancel(&mut self, why: Failure) -> bool {
        Arc::clone(&self.pending).cancel(why)
    }
}
