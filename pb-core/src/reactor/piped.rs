//! The reverse of a connection's task: a stream for whoever reads and writes by itself, on a connection that a protocol has.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use tokio::io::ReadBuf;

use super::{Lost, Protocol, ReadHalf, Stream, Transport, WriteHalf, Written};

/// A protocol that hands its connection out as a [`Stream`], for code that reads and writes by itself, as the broker does. What is not
/// read in time pauses the transport, and what the transport does not take makes the writer wait. Dropping both halves closes the
/// connection, after what was written has left.
///
/// A stream that is at hand is better used as it is: this costs a copy in each direction.
///
/// Twisted: `ProtocolWrapper` the other way round (protocols/policies.py).
pub struct Piped {
    open: Option<Box<dyn FnOnce(Stream) + Send>>,
    inbox: Option<Arc<Inbox>>,
}

/// What has come and was not read.
struct Inbox {
    state: Mutex<State>,
    transport: Transport,
}

#[derive(Default)]
struct State {
    bytes: BytesMut,
    /// Nothing more comes: the other side has said its last, or the connection was lost for a reason.
    ended: Option<Option<Lost>>,
    reader: Option<Waker>,
}

/// Both halves' common hold on the connection.
struct Held(Arc<Inbox>);

/// The half that is read.
pub struct PipedRead(Arc<Held>);

/// The half that is written.
pub struct PipedWrite(Arc<Held>);

impl Piped {
    /// Calls `open` with the stream once the connection is there; it must not wait.
    pub fn new(open: impl FnOnce(Stream) + Send + 'static) -> Self {
        Piped { open: Some(Box::new(open)), inbox: None }
    }
}

impl Protocol for Piped {
    fn connection_made(&mut self, transport: &Transport) {
        let inbox = Arc::new(Inbox { state: Mutex::default(), transport: transport.clone() });
        self.inbox = Some(Arc::clone(&inbox));
        let held = Arc::new(Held(inbox));
        let (read, write) = (PipedRead(Arc::clone(&held)), PipedWrite(held));
        if let Some(open) = self.open.take() {
            open(Stream::piped(ReadHalf::Piped(read), WriteHalf::Piped(write), transport.peer().to_owned()));
        }
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        let Some(inbox) = &self.inbox else { return };
        let full = inbox.change(|state| {
            state.bytes.extend_from_slice(data);
            state.bytes.len() >= UNREAD_BYTES
        });
        if full {
            transport.pause();
            // It may have been read meanwhile, and whoever did so has not seen the pause.
            inbox.resume_if_read();
        }
    }

    fn read_connection_lost(&mut self, _: &Transport) {
        if let Some(inbox) = &self.inbox {
            inbox.change(|state| state.ended = Some(None));
        }
    }

    fn connection_lost(&mut self, reason: &Lost) {
        let reason = match reason {
            Lost::Closed | Lost::Done => None,
            reason => Some(reason.clone()),
        };
        if let Some(inbox) = &self.inbox {
            inbox.change(|state| {
                state.ended.get_or_insert(reason);
            });
        }
    }
}

impl Inbox {
    /// Changes it and wakes the reader, out of the lock.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let (changed, reader) = {
            let mut state = self.state.lock();
            let changed = change(&mut state);
            (changed, state.reader.take())
        };
        if let Some(reader) = reader {
            reader.wake();
        }
        changed
    }

    fn resume_if_read(&self) {
        if self.state.lock().bytes.len() < UNREAD_BYTES && self.transport.is_paused() {
            self.transport.resume();
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.transport.lose_connection();
    }
}

impl PipedRead {
    pub(super) fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let inbox = &self.0.0;
        let waker = cx.waker().clone();
        let (read, before) = {
            let mut state = inbox.state.lock();
            let count = state.bytes.len().min(buf.remaining());
            match (&state.ended, count) {
                (None, 0) if buf.remaining() > 0 => (Poll::Pending, state.reader.replace(waker)),
                (Some(Some(lost)), 0) => (Poll::Ready(Err(error(lost))), Some(waker)),
                _ => {
                    buf.put_slice(&state.bytes[..count]);
                    state.bytes.advance(count);
                    (Poll::Ready(Ok(())), Some(waker))
                }
            }
        };
        // A waker is somebody else's code, its drop too.
        drop(before);
        inbox.resume_if_read();
        read
    }
}

impl PipedWrite {
    pub(super) async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let transport = &self.0.0.transport;
        transport.drained().await.map_err(|lost| error(&lost))?;
        let piece = &bytes[..bytes.len().min(PIECE_BYTES)];
        match transport.write(piece) {
            Written::Taken | Written::Full => Ok(piece.len()),
            Written::Closed => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    pub(super) fn finish(self) {
        self.0.0.transport.lose_write_connection();
    }
}

fn error(lost: &Lost) -> io::Error {
    let kind = match lost {
        Lost::Broken(error) => error.kind(),
        Lost::Closed | Lost::Done => io::ErrorKind::BrokenPipe,
        _ => io::ErrorKind::ConnectionAborted,
    };
    io::Error::new(kind, lost.clone())
}

/// Bytes that may wait to be read before the transport is paused.
const UNREAD_BYTES: usize = 64 << 10;
/// Bytes that one write may take.
const PIECE_BYTES: usize = 64 << 10;
