//! What counts against a grant as long as it lives, and gives itself back.

use std::sync::Arc;

use bytes::Bytes;

use super::line::Line;
use crate::objects::HeldBody;
use crate::proto::Cost;

/// A cast of the peer's that has not ended, for as long as this lives.
pub(super) struct Casting {
    line: Arc<Line>,
    cost: Cost,
}

impl Casting {
    pub(super) fn new(line: &Arc<Line>, cost: Cost) -> Self {
        Casting { line: Arc::clone(line), cost }
    }
}

impl Drop for Casting {
    fn drop(&mut self) {
        self.line.with(|connection, _| connection.cast_ended(self.cost));
    }
}

/// An answer that nobody has decoded yet.
pub(super) struct HeldAnswer {
    line: Arc<Line>,
    body: Bytes,
}

impl HeldAnswer {
    pub(super) fn new(line: &Arc<Line>, body: Bytes) -> Self {
        HeldAnswer { line: Arc::clone(line), body }
    }
}

impl HeldBody for HeldAnswer {
    fn bytes(&self) -> &Bytes {
        &self.body
    }
}

impl Drop for HeldAnswer {
    fn drop(&mut self) {
        self.line.with(|connection, _| connection.let_answer_go(self.body.len()));
    }
}
