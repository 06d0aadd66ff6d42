//! The serving process.

use crate::machine::Usage;
use crate::peer::Peer;
use crate::peers::{self, Visitor};
use crate::{Place, process};
use anyhow::Result;

/// Serves a peer: prints its address, then its processor time for each line that comes in. Returns never; the
/// process ends with its standard input.
pub fn serve(peer: &str, place: Place) -> Result<()> {
    let runtime = process::runtime(place)?;
    peers::visit(peer, Serves { runtime })?
}

struct Serves {
    runtime: tokio::runtime::Runtime,
}

impl Visitor for Serves {
    type Output = Result<()>;

    fn visit<P: Peer>(self) -> Result<()> {
        self.runtime.block_on(async {
            process::say(&P::listen().await?)?;
            std::thread::spawn(answer_usage);
            std::future::pending().await
        })
    }
}

fn answer_usage() {
    while process::wait_for_go().is_ok() {
        let told = Usage::of_this_process().and_then(|usage| process::say(&usage));
        if told.is_err() {
            break;
        }
    }
    std::process::exit(0)
}
