//! A link between the client and the server on which a round trip takes a while and can be counted: a ferry. It waits until somebody has
//! something to send, gives everybody a moment to come aboard, and crosses.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::sleep;

/// A ferry to a server, at an address of its own.
pub struct Ferry {
    pub url: String,
    crossings: Arc<AtomicU64>,
    sunk: Arc<Notify>,
}

impl Ferry {
    /// Takes connections, and carries what they send to the server at `url` and back.
    pub async fn to(url: &str) -> io::Result<Ferry> {
        let server = url.trim_start_matches("tcp://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let ferry = Ferry {
            url: format!("tcp://{}", listener.local_addr()?),
            crossings: Arc::default(),
            sunk: Arc::default(),
        };
        let (crossings, sunk) = (Arc::clone(&ferry.crossings), Arc::clone(&ferry.sunk));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                let ((from, back), (answers, to)) = (client.into_split(), server.into_split());
                let (crossings, sunk) = (Arc::clone(&crossings), Arc::clone(&sunk));
                tokio::spawn(async move {
                    let ways_back = AtomicU64::new(0);
                    tokio::select! {
                        () = carry(from, to, &crossings) => {}
                        () = carry(answers, back, &ways_back) => {}
                        // Both ends see their stream end.
                        () = sunk.notified() => {}
                    }
                });
            }
        });
        Ok(ferry)
    }

    /// How often it has crossed from the client to the server: each crossing is a round trip, or would be.
    pub fn crossings(&self) -> u64 {
        self.crossings.load(Ordering::Relaxed)
    }

    /// Ends the connections that there are, with all that is on its way.
    pub fn sink(&self) {
        self.sunk.notify_waiters();
    }
}

async fn carry(from: OwnedReadHalf, mut to: OwnedWriteHalf, crossings: &AtomicU64) {
    let mut aboard = vec![0; 64 * 1024];
    while from.readable().await.is_ok() {
        sleep(CROSSING).await;
        match from.try_read(&mut aboard) {
            Ok(0) => return,
            Ok(len) if to.write_all(&aboard[..len]).await.is_err() => return,
            Ok(_) => crossings.fetch_add(1, Ordering::Relaxed),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(_) => return,
        };
    }
}

/// From one side to the other.
const CROSSING: Duration = Duration::from_millis(20);
