//! Where calls go that are sent again.

use std::sync::{Arc, Weak};

use pb_core::objects::{Reference, Renewal, WhyNot};

use crate::reconnecting::Handle;

/// The root of the next connection, as long as anybody has a handle: a call alone makes none.
pub(crate) struct NextRoot(Weak<Handle>);

impl NextRoot {
    pub(crate) fn new(handle: Weak<Handle>) -> Self {
        NextRoot(handle)
    }
}

impl Renewal for NextRoot {
    fn allow(&self, times: u32) -> Result<(), WhyNot> {
        let handle = self.0.upgrade().ok_or(NO_HANDLE)?;
        match handle.0.how.repeats {
            0 => Err("`Reconnect::repeats` is 0".into()),
            most if times > most => {
                Err(format!("it was sent {times} times, as often as `Reconnect::repeats` allows").into())
            }
            _ if handle.0.repeat() => Ok(()),
            _ => Err("the reconnecting client was closed".into()),
        }
    }

    fn reference(self: Arc<Self>) -> Result<Reference, WhyNot> {
        let handle = self.0.upgrade().ok_or(NO_HANDLE)?;
        Ok(handle.0.next_root(&handle))
    }
}

const NO_HANDLE: &str = "no handle of the reconnecting client is left";
