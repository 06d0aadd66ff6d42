use std::cell::Cell;

use bytes::Bytes;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Lends this thread's buffer, empty. A user's `Serialize` that calls a stub gets another one meanwhile.
pub(super) fn with_scratch<T>(run: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut buffer = SCRATCH.take();
    buffer.clear();
    let result = run(&mut buffer);
    if buffer.capacity() <= KEPT_BYTES {
        SCRATCH.set(buffer);
    }
    result
}

/// Makes what was written into a lent buffer a buffer of its own.
pub(super) fn take_out(buffer: &mut Vec<u8>) -> Bytes {
    Bytes::from(std::mem::take(buffer).into_boxed_slice())
}

/// A larger buffer is given back to the allocator: one big message must not cost every thread its size for ever.
const KEPT_BYTES: usize = 64 << 10;
