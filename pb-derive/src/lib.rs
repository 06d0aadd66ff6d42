//! The macros of the broker: [`macro@remote_interface`] and `#[derive(Referenceable)]`. Use them through `pb-server`,
//! `pb-client` or `pb-core`, which re-export them.
//!
//! Each macro reads its input, checks every rule, and only then writes code. Mistakes are collected: one error each,
//! at the token that is wrong. Input with mistakes still yields the trait and its stub, so that nothing else fails.

#![deny(missing_docs)]

mod attributes;
mod inspected;
mod interface;
mod mistakes;
mod paths;
mod referenceable;

// Documented where it is given out, in pb-core: examples can compile there.
#[allow(missing_docs)]
#[proc_macro_attribute]
pub fn remote_interface(
    options: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    interface::remote_interface(options.into(), item.into()).into()
}

#[allow(missing_docs)]
#[proc_macro_derive(Referenceable, attributes(referenceable, inspect))]
pub fn referenceable(item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    referenceable::derive(item.into()).into()
}
