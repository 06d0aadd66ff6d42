use std::cell::RefCell;
use std::rc::Rc;

use pb_core::message::{Cause, Failure, FailureKind, Ran};

use super::handle::Handle;

/// A reference in a form that can be taken back, as the broker's revocable ones: calls on it go where it leads until then.
pub struct Lent(RefCell<Result<Handle, Failure>>);

impl Lent {
    /// What leads to `handle`.
    pub fn of(handle: &Handle) -> Rc<Lent> {
        Rc::new(Lent(RefCell::new(Ok(handle.end()))))
    }

    /// Where it leads, or why it does not any more.
    pub(super) fn leads(&self) -> Result<Handle, Failure> {
        self.0.borrow().clone()
    }

    pub(super) fn revoke(&self) {
        let refused = Failure::new(FailureKind::Refused, Ran::No, "taken back by the test");
        let broken = Failure::new(FailureKind::Broken, Ran::No, "the reference was taken back");
        let before = self.0.replace(Err(broken.caused_by(Cause::Broker(refused))));
        drop(before);
    }
}
