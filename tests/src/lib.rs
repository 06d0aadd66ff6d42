//! What the tests share.

pub mod golden;
pub mod hostile;
pub mod net;
pub mod raw;
