use std::sync::Arc;
use std::time::Duration;

use super::{ConnectFailed, Connector, Lost, Transport};

/// What one connection does with the bytes that come: written once, it runs over `tcp://`, `unix://` and `mem://` alike.
///
/// The reactor owns it and calls it, one call at a time, from the connection's own task: nothing here needs a lock, and nothing may wait.
/// Bytes are of a stream: they come in pieces that have nothing to do with how they were written
/// ([`LineReceiver`](super::LineReceiver) and [`LengthPrefixedReceiver`](super::LengthPrefixedReceiver) cut them). After
/// [`Transport::lose_connection`], [`Transport::fail`] or [`Transport::abort`] nothing is called any more but `connection_lost`. A panic in
/// any of these ends the connection, and nothing else.
///
/// Twisted: `IProtocol`, `IHalfCloseableProtocol` and `IPushProducer` (internet/interfaces.py), `Protocol` (internet/protocol.py).
pub trait Protocol: Send + 'static {
    /// The connection is there. `transport` may be cloned and kept, by whoever is to write to it.
    fn connection_made(&mut self, transport: &Transport) {
        let _ = transport;
    }

    /// Some bytes have come, at least one.
    fn data_received(&mut self, transport: &Transport, data: &[u8]);

    /// The other side writes nothing more. Unless this is overridden, the connection is closed, after what was written has left; one that
    /// goes on writing calls [`Transport::lose_connection`] itself when it is done.
    fn read_connection_lost(&mut self, transport: &Transport) {
        transport.lose_connection();
    }

    /// Reading goes on after [`Transport::pause`], before any further bytes: whoever has put some aside looks at them now.
    fn reading_resumed(&mut self, transport: &Transport) {
        let _ = transport;
    }

    /// More waits to be written than [`Settings::high_bytes`]: whoever makes bytes should stop.
    fn pause_producing(&mut self, transport: &Transport) {
        let _ = transport;
    }

    /// No more waits than [`Settings::low_bytes`] after [`Protocol::pause_producing`]: go on. It comes once for each of those, unless the
    /// connection ends.
    fn resume_producing(&mut self, transport: &Transport) {
        let _ = transport;
    }

    /// The connection is over: called once, whatever ended it, after `connection_made`. The socket is closed by now.
    fn connection_lost(&mut self, reason: &Lost) {
        let _ = reason;
    }
}

impl<P: Protocol + ?Sized> Protocol for Box<P> {
    fn connection_made(&mut self, transport: &Transport) {
        (**self).connection_made(transport);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        (**self).data_received(transport, data);
    }

    fn read_connection_lost(&mut self, transport: &Transport) {
        (**self).read_connection_lost(transport);
    }

    fn reading_resumed(&mut self, transport: &Transport) {
        (**self).reading_resumed(transport);
    }

    fn pause_producing(&mut self, transport: &Transport) {
        (**self).pause_producing(transport);
    }

    fn resume_producing(&mut self, transport: &Transport) {
        (**self).resume_producing(transport);
    }

    fn connection_lost(&mut self, reason: &Lost) {
        (**self).connection_lost(reason);
    }
}

/// Makes a protocol for each connection; what the connections share lies here. An `Arc` of one is one too.
///
/// Twisted: `Factory` (internet/protocol.py). It has neither `startFactory` nor `stopFactory`: making and dropping it are those.
pub trait Factory: Send + Sync + 'static {
    /// What a connection runs.
    type Protocol: Protocol;

    /// The protocol of a connection with `peer`, an address for people; nothing refuses it, and it is closed. Called in the connection's
    /// own task: it must not wait, but it holds up nobody else. A panic refuses that connection.
    fn build_protocol(&self, peer: &str) -> Option<Self::Protocol>;

    /// How much may wait to be written, on each of its connections.
    fn settings(&self) -> Settings {
        Settings::default()
    }
}

/// A factory for the side that connects, which hears of every attempt that failed and every connection that was lost.
///
/// Twisted: `ClientFactory` (internet/protocol.py).
pub trait ClientFactory: Factory {
    /// An attempt begins.
    fn started_connecting(&self, connector: &Connector) {
        let _ = connector;
    }

