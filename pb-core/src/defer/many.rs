//! Many Deferreds as one. Twisted: `gatherResults`, `DeferredList`, `race` (internet/defer.py).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::stream::{FuturesUnordered, Stream};

use super::Deferred;
use super::flow::{Next, Work};
use crate::message::{Failure, FailureKind, Ran};

/// What [`gather`] does with the others when one fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnFailure {
    /// It fails at once, and the others are cancelled.
    CancelRest,
    /// It waits until all have ended, and then fails with what failed first.
    WaitForRest,
}

/// All values, in the order in which the Deferreds were given; or the first failure. Twisted: `gatherResults`, which fails at once, and lets the others
/// run on. Of none it is an empty list. Cancelling it cancels all.
///
/// ```
/// use pb_core::Deferred;
/// use pb_core::defer::{OnFailure, gather};
/// # futures::executor::block_on(async {
/// let (late, deferred) = Deferred::<u32>::new();
/// let all = gather([deferred, Deferred::succeed(2)], OnFailure::CancelRest);
/// late.resolve(1);
/// assert_eq!(all.await, Ok(vec![1, 2]));
/// # });
/// ```
pub fn gather<T, E>(
    deferreds: impl IntoIterator<Item = Deferred<T, E>>,
    on_failure: OnFailure,
) -> Deferred<Vec<T>, E>
where
    T: Send + 'static,
    E: From<Failure> + Send + 'static,
{
    let (running, count) = number(deferreds);
    let results = (0..count).map(|_| None).collect();
    Deferred::doing(Gather { running, results, on_failure, failed: None })
}

/// All results, in the order in which the Deferreds were given, when all have ended. Never fails by itself. Twisted: `DeferredList`.
/// Cancelling it cancels all.
///
/// ```
/// use pb_core::{Deferred, Failure, FailureKind, Ran};
/// # futures::executor::block_on(async {
/// let refused = Failure::new(FailureKind::Refused, Ran::No, "not you");
/// let all = pb_core::defer::all_settled([Deferred::succeed(1), Deferred::fail(refused.clone())]);
/// assert_eq!(all.await, Ok(vec![Ok(1), Err(refused)]));
/// # });
/// ```
pub fn all_settled<T, E>(
    deferreds: impl IntoIterator<Item = Deferred<T, E>>,
) -> Deferred<Vec<Result<T, E>>, E>
where
    T: Send + 'static,
    E: From<Failure> + Send + 'static,
{
    let (running, count) = number(deferreds);
    let results = (0..count).map(|_| None).collect();
    Deferred::doing(Settle { running, results })
}

/// The first value that comes; the others are cancelled then. Fails when all have, with what failed first. Of none it fails: `Failed`. Twisted:
/// `race`, and `DeferredList(…, fireOnOneCallback=True)`. Cancelling it cancels all.
///
/// ```
/// use pb_core::Deferred;
/// # futures::executor::block_on(async {
/// let (slow, deferred) = Deferred::<&str>::new();
/// assert_eq!(pb_core::defer::first([deferred, Deferred::succeed("fast")]).await, Ok("fast"));
/// assert!(slow.is_cancelled());
/// # });
/// ```
pub fn first<T, E>(deferreds: impl IntoIterator<Item = Deferred<T, E>>) -> Deferred<T, E>
where
    T: Send + 'static,
    E: From<Failure> + Send + 'static,
{
    let (running, _) = number(deferreds);
    Deferred::doing(First { running, failed: None })
}

/// One of many, and its place.
struct Numbered<T, E> {
    place: usize,
    deferred: Deferred<T, E>,
}

type Running<T, E> = FuturesUnordered<Numbered<T, E>>;

fn number<T, E>(deferreds: impl IntoIterator<Item = Deferred<T, E>>) -> (Running<T, E>, usize) {
    let numbered = deferreds.into_iter().enumerate();
    let running: Running<T, E> = numbered.map(|(place, deferred)| Numbered { place, deferred }).collect();
    let count = running.len();
    (running, count)
}

impl<T, E> Future for Numbered<T, E> {
    type Output = (usize, Result<T, E>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(Pin::new(&mut self.deferred).poll(cx));
        Poll::Ready((self.place, result))
    }
}

/// The next that ends; `None` when all have.
fn next<T, E>(running: &mut Running<T, E>, cx: &mut Context<'_>) -> Poll<Option<(usize, Result<T, E>)>> {
    Pin::new(running).poll_next(cx)
}

/// Cancels all that have not ended; `false` where all have.
fn cancel_all<T, E>(running: &mut Running<T, E>, why: &Failure) -> bool {
    let mut taken = false;
    for numbered in running.iter_mut() {
        taken |= Arc::clone(&numbered.deferred.pending).cancel(why.clone());
    }
    taken
}

struct Gather<T, E> {
    running: Running<T, E>,
    results: Vec<Option<T>>,
    on_failure: OnFailure,
    failed: Option<E>,
}

impl<T: Send + 'static, E: Send + 'static> Work<Vec<T>, E> for Gather<T, E> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Next<Vec<T>, E>> {
        while let Some((place, result)) = ready!(next(&mut self.running, cx)) {
            match result {
                Ok(value) => self.results[place] = Some(value),
                Err(error) if self.on_failure == OnFailure::CancelRest => {
                    return Poll::Ready(Next::Result(Err(error)));
                }
                Err(error) => {
                    self.failed.get_or_insert(error);
                }
            }
        }
        Poll::Ready(Next::Result(match self.failed.take() {
            Some(error) => Err(error),
            None => Ok(std::mem::take(&mut self.results).into_iter().flatten().collect()),
        }))
    }

    fn cancel(&mut self, why: Failure) -> bool {
        cancel_all(&mut self.running, &why)
    }
}

struct Settle<T, E> {
    running: Running<T, E>,
    results: Vec<Option<Result<T, E>>>,
}

impl<T: Send + 'static, E: Send + 'static> Work<Vec<Result<T, E>>, E> for Settle<T, E> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Next<Vec<Result<T, E>>, E>> {
        while let Some((place, result)) = ready!(next(&mut self.running, cx)) {
            self.results[place] = Some(result);
        }
        let results = std::mem::take(&mut self.results);
        Poll::Ready(Next::Result(Ok(results.into_iter().flatten().collect())))
    }

    fn cancel(&mut self, why: Failure) -> bool {
        cancel_all(&mut self.running, &why)
    }
}

struct First<T, E> {
    running: Running<T, E>,
    failed: Option<E>,
}

impl<T: Send + 'static, E: From<Failure> + Send + 'static> Work<T, E> for First<T, E> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Next<T, E>> {
        while let Some((_, result)) = ready!(next(&mut self.running, cx)) {
            match result {
                Ok(value) => return Poll::Ready(Next::Result(Ok(value))),
                Err(error) => {
                    self.failed.get_or_insert(error);
                }
            }
        }
        let none =
            || E::from(Failure::new(FailureKind::Failed, Ran::No, "the first of no Deferreds was asked for"));
        Poll::Ready(Next::Result(Err(self.failed.take().unwrap_or_else(none))))
    }

    fn cancel(&mut self, why: Failure) -> bool {
        cancel_all(&mut self.running, &why)
    }
}
