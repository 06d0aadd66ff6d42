use std::sync::Arc;

use hashbrown::HashMap;

use super::{Host, Violation};
use crate::message::{MethodName, MethodText};

/// A method's name that the peer defined, and what our side remembers with it.
pub struct Known<M> {
    /// Name and fingerprints.
    pub text: Arc<MethodText>,
    /// The owner's.
    pub memo: M,
}

/// The methods numbered on a connection, each way (`docs/protocol.md`, section 10).
pub(super) struct Names<H: Host> {
    /// Ours, by the address of a text that is kept here and so keeps its address.
    sent: HashMap<usize, (Arc<MethodText>, u32)>,
    /// The peer's, number 1 first.
    received: Vec<Arc<Known<H::Memo>>>,
}

impl<H: Host> Names<H> {
    pub(super) fn new() -> Self {
        Names { sent: HashMap::new(), received: Vec::new() }
    }

    /// How to name `text` to the peer; the caller sends it, so a definition holds from there on.
    /// `None` where the peer takes no further name.
    pub(super) fn name(&mut self, text: &Arc<MethodText>, granted: u64) -> Option<MethodName> {
        let address = Arc::as_ptr(text) as usize;
        if let Some((_, number)) = self.sent.get(&address) {
            return Some(MethodName::Known(*number));
        }
        if self.sent.len() as u64 >= granted.min(u64::from(u32::MAX)) {
            return None;
        }
        let number = self.sent.len() as u32 + 1;
        self.sent.insert(address, (Arc::clone(text), number));
        Some(MethodName::Defined(Arc::clone(text)))
    }

    /// What the peer means by `name`.
    pub(super) fn known(&mut self, name: MethodName, limit: u64) -> Result<Arc<Known<H::Memo>>, Violation> {
        match name {
            MethodName::Known(number) => (number as usize)
                .checked_sub(1)
                .and_then(|index| self.received.get(index))
                .cloned()
                .ok_or(Violation::UndefinedMethod { number, defined: self.received.len() }),
            MethodName::Defined(_) if self.received.len() as u64 >= limit => {
                Err(Violation::Limit { what: "method names", limit })
            }
            MethodName::Defined(text) => {
                let known = Arc::new(Known { text, memo: H::Memo::default() });
                self.received.push(Arc::clone(&known));
                Ok(known)
            }
        }
    }
}
