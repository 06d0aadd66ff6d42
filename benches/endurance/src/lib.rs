//! What the two programs share: child processes that are told what to do line by line, and what a process weighs.

pub mod memory;
pub mod process;
pub mod statistics;
