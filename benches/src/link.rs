//! A link between two processes of a measurement, in the parent's: it delays every byte, and counts them.

use anyhow::Result;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::sleep_until;

/// A link; it works as long as the runtime that it was opened on.
pub struct Link {
    /// Where it begins.
    pub address: SocketAddr,
    carried: Arc<AtomicU64>,
}

impl Link {
    /// Leads from a free port to `to`, and lets every byte come later by `delay`.
    pub async fn open(to: SocketAddr, delay: Duration) -> Result<Link> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let carried = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&carried);
        tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                let Ok(to) = TcpStream::connect(to).await else { continue };
                // Without it the figures are of Nagle's algorithm; they are then too large, not wrong.
                let _ = (from.set_nodelay(true), to.set_nodelay(true));
                let ((from_read, from_write), (to_read, to_write)) = (from.into_split(), to.into_split());
                tokio::spawn(later(from_read, to_write, delay, Arc::clone(&counter)));
                tokio::spawn(later(to_read, from_write, delay, Arc::clone(&counter)));
            }
        });
        Ok(Link { address, carried })
    }

    /// Bytes that it has carried, both directions.
    pub fn carried_bytes(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }
}

/// Passes bytes on, `delay` after they came; a byte that comes meanwhile does not wait for the one before it.
async fn later(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration, carried: Arc<AtomicU64>) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            carried.fetch_add(count as u64, Ordering::Relaxed);
            if sender.send((tokio::time::Instant::now() + delay, buffer[..count].to_vec())).is_err() {
                return;
            }
        }
    });
    while let Some((due, bytes)) = receiver.recv().await {
        sleep_until(due).await;
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}
