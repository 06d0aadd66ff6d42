use std::future::pending;
use std::io::{self, IoSlice, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWriteExt, DuplexStream, Interest, ReadBuf, duplex, split};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
#[cfg(unix)]
use tokio::net::unix;
use tokio::net::{TcpListener, TcpStream};

use super::Address;
use super::mem::{self, MemListener, PIPE_BYTES};
use super::piped::{PipedRead, PipedWrite};
#[cfg(unix)]
use super::unix as paths;

/// Accepts connections at one address. Dropped, it listens no more, and a socket's file that it made is removed.
pub struct Listener(Kind);

/// What a listener does beside its address.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ListenOptions {
    /// The mode of the file of a `unix://` address, from 0 to 0o777: who may connect. Nobody but the user by default, 0o600.
    pub unix_mode: u32,
}

impl Default for ListenOptions {
    fn default() -> Self {
        ListenOptions { unix_mode: 0o600 }
    }
}

impl ListenOptions {
    /// Sets the mode of the file of a `unix://` address.
    pub fn unix_mode(mut self, mode: u32) -> Self {
        self.unix_mode = mode;
        self
    }
}

enum Kind {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(paths::UnixPort),
    Mem(MemListener, String),
}

/// A connected stream with the address of its peer.
pub struct Stream {
    read: ReadHalf,
    write: WriteHalf,
    peer: String,
}

/// The half that is read.
pub enum ReadHalf {
    /// Of a TCP connection.
    Tcp(OwnedReadHalf),
    /// Of a socket in the file system.
    #[cfg(unix)]
    Unix(unix::OwnedReadHalf),
    /// Of a pipe in this process.
    Mem(tokio::io::ReadHalf<DuplexStream>),
    /// Of a connection that a protocol has: [`Piped`](super::Piped).
    Piped(PipedRead),
}

/// The half that is written.
pub enum WriteHalf {
    /// Of a TCP connection; shared with [`Direct`].
    Tcp(Arc<OwnedWriteHalf>),
    /// Of a socket in the file system; shared with [`Direct`].
    #[cfg(unix)]
    Unix(Arc<unix::OwnedWriteHalf>),
    /// Of a pipe in this process.
    Mem(tokio::io::WriteHalf<DuplexStream>),
    /// Of a connection that a protocol has: [`Piped`](super::Piped).
    Piped(PipedWrite),
}

impl Listener {
    /// Listens at `address`, with default [`ListenOptions`]; port 0 takes a free port.
    ///
    /// # Errors
    /// As [`Listener::bind_with`].
    ///
    /// # Cancel safety
    /// A dropped future listens nowhere.
    pub async fn bind(address: &Address) -> io::Result<Self> {
        Listener::bind_with(address, &ListenOptions::default()).await
    }

    /// Listens at `address`; port 0 takes a free port. A `unix://` address makes the file, whose directory must be there. A socket's
    /// file that is there already is removed if nobody listens to it any more.
    ///
    /// # Errors
    /// The system's: the address is taken, not ours, or not allowed. [`io::ErrorKind::NotFound`] where a path's directory is not there, which the error names. [`io::ErrorKind::AddrInUse`] also where a path leads to another kind
    /// of file, which stays, or where another process has held the lock of its directory for 2 s.
    ///
    /// # Cancel safety
    /// A dropped future listens nowhere, and leaves no file.
    pub async fn bind_with(address: &Address, options: &ListenOptions) -> io::Result<Self> {
        match address {
            #[cfg(unix)]
            Address::Unix(path) => {
                paths::UnixPort::bind(path, options.unix_mode).await.map(|port| Listener(Kind::Unix(port)))
            }
            #[cfg(not(unix))]
            Address::Unix(_) => Err(no_unix(options)),
            Address::Tcp(host) => TcpListener::bind(host).await.map(|listener| Listener(Kind::Tcp(listener))),
            Address::Mem(name) => MemListener::bind(name).map(|mem| Listener(Kind::Mem(mem, name.clone()))),
        }
    }

