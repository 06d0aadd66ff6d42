//! The server that is copied from, over however many connections that takes.
//!
//! Entries come as references, and are asked by them. References break with their connection; then the way to the entry is
//! walked anew from the next connection's root, in the same round trip as what is asked there.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pb_client::{
    Broker, CallError, Cause, Connect, Deferred, Failure, FailureKind, Reconnect, Reconnecting, State,
};
use tokio::time::{Instant, timeout};

use super::CopyError;
use super::api::{DirRef, FileRef, FileStat, FilesError, ListingRef, Page, Stat};
use super::progress::Progress;
use super::walk::{dir_at, file_at};

/// What a call gave.
pub(super) type Asked<T> = Result<T, CallError<FilesError>>;

/// A server, which is connected to again when the connection is lost.
pub struct Source {
    server: Reconnecting,
    patience: Duration,
    progress: Progress,
    /// The connection that was made last, as far as anybody has waited for it: it knows whether the server said that it leaves.
    last: Mutex<Broker>,
    noticed: AtomicU64,
}

impl Source {
    /// Connects to `url`. What is asked when the connection is lost later has `patience` for its answer from the next one.
    ///
    /// # Errors
    /// [`CopyError::Unreachable`] when the first attempt gives no connection.
    ///
    /// # Cancel safety
    /// Dropping the future closes whatever is open by then.
    pub async fn connect(
        url: &str,
        patience: Duration,
        progress: Progress,
    ) -> Result<Arc<Source>, CopyError> {
        let how = Reconnect { longest: LONGEST_PAUSE, ..Reconnect::default() };
        let server = Connect::to(url).reconnecting(how).map_err(|why| CopyError::unreachable(&why))?;
        let mut states = server.state();
        let failed = async {
            match states.wait_for(|state| matches!(state, State::Waiting { .. })).await.as_deref() {
                Ok(State::Waiting { reason, .. }) => reason.clone(),
                // It neither rests nor is there any more: the other branch says why.
                _ => std::future::pending().await,
            }
        };
        let last = tokio::select! {
            broker = server.broker() => broker.map_err(|why| CopyError::unreachable(&why))?,
            why = failed => return Err(CopyError::unreachable(&why)),
        };
        Ok(Arc::new(Source {
            server,
            patience,
            progress,
            last: Mutex::new(last),
            noticed: AtomicU64::new(0),
        }))
    }

    /// How often the connection was made again.
    pub fn reconnections(&self) -> u64 {
        self.server.counters().connections.saturating_sub(1)
    }

    /// The root of what it serves, and what that is like.
    ///
    /// # Errors
    /// Of the call, in the answer, and [`CopyError::Gone`] or [`CopyError::Left`] beside it: here and below.
    pub(super) async fn root(&self) -> Result<Asked<(DirRef, Stat)>, CopyError> {
        let ask = |root: DirRef| async move { Ok((root.clone(), root.stat().await?)) };
        let asked = ask(self.server.root()).await;
        self.or_again(asked, ask).await
    }

    /// The first page of the directory at `path`, to which `dir` was a reference.
    pub(super) async fn first_page(
        &self,
        dir: DirRef,
        path: &Path,
    ) -> Result<Asked<(ListingRef, Page)>, CopyError> {
        self.or_again(first_page(dir).await, |root| first_page(dir_at(&root, path))).await
    }

    /// The first page of the directory at `path`, once more.
    pub(super) async fn first_page_again(
        &self,
        path: &Path,
        lost: CallError<FilesError>,
    ) -> Result<Asked<(ListingRef, Page)>, CopyError> {
        self.or_again(Err(lost), |root| first_page(dir_at(&root, path))).await
    }

    /// `asked`, unless it failed because the connection was lost: then what `ask` gets from the next one's root.
    async fn or_again<T, F: Future<Output = Asked<T>>>(
        &self,
        asked: Asked<T>,
        ask: impl Fn(DirRef) -> F,
    ) -> Result<Asked<T>, CopyError> {
        let (mut asked, begun) = (asked, Instant::now());
        loop {
            let lost = match asked {
                Err(CallError::Broker(failure)) if is_lost(&failure) => failure,
                asked => return Ok(asked),
            };
            // Only the wait is bounded: an answer may take its time.
            let left = self.patience.saturating_sub(begun.elapsed());
            match timeout(left, self.server.broker()).await {
                Ok(Ok(broker)) => {
                    asked = ask(broker.root()).await;
                    self.remember(broker);
                }
                Ok(Err(_)) | Err(_) => return Err(self.gone(lost)),
            }
        }
    }

    fn remember(&self, broker: Broker) {
        let losses = self.server.counters().lost;
        if self.noticed.fetch_max(losses, Ordering::Relaxed) < losses {
            self.progress.notice("the connection was lost, and made again: the copy goes on");
        }
        let before = {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *last, broker)
        };
        drop(before);
    }

    fn gone(&self, lost: Failure) -> CopyError {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match last.peer_leaving() {
            Some(leaving) => CopyError::Left { reason: leaving.reason.into() },
            None => CopyError::Gone { lost, waited: self.patience },
        }
    }
}

/// A file of the server's.
pub(super) struct RemoteFile {
    pub(super) source: Arc<Source>,
    /// Below the root of what is served.
    pub(super) path: PathBuf,
    pub(super) file: FileRef,
    pub(super) stat: FileStat,
}

impl RemoteFile {
    /// Asks the file as it was listed. Another connection's file is only taken for it if it looks the same still.
    pub(super) async fn ask<T>(
        &self,
        ask: impl Fn(&FileRef) -> Deferred<T, CallError<FilesError>>,
    ) -> Result<Asked<T>, CopyError> {
        let asked = ask(&self.file).await;
        let ask = &ask;
        let again = |root| async move {
            let file = file_at(&root, &self.path).ok_or(CallError::App(FilesError::Gone))?;
            let (stat, answer) = (file.stat(), ask(&file));
            if stat.await? != self.stat {
                return Err(CallError::App(FilesError::Changed));
            }
            answer.await
        };
        self.source.or_again(asked, again).await
    }
}

async fn first_page(dir: DirRef) -> Asked<(ListingRef, Page)> {
    // The page is asked of a listing that nobody has yet: both calls take one round trip.
    let listing = dir.list();
    let page = listing.next_page();
    Ok((listing.await?, page.await?))
}

/// Whether it failed for the connection's end, its own or that of what it was called on.
fn is_lost(failure: &Failure) -> bool {
    match (failure.kind, failure.cause.as_deref()) {
        (FailureKind::Disconnected, _) => true,
        (_, Some(Cause::Broker(cause))) => is_lost(cause),
        (_, Some(Cause::App(_)) | None) => false,
    }
}

/// Between two attempts to connect: somebody waits.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
