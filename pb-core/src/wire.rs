//! Bytes, and what they mean: frames, bodies and the shapes of bodies. Nothing here knows a table, a socket or a task.

pub mod body;
pub mod frame;
pub mod shape;
