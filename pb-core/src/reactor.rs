//! Sockets: addresses, listeners, streams. tokio is the event loop; this is its thin face.

mod address;
mod mem;
mod stream;

pub use address::{Address, AddressError};
pub use stream::{Direct, Listener, ReadHalf, Stream, WriteHalf};
