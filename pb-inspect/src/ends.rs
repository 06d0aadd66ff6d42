//! Signals that end a program, where that has something to put in order first.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Waits for one of some signals, which do nothing else from then on.
pub(crate) struct Ends(Vec<Signal>);

impl Ends {
    /// # Errors
    /// What the system says.
    pub(crate) fn of(kinds: &[SignalKind]) -> io::Result<Ends> {
        kinds.iter().map(|kind| signal(*kind)).collect::<io::Result<_>>().map(Ends)
    }

    /// # Cancel safety
    /// What came is not lost.
    pub(crate) async fn come(&mut self) {
        let signals = self.0.iter_mut().map(|signal| Box::pin(signal.recv()));
        futures::future::select_all(signals).await;
    }
}
