//! Sockets: addresses, listeners, streams. tokio is the event loop; this is its thin face.

mod address;
mod mem;
mod stream;
#[cfg(unix)]
mod unix;

pub use address::{Address, AddressError};
pub use stream::{Direct, ListenOptions, Listener, ReadHalf, Stream, WriteHalf};
