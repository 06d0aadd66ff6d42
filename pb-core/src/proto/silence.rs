use std::time::{Duration, Instant};

use thiserror::Error;

use super::Limits;

/// When the peer was heard last, and what is due when nothing comes (`docs/protocol.md`, section 13.2).
pub(super) struct Silence {
    ping_after: Duration,
    dead_after: Duration,
    /// `None` until the peer's hello has come, whose time is the owner's to bound, and while the owner does not read.
    heard: Option<Instant>,
    /// When the peer was asked whether it is there, if it has said nothing since.
    asked: Option<Instant>,
    last_nonce: u64,
}

/// The peer has been silent for so long that it is taken for dead.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("nothing came from the peer for {} s, a ping's answer neither", silent.as_secs())]
pub struct Silent {
    /// Since its last byte.
    pub silent: Duration,
}

/// What a silence calls for.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Due {
    Nothing,
    /// A ping with this nonce.
    Ping(u64),
    Dead(Silent),
}

impl Silence {
    pub(super) fn new(limits: &Limits) -> Self {
        Silence {
            ping_after: limits.ping_after,
            dead_after: limits.dead_after,
            heard: None,
            asked: None,
            last_nonce: 0,
        }
    }

    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = Some(now);
        self.asked = None;
    }

    /// Nothing can be heard from now on.
    pub(super) fn stop(&mut self) {
        self.heard = None;
    }

    pub(super) fn next_nonce(&mut self) -> u64 {
        self.last_nonce += 1;
        self.last_nonce
    }

    /// When something is due. A side that was itself held up, and asks late, waits for the answer all the same.
    pub(super) fn timeout(&self) -> Option<Instant> {
        let heard = self.heard?;
        Some(match self.asked {
            None => heard + self.ping_after,
            Some(asked) => asked + (self.dead_after - self.ping_after),
        })
    }

    pub(super) fn due(&mut self, now: Instant) -> Due {
        match (self.heard, self.timeout()) {
            (Some(heard), Some(timeout)) if timeout <= now => {
                if self.asked.is_some() {
                    return Due::Dead(Silent { silent: now - heard });
                }
                self.asked = Some(now);
                Due::Ping(self.next_nonce())
            }
            _ => Due::Nothing,
        }
    }
}
