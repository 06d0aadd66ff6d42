//! What a process has left, when it is asked.

use crate::HEAP;
use crate::api::Alive;
use anyhow::Result;
use parking_lot::Mutex;
use pb_core::{Broker, TableSizes};
use pb_endurance::process;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// What a process tells when it has become quiet, or has not in time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Census {
    /// Connections that live.
    pub connections: usize,
    /// Tables that are not empty, in words; of connections that live, and of ended ones as they ended.
    pub left: Vec<String>,
    /// Objects, and methods that wait.
    pub alive: i64,
    /// Casts that came.
    pub casts: u64,
    /// Casts that came out of their order.
    pub disordered: u64,
    /// Bytes of the heap in use.
    pub heap_bytes: usize,
}

impl Census {
    /// Whether nothing is left.
    pub fn is_clean(&self) -> bool {
        self.left.is_empty() && self.alive == 0 && self.disordered == 0
    }
}

/// The connections of a process.
#[derive(Default)]
pub struct Connections {
    open: Mutex<Vec<(&'static str, Broker)>>,
    /// What an ended connection had left.
    faults: Mutex<Vec<String>>,
}

impl Connections {
    /// Watches over one more, to which `name` leads.
    pub fn add(self: &std::sync::Arc<Self>, name: &'static str, broker: &Broker) {
        self.open.lock().push((name, broker.clone()));
        let (all, broker) = (std::sync::Arc::clone(self), broker.clone());
        tokio::spawn(async move {
            let reason = broker.closed().await;
            broker.finished().await;
            if let Some(left) = left(broker.tables()) {
                all.faults.lock().push(format!("the connection to {name} that ended ({reason}) has {left}"));
            }
            // The handle of an open one may be the last: dropped behind the lock.
            let gone: Vec<_> = {
                let mut open = all.open.lock();
                let (gone, kept) =
                    open.drain(..).partition(|(_, open)| std::ptr::eq(open.peer(), broker.peer()));
                *open = kept;
                gone
            };
            drop(gone);
        });
    }

    fn census(&self) -> Census {
        let open = self.open.lock();
        let living = open.iter().filter_map(|(name, broker)| {
            left(broker.tables()).map(|left| format!("the connection to {name} has {left}"))
        });
        Census {
            connections: open.len(),
            left: living.chain(self.faults.lock().iter().cloned()).collect(),
            alive: Alive::count(),
            heap_bytes: HEAP.allocated(),
            ..Census::default()
        }
    }

    /// Counts until nothing is left, at most for some seconds.
    pub fn settled(&self, most: usize) -> Census {
        let until = Instant::now() + PATIENCE;
        loop {
            let census = self.census();
            if (census.is_clean() && census.connections <= most) || Instant::now() > until {
                return census;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Answers each of the parent's words with a census, until the parent is gone.
pub fn answer(connections: &Connections, most: usize, more: impl Fn(&mut Census)) -> Result<()> {
    while process::next_word::<()>()?.is_some() {
        let mut census = connections.settled(most);
        more(&mut census);
        process::say(&census)?;
    }
    Ok(())
}

fn left(tables: TableSizes) -> Option<String> {
    let text = format!("{tables:?}");
    (tables != TableSizes::default()).then_some(text)
}

/// How long a process may take to become quiet. A connection whose peer has said its last goes on answering for 10 s: methods that never
/// end, and whose cancel was cut off, wait that long.
const PATIENCE: Duration = Duration::from_secs(15);
