//! What the tests share.

pub mod fuzz;
pub mod golden;
pub mod hostile;
pub mod live;
pub mod map;
pub mod net;
pub mod quiet;
pub mod raw;
pub mod row;
pub mod shadow;
