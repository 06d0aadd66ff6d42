//! The serving process.

use crate::machine::State;
use crate::peer::Peer;
use crate::peers::{self, Visitor};
use crate::workload::{self, Workload};
use crate::{Place, process};
use anyhow::Result;

/// Serves a peer: prints its address, then its state for each line that comes in. Returns never; the
/// process ends with its standard input.
pub fn serve(peer: &str, workload: &str, place: Place) -> Result<()> {
    peers::visit(peer, Serves { workload: workload::find(workload)?, place })?
}

struct Serves {
    workload: Workload,
    place: Place,
}

impl Visitor for Serves {
    type Output = Result<()>;

    fn visit<P: Peer>(self) -> Result<()> {
        process::block_on(self.place, P::LOCAL, async {
            process::say(&P::listen(&self.workload).await?)?;
            std::thread::spawn(answer_states);
            std::future::pending().await
        })?
    }
}

fn answer_states() {
    while process::wait_for_go().is_ok() {
        let told = State::of_this_process().and_then(|state| process::say(&state));
        if told.is_err() {
            break;
        }
    }
    std::process::exit(0)
}
