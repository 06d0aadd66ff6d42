//! The tool `pb`: an operator asks a running server which objects live, who holds them and which calls hang, and calls one.
//!
//! `docs/guide/inspecting.md` in the repository shows it; [`pb_server::inspect`] is what it asks.

#![deny(missing_docs)]

mod cli;
mod commands;
mod ends;
mod error;
mod json;
mod link;
mod out;
mod shell;
mod spoken;
mod table;
mod top;

pub use cli::{Cli, command};
pub use commands::run;
pub use error::Error;
