//! An interface in a package that depends on `pb-server` under another name: nothing in the expansion names a crate that is not there.
#![no_implicit_prelude]
#![deny(warnings)]

use ::remote_objects::{Referenceable, remote_interface};
use ::std::string::String;

/// Greets.
#[remote_interface]
pub trait Greeter {
    /// Greets `name`.
    async fn greet(&self, name: String, #[remote(default)] loudly: bool) -> String;
    /// Notes.
    #[remote(oneway)]
    async fn note(&self, text: String);
}

/// Says what it is told.
#[derive(Referenceable)]
#[referenceable(Greeter)]
pub struct Parrot;

impl Greeter for Parrot {
    async fn greet(&self, name: String, loudly: bool) -> String {
        if loudly { name.to_uppercase() } else { name }
    }
    async fn note(&self, _text: String) {}
}
