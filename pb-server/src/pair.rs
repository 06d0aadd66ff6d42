use pb_core::broker::Config;
use pb_core::reactor::Stream;
use pb_core::{Broker, Limits, Stub};

/// Both ends of a connection in memory, for tests: first the end that serves `root`, then the one that calls it.
///
/// Everything is as over a socket; only the bytes stay in the process. The serving end lives until the other one closes.
///
/// # Panics
/// Outside a tokio runtime.
///
/// # Cancel safety
/// Dropping the future closes both ends.
pub async fn pair(root: impl Stub) -> (Broker, Broker) {
    let (ours, theirs) = Stream::pair();
    let limits = Limits::default();
    let serving =
        Config { root: Some(root.as_reference().clone()), limits, stays: true, ..Config::default() };
    let calling = Config { root: None, limits, stays: false, ..Config::default() };
    let (server, client) = tokio::join!(Broker::open(ours, serving), Broker::open(theirs, calling));
    let both = "both ends are in this process and speak the same version";
    (server.expect(both), client.expect(both))
}
