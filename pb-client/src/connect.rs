use std::time::Duration;

use pb_core::broker::Config;
use pb_core::objects::Reference;
use pb_core::reactor::{Address, AddressError, Stream};
use pb_core::{Broker, Limits, Stub};
use tokio::time::timeout;

use crate::error::ConnectError;
use crate::reconnect::Reconnect;
use crate::reconnecting::Reconnecting;

/// Connects to a server at `tcp://HOST:PORT`, `unix://PATH` or `mem://NAME` and waits for its hello, for at most 10 s. [`Connect`] is the same with options.
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
    Connect::to(address).open().await
}

/// How to connect, and where to. Twisted: `connectTCP` and its like, with a `PBClientFactory` (spread/pb.py).
///
/// ```no_run
/// # use std::time::Duration;
/// # use pb_client::{Connect, ConnectError};
/// # async fn run() -> Result<(), ConnectError> {
/// let broker = Connect::to("tcp://bank-a:8787")
///     .or("tcp://bank-b:8787")
///     .timeout(Duration::from_secs(2))
///     .open()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "nothing is connected before it is opened"]
pub struct Connect {
    addresses: Vec<String>,
    timeout: Duration,
    limits: Limits,
    root: Option<Reference>,
}

impl Connect {
    /// To `address`: `tcp://HOST:PORT`, `unix://PATH` or `mem://NAME`.
    pub fn to(address: impl Into<String>) -> Self {
        Connect {
            addresses: vec![address.into()],
            timeout: Duration::from_secs(10),
            limits: Limits::default(),
            root: None,
        }
    }

    /// Or to `address`, where none of those before gives a connection.
    pub fn or(mut self, address: impl Into<String>) -> Self {
        self.addresses.push(address.into());
        self
    }

    /// How long each address may take, from looking its name up to the server's hello; default 10 s. The hello has 5 s of that at the most.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = time;
        self
    }

    /// What the server may make this side keep.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Serves `root` to the server, which may call it as soon as there is a connection. It does not hold the connection open.
    pub fn serve(mut self, root: &impl Stub) -> Self {
        self.root = Some(root.as_reference().clone());
        self
    }

    /// Tries the addresses in their order, and gives the first connection.
    ///
    /// # Errors
    /// [`ConnectError::Address`] before anything is tried; else the error of the one address, or [`ConnectError::All`]. Nothing is left open.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time enabled.
    ///
    /// # Cancel safety
    /// Dropping the future closes whatever is open by then.
    pub async fn open(self) -> Result<Broker, ConnectError> {
        self.parsed()?.open().await
    }

    /// A handle that connects when something is asked for, and again when the connection is lost, as `how` says. Nothing is connected
    /// yet.
    ///
    /// # Errors
    /// One of the texts is no address.
    pub fn reconnecting(self, how: Reconnect) -> Result<Reconnecting, AddressError> {
        Ok(Reconnecting::new(self.parsed()?, how))
    }

    fn parsed(self) -> Result<Target, AddressError> {
        let Connect { addresses, timeout, limits, root } = self;
        let addresses = addresses.iter().map(|address| address.parse()).collect::<Result<_, _>>()?;
        Ok(Target { addresses, timeout, limits, root })
    }
}

/// Where connections go to.
pub(crate) struct Target {
    /// At least one.
    addresses: Vec<Address>,
    timeout: Duration,
    limits: Limits,
    root: Option<Reference>,
}

impl Target {
    /// Connects to the first address that lets it.
    pub(crate) async fn open(&self) -> Result<Broker, ConnectError> {
        let mut errors = Vec::new();
        for address in &self.addresses {
            match self.try_one(address).await {
                Ok(broker) => return Ok(broker),
                Err(error) => {
                    tracing::debug!(%address, %error, "no connection");
                    errors.push(error);
                }
            }
        }
        match errors.pop() {
            Some(only) if errors.is_empty() => Err(only),
            last => {
                errors.extend(last);
                Err(ConnectError::All(errors))
            }
        }
    }

    async fn try_one(&self, address: &Address) -> Result<Broker, ConnectError> {
        let connecting = async {
            let unreachable = |source| ConnectError::Unreachable { address: address.clone(), source };
            let stream = Stream::connect(address).await.map_err(unreachable)?;
            let config = Config { root: self.root.clone(), limits: self.limits, ..Config::default() };
            let no_hello = |failure| ConnectError::Handshake { address: address.clone(), failure };
            Broker::open(stream, config).await.map_err(no_hello)
        };
        match timeout(self.timeout, connecting).await {
            Ok(done) => done,
            Err(_) => Err(ConnectError::TimedOut { address: address.clone(), after: self.timeout }),
        }
    }
}
