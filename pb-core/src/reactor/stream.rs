use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWriteExt, DuplexStream, ReadBuf, duplex, split};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::Address;
use super::mem::{self, MemListener, PIPE_BYTES};

/// Accepts connections at one address.
pub struct Listener(Kind);

enum Kind {
    Tcp(TcpListener),
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
    /// Of a pipe in this process.
    Mem(tokio::io::ReadHalf<DuplexStream>),
}

/// The half that is written.
pub enum WriteHalf {
    /// Of a TCP connection; shared with [`Direct`].
    Tcp(Arc<OwnedWriteHalf>),
    /// Of a pipe in this process.
    Mem(tokio::io::WriteHalf<DuplexStream>),
}

impl Listener {
    /// Listens at `address`; port 0 takes a free port.
    ///
    /// # Errors
    /// The system's: the address is taken, not ours, or not allowed.
    ///
    /// # Cancel safety
    /// A dropped future listens nowhere.
    pub async fn bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(host) => TcpListener::bind(host).await.map(|listener| Listener(Kind::Tcp(listener))),
            Address::Mem(name) => MemListener::bind(name).map(|mem| Listener(Kind::Mem(mem, name.clone()))),
        }
    }

    /// Where it listens, with the port that it took.
    ///
    /// # Errors
    /// The system's.
    pub fn address(&self) -> io::Result<Address> {
        match &self.0 {
            Kind::Tcp(listener) => listener.local_addr().map(|address| Address::Tcp(address.to_string())),
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

    fn mem(stream: DuplexStream, peer: String) -> Self {
        let (read, write) = split(stream);
        Stream { read: ReadHalf::Mem(read), write: WriteHalf::Mem(write), peer }
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

impl AsyncRead for ReadHalf {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ReadHalf::Tcp(half) => Pin::new(half).poll_read(cx, buf),
            ReadHalf::Mem(half) => Pin::new(half).poll_read(cx, buf),
        }
    }
}

/// Writes what the socket takes at once, from whichever thread has something. The caller sees to it that one writes at a time.
pub struct Direct(Arc<OwnedWriteHalf>);

impl Direct {
    /// Writes what fits, and says how much.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::WouldBlock`] where nothing fits.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }
}

impl WriteHalf {
    /// The means to write without waiting, where the transport has them.
    pub fn direct(&self) -> Option<Direct> {
        match self {
            WriteHalf::Tcp(half) => Some(Direct(Arc::clone(half))),
            WriteHalf::Mem(_) => None,
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
        match self {
            WriteHalf::Tcp(half) => loop {
                match half.try_write(bytes) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => half.writable().await?,
                    done => return done,
                }
            },
            WriteHalf::Mem(half) => half.write(bytes).await,
        }
    }

    /// Tells the peer that nothing more comes. A TCP connection does so once every [`Direct`] of it is dropped, too.
    pub async fn finish(self) {
        match self {
            WriteHalf::Tcp(half) => drop(half),
            WriteHalf::Mem(mut half) => {
                let _ = half.shutdown().await;
            }
        }
    }
}