    /// There is no connection. [`Connector::connect`] tries again, here and now or later.
    fn connection_failed(&self, connector: &Connector, reason: &ConnectFailed) {
        let _ = (connector, reason);
    }

    /// The connection is over; its protocol has heard so before, and is gone. [`Connector::connect`] makes another one.
    fn connection_lost(&self, connector: &Connector, reason: &Lost) {
        let _ = (connector, reason);
    }

    /// How long an attempt may take: 30 s unless this says otherwise.
    fn connect_timeout(&self) -> Duration {
        Duration::from_secs(30)
    }
}

impl<F: Factory> Factory for Arc<F> {
    type Protocol = F::Protocol;

    fn build_protocol(&self, peer: &str) -> Option<F::Protocol> {
        (**self).build_protocol(peer)
    }

    fn settings(&self) -> Settings {
        (**self).settings()
    }
}

impl<F: ClientFactory> ClientFactory for Arc<F> {
    fn started_connecting(&self, connector: &Connector) {
        (**self).started_connecting(connector);
    }

    fn connection_failed(&self, connector: &Connector, reason: &ConnectFailed) {
        (**self).connection_failed(connector, reason);
    }

    fn connection_lost(&self, connector: &Connector, reason: &Lost) {
        (**self).connection_lost(connector, reason);
    }

    fn connect_timeout(&self) -> Duration {
        (**self).connect_timeout()
    }
}

/// A factory of a closure, for protocols that share nothing else; see [`for_protocol`].
pub struct ForProtocol<M>(M);

/// A factory that makes each protocol with `make`, for both sides.
///
/// Twisted: `Factory.forProtocol` (internet/protocol.py).
pub fn for_protocol<P: Protocol, M: Fn() -> P + Send + Sync + 'static>(make: M) -> ForProtocol<M> {
    ForProtocol(make)
}

impl<P: Protocol, M: Fn() -> P + Send + Sync + 'static> Factory for ForProtocol<M> {
    type Protocol = P;

    fn build_protocol(&self, _: &str) -> Option<P> {
        Some(self.0())
    }
}

impl<P: Protocol, M: Fn() -> P + Send + Sync + 'static> ClientFactory for ForProtocol<M> {}

/// How much may wait to be written on a connection, and what happens then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// Over this many bytes producers are told to stop: 64 KiB by default. Nothing is refused yet.
    pub high_bytes: usize,
    /// At this many they are told to go on: 16 KiB by default. More than `high_bytes` counts as `high_bytes`.
    pub low_bytes: usize,
    /// A write that finds more than this waiting ends the connection, [`Lost::Unread`]: 1 MiB by default. So at most this, and one write
    /// more, is ever kept. Less than `high_bytes` counts as `high_bytes`.
    pub limit_bytes: usize,
    /// How long a connection that closes waits for the other side to take anything of what is left: 10 s by default. Then it ends,
    /// [`Lost::Stalled`].
    pub close_time: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            high_bytes: 64 << 10,
            low_bytes: 16 << 10,
            limit_bytes: 1 << 20,
            close_time: Duration::from_secs(10),
        }
    }
}

impl Settings {
    /// Sets [`Settings::high_bytes`].
    pub fn high_bytes(mut self, bytes: usize) -> Self {
        self.high_bytes = bytes;
        self
    }

    /// Sets [`Settings::low_bytes`].
    pub fn low_bytes(mut self, bytes: usize) -> Self {
        self.low_bytes = bytes;
        self
    }

    /// Sets [`Settings::limit_bytes`].
    pub fn limit_bytes(mut self, bytes: usize) -> Self {
        self.limit_bytes = bytes;
        self
    }

    /// Sets [`Settings::close_time`].
    pub fn close_time(mut self, time: Duration) -> Self {
        self.close_time = time;
        self
    }

    /// What holds where some of it contradicts the rest.
    pub(super) fn settled(mut self) -> Self {
        self.low_bytes = self.low_bytes.min(self.high_bytes);
        self.limit_bytes = self.limit_bytes.max(self.high_bytes);
        self
    }
}
