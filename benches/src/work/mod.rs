//! The calling process: does a workload's work and tells what came of it. A file for each kind of work.

mod chain;
mod hold;
mod idle;
mod lane;
mod lanes;
mod paced;
mod wire;

pub use lane::{Lane, Tally};

use crate::Place;
use crate::machine::Usage;
use crate::peer::Peer;
use crate::peers::{self, Visitor};
use crate::process::{self, Outcome, Said};
use crate::workload::{self, Work, Workload};
use anyhow::Result;
use std::net::SocketAddr;
use std::time::Duration;

/// Does a workload's work with a served peer, and prints the outcome.
pub fn drive(peer: &str, workload: &str, address: SocketAddr, seconds: f64, place: Place) -> Result<()> {
    let job = Job { workload: workload::find(workload)?, address, time: Duration::from_secs_f64(seconds) };
    peers::visit(peer, Runs { place, job })?
}

/// One measurement, as the calling process sees it.
struct Job {
    workload: Workload,
    address: SocketAddr,
    time: Duration,
}

struct Runs {
    place: Place,
    job: Job,
}

impl Visitor for Runs {
    type Output = Result<()>;

    fn visit<P: Peer>(self) -> Result<()> {
        process::block_on(self.place, P::LOCAL, async {
            let outcome = self.job.run::<P>().await?;
            process::say(&Said::Done(outcome))
        })?
    }
}

impl Job {
    async fn run<P: Peer>(&self) -> Result<Outcome> {
        match self.workload.work {
            Work::Add { connections, .. } => lanes::run::<P>(self, connections).await,
            Work::Echo { .. } | Work::Cycle { .. } | Work::Callback => lanes::run::<P>(self, 1).await,
            Work::Paced { per_second } => paced::run::<P>(self, per_second).await,
            Work::Hold { objects } => hold::run::<P>(self, objects).await,
            Work::Idle { connections } => idle::run::<P>(self, connections).await,
            Work::Chain { depth } => chain::run::<P>(self, depth).await,
            Work::Wire => wire::run::<P>(self).await,
        }
    }

    async fn connect<P: Peer>(&self) -> Result<P::Client> {
        P::connect(self.address, &self.workload).await
    }
}

/// Tells the parent that all is set up, and waits for its word.
fn warm() -> Result<()> {
    process::say(&Said::Warm)?;
    process::wait_for_go()
}

/// Processor time of both processes since some moment.
struct BothSince {
    server: Usage,
    client: Usage,
}

impl BothSince {
    fn now() -> Result<BothSince> {
        let server = process::look()?.server.cpu;
        Ok(BothSince { server, client: Usage::of_this_process()? })
    }

    /// In seconds.
    fn until_now(&self) -> Result<f64> {
        let client = Usage::of_this_process()?.since(self.client);
        Ok(client.seconds() + process::look()?.server.cpu.since(self.server).seconds())
    }
}

/// The time that this share of the calls stayed under, in microseconds; None of no calls.
fn percentile_micros(sorted_nanos: &[u32], share: f64) -> Option<f64> {
    let at = (sorted_nanos.len() as f64 * share) as usize;
    sorted_nanos.get(at).map(|nanos| f64::from(*nanos) / 1e3)
}

/// The warm-up's time as a share of the measurement's.
const WARM_UP: f64 = 0.25;
