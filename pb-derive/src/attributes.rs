//! Attributes: what they say, and which of them go with the code that is generated beside the user's.

use proc_macro2::{TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::meta::ParseNestedMeta;
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, ExprLit, Lit, Meta, Path, Token};

use crate::mistakes::Mistakes;

/// Takes what is left of an option that is in error, so that the options behind it are still read.
pub fn skip_value(option: &ParseNestedMeta<'_>) -> syn::Result<()> {
    while !option.input.is_empty() && !option.input.peek(Token![,]) {
        option.input.parse::<TokenTree>()?;
    }
    Ok(())
}

/// Reads `crate = path` into `found`.
pub fn read_crate(
    option: &ParseNestedMeta<'_>,
    found: &mut Option<Path>,
    mistakes: &mut Mistakes,
) -> syn::Result<()> {
    let Some(path) = read_value::<ModPath>(option, CRATE_ADVICE, mistakes)? else { return Ok(()) };
    if found.replace(path.0).is_some() {
        mistakes.at(&option.path, "`crate` is said twice: remove one");
    }
    Ok(())
}

/// What to write where `crate` says no path.
pub const CRATE_ADVICE: &str = "`crate` takes a path: write `crate = path::of::pb_core`";

/// A path without generic arguments.
struct ModPath(Path);

impl syn::parse::Parse for ModPath {
    fn parse(input: syn::parse::ParseStream<'_>) -> syn::Result<Self> {
        input.call(Path::parse_mod_style).map(ModPath)
    }
}

/// Reads `= value` behind an option's name; `None` where what stands there is something else, which is reported with `advice`.
pub fn read_value<T: syn::parse::Parse>(
    option: &ParseNestedMeta<'_>,
    advice: &str,
    mistakes: &mut Mistakes,
) -> syn::Result<Option<T>> {
    let before = option.input.fork();
    let value = option.value().and_then(|input| input.parse::<T>());
    if value.is_ok() && (option.input.is_empty() || option.input.peek(Token![,])) {
        return value.map(Some);
    }
    let mut wrong = TokenStream::new();
    if before.parse::<Token![=]>().is_ok() {
        while !before.is_empty() && !before.peek(Token![,]) {
            wrong.extend([before.parse::<TokenTree>()?]);
        }
    }
    let place = if wrong.is_empty() { option.path.to_token_stream() } else { wrong };
    mistakes.at(place, advice);
    skip_value(option)?;
    Ok(None)
}

/// An option without a value: reports one that has a value or was there before.
pub fn read_flag(option: &ParseNestedMeta<'_>, flag: &mut bool, mistakes: &mut Mistakes) -> syn::Result<()> {
    let name = option.path.to_token_stream();
    if !option.input.is_empty() && !option.input.peek(Token![,]) {
        mistakes.at(&option.path, format!("`{name}` takes no value: write `{name}` alone"));
        skip_value(option)?;
    } else if *flag {
        mistakes.at(&option.path, format!("`{name}` is said twice: remove one"));
    }
    *flag = true;
    Ok(())
}

/// The condition under which an item with these attributes exists; `None`: always.
pub fn condition(attributes: &[Attribute]) -> Option<TokenStream> {
    let mut all = Vec::new();
    for attribute in attributes {
        conditions_of(&attribute.meta, &mut all);
    }
    match all.len() {
        0 => None,
        1 => all.pop(),
        _ => Some(quote!(all(#(#all),*))),
    }
}

/// `cfg(q)` asks for q; `cfg_attr(p, cfg(q))` asks for q only where p holds.
fn conditions_of(meta: &Meta, all: &mut Vec<TokenStream>) {
    let Meta::List(list) = meta else { return };
    if list.path.is_ident("cfg") {
        all.push(list.tokens.clone());
    } else if list.path.is_ident("cfg_attr")
        && let Some((predicate, attributes)) = conditional(meta)
    {
        let mut inner = Vec::new();
        attributes.iter().for_each(|meta| conditions_of(meta, &mut inner));
        all.extend(inner.iter().map(|wanted| quote!(any(not(#predicate), #wanted))));
    }
}

/// The parts of `cfg_attr(predicate, attributes)`.
fn conditional(meta: &Meta) -> Option<(Meta, Vec<Meta>)> {
    let parts = meta.require_list().ok()?.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
    let mut parts = parts.ok()?.into_iter();
    Some((parts.next()?, parts.collect()))
}

/// Which attributes of the user's go to generated code as well.
#[derive(Clone, Copy)]
pub struct Forward {
    /// Documentation, `#[deprecated]` and `#[must_use = "…"]`; a bare `#[must_use]` is on `Deferred` already.
    pub public: bool,
}

impl Forward {
    /// Those of `attributes` that go along, in order. Lint levels always do.
    pub fn pick(self, attributes: &[Attribute]) -> Vec<&Attribute> {
        attributes.iter().filter(|attribute| self.takes(&attribute.meta)).collect()
    }

    fn takes(self, meta: &Meta) -> bool {
        let path = meta.path();
        if path.is_ident("cfg_attr") {
            return conditional(meta).is_some_and(|(_, metas)| metas.iter().all(|meta| self.takes(meta)));
        }
        let public = path.is_ident("doc")
            || path.is_ident("deprecated")
            || (path.is_ident("must_use") && !matches!(meta, Meta::Path(_)));
        path.is_ident("allow") || (self.public && public)
    }
}

/// Whether an attribute may make the item deprecated, so that generated code needs leave to use it.
pub fn mentions_deprecated(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("deprecated")
            || conditional(&attribute.meta)
                .is_some_and(|(_, metas)| metas.iter().any(|meta| meta.path().is_ident("deprecated")))
    })
}

/// The documentation as an expression of type `&'static str`: a literal, unless parts of it are `include_str!` and
/// the like. Documentation under `cfg_attr` stays at home.
pub fn documentation(attributes: &[Attribute]) -> TokenStream {
    let mut text = String::new();
    let mut parts: Vec<TokenStream> = Vec::new();
    for attribute in attributes {
        let Meta::NameValue(pair) = &attribute.meta else { continue };
        if !pair.path.is_ident("doc") {
            continue;
        }
        if let Expr::Lit(ExprLit { lit: Lit::Str(line), .. }) = &pair.value {
            let line = line.value();
            text.push_str(line.strip_prefix(' ').unwrap_or(&line).trim_end());
            text.push('\n');
        } else {
            let (before, value) = (std::mem::take(&mut text), &pair.value);
            parts.push(quote!(#before, #value, "\n"));
        }
    }
    if parts.is_empty() {
        let text = text.trim();
        return quote!(#text);
    }
    quote!(::core::concat!(#(#parts,)* #text))
}

/// Whether the documentation has a section on errors.
pub fn documents_errors(attributes: &[Attribute]) -> bool {
    documentation(attributes).to_string().contains("# Errors")
}
