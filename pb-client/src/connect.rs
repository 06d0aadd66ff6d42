use std::io;

use pb_core::broker::Config;
use pb_core::reactor::{Address, AddressError, Stream};
use pb_core::{Broker, Failure, Limits};
use thiserror::Error;

/// Why there is no connection.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The text is no address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Nobody answers there.
    #[error("cannot connect to {address}: {source}")]
    Unreachable {
        /// Where to.
        address: Address,
        /// What the system says.
        source: io::Error,
    },
    /// Somebody answers, but not as this protocol wants it.
    #[error("{address} is no broker: {failure}")]
    Handshake {
        /// Where to.
        address: Address,
        /// What went wrong.
        failure: Failure,
    },
}

/// Connects to a server at `tcp://HOST:PORT` or `mem://NAME` and waits for its hello.
///
/// # Errors
/// [`ConnectError`], a sentence each; nothing is left open.
///
/// # Panics
/// Outside a tokio runtime with I/O and time enabled.
///
/// # Cancel safety
/// Dropping the future closes whatever is open by then.
pub async fn connect(address: &str) -> Result<Broker, ConnectError> {
    let address: Address = address.parse()?;
    let stream = match Stream::connect(&address).await {
        Ok(stream) => stream,
        Err(source) => return Err(ConnectError::Unreachable { address, source }),
    };
    let config = Config { root: None, limits: Limits::default(), stays: false, ..Config::default() };
    Broker::open(stream, config).await.map_err(|failure| ConnectError::Handshake { address, failure })
}
