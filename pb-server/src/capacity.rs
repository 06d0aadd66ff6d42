//! How many may be connected at the same time, and who is told that there is no room.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use std::sync::{Mutex, PoisonError};

use thiserror::Error;
use tokio::sync::oneshot;

use crate::peer::Peer;

/// How many connections a server has at the same time, over all its listeners. What one of them may make the server keep, its
/// [`Limits`](pb_core::Limits) say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capacity {
    /// Connections; default 10,000, which fit into the descriptors that systems commonly let a process raise its limit to. One more is refused: its
    /// peer is told so, and its `connect` fails with the reason.
    pub connections: usize,
    /// Connections from one IP address, of IPv6 from one network of 64 bits, which is what one host commonly has; default 256. One more is refused likewise, so that one
    /// host cannot take all there are. Behind a proxy all peers have the proxy's address: set it higher there. `unix://` and `mem://` have no addresses, and count only
    /// among `connections`.
    pub per_address: usize,
    /// Connections whose hello has not come yet; default 1,024. When one more connects, the oldest of them is sent away: those that never greet
    /// make room for those that do.
    pub greeting: usize,
    /// How long a hello may take, 10 ms to an hour; default 5 s. Then its connection ends.
    pub handshake: Duration,
}

impl Default for Capacity {
    fn default() -> Self {
        Capacity { connections: 10_000, per_address: 256, greeting: 1024, handshake: Duration::from_secs(5) }
    }
}

/// Why somebody is not let in.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(crate) enum Refusal {
    #[error("the server has no room: {most} connections are all that it takes")]
    Full { most: usize },
    #[error("the server has no room for you: {most} connections from {from} are all that it takes")]
    Crowded { from: Block, most: usize },
}

/// Who counts as one host.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Block(IpAddr);

impl Block {
    fn of(address: IpAddr) -> Block {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = u128::from(address) & (u128::MAX << 64);
                Block(IpAddr::V6(network.into()))
            }
            address @ IpAddr::V4(_) => Block(address),
        }
    }
}

impl std::fmt::Display for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(network) => write!(f, "{network}/64"),
        }
    }
}

/// Everybody who is connected.
#[derive(Default)]
pub(crate) struct Crowd {
    capacity: Capacity,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    connections: usize,
    /// No entry is 0.
    by_block: HashMap<Block, usize>,
    /// Who has not greeted, by age, and what sends him away.
    greeting: BTreeMap<u64, oneshot::Sender<()>>,
}

impl Crowd {
    pub(crate) fn new(capacity: Capacity) -> Arc<Self> {
        Arc::new(Crowd { capacity, inside: Mutex::default() })
    }

