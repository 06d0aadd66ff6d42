//! Sockets that hold a few bytes each way, so that writes are cut where it hurts. Their lock is shuttle's: each look at a socket is a
//! moment at which others may come first.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use shuttle::sync::Mutex;
use tokio_real::io::{AsyncRead, Interest, ReadBuf, Ready};
// No model uses these.
pub use tokio_real::net::{UnixListener, UnixSocket, UnixStream, unix};

pub mod tcp {
    //! Halves of a socket.
    pub use super::{OwnedReadHalf, OwnedWriteHalf};
}

/// Bytes that one direction holds.
const PIPE_BYTES: usize = 48;

/// One direction.
#[derive(Debug, Default)]
struct Pipe(Mutex<Bytes>);

#[derive(Debug, Default)]
struct Bytes {
    waiting: VecDeque<u8>,
    /// Nothing more comes.
    finished: bool,
    /// Nobody reads any more.
    unread: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn with<T>(&self, work: impl FnOnce(&mut Bytes) -> T) -> T {
        let mut bytes = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        work(&mut bytes)
    }

    fn write(&self, from: &[u8]) -> io::Result<usize> {
        let (written, reader) = self.with(|bytes| {
            if bytes.unread {
                return (Err(io::ErrorKind::BrokenPipe.into()), None);
            }
            let room = PIPE_BYTES - bytes.waiting.len();
            if room == 0 {
                return (Err(io::ErrorKind::WouldBlock.into()), None);
            }
            let written = room.min(from.len());
            bytes.waiting.extend(&from[..written]);
            (Ok(written), bytes.reader.take())
        });
        wake(reader);
        written
    }

    fn close(&self, close: impl FnOnce(&mut Bytes)) {
        let (reader, writer) = self.with(|bytes| {
            close(bytes);
            (bytes.reader.take(), bytes.writer.take())
        });
        wake(reader);
        wake(writer);
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// A connected socket.
#[derive(Debug)]
pub struct TcpStream {
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
}

/// What comes.
#[derive(Debug)]
pub struct OwnedReadHalf(Arc<Pipe>);

impl OwnedReadHalf {
    /// Waits for an error of the socket's: nobody resets a connection here.
    ///
    /// # Errors
    /// None.
    pub async fn ready(&self, _: Interest) -> io::Result<Ready> {
        std::future::pending().await
    }
}

impl AsRef<Sound> for OwnedReadHalf {
    fn as_ref(&self) -> &Sound {
        &Sound
    }
}

/// A socket that has no error.
#[derive(Debug)]
pub struct Sound;

/// Never met: a runtime of one thread asks no system.
impl AsFd for Sound {
    fn as_fd(&self) -> BorrowedFd<'_> {
        unreachable!("a model's socket is none of the system's")
    }
}

impl Sound {
    /// The error that it has.
    ///
    /// # Errors
    /// None.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        Ok(None)
    }
}

/// What goes.
#[derive(Debug)]
pub struct OwnedWriteHalf(Arc<Pipe>);

thread_local! {
    /// Who listens, by name: sockets that wait to be accepted. All of a model runs on one thread of the system's.
    static LISTENERS: RefCell<HashMap<String, VecDeque<TcpStream>>> = RefCell::default();
}

/// Accepts what has connected to its name.
#[derive(Debug)]
pub struct TcpListener(String);

impl TcpListener {
    /// Listens.
    ///
    /// # Errors
    /// None.
    pub async fn bind(name: &str) -> io::Result<Self> {
        listeners(|all| all.insert(name.to_owned(), VecDeque::new()));
        Ok(TcpListener(name.to_owned()))
    }

    /// Takes no socket of the system's.
    ///
    /// # Errors
    /// Always.
    pub fn from_std(_: std::net::TcpListener) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// What has connected.
    ///
    /// # Errors
    /// When nothing has: models connect first.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let stream = listeners(|all| all.get_mut(&self.0).and_then(VecDeque::pop_front));
        Ok((stream.ok_or(io::ErrorKind::WouldBlock)?, nowhere()))
    }

    /// No address.
    ///
    /// # Errors
    /// None.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(nowhere())
    }
}

impl TcpStream {
    /// Connects to who listens.
    ///
    /// # Errors
    /// When nobody does.
    pub async fn connect(name: &str) -> io::Result<Self> {
        let (there, back) = (Arc::<Pipe>::default(), Arc::<Pipe>::default());
        let theirs =
            TcpStream { read: OwnedReadHalf(Arc::clone(&there)), write: OwnedWriteHalf(Arc::clone(&back)) };
        let queued = listeners(|all| all.get_mut(name).map(|waiting| waiting.push_back(theirs)));
        queued.ok_or(io::ErrorKind::ConnectionRefused)?;
        Ok(TcpStream { read: OwnedReadHalf(back), write: OwnedWriteHalf(there) })
    }

    /// Changes nothing.
    ///
    /// # Errors
    /// None.
    pub fn set_nodelay(&self, _: bool) -> io::Result<()> {
        Ok(())
    }

    /// Both halves.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        (self.read, self.write)
    }
}

impl AsyncRead for OwnedReadHalf {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let waker = cx.waker().clone();
        let (read, writer) = self.0.with(|bytes| {
            if bytes.waiting.is_empty() && !bytes.finished {
                bytes.reader = Some(waker);
                return (Poll::Pending, None);
            }
            let count = bytes.waiting.len().min(buf.remaining());
            let taken: Vec<u8> = bytes.waiting.drain(..count).collect();
            buf.put_slice(&taken);
            (Poll::Ready(Ok(())), bytes.writer.take())
        });
        wake(writer);
        read
    }
}

impl OwnedWriteHalf {
    /// Itself, which is all of a socket that it knows.
    #[allow(
        clippy::should_implement_trait,
        reason = "the trait is of the whole socket, which no half here has"
    )]
    pub fn as_ref(&self) -> &Self {
        self
    }

    /// Changes nothing.
    ///
    /// # Errors
    /// None.
    pub fn set_zero_linger(&self) -> io::Result<()> {
        Ok(())
    }

    /// Drops it.
    pub fn forget(self) {}

    /// Writes what fits.
    ///
    /// # Errors
    /// `WouldBlock` where nothing does, `BrokenPipe` where nobody reads.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    /// Writes what fits of several.
    ///
    /// # Errors
    /// As [`OwnedWriteHalf::try_write`].
    pub fn try_write_vectored(&self, chunks: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let all: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.iter().copied()).collect();
        self.0.write(&all)
    }

    /// Waits for room.
    ///
    /// # Errors
    /// None.
    pub async fn writable(&self) -> io::Result<()> {
        std::future::poll_fn(|cx| {
            let waker = cx.waker().clone();
            self.0.with(|bytes| {
                if bytes.waiting.len() < PIPE_BYTES || bytes.unread {
                    return Poll::Ready(Ok(()));
                }
                bytes.writer = Some(waker);
                Poll::Pending
            })
        })
        .await
    }
}

impl Drop for OwnedReadHalf {
    fn drop(&mut self) {
        self.0.close(|bytes| bytes.unread = true);
    }
}

impl Drop for OwnedWriteHalf {
    fn drop(&mut self) {
        self.0.close(|bytes| bytes.finished = true);
    }
}

fn listeners<T>(work: impl FnOnce(&mut HashMap<String, VecDeque<TcpStream>>) -> T) -> T {
    LISTENERS.with_borrow_mut(work)
}

fn nowhere() -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, 0).into()
}
