//! What the example programs are made of.

pub mod chat;
pub mod counter;
pub mod files;
pub mod inspecting;
pub mod jobs;