    /// Makes room for `peer`, for whom somebody who never greets may be sent away.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn let_in(self: &Arc<Self>, peer: &Peer) -> Result<Place, Refusal> {
        let block = peer.ip().map(Block::of);
        let mut inside = self.lock();
        if inside.connections >= self.capacity.connections {
            return Err(Refusal::Full { most: self.capacity.connections });
        }
        if let Some(from) = block
            && inside.by_block.get(&from).is_some_and(|count| *count >= self.capacity.per_address)
        {
            return Err(Refusal::Crowded { from, most: self.capacity.per_address });
        }
        let (out, sent_away) = oneshot::channel();
        inside.connections += 1;
        if let Some(block) = block {
            *inside.by_block.entry(block).or_default() += 1;
        }
        inside.greeting.insert(peer.number(), out);
        while inside.greeting.len() > self.capacity.greeting.max(1) {
            if let Some((_, out)) = inside.greeting.pop_first() {
                let _ = out.send(());
            }
        }
        Ok(Place { crowd: Arc::clone(self), number: peer.number(), block, sent_away })
    }

    /// How many are connected, and how many of them have not greeted.
    pub(crate) fn count(&self) -> (usize, usize) {
        let inside = self.lock();
        (inside.connections, inside.greeting.len())
    }

    pub(crate) fn capacity(&self) -> &Capacity {
        &self.capacity
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inside> {
        // No code of a user's runs under it; what panicked elsewhere has left the counts whole.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The room of one connection, until it is dropped.
pub(crate) struct Place {
    crowd: Arc<Crowd>,
    number: u64,
    block: Option<Block>,
    sent_away: oneshot::Receiver<()>,
}

impl Place {
    /// The peer has greeted, and is not sent away any more.
    pub(crate) fn greeted(&self) {
        self.crowd.lock().greeting.remove(&self.number);
    }

    /// Waits until the peer is to make room for others.
    pub(crate) async fn sent_away(&mut self) {
        if (&mut self.sent_away).await.is_err() {
            // It has greeted.
            std::future::pending().await
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.crowd.lock();
        inside.connections -= 1;
        inside.greeting.remove(&self.number);
        if let Some(block) = self.block
            && let Some(count) = inside.by_block.get_mut(&block)
        {
            *count -= 1;
            if *count == 0 {
                inside.by_block.remove(&block);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u64, address: &str) -> Peer {
        Peer::new(number, address, &"tcp://here".into())
    }

    fn crowd(connections: usize, per_address: usize, greeting: usize) -> Arc<Crowd> {
        Crowd::new(Capacity { connections, per_address, greeting, ..Capacity::default() })
    }

    #[test]
    fn an_address_has_its_share_and_no_more_until_one_of_it_leaves() {
        let crowd = crowd(100, 2, 100);
        let one = crowd.let_in(&peer(1, "tcp://10.0.0.1:1")).expect("room");
        // The same host, as a socket for both families sees it.
        let _two = crowd.let_in(&peer(2, "tcp://[::ffff:10.0.0.1]:2")).expect("room");
        let refused = crowd.let_in(&peer(3, "tcp://10.0.0.1:3")).err().expect("no room");
        assert!(refused.to_string().contains("2 connections from 10.0.0.1 "), "{refused}");
        let _other = crowd.let_in(&peer(4, "tcp://10.0.0.2:1")).expect("room for others");
        drop(one);
        let _again = crowd.let_in(&peer(5, "tcp://10.0.0.1:4")).expect("there is room again");
        assert_eq!(crowd.count(), (3, 3));
    }

    #[test]
    fn a_network_of_64_bits_is_one_host() {
        let crowd = crowd(100, 1, 100);
        let _one = crowd.let_in(&peer(1, "tcp://[2001:db8::1]:1")).expect("room");
        let refused = crowd.let_in(&peer(2, "tcp://[2001:db8::ffff:2]:1")).err().expect("no room");
        assert!(refused.to_string().contains("from 2001:db8::/64 "), "{refused}");
        let _other = crowd.let_in(&peer(3, "tcp://[2001:db8:0:1::1]:1")).expect("room for others");
    }

    #[test]
    fn what_has_no_address_counts_among_all_alone() {
        let crowd = crowd(3, 1, 100);
        let _two = [1, 2].map(|number| crowd.let_in(&peer(number, "unix:///run/x.sock")).expect("room"));
        let last = crowd.let_in(&peer(3, "mem://x")).expect("room");
        assert_eq!(crowd.let_in(&peer(4, "mem://x")).err(), Some(Refusal::Full { most: 3 }));
        drop(last);
        assert!(crowd.let_in(&peer(5, "tcp://127.0.0.1:5")).is_ok());
    }

    #[tokio::test]
    async fn the_oldest_that_has_not_greeted_goes_when_another_comes() {
        let crowd = crowd(100, 100, 2);
        let mut places: Vec<_> =
            (1..=2).map(|number| crowd.let_in(&peer(number, "mem://x")).expect("room")).collect();
        places[0].greeted();
        places.push(crowd.let_in(&peer(3, "mem://x")).expect("room"));
        places.push(crowd.let_in(&peer(4, "mem://x")).expect("room"));
        // 1 has greeted and stays; 2 was the oldest of the others.
        places[1].sent_away().await;
        for at in [0, 2, 3] {
            let stays = tokio::time::timeout(Duration::ZERO, places[at].sent_away()).await;
            assert!(stays.is_err(), "{at} was sent away");
        }
        assert_eq!(crowd.count(), (4, 2));
        drop(places);
        assert_eq!(crowd.count(), (0, 0));
        assert!(crowd.lock().by_block.is_empty());
    }
}
