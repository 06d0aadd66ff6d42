//! The core of the broker. See `ARCHITECTURE.md` for the floors that the modules stand on.

extern crate self as pb_core;

pub mod message;
pub mod wire;
