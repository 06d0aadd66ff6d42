//! Where the expansion finds the broker's crates.

use proc_macro_crate::{FoundCrate, crate_name};
use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;
use syn::Path;

/// The crates that have the macros' runtime, in the order in which they are looked for.
const CRATES: [&str; 3] = ["pb-core", "pb-server", "pb-client"];

/// The module through which an expansion names everything: in the crate that the user chose, else in the first of
/// ours that the user's `Cargo.toml` has, under whichever name it has there.
///
/// # Errors
/// When there is none: a sentence that says what to depend on.
pub fn runtime(chosen: Option<&Path>) -> syn::Result<TokenStream> {
    if let Some(path) = chosen {
        return Ok(quote!(#path::__private));
    }
    let found = CRATES.iter().find_map(|name| crate_name(name).ok());
    let name = match found {
        // Only pb-core finds itself: the other two find pb-core first. It is `extern crate self as pb_core`.
        Some(FoundCrate::Itself) => "pb_core".to_owned(),
        Some(FoundCrate::Name(name)) => name,
        None => {
            return Err(syn::Error::new(
                Span::call_site(),
                "found none of pb-server, pb-client and pb-core: add one to [dependencies], or say where it is \
                 with `crate = path`",
            ));
        }
    };
    let name = Ident::new(&name, Span::call_site());
    Ok(quote!(::#name::__private))
}
