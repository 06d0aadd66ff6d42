//! Connections inside one process, by name.

use std::collections::HashMap;
use std::io;
use std::sync::LazyLock;

use parking_lot::Mutex;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;

static NAMES: LazyLock<Mutex<HashMap<String, mpsc::Sender<DuplexStream>>>> = LazyLock::new(Mutex::default);

/// Bytes that one direction holds before its writer waits, like a socket's buffer.
pub(super) const PIPE_BYTES: usize = 256 << 10;
/// Connections that wait to be accepted.
const BACKLOG: usize = 128;

/// Accepts connections to one name; the name is free again once this is dropped.
pub(super) struct MemListener {
    name: String,
    accepted: mpsc::Receiver<DuplexStream>,
}

impl MemListener {
    pub(super) fn bind(name: &str) -> io::Result<Self> {
        let (sender, accepted) = mpsc::channel(BACKLOG);
        let mut names = NAMES.lock();
        if names.contains_key(name) {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                format!("mem://{name} has a listener already"),
            ));
        }
        names.insert(name.to_owned(), sender);
        Ok(MemListener { name: name.to_owned(), accepted })
    }

    pub(super) async fn accept(&mut self) -> io::Result<DuplexStream> {
        self.accepted.recv().await.ok_or_else(|| io::Error::other("the listener is closed"))
    }
}

impl Drop for MemListener {
    fn drop(&mut self) {
        NAMES.lock().remove(&self.name);
    }
}

pub(super) async fn connect(name: &str) -> io::Result<DuplexStream> {
    let refused =
        || io::Error::new(io::ErrorKind::ConnectionRefused, format!("nobody listens on mem://{name}"));
    let sender = NAMES.lock().get(name).cloned().ok_or_else(refused)?;
    let (ours, theirs) = duplex(PIPE_BYTES);
    sender.send(theirs).await.map_err(|_| refused())?;
    Ok(ours)
}