    /// Accepts what connects to a socket that listens already, as one that a service manager hands in.
    ///
    /// # Errors
    /// The system's.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn from_tcp(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener).map(|listener| Listener(Kind::Tcp(listener)))
    }

    /// The same for a socket in the file system. Its file stays when the listener is dropped: whoever made it removes it.
    ///
    /// # Errors
    /// The system's.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[cfg(unix)]
    pub fn from_unix(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        paths::UnixPort::handed_in(listener).map(|port| Listener(Kind::Unix(port)))
    }

    /// Where it listens, with the port that it took.
    ///
    /// # Errors
    /// The system's.
    pub fn address(&self) -> io::Result<Address> {
        match &self.0 {
            Kind::Tcp(listener) => listener.local_addr().map(|address| Address::Tcp(address.to_string())),
            #[cfg(unix)]
            Kind::Unix(port) => Ok(Address::Unix(port.path().to_owned())),
            Kind::Mem(_, name) => Ok(Address::Mem(name.clone())),
        }
    }

    /// The next connection.
    ///
    /// # Errors
    /// The system's, for one connection or for want of descriptors; the listener can be asked again.
    ///
    /// # Cancel safety
    /// No connection is lost by dropping the future.
    pub async fn accept(&mut self) -> io::Result<Stream> {
        match &mut self.0 {
            Kind::Tcp(listener) => {
                // What fails for one connection, which may be gone again by now, is not the listener's trouble.
                loop {
                    let (stream, peer) = listener.accept().await?;
                    if let Ok(stream) = Stream::tcp(stream, format!("tcp://{peer}")) {
                        return Ok(stream);
                    }
                }
            }
            #[cfg(unix)]
            Kind::Unix(port) => {
                let stream = port.accept().await?;
                Ok(Stream::unix(stream, format!("unix://{}", port.path().display())))
            }
            Kind::Mem(listener, name) => {
                let stream = listener.accept().await?;
                Ok(Stream::mem(stream, format!("mem://{name}")))
            }
        }
    }
}

impl Stream {
    /// Connects to `address`.
    ///
    /// # Errors
    /// The system's: the name is unknown, nobody listens, the network is away.
    ///
    /// # Cancel safety
    /// A dropped future leaves no connection.
    pub async fn connect(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(host) => Stream::tcp(TcpStream::connect(host).await?, address.to_string()),
            #[cfg(unix)]
            Address::Unix(path) => Ok(Stream::unix(paths::connect(path).await?, address.to_string())),
            #[cfg(not(unix))]
            Address::Unix(_) => Err(no_unix(&ListenOptions::default())),
            Address::Mem(name) => Ok(Stream::mem(mem::connect(name).await?, address.to_string())),
        }
    }

    /// Two streams in this process, each the other's peer.
    pub fn pair() -> (Stream, Stream) {
        let (one, other) = duplex(PIPE_BYTES);
        (Stream::mem(one, "mem://pair".to_owned()), Stream::mem(other, "mem://pair".to_owned()))
    }

    fn tcp(stream: TcpStream, peer: String) -> io::Result<Self> {
        // A call must not wait for the answer to the one before: batches are ours to make.
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        Ok(Stream { read: ReadHalf::Tcp(read), write: WriteHalf::Tcp(Arc::new(write)), peer })
    }

    pub(super) fn piped(read: ReadHalf, write: WriteHalf, peer: String) -> Self {
        Stream { read, write, peer }
    }

    #[cfg(unix)]
    fn unix(stream: tokio::net::UnixStream, peer: String) -> Self {
        let (read, write) = stream.into_split();
        Stream { read: ReadHalf::Unix(read), write: WriteHalf::Unix(Arc::new(write)), peer }
    }

    fn mem(stream: DuplexStream, peer: String) -> Self {
        let (read, write) = split(stream);
        Stream { read: ReadHalf::Mem(read), write: WriteHalf::Mem(write), peer }
    }

    /// The means to write without waiting, where the transport has them.
    pub(super) fn direct(&self) -> Option<Direct> {
        self.write.direct()
    }

    /// The address of the other side.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// Both halves.
    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        (self.read, self.write)
    }
}

impl ReadHalf {
    /// Whether it is a socket's, which the system has the bytes of.
    pub(crate) fn is_socket(&self) -> bool {
        match self {
            ReadHalf::Tcp(_) => true,
            #[cfg(unix)]
            ReadHalf::Unix(_) => true,
            ReadHalf::Mem(_) | ReadHalf::Piped(_) => false,
        }
    }

    /// Reads what a socket has at this moment, whether or not the runtime knows of it yet: bytes, 0 at its end, or its error, which the system tells of only
    /// once. `None` where that is nothing, or there is no room.
    pub(crate) fn read_now(&self, into: &mut [u8]) -> Option<io::Result<usize>> {
        if into.is_empty() {
            return None;
        }
        let read = match self {
            ReadHalf::Tcp(half) => (&*SockRef::from(half.as_ref())).read(into),
            #[cfg(unix)]
            ReadHalf::Unix(half) => (&*SockRef::from(half.as_ref())).read(into),
            ReadHalf::Mem(_) | ReadHalf::Piped(_) => return None,
        };
        match read {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                None
            }
            read => Some(read),
        }
    }

    /// Waits, behind the end of what the other side says, until it does not hear any more either: it has reset the connection. A plain end says
    /// nothing of that, so for pipes of this process and connections of a protocol, whose other side cannot tell more, this waits for ever.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn reset(&self) -> io::Error {
        let known = loop {
            let (ready, error) = match self {
                ReadHalf::Tcp(half) => (half.ready(Interest::ERROR).await, half.as_ref().take_error()),
                #[cfg(unix)]
                ReadHalf::Unix(half) => (half.ready(Interest::ERROR).await, half.as_ref().take_error()),
                ReadHalf::Mem(_) | ReadHalf::Piped(_) => pending().await,
            };
            match (ready, error) {
                // It was woken for nothing.
                (Ok(ready), Ok(None)) if !ready.is_error() => tokio::task::yield_now().await,
                (Ok(_), error) => break error,
                (Err(error), _) => break Err(error),
            }
        };
        // Whoever tried to write meanwhile has taken the error already.
        known.map_or_else(
            |error| error,
            |error| error.unwrap_or_else(|| io::ErrorKind::ConnectionReset.into()),
        )
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ReadHalf::Tcp(half) => Pin::new(half).poll_read(cx, buf),
            #[cfg(unix)]
            ReadHalf::Unix(half) => Pin::new(half).poll_read(cx, buf),
            ReadHalf::Mem(half) => Pin::new(half).poll_read(cx, buf),
            ReadHalf::Piped(half) => half.poll_read(cx, buf),
        }
    }
}

