use std::sync::Arc;

use hashbrown::HashMap;

use super::limits::NAME_BYTES;
use super::{Host, Numbered, Violation};
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
    /// Ours, by what they say.
    sent: HashMap<Arc<MethodText>, u32>,
    /// The same by the address of the text that was numbered, which is kept in `sent` and so keeps its address: the look-up of every call.
    known: HashMap<usize, u32>,
    /// The one of them that was looked up last.
    latest: (usize, u32),
    /// The peer's, number 1 first.
    received: Vec<Arc<Known<H::Memo>>>,
    /// What the peer's budget is charged for them.
    charged: u64,
}

impl<H: Host> Names<H> {
    pub(super) fn new() -> Self {
        Names {
            sent: HashMap::new(),
            known: HashMap::new(),
            latest: (0, 0),
            received: Vec::new(),
            charged: 0,
        }
    }

    /// How to name `text` to the peer; the caller sends it, so a definition holds from there on. `passed_on`: the name is somebody else's, who
    /// may make up any number of them; such names take at most half of what is granted.
    #[inline(always)]
    pub(super) fn name(&mut self, text: &Arc<MethodText>, granted: u64, passed_on: bool) -> MethodName {
        let address = Arc::as_ptr(text) as usize;
        if self.latest.0 == address {
            return MethodName::Known(self.latest.1);
        }
        self.find_name(text, address, granted, passed_on)
    }

    fn find_name(
        &mut self,
        text: &Arc<MethodText>,
        address: usize,
        granted: u64,
        passed_on: bool,
    ) -> MethodName {
        if let Some(number) = self.known.get(&address) {
            self.latest = (address, *number);
            return MethodName::Known(*number);
        }
        if let Some(number) = self.sent.get(text) {
            return MethodName::Known(*number);
        }
        let room = granted.min(u64::from(u32::MAX)) / if passed_on { 2 } else { 1 };
        if self.sent.len() as u64 >= room {
            return MethodName::Once(Arc::clone(text));
        }
        let number = self.sent.len() as u32 + 1;
        self.sent.insert(Arc::clone(text), number);
        self.known.insert(address, number);
        MethodName::Defined(Arc::clone(text))
    }

    /// The number by which the peer calls `name`, or begins to; 0 where it has none.
    #[inline]
    pub(super) fn number(&self, name: &MethodName) -> u16 {
        let number = match name {
            MethodName::Known(number) => *number as usize,
            MethodName::Defined(_) => self.received.len() + 1,
            MethodName::Once(_) => 0,
        };
        u16::try_from(number).unwrap_or(0)
    }

    /// What the peer has called so.
    pub(super) fn text(&self, number: u16) -> Option<&Arc<MethodText>> {
        let at = usize::from(number).checked_sub(1)?;
        self.received.get(at).map(|known| &known.text)
    }

    /// All that have a number: the peer's, and ours.
    pub(super) fn numbered(&self) -> Numbered {
        let received = (1..).zip(&self.received).map(|(number, known)| (number, Arc::clone(&known.text)));
        let sent = self.sent.iter().map(|(text, number)| (*number, Arc::clone(text)));
        Numbered { received: received.collect(), sent: sent.collect() }
    }

    /// What the peer means by `name`.
    #[inline(always)]
    pub(super) fn known(&mut self, name: &MethodName, limit: u64) -> Result<Arc<Known<H::Memo>>, Violation> {
        if let MethodName::Known(number) = name
            && let Some(known) = self.received.get((*number as usize).wrapping_sub(1))
        {
            return Ok(Arc::clone(known));
        }
        self.learn(name, limit)
    }

    fn learn(&mut self, name: &MethodName, limit: u64) -> Result<Arc<Known<H::Memo>>, Violation> {
        match name {
            MethodName::Known(number) => {
                Err(Violation::UndefinedMethod { number: *number, defined: self.received.len() })
            }
            MethodName::Defined(_) if self.received.len() as u64 >= limit => {
                Err(Violation::Limit { what: "method names", limit })
            }
            MethodName::Defined(text) => {
                self.charged += cost(text);
                let known = Arc::new(Known { text: Arc::clone(text), memo: H::Memo::default() });
                self.received.push(Arc::clone(&known));
                Ok(known)
            }
            MethodName::Once(text) => {
                Ok(Arc::new(Known { text: Arc::clone(text), memo: H::Memo::default() }))
            }
        }
    }

    /// What the peer's budget is charged for the names that it defined.
    pub(super) fn charged(&self) -> u64 {
        self.charged
    }
}

fn cost(text: &MethodText) -> u64 {
    NAME_BYTES + text.name.len() as u64 + 8 * text.prints.len() as u64
}
