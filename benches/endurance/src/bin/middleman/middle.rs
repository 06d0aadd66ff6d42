//! M: hands B's root to A, and nothing else.

use crate::api::{FarRef, Middle, MiddleRef};
use crate::census::{self, Connections};
use crate::serving;
use anyhow::{Context, Result};
use pb_client::Broker;
use pb_endurance::process;
use pb_server::Referenceable;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::timeout;

#[derive(Referenceable)]
struct Root {
    far: String,
    /// The connection to B that was made last.
    broker: Mutex<Option<Broker>>,
    connections: Arc<Connections>,
}

/// Serves until the parent is gone.
pub fn middle(far: &str) -> Result<()> {
    process::runtime()?.block_on(async {
        let connections = Arc::new(Connections::default());
        let root =
            Root { far: far.to_owned(), broker: Mutex::new(None), connections: Arc::clone(&connections) };
        process::say(&serving::serve(MiddleRef::new(root), "A", &connections).await?)?;
        let answering = tokio::task::spawn_blocking(move || census::answer(&connections, 2, |_| {}));
        answering.await.context("the answering thread has ended")?
    })
}

impl Middle for Root {
    async fn far(&self) -> Result<FarRef, String> {
        let mut kept = self.broker.lock().await;
        let living = match &*kept {
            // Ready at once where the connection has ended.
            Some(broker) => timeout(Duration::ZERO, broker.closed()).await.is_err().then(|| broker.clone()),
            None => None,
        };
        let broker = match living {
            Some(broker) => broker,
            None => {
                let broker = pb_client::connect(&self.far).await.map_err(|error| error.to_string())?;
                self.connections.add("B", &broker);
                kept.insert(broker).clone()
            }
        };
        Ok(broker.root())
    }
}
