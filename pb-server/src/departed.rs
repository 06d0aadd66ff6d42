//! Connections that have ended lately, for those who look into the server.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pb_core::{Failure, FailureKind};
use tokio::time::Instant;

use crate::peer::Peer;

/// One of them.
pub(crate) struct Departed {
    pub(crate) peer: Peer,
    /// Whether its hello had come.
    pub(crate) greeted: bool,
    pub(crate) kind: FailureKind,
    /// At most [`MOST_REASON`] bytes.
    pub(crate) reason: Box<str>,
    pub(crate) lasted: Duration,
    pub(crate) since: Instant,
    pub(crate) at: SystemTime,
    /// Objects of this process that it held.
    pub(crate) objects: u64,
}

impl Departed {
    pub(crate) fn new(peer: &Peer, reason: &Failure, began: Instant, held: Option<u64>) -> Departed {
        let text = reason.to_string();
        let since = Instant::now();
        Departed {
            peer: peer.clone(),
            greeted: held.is_some(),
            kind: reason.kind,
            reason: text[..text.floor_char_boundary(MOST_REASON)].into(),
            lasted: since.duration_since(began),
            since,
            at: SystemTime::now(),
            objects: held.unwrap_or(0),
        }
    }
}

/// The last of those that had greeted and, apart, of those that had not: strangers who knock push none of the others out.
#[derive(Default)]
pub(crate) struct Ends {
    greeted: VecDeque<Arc<Departed>>,
    strangers: VecDeque<Arc<Departed>>,
}

impl Ends {
    pub(crate) fn keep(&mut self, departed: Departed) {
        let ends = if departed.greeted { &mut self.greeted } else { &mut self.strangers };
        if ends.len() == MOST_ENDS {
            ends.pop_front();
        }
        ends.push_back(Arc::new(departed));
    }

    pub(crate) fn all(&self) -> Vec<Arc<Departed>> {
        self.greeted.iter().chain(&self.strangers).cloned().collect()
    }
}

/// Of each of the two.
const MOST_ENDS: usize = 16;
const MOST_REASON: usize = 256;

#[cfg(test)]
mod tests {
    use pb_core::Ran;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_of_ends_has_a_bound_and_strangers_push_no_guests_out() {
        let mut ends = Ends::default();
        let reason = Failure::new(FailureKind::Disconnected, Ran::Maybe, "é".repeat(1000));
        let began = Instant::now();
        tokio::time::advance(Duration::from_secs(3)).await;
        for number in 0..100 {
            let peer = Peer::new(number, "mem://a", &"mem://a".into());
            ends.keep(Departed::new(&peer, &reason, began, (number < 20).then_some(number)));
        }
        let numbers: Vec<_> = ends.all().iter().map(|end| (end.peer.number(), end.objects)).collect();
        let guests = (4..20).map(|number| (number, number));
        assert_eq!(numbers, guests.chain((84..100).map(|number| (number, 0))).collect::<Vec<_>>());
        assert!(ends.all().iter().all(|end| end.reason.len() <= MOST_REASON && end.lasted.as_secs() == 3));
    }
}
