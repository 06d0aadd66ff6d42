//! Connections whose bytes come in odd pieces, and can be held back.

use pb_core::broker::{Broker, Config};
use pb_core::reactor::{ReadHalf, Stream, WriteHalf};
use pb_server::{Limits, Stub};
use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::things::ThingRef;

/// One connection, with the pipes between its ends.
pub(super) struct Link {
    pub(super) nodes: [usize; 2],
    pub(super) brokers: [Broker; 2],
    pub(super) blocked: [watch::Sender<bool>; 2],
    pub(super) pumps: [JoinHandle<()>; 2],
}

/// Moves bytes one way, in pieces of odd sizes, while it is not blocked.
async fn pump(mut from: ReadHalf, mut to: WriteHalf, mut blocked: watch::Receiver<bool>) {
    let mut buffer = [0; 97];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        if blocked.wait_for(|blocked| !blocked).await.is_err() || read == 0 {
            return to.finish().await;
        }
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            match to.write(rest).await {
                Ok(written @ 1..) => rest = &rest[written..],
                _ => return,
            }
        }
    }
}

pub(super) async fn link(nodes: [usize; 2], roots: [&ThingRef; 2]) -> Result<Link, String> {
    let (one, ones) = Stream::pair();
    let (other, others) = Stream::pair();
    let ((one_read, one_write), (other_read, other_write)) = (ones.into_split(), others.into_split());
    let blocked = [watch::Sender::new(false), watch::Sender::new(false)];
    let pumps = [
        tokio::spawn(pump(one_read, other_write, blocked[0].subscribe())),
        tokio::spawn(pump(other_read, one_write, blocked[1].subscribe())),
    ];
    let open = |stream, root: &ThingRef| {
        let root = Some(root.as_reference().clone());
        Broker::open(stream, Config { root, limits: Limits::default(), stays: true, ..Config::default() })
    };
    let (one, other) = tokio::join!(open(one, roots[0]), open(other, roots[1]));
    let brokers =
        [one.map_err(|failure| failure.to_string())?, other.map_err(|failure| failure.to_string())?];
    Ok(Link { nodes, brokers, blocked, pumps })
}
