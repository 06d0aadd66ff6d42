//! Listening on a path of the file system, and what happens to the file: nobody connects before it has its mode, a stale one makes room,
//! a live one or another kind of file never does.
//!
//! Twisted: `UNIXServerEndpoint` with `mode` and `wantPID` (internet/endpoints.py, internet/unix.py). Its lock is a file beside the
//! socket, which stays behind after a crash; ours is a lock on the directory, which the system lets go.

use std::fs::{self, File, Metadata, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio::time::{Instant, sleep};

/// Accepts connections to one path. The file goes when this is dropped, if it still is this socket's.
pub(super) struct UnixPort {
    listener: UnixListener,
    path: PathBuf,
    /// Absent where the socket was handed in: its file is its maker's.
    made: Option<Made>,
}

/// The file of a bound socket, by what the system knows it by. No other gets the same number while the socket is open.
struct Made {
    path: PathBuf,
    file: (u64, u64),
}

impl UnixPort {
    pub(super) async fn bind(path: &Path, mode: u32) -> io::Result<Self> {
        if mode > 0o777 {
            let text = format!("{mode:o} is no mode for a socket: it goes from 0 to 777, in octal");
            return Err(io::Error::new(ErrorKind::InvalidInput, text));
        }
        let lock = lock_directory(path).await?;
        let socket = match bind(path) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                remove_stale(path, lock.is_some()).await?;
                bind(path)?
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(no_directory(path).unwrap_or(error));
            }
            bound => bound?,
        };
        // From here on it is removed, whatever fails.
        let file = identity(&fs::symlink_metadata(path)?);
        let mut made = Unfinished(Some(Made { path: std::path::absolute(path)?, file }));
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        // Until it listens, whoever connects is refused: nobody slips in under the mode that the process' mask gave the file.
        let listener = socket.listen(BACKLOG)?;
        Ok(UnixPort { listener, path: path.to_owned(), made: made.0.take() })
    }

    /// A socket that somebody else has bound.
    pub(super) fn handed_in(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        let path = listener.local_addr()?.as_pathname().map(Path::to_owned).unwrap_or_default();
        Ok(UnixPort { listener, path, made: None })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) async fn accept(&mut self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for UnixPort {
    fn drop(&mut self) {
        // Before the socket closes: as long as it is open, nobody else takes its file for a stale one.
        drop(Unfinished(self.made.take()));
    }
}

/// Removes the file when dropped, unless it is another one by now.
struct Unfinished(Option<Made>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(made) = self.0.take()
            && fs::symlink_metadata(&made.path).is_ok_and(|now| identity(&now) == made.file)
        {
            let _ = fs::remove_file(&made.path);
        }
    }
}

/// Connects; where the other side's queue is full, waits for room, as a TCP connection would.
pub(super) async fn connect(path: &Path) -> io::Result<UnixStream> {
    let until = Instant::now() + QUEUE_TIME;
    let mut pause = Duration::from_millis(1);
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < until => {
                sleep(pause).await;
                pause = (pause * 2).min(LOCK_PAUSE);
            }
            done => return done,
        }
    }
}

fn bind(path: &Path) -> io::Result<UnixSocket> {
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    Ok(socket)
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What the system leaves unsaid where it finds no place for a file.
fn no_directory(path: &Path) -> Option<io::Error> {
    let directory = directory_of(path);
    let text = || {
        format!(
            "its directory {} is not there: make it first, for only the socket is made",
            directory.display()
        )
    };
    (!directory.exists()).then(|| io::Error::new(ErrorKind::NotFound, text()))
}

/// Keeps others of this kind from binding or removing in the directory. Nothing where its file system has no locks, or it can't be read.
async fn lock_directory(path: &Path) -> io::Result<Option<File>> {
    let Ok(directory) = File::open(directory_of(path)) else { return Ok(None) };
    let until = Instant::now() + LOCK_TIME;
    loop {
        match directory.try_lock() {
            Ok(()) => return Ok(Some(directory)),
            Err(TryLockError::WouldBlock) if Instant::now() < until => sleep(LOCK_PAUSE).await,
            Err(TryLockError::WouldBlock) => {
                let text = format!(
                    "another process holds the lock of the directory of {} for {} s",
                    path.display(),
                    LOCK_TIME.as_secs()
                );
                return Err(io::Error::new(ErrorKind::AddrInUse, text));
            }
            Err(TryLockError::Error(_)) => return Ok(None),
        }
    }
}

/// Removes a socket's file whose process is gone. Only under the lock: a socket that is bound and does not listen yet looks the same.
async fn remove_stale(path: &Path, locked: bool) -> io::Result<()> {
    let in_use = |why: String| Err(io::Error::new(ErrorKind::AddrInUse, format!("{} {why}", path.display())));
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return in_use("is there, and no socket: it is not removed".to_owned());
    }
    match UnixStream::connect(path).await {
        Ok(_) => in_use("has a listener already".to_owned()),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused && locked => fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            in_use("is stale, but its directory cannot be locked: remove it by hand".to_owned())
        }
        // Gone meanwhile.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => in_use(format!("is a socket that cannot be told dead: {error}")),
    }
}

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// How long a full queue of the other side's is waited for.
const QUEUE_TIME: Duration = Duration::from_secs(5);
/// How long another process is waited for that binds in the same directory.
const LOCK_TIME: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(20);
