//! Both ends in one process and on one thread, for a fixed number of calls: for callgrind and its like.

use crate::peer::{Calls, Peer};
use crate::peers::{self, Visitor};
use crate::workload::{self, Work, Workload};
use anyhow::{Result, ensure};
use futures::future::try_join_all;
use tokio::runtime::Builder;
use tokio::task::LocalSet;

/// Makes `calls` calls, `in_flight` at a time; or as many cycles of an object that is made, called and dropped.
pub fn solo(peer: &str, calls: u64, in_flight: u64, objects: bool) -> Result<()> {
    ensure!(in_flight > 0, "no call would be in flight");
    peers::visit(peer, Solo { calls, in_flight, objects })?
}

struct Solo {
    calls: u64,
    in_flight: u64,
    objects: bool,
}

impl Visitor for Solo {
    type Output = Result<()>;

    fn visit<P: Peer>(self) -> Result<()> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let in_flight = self.in_flight as usize;
        let work = match self.objects {
            false => Work::Add { connections: 1, in_flight },
            true => Work::Cycle { in_flight },
        };
        let workload = Workload { work, ..workload::find("pipe64")? };
        let calls = async {
            let client = P::connect(P::listen(&workload).await?, &workload).await?;
            for _ in 0..self.calls.div_ceil(self.in_flight) {
                let numbers = (0..self.in_flight).map(u64::cast_signed);
                if self.objects {
                    try_join_all(numbers.map(|number| cycle(&client, number))).await?;
                } else {
                    try_join_all(numbers.map(|number| client.add(number, i64::MIN))).await?;
                }
            }
            Ok(())
        };
        if P::LOCAL { LocalSet::new().block_on(&runtime, calls) } else { runtime.block_on(calls) }
    }
}

async fn cycle<C: Calls>(client: &C, number: i64) -> Result<()> {
    let object = client.make(number).await?;
    C::poke(&object, i64::MIN).await?;
    Ok(())
}