/// Writes what a socket takes. Mostly there is one chunk, for which the system has less to do.
macro_rules! try_write {
    ($half:expr, $chunks:expr) => {
        match $chunks {
            [one] => $half.try_write(one),
            chunks => $half.try_write_vectored(chunks),
        }
    };
}

/// Writes what the socket takes at once, from whichever thread has something. The caller sees to it that one writes at a time.
pub struct Direct(Socket);

enum Socket {
    Tcp(Arc<OwnedWriteHalf>),
    #[cfg(unix)]
    Unix(Arc<unix::OwnedWriteHalf>),
}

impl Direct {
    /// Writes what fits of `chunks`, one behind the other, and says how much.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::WouldBlock`] where nothing fits.
    pub fn try_write_vectored(&self, chunks: &[IoSlice<'_>]) -> io::Result<usize> {
        match &self.0 {
            Socket::Tcp(half) => try_write!(half, chunks),
            #[cfg(unix)]
            Socket::Unix(half) => try_write!(half, chunks),
        }
    }

    /// The same, for pieces as they are.
    pub(super) fn try_write_parts(&self, parts: &[&[u8]]) -> io::Result<usize> {
        match parts {
            [one] => self.try_write_vectored(&[IoSlice::new(one)]),
            parts => {
                let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
                self.try_write_vectored(&slices)
            }
        }
    }
}

impl WriteHalf {
    /// The means to write without waiting, where the transport has them.
    pub fn direct(&self) -> Option<Direct> {
        match self {
            WriteHalf::Tcp(half) => Some(Direct(Socket::Tcp(Arc::clone(half)))),
            #[cfg(unix)]
            WriteHalf::Unix(half) => Some(Direct(Socket::Unix(Arc::clone(half)))),
            WriteHalf::Mem(_) | WriteHalf::Piped(_) => None,
        }
    }

    /// Writes some of `bytes`, and says how many.
    ///
    /// # Errors
    /// The system's.
    ///
    /// # Cancel safety
    /// A dropped future has written nothing.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)]).await
    }

    /// Writes some bytes of `chunks`, one behind the other, and says how many.
    ///
    /// # Errors
    /// The system's.
    ///
    /// # Cancel safety
    /// A dropped future has written nothing.
    pub async fn write_vectored(&mut self, chunks: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            WriteHalf::Tcp(half) => loop {
                match try_write!(half, chunks) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => half.writable().await?,
                    done => return done,
                }
            },
            #[cfg(unix)]
            WriteHalf::Unix(half) => loop {
                match try_write!(half, chunks) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => half.writable().await?,
                    done => return done,
                }
            },
            WriteHalf::Mem(half) => half.write_vectored(chunks).await,
            WriteHalf::Piped(half) => half.write(chunks.first().map_or(&[], |first| first)).await,
        }
    }

    /// Ends the connection, once the other half is dropped too, without waiting for what was written: over TCP by a reset.
    pub(super) fn abort(self) {
        if let WriteHalf::Tcp(half) = self
            && let Ok(half) = Arc::try_unwrap(half)
        {
            let _ = half.as_ref().set_zero_linger();
            half.forget(); // Else its drop would say in good order that nothing more comes.
        }
    }

    /// Tells the peer that nothing more comes. A socket does so once every [`Direct`] of it is dropped, too.
    ///
    /// # Cancel safety
    /// Dropping the future drops the half, which closes a socket's direction all the same.
    pub async fn finish(self) {
        match self {
            WriteHalf::Tcp(half) => drop(half),
            #[cfg(unix)]
            WriteHalf::Unix(half) => drop(half),
            WriteHalf::Mem(mut half) => {
                let _ = half.shutdown().await;
            }
            WriteHalf::Piped(half) => half.finish(),
        }
    }
}

#[cfg(not(unix))]
fn no_unix(_: &ListenOptions) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "this system has no sockets in the file system")
}
