//! `#[inspect]` on fields: what an object shows of itself to who looks into its process.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Attribute, Data, DeriveInput, Field, Fields, Meta, Type};

use crate::mistakes::Mistakes;

fn marks(attributes: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("inspect"))
}

/// Whether the field is marked; what is wrong with the mark is a mistake.
fn is_marked(field: &Field, mistakes: &mut Mistakes) -> bool {
    let mut found = marks(&field.attrs);
    let Some(first) = found.next() else { return false };
    if !matches!(first.meta, Meta::Path(_)) {
        mistakes.at(&first.meta, "#[inspect] takes nothing: a field is shown by its Debug");
    }
    for again in found {
        mistakes.at(again, "this field is marked already: remove one");
    }
    true
}

/// The fields of `fields` that are marked: place, name, field.
fn marked<'a>(fields: &'a Fields, mistakes: &mut Mistakes) -> Vec<(usize, String, &'a Field)> {
    let named = fields.iter().enumerate().map(|(place, field)| {
        let name = field.ident.as_ref().map_or_else(
            || place.to_string(),
            |ident| {
                let name = ident.to_string();
                name.strip_prefix("r#").map_or(name.clone(), str::to_owned)
            },
        );
        (place, name, field)
    });
    named.filter(|(_, _, field)| is_marked(field, mistakes)).collect()
}

/// The types of marked fields, and the method that shows them; nothing where none is.
pub(crate) fn method(
    input: &DeriveInput,
    pb: &TokenStream,
    mistakes: &mut Mistakes,
) -> (Vec<Type>, TokenStream) {
    for mark in marks(&input.attrs) {
        mistakes.at(mark, "fields are shown one by one: write #[inspect] before those that may be seen");
    }
    let mut types = Vec::new();
    let mut arms = Vec::new();
    let mut arm = |path: TokenStream, fields: &Fields, mistakes: &mut Mistakes| {
        let marked = marked(fields, mistakes);
        if marked.is_empty() {
            return;
        }
        // Where a type has no `Debug`, that is said of the type.
        let bind = |(place, _, field): &(usize, String, &Field)| {
            format_ident!("__pb_{place}", span = Span::call_site().located_at(field.ty.span()))
        };
        let bound: Vec<_> = marked.iter().map(bind).collect();
        let patterns = marked.iter().zip(&bound).map(|((place, _, field), bound)| {
            let member = match &field.ident {
                Some(ident) => quote!(#ident),
                None => {
                    let index = syn::Index::from(*place);
                    quote!(#index)
                }
            };
            quote!(#member: #bound)
        });
        let shown = marked.iter().zip(&bound).map(
            |((_, name, field), bound)| quote_spanned!(field.ty.span()=> __pb_shown.field(#name, #bound);),
        );
        arms.push(quote!(#path { #(#patterns,)* .. } => { #(#shown)* }));
        types.extend(marked.iter().map(|(_, _, field)| field.ty.clone()));
    };
    match &input.data {
        Data::Struct(data) => arm(quote!(Self), &data.fields, mistakes),
        Data::Enum(data) => {
            for variant in &data.variants {
                for mark in marks(&variant.attrs) {
                    mistakes.at(mark, "write #[inspect] before the variant's fields that may be seen");
                }
                let ident = &variant.ident;
                arm(quote!(Self::#ident), &variant.fields, mistakes);
            }
        }
        Data::Union(_) => {}
    }
    if arms.is_empty() {
        return (types, TokenStream::new());
    }
    let method = quote! {
        fn inspect(&self, __pb_shown: &mut #pb::Shown) {
            #[allow(unreachable_patterns)]
            match self {
                #(#arms)*
                _ => {}
            }
        }
    };
    (types, method)
}
