//! Both ends in one process and on one thread, for a fixed number of calls: for callgrind and its like.

use crate::peer::{Calls, Peer};
use crate::peers::{self, Visitor};
use crate::workload::{self, Work, Workload};
use anyhow::{Result, ensure};
use futures::future::try_join_all;
use tokio::runtime::Builder;
use tokio::task::LocalSet;

/// Makes `calls` calls, `in_flight` at a time.
pub fn solo(peer: &str, calls: u64, in_flight: u64) -> Result<()> {
    ensure!(in_flight > 0, "no call would be in flight");
    peers::visit(peer, Solo { calls, in_flight })?
}

struct Solo {
    calls: u64,
    in_flight: u64,
}

impl Visitor for Solo {
    type Output = Result<()>;

    fn visit<P: Peer>(self) -> Result<()> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let work = Work::Add { connections: 1, in_flight: self.in_flight as usize };
        let workload = Workload { work, ..workload::find("pipe64")? };
        let calls = async {
            let client = P::connect(P::listen(&workload).await?, &workload).await?;
            for _ in 0..self.calls.div_ceil(self.in_flight) {
                let batch = (0..self.in_flight).map(|number| client.add(number.cast_signed(), i64::MIN));
                try_join_all(batch).await?;
            }
            Ok(())
        };
        if P::LOCAL { LocalSet::new().block_on(&runtime, calls) } else { runtime.block_on(calls) }
    }
}
