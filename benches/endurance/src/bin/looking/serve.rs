//! The server.

use anyhow::Result;
use pb_endurance::process::say;
use pb_server::inspect::Inspect;
use pb_server::{Limits, Referenceable, Server, remote_interface};

/// What is called.
#[remote_interface]
pub trait Desk {
    /// The sum, wrapping.
    async fn add(&self, a: i64, b: i64) -> i64;
    /// So many things.
    async fn make(&self, count: u64) -> Vec<ThingRef>;
}

/// What is held.
#[remote_interface]
pub trait Thing {
    /// Its number.
    async fn number(&self) -> u64;
}

#[derive(Referenceable)]
struct OneDesk;

#[derive(Referenceable)]
struct OneThing(u64);

impl Desk for OneDesk {
    async fn add(&self, a: i64, b: i64) -> i64 {
        a.wrapping_add(b)
    }

    async fn make(&self, count: u64) -> Vec<ThingRef> {
        (0..count).map(|number| ThingRef::new(OneThing(number))).collect()
    }
}

impl Thing for OneThing {
    async fn number(&self) -> u64 {
        self.0
    }
}

/// So many objects are not a client's to hold unless they are allowed.
pub fn limits() -> Limits {
    Limits { exports: 2_000_000, imports: 2_000_000, budget: 1 << 30, ..Limits::default() }
}

/// Serves on one thread until the parent is gone. Says where.
pub fn serve(inspect: Option<String>) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let server = Server::new(DeskRef::new(OneDesk)).limits(limits()).listen("tcp://127.0.0.1:0").await?;
        let server = match inspect {
            Some(url) => server.inspect(Inspect::at(url)).await?,
            None => server,
        };
        let running = server.spawn()?;
        say(&running.url())?;
        std::future::pending::<()>().await;
        Ok(())
    })
}
