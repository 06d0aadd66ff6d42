use std::cell::Cell;

use crate::wire::body::Draft;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Lends this thread's buffer, empty. A user's `Serialize` that calls a stub gets another one meanwhile.
// Inlined, since what it runs is put together just before, and would be moved.
#[inline(always)]
pub(super) fn with_scratch<T>(run: impl FnOnce(&mut Draft) -> T) -> T {
    let mut buffer = SCRATCH.take();
    buffer.clear();
    let mut draft = Draft::over(buffer);
    let result = run(&mut draft);
    let buffer = draft.into_buffer();
    if buffer.capacity() <= KEPT_BYTES {
        SCRATCH.set(buffer);
    }
    result
}

/// A larger buffer is given back to the allocator: one big message must not cost every thread its size for ever.
const KEPT_BYTES: usize = 64 << 10;
