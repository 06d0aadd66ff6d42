use std::io;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{Semaphore, watch};
use tokio::time::sleep;

use super::hub::{Alive, Stage};
use super::{Address, AddressError, Factory, ListenOptions, Listener, Reactor, Stream};

/// Where a reactor listens. Dropping this changes nothing.
///
/// Twisted: `Port` (internet/tcp.py), `IListeningPort`.
#[derive(Clone)]
pub struct Port {
    address: Address,
    stop: Arc<watch::Sender<bool>>,
    /// Goes when nobody listens any more.
    listening: watch::Receiver<()>,
}

/// Why a reactor does not listen.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The text is no address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The system does not let it.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: Address,
        /// What the system says.
        source: io::Error,
    },
    /// The reactor stops, or has stopped.
    #[error("the reactor has stopped: it listens nowhere any more")]
    Stopped,
}

impl Port {
    /// Where it listens, with the port that it took.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Accepts no more, and waits until nobody listens there: the address is free again. Its connections go on.
    ///
    /// # Cancel safety
    /// The first poll stops it for good; dropping the future later only stops waiting.
    pub async fn stop_listening(&self) {
        self.stop.send_replace(true);
        let mut listening = self.listening.clone();
        while listening.changed().await.is_ok() {}
    }
}

impl Reactor {
    /// Listens at `address`, with default [`ListenOptions`], and runs a protocol of `factory`'s for each connection. It has at most 10,000
    /// at the same time; further ones wait in the system's queue. What fails as one is accepted, or for want of descriptors, is waited out.
    ///
    /// # Errors
    /// [`ListenError`]; nothing is left.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    ///
    /// # Cancel safety
    /// A dropped future listens nowhere.
    pub async fn listen(&self, address: &str, factory: impl Factory) -> Result<Port, ListenError> {
        self.listen_with(address, &ListenOptions::default(), factory).await
    }

    /// The same with options.
    ///
    /// # Errors
    /// [`ListenError`]; nothing is left.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    ///
    /// # Cancel safety
    /// A dropped future listens nowhere.
    pub async fn listen_with(
        &self,
        address: &str,
        options: &ListenOptions,
        factory: impl Factory,
    ) -> Result<Port, ListenError> {
        let address: Address = address.parse()?;
        match Listener::bind_with(&address, options).await {
            Ok(listener) => self.listen_on(listener, factory),
            Err(source) => Err(ListenError::Listen { address, source }),
        }
    }

    /// The same on what listens already, as a socket that was handed in.
    ///
    /// # Errors
    /// [`ListenError`]; the listener is gone.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn listen_on(&self, listener: Listener, factory: impl Factory) -> Result<Port, ListenError> {
        let unknown = || Address::Mem("a listener without an address".to_owned());
        let address =
            listener.address().map_err(|source| ListenError::Listen { address: unknown(), source })?;
        if *self.inner.stage.borrow() == Stage::Closing {
            return Err(ListenError::Stopped);
        }
        let (stop, stopped) = watch::channel(false);
        let (here, listening) = watch::channel(());
        tokio::spawn(accept(listener, Arc::new(factory), Alive::new(self), stopped, here));
        Ok(Port { address, stop: Arc::new(stop), listening })
    }
}

/// Accepts until it is told to stop; connections go on without it.
async fn accept<F: Factory>(
    mut listener: Listener,
    factory: Arc<F>,
    alive: Alive,
    mut stopped: watch::Receiver<bool>,
    here: watch::Sender<()>,
) {
    let reactor = alive.reactor();
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut pause = FIRST_PAUSE;
    let told = async {
        let told = async { stopped.wait_for(|stopped| *stopped).await.map(drop) };
        let closing = reactor.wait_for(Stage::Closing);
        tokio::select! {
            Ok(()) = told => {}
            // A port whose handles are gone listens on until then.
            () = closing => {}
        }
    };
    let mut told = std::pin::pin!(told);
    loop {
        let accepting = async {
            let slot = Arc::clone(&slots).acquire_owned().await.expect("nobody closes it");
            listener.accept().await.map(|stream| (stream, slot))
        };
        let error = tokio::select! {
            () = &mut told => break,
            accepted = accepting => match accepted {
                Ok((stream, slot)) => {
                    pause = FIRST_PAUSE;
                    let (reactor, factory) = (reactor.clone(), Arc::clone(&factory));
                    tokio::spawn(async move {
                        serve(reactor, stream, &*factory).await;
                        drop(slot);
                    });
                    continue;
                }
                Err(error) if is_ones_own(&error) => continue,
                Err(error) => error,
            },
        };
        tracing::warn!(%error, pause_ms = pause.as_millis(), "cannot accept a connection");
        tokio::select! {
            () = sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            () = &mut told => break,
        }
    }
    drop(listener);
    drop(here);
}

async fn serve(reactor: Reactor, stream: Stream, factory: &impl Factory) {
    match reactor.begin(stream, factory) {
        Ok((_, driving)) => drop(driving.await),
        Err(lost) => tracing::debug!(reason = %lost, "no connection"),
    }
}

/// Whether the error is of one connection that went before it was accepted: the next one may be well.
fn is_ones_own(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Connections of one port at the same time.
const MAX_CONNECTIONS: usize = 10_000;
/// Pause after an error of `accept`, doubled at each further one, up to a second.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
