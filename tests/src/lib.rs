//! What the tests share.

pub mod desk;
pub mod fuzz;
pub mod golden;
pub mod hostile;
pub mod live;
pub mod map;
pub mod net;
pub mod pages;
pub mod process;
pub mod protocols;
pub mod quiet;
pub mod raw;
pub mod row;
pub mod shadow;
