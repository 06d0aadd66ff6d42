//! What the example programs are made of.

pub mod chat;
pub mod files;
