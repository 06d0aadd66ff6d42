//! The task that writes what the tables have sent, a batch at a time.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::timeout;

use super::chunks::Chunks;
use super::lanes::{Lanes, Share};
use super::line::{Line, STALL};
use super::outgoing::Taken;
use super::ready::run_ready;
use crate::message::{Failure, FailureKind, Ran};
use crate::reactor::WriteHalf;

/// Writes until the connection has ended and everything before the end is written.
#[expect(
    clippy::manual_async_fn,
    reason = "it would have room for each argument twice, as long as the connection lives"
)]
pub(super) fn run(line: Arc<Line>, lanes: Option<Lanes>, half: WriteHalf) -> impl Future<Output = ()> + Send {
    async move {
        let gone = Gone(Arc::clone(&line));
        // A local, since those go in the opposite order: the socket is given back before anybody is told.
        let mut half = half;
        let mut share = Share::new(lanes);
        if write_all(&line, &mut share, &mut half).await {
            half.finish().await;
        } else {
            drop(half);
        }
        drop(gone);
    }
}

/// Tells those who wait for it that nothing more is written, also when the runtime drops the task, or a panic ends it: without it the connection has
/// ended, too.
struct Gone(Arc<Line>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.end(Failure::runtime_ended(), None);
        self.0.gone();
    }
}

/// Says whether all is written.
async fn write_all(line: &Arc<Line>, share: &mut Share, half: &mut WriteHalf) -> bool {
    let mut batch = Chunks::of(line.chunk_bytes());
    loop {
        line.write.heard().await;
        if !line.has_much() {
            // One turn of the runtime: whoever is about to send joins this batch instead of making one of its own.
            tokio::task::yield_now().await;
        }
        let taken = loop {
            match line.take_batch(&mut batch) {
                Taken::Batch => {}
                taken => break taken,
            }
            if let Err(Unwritten { reason, stalled }) = write(half, &mut batch, share).await {
                share.has_waited();
                if !stalled {
                    // Why it takes nothing more the peer may have said before: that counts, and is still read. On the heap, as what comes
                    // once, or seldom: a connection has room for it as long as it lives, else.
                    let _ = Box::pin(timeout(HEARD_OUT, line.heard_out())).await;
                }
                line.end(Failure::new(FailureKind::Disconnected, Ran::Maybe, reason), None);
                run_ready(line);
                return false;
            }
            if line.written() && !line.has_much() {
                // Others join what has come meanwhile.
                tokio::task::yield_now().await;
            }
        };
        share.has_waited();
        if taken == Taken::Nothing && line.ended().is_some() {
            return true;
        }
    }
}

/// Why a batch was not written.
struct Unwritten {
    reason: String,
    /// The peer is there, and takes nothing.
    stalled: bool,
}

/// How long what a peer has sent may take to be read once it takes nothing more.
const HEARD_OUT: Duration = Duration::from_secs(1);

/// Writes all of `batch`; each step must come within the time that a stalled peer is given.
async fn write(half: &mut WriteHalf, batch: &mut Chunks, share: &mut Share) -> Result<(), Unwritten> {
    let lost = |reason| Err(Unwritten { reason, stalled: false });
    while !batch.is_empty() {
        let written = match write_some(half, batch, share).await {
            Poll::Ready(written) => Ok(written),
            Poll::Pending => {
                share.has_waited();
                let most = share.most_bytes(0);
                let write = async { timeout(STALL, half.write_vectored(&batch.slices(most))).await };
                Box::pin(write).await
            }
        };
        match written {
            Err(_) => {
                let reason = format!("the peer took no bytes for {} s", STALL.as_secs());
                return Err(Unwritten { reason, stalled: true });
            }
            Ok(Err(error)) => return lost(format!("the connection was lost: {error}")),
            Ok(Ok(0)) => return lost("the connection takes no bytes".to_owned()),
            Ok(Ok(written)) => {
                batch.advance(written);
                if share.spend_bytes(written) {
                    share.turn().await;
                }
            }
        }
    }
    Ok(())
}

/// Writes what is taken at once. Nothing of it is kept beyond that.
async fn write_some(half: &mut WriteHalf, batch: &Chunks, share: &mut Share) -> Poll<io::Result<usize>> {
    poll_fn(|cx| {
        let slices = batch.slices(share.most_bytes(batch.len()));
        Poll::Ready(pin!(half.write_vectored(&slices)).poll(cx))
    })
    .await
}
