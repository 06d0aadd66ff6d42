//! The task that writes what the tables have sent, a batch at a time.

use std::sync::Arc;

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
    let mut batch = Chunks::of(line.frame_bytes as usize);
    loop {
        line.write.notified().await;
        // One turn of the runtime: whoever is about to send joins this batch instead of making one of its own.
        tokio::task::yield_now().await;
        let taken = loop {
            match line.take_batch(&mut batch) {
                Taken::Batch => {}
                taken => break taken,
            }
            if let Err(reason) = write(&mut half, &mut batch, &mut share).await {
                line.end(Failure::new(FailureKind::Disconnected, Ran::Maybe, reason), None);
                return run_ready(line);
            }
            line.written();
            tokio::task::yield_now().await;
        };
        share.has_waited();
        if taken == Taken::Nothing && line.ended().is_some() {
            return half.finish().await;
        }
    }
}

/// Writes all of `batch`; each step must come within the time that a stalled peer is given.
async fn write(half: &mut WriteHalf, batch: &mut Chunks, share: &mut Share) -> Result<(), String> {
    while !batch.is_empty() {
        let slices = batch.slices(share.most_bytes());
        let written = match share.at_once(half.write_vectored(&slices)).await {
            Some(written) => Ok(written),
            None => timeout(STALL, half.write_vectored(&batch.slices(share.most_bytes()))).await,
        };
        match written {
            Err(_) => return Err(format!("the peer took no bytes for {} s", STALL.as_secs())),
            Ok(Err(error)) => return Err(format!("the connection was lost: {error}")),
            Ok(Ok(0)) => return Err("the connection takes no bytes".to_owned()),
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
