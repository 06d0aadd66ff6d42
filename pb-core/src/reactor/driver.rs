//! The task of one connection: it owns the protocol and the stream, reads into the one and writes for it.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, sleep_until};

use super::transport::Ending;
use super::{Lost, Protocol, ReadHalf, Stream, Transport, WriteHalf};

/// What runs `protocol` on `stream` until the connection is over, and says why it is.
pub(super) fn drive<P: Protocol>(
    stream: Stream,
    protocol: P,
    transport: Transport,
) -> impl Future<Output = Lost> + Send + use<P> {
    let (read, write) = stream.into_split();
    let mut driver = Driver {
        made: Made { protocol: Some(protocol), begun: false, transport },
        read,
        write: Some(write),
        batch: Vec::new(),
        at: 0,
        told_full: false,
        was_paused: false,
        heard_all: false,
        due: None,
    };
    async move {
        let lost = match driver.run().await {
            Ok(ending) if ending.flush => driver.close(ending.reason).await,
            Ok(ending) => {
                driver.abort();
                ending.reason
            }
            Err(lost) => lost,
        };
        let Driver { made, read, write, .. } = driver;
        drop((read, write)); // The socket is closed before the protocol hears of it.
        made.lose(lost)
    }
}

/// A protocol that has its connection. It hears once of the end, also when the runtime drops the task.
struct Made<P: Protocol> {
    protocol: Option<P>,
    /// It has been told that the connection is there.
    begun: bool,
    transport: Transport,
}

struct Driver<P: Protocol> {
    made: Made<P>,
    read: ReadHalf,
    /// Gone once the other side was told that nothing more comes.
    write: Option<WriteHalf>,
    /// What is being written, from `at` on.
    batch: Vec<u8>,
    at: usize,
    told_full: bool,
    was_paused: bool,
    heard_all: bool,
    /// When the other side must have taken something, while the connection closes.
    due: Option<Instant>,
}

/// What happened while the connection was waited for.
enum Event {
    Called,
    Wrote(io::Result<usize>),
    Read(io::Result<usize>),
    Panicked,
    Late,
}

impl<P: Protocol> Driver<P> {
    /// Runs until this side ends the connection, with nothing left to write if it was to flush, or it is lost.
    async fn run(&mut self) -> Result<Ending, Lost> {
        self.made.begin()?;
        loop {
            let orders = self.made.transport.shared.orders(&mut self.batch);
            if let Some(ending) = &orders.ending
                && (!ending.flush || self.batch.is_empty() || self.write.is_none())
            {
                return Ok(ending.clone());
            }
            if orders.ending.is_none() && self.tell(orders.full, orders.filled, orders.paused)? {
                continue; // Who was told may have ordered something else.
            }
            if orders.said_all && self.batch.is_empty() {
                self.finish().await;
                if self.heard_all {
                    return Err(Lost::Closed);
                }
            }
            let reading = orders.ending.is_none() && !orders.paused && !self.heard_all;
            self.set_due(orders.ending.is_some());
            match self.event(reading).await {
                Event::Called => {}
                Event::Wrote(Ok(0)) => return Err(broken(io::ErrorKind::WriteZero.into())),
                Event::Wrote(Ok(count)) => self.wrote(count),
                Event::Read(Ok(0)) => {
                    self.heard_all = true;
                    self.made.transport.shared.heard_all();
                    self.made.call(P::read_connection_lost)?;
                }
                Event::Read(Ok(_)) => {}
                Event::Wrote(Err(error)) | Event::Read(Err(error)) => return Err(broken(error)),
                Event::Panicked => return Err(Lost::Panicked),
                Event::Late => {
                    let transport = &self.made.transport;
                    let close_time = transport.shared.settings.close_time;
                    return Err(Lost::Stalled { waiting_bytes: transport.waiting_bytes(), close_time });
                }
            }
        }
    }

    /// Tells the protocol what has changed for it. Says whether it was told anything.
    fn tell(&mut self, full: bool, filled: bool, paused: bool) -> Result<bool, Lost> {
        if (filled || full) && !self.told_full {
            self.told_full = true;
            self.made.call(P::pause_producing)?;
        } else if self.told_full && !full {
            self.told_full = false;
            self.made.call(P::resume_producing)?;
        } else if self.was_paused && !paused {
            self.was_paused = false;
            self.made.call(P::reading_resumed)?;
        } else {
            self.was_paused |= paused;
            return Ok(false);
        }
        Ok(true)
    }

    async fn event(&mut self, reading: bool) -> Event {
        let Driver { made, read, write, batch, at, due, .. } = self;
        let Made { protocol, transport, .. } = made;
        let transport = &*transport;
        let writing = write.as_mut().filter(|_| !batch.is_empty());
        let take = |bytes: &[u8]| match protocol {
            // Another thread may have ended it since this began to wait.
            Some(protocol) if transport.shared.begin_work() => {
                catch_unwind(AssertUnwindSafe(|| protocol.data_received(transport, bytes))).is_ok()
            }
            _ => true,
        };
        let mut take = Some(take);
        tokio::select! {
            () = transport.shared.wake.notified() => Event::Called,
            wrote = async { match writing {
                Some(half) => half.write(&batch[*at..]).await,
                None => std::future::pending().await,
            } } => Event::Wrote(wrote),
            read = std::future::poll_fn(|cx| poll_take(read, cx, &mut take)), if reading => match read {
                Some(read) => Event::Read(read),
                None => Event::Panicked,
            },
            () = until(*due) => Event::Late,
        }
    }

