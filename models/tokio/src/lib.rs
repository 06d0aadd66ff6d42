//! tokio for models. What is not here is tokio's own: its channels and notifications belong to no runtime, and are taken as they are.

pub use tokio_real::*;

pub mod net;
pub mod runtime;
pub mod task;
pub mod time;

pub use task::spawn;
