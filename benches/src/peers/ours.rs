//! The broker of this repository.

use crate::load::{Lane, Tally};
use crate::peer::{Calls, Peer};
use anyhow::{Context, Result};
use pb_server::{Referenceable, Server, remote_interface};
use std::net::SocketAddr;
use tokio::task::JoinHandle;

/// pb-server and pb-client.
pub struct Ours;

/// What is served: see the workloads.
#[remote_interface]
pub trait Adder {
    /// The sum, wrapping.
    async fn add(&self, a: i64, b: i64) -> i64;
}

#[derive(Referenceable)]
struct Sum;

impl Adder for Sum {
    async fn add(&self, a: i64, b: i64) -> i64 {
        a.wrapping_add(b)
    }
}

impl Peer for Ours {
    type Client = AdderRef;

    const NAME: &'static str = "ours";
    const SETTINGS: &'static str = "defaults";

    async fn listen() -> Result<SocketAddr> {
        let running = Server::new(AdderRef::new(Sum)).listen("tcp://127.0.0.1:0").await?.spawn()?;
        let urls = running.urls();
        let url = urls.first().context("the server listens nowhere")?;
        let address =
            url.strip_prefix("tcp://").context("the server listens on something else than TCP")?.parse()?;
        // Serves until the process ends.
        std::mem::forget(running);
        Ok(address)
    }

    async fn connect(address: SocketAddr) -> Result<AdderRef> {
        Ok(pb_client::connect(&format!("tcp://{address}")).await?.root())
    }

    fn start(lane: Lane<AdderRef>) -> JoinHandle<Tally> {
        tokio::spawn(lane.run())
    }
}

impl Calls for AdderRef {
    async fn add(&self, a: i64, b: i64) -> Result<i64> {
        Ok(self.add(a, b).await?)
    }
}
