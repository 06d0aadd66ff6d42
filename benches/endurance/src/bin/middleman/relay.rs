//! What stands between two processes: passes bytes on, until it is told to cut.

use anyhow::Result;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// A port that leads to another one.
pub struct Relay {
    url: String,
    cut: Arc<Notify>,
}

impl Relay {
    /// Leads from a free port to `url`.
    pub async fn to(url: &str) -> Result<Relay> {
        let host: SocketAddr = url.trim_start_matches("tcp://").parse()?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let relay = Relay { url: format!("tcp://{}", listener.local_addr()?), cut: Arc::default() };
        let cut = Arc::clone(&relay.cut);
        tokio::spawn(async move {
            loop {
                let Ok((from, _)) = listener.accept().await else { continue };
                let cut = Arc::clone(&cut);
                tokio::spawn(async move { pass(from, host, &cut).await });
            }
        });
        Ok(relay)
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Cuts all connections that go through it, wherever in a frame they are.
    pub fn cut(&self) {
        self.cut.notify_waiters();
    }
}

async fn pass(mut from: TcpStream, host: SocketAddr, cut: &Notify) {
    let cut = cut.notified();
    let Ok(mut to) = TcpStream::connect(host).await else { return };
    // Only time is lost without.
    let _ = (from.set_nodelay(true), to.set_nodelay(true));
    tokio::select! {
        () = cut => {}
        _ = copy_bidirectional(&mut from, &mut to) => {}
    }
}
