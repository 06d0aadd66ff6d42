//! A listener whose connections can be counted: what `pb_server::Server` does, without its manners.

use crate::census::Connections;
use anyhow::Result;
use pb_core::broker::Config;
use pb_core::objects::Stub;
use pb_core::reactor::{Address, Listener};
use pb_core::{Broker, Limits};
use std::sync::Arc;

/// Serves `root` on a free port in the background. Says where.
pub async fn serve(root: impl Stub, name: &'static str, connections: &Arc<Connections>) -> Result<String> {
    let address: Address = "tcp://127.0.0.1:0".parse()?;
    let mut listener = Listener::bind(&address).await?;
    let url = listener.address()?.to_string();
    let connections = Arc::clone(connections);
    tokio::spawn(async move {
        loop {
            let Ok(stream) = listener.accept().await else { continue };
            let root = Some(root.as_reference().clone());
            let config = Config { root, limits: Limits::default(), stays: true, ..Config::default() };
            let connections = Arc::clone(&connections);
            tokio::spawn(async move {
                // A connection that was cut before its hello is none.
                if let Ok(broker) = Broker::open(stream, config).await {
                    connections.add(name, &broker);
                }
            });
        }
    });
    Ok(url)
}
