//! The task that writes what the tables have sent, a batch at a time.

use std::sync::Arc;
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
pub(super) async fn run(line: Arc<Line>, lanes: Option<Lanes>, half: WriteHalf) {
    let gone = Gone(Arc::clone(&line));
    write_all(&line, Share::new(lanes), half).await;
    drop(gone);
}

/// Tells those who wait for it that nothing more is written, also when the runtime drops the task.
struct Gone(Arc<Line>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.gone();
    }
}

async fn write_all(line: &Arc<Line>, mut share: Share, mut half: WriteHalf) {
    let mut batch = Chunks::of(line.chunk_bytes());
    loop {
        line.write.heard().await;
        // One turn of the runtime: whoever is about to send joins this batch instead of making one of its own.
        tokio::task::yield_now().await;
        let taken = loop {
            match line.take_batch(&mut batch) {
                Taken::Batch => {}
                taken => break taken,
            }
            if let Err(Unwritten { reason, stalled }) = write(&mut half, &mut batch, &mut share).await {
                share.has_waited();
                if !stalled {
                    // Why it takes nothing more the peer may have said before: that counts, and is still read.
                    let _ = timeout(HEARD_OUT, line.heard_out()).await;
                }
                line.end(Failure::new(FailureKind::Disconnected, Ran::Maybe, reason), None);
                return run_ready(line);
            }
            if line.written() {
                // Others join what has come meanwhile.
                tokio::task::yield_now().await;
            }
        };
        share.has_waited();
        if taken == Taken::Nothing && line.ended().is_some() {
            return half.finish().await;
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
        let tried = {
            // Within braces, so that the task has room for one list, not for two.
            let slices = batch.slices(share.most_bytes());
            share.at_once(half.write_vectored(&slices)).await
        };
        let written = match tried {
            Some(written) => Ok(written),
            None => timeout(STALL, half.write_vectored(&batch.slices(share.most_bytes()))).await,
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
