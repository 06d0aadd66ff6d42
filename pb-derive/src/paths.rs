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
    let mut found: Vec<FoundCrate> = CRATES.iter().filter_map(|name| crate_name(name).ok()).collect();
    if found.len() > 1 && !found.contains(&FoundCrate::Itself) {
        // One that stands under [dev-dependencies] alone is not there for all that the package builds.
        let manifest = manifest();
        found.sort_by_key(|one| !matches!(one, FoundCrate::Name(name) if is_dependency(&manifest, name)));
    }
    let name = match found.into_iter().next() {
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

/// The text of the user's `Cargo.toml`; nothing where it cannot be read.
fn manifest() -> String {
    let folder = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    std::fs::read_to_string(std::path::Path::new(&folder).join("Cargo.toml")).unwrap_or_default()
}

/// Whether the package depends on `name` (as code names it) in whatever it builds, not in tests and examples only.
fn is_dependency(manifest: &str, name: &str) -> bool {
    let is_name = |key: &str| key.trim().trim_matches('"').replace('-', "_") == name;
    let mut inside = false;
    manifest.lines().map(str::trim).any(|line| {
        let Some(header) = line.strip_prefix('[').and_then(|header| header.split(']').next()) else {
            return inside && line.split(['=', '.']).next().is_some_and(is_name);
        };
        let (table, key) = match header.rsplit_once("dependencies.") {
            Some((table, key)) => (table, Some(key)),
            None => (header.strip_suffix("dependencies").unwrap_or("package"), None),
        };
        let everywhere = table.is_empty() || (table.starts_with("target.") && table.ends_with('.'));
        inside = everywhere && key.is_none();
        everywhere && key.is_some_and(is_name)
    })
}

#[cfg(test)]
mod tests {
    use super::is_dependency;

    #[test]
    fn a_dependency_of_tests_only_is_not_there_for_the_rest() {
        let manifest = "
            [package]
            pb-core = 1
            [dependencies]
            pb-server.workspace = true
            renamed = { package = \"pb-client\" }
            [dev-dependencies]
            pb-core = { path = \"..\" }
            [build-dependencies]
            built = \"1\"
            [target.'cfg(unix)'.dependencies]
            on-unix = \"1\"
            [target.x86_64-unknown-linux-gnu.dev-dependencies]
            tested = \"1\"
            [dependencies.tabled]
            version = \"1\"
            [dev-dependencies.tested-too]
            version = \"1\"";
        for name in ["pb_server", "renamed", "on_unix", "tabled"] {
            assert!(is_dependency(manifest, name), "{name}");
        }
        for name in ["pb_core", "built", "tested", "tested_too", "version", "package"] {
            assert!(!is_dependency(manifest, name), "{name}");
        }
    }
}