    fn wrote(&mut self, count: usize) {
        self.made.transport.shared.wrote(count);
        self.due = None;
        self.at += count;
        if self.at == self.batch.len() {
            self.at = 0;
            self.batch.clear();
            self.batch.shrink_to(KEPT_BYTES);
        }
    }

    fn set_due(&mut self, closing: bool) {
        if closing && self.due.is_none() {
            self.due = Instant::now().checked_add(self.made.transport.shared.settings.close_time);
        }
    }

    /// Ends this side's direction, and reads on for a moment without looking: a socket that is closed over unread bytes may take back what
    /// was written last. Says why the connection is over.
    async fn close(&mut self, reason: Lost) -> Lost {
        self.finish().await;
        let until_then = Instant::now() + LINGER;
        let mut left = LINGER_BYTES;
        let shared = Arc::clone(&self.made.transport.shared);
        while left > 0 && !self.heard_all {
            let mut take = Some(|_: &[u8]| true);
            let read = tokio::select! {
                read = std::future::poll_fn(|cx| poll_take(&mut self.read, cx, &mut take)) => read,
                () = until(Some(until_then)) => break,
                () = shared.wake.notified() => match shared.orders(&mut Vec::new()).ending {
                    Some(Ending { flush: false, .. }) => break,
                    _ => continue,
                },
            };
            match read {
                Some(Ok(count)) if count > 0 => left = left.saturating_sub(count),
                _ => break,
            }
        }
        reason
    }

    /// Tells the other side that nothing more comes.
    async fn finish(&mut self) {
        self.made.transport.shared.end_direct();
        if let Some(write) = self.write.take() {
            write.finish().await;
        }
    }

    fn abort(&mut self) {
        self.made.transport.shared.end_direct();
        if let Some(write) = self.write.take() {
            write.abort();
        }
    }
}

impl<P: Protocol> Made<P> {
    /// Tells the protocol that its connection is there, whatever has become of that meanwhile: so the end has a beginning.
    fn begin(&mut self) -> Result<(), Lost> {
        self.begun = true;
        self.transport.shared.begin_work();
        self.tell_protocol(P::connection_made)
    }

    /// Tells the protocol something, unless this side has ended the connection.
    fn call(&mut self, call: impl FnOnce(&mut P, &Transport)) -> Result<(), Lost> {
        if !self.transport.shared.begin_work() {
            return Ok(());
        }
        self.tell_protocol(call)
    }

    fn tell_protocol(&mut self, call: impl FnOnce(&mut P, &Transport)) -> Result<(), Lost> {
        let Some(protocol) = &mut self.protocol else { return Ok(()) };
        catch_unwind(AssertUnwindSafe(|| call(protocol, &self.transport))).map_err(|_| Lost::Panicked)
    }

    fn lose(mut self, lost: Lost) -> Lost {
        self.tell(&lost);
        lost
    }

    fn tell(&mut self, lost: &Lost) {
        let Some(mut protocol) = self.protocol.take() else { return };
        self.transport.shared.over();
        tracing::debug!(peer = self.transport.peer(), reason = %lost, "connection ended");
        // Whatever its code does: the end is the end, and others must hear of it.
        if self.begun {
            let _ = catch_unwind(AssertUnwindSafe(|| protocol.connection_lost(lost)));
        }
        let _ = catch_unwind(AssertUnwindSafe(|| drop(protocol)));
        self.transport.shared.tell_ended(lost.clone());
    }
}

impl<P: Protocol> Drop for Made<P> {
    fn drop(&mut self) {
        self.tell(&Lost::Shutdown);
    }
}

/// Reads what there is and hands it over at once, so that a connection that is silent holds no buffer. Nothing where `take` says no.
fn poll_take(
    half: &mut ReadHalf,
    cx: &mut Context<'_>,
    take: &mut Option<impl FnOnce(&[u8]) -> bool>,
) -> Poll<Option<io::Result<usize>>> {
    let mut scratch = SCRATCH.take();
    scratch.resize(READ_BYTES, 0);
    let mut buffer = ReadBuf::new(&mut scratch);
    let polled = Pin::new(half).poll_read(cx, &mut buffer);
    let event = polled.map(|read| match read {
        Err(error) => Some(Err(error)),
        Ok(()) if buffer.filled().is_empty() => Some(Ok(0)),
        Ok(()) => {
            let bytes = buffer.filled();
            take.take().is_none_or(|take| take(bytes)).then_some(Ok(bytes.len()))
        }
    });
    SCRATCH.set(scratch);
    event
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

fn broken(error: io::Error) -> Lost {
    Lost::Broken(Arc::new(error))
}

thread_local! {
    /// What a thread reads into; taken while somebody does.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Bytes that one read may take.
const READ_BYTES: usize = 64 << 10;
/// Bytes that a connection keeps for its writes while there is none.
const KEPT_BYTES: usize = 4 << 10;
/// How long, and how much, is read without looking after this side has closed.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 4 << 20;
