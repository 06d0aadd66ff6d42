//! Types that can't cross to another process, seen by their form. Those that lack serde's traits are the compiler's.

use proc_macro2::{Ident, TokenStream};
use quote::ToTokens;
use syn::Type;
use syn::visit::{self, Visit};

use crate::interface::bare;

/// The first part of the type that can't cross, and what to do about it. `what` is an argument, an answer or an error;
/// `generics` says that the method has some, which is a mistake already: then lifetimes follow from them.
pub fn misfit(ty: &Type, what: &str, generics: bool, stub: &Ident) -> Option<(TokenStream, String)> {
    let mut finder = Finder { whole: bare(ty), what, stub, generics, misfit: None };
    finder.visit_type(ty);
    finder.misfit
}

struct Finder<'a> {
    whole: &'a Type,
    what: &'a str,
    stub: &'a Ident,
    generics: bool,
    misfit: Option<(TokenStream, String)>,
}

impl Finder<'_> {
    /// Whether it is the type itself, and not a part of it: `Box<str>` is well.
    fn outermost(&self, ty: &syn::TypePath) -> bool {
        matches!(self.whole, Type::Path(whole) if std::ptr::eq(whole, ty))
    }

    fn found(&mut self, place: impl ToTokens, advice: String) {
        self.misfit.get_or_insert((place.to_token_stream(), advice));
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_type_reference(&mut self, ty: &'ast syn::TypeReference) {
        if self.generics && ty.lifetime.is_some() {
            return;
        }
        let owned = match bare(&ty.elem) {
            Type::Path(path) if path.path.is_ident("str") => "`String`".to_owned(),
            Type::Slice(_) => "a `Vec`".to_owned(),
            Type::Path(path) => format!("`{}`", plain(path)),
            _ => "an owned value".to_owned(),
        };
        self.found(
            ty.and_token,
            format!("{} crosses to another process, a borrow can't: take {owned}", self.what),
        );
    }

    fn visit_type_slice(&mut self, ty: &'ast syn::TypeSlice) {
        if matches!(self.whole, Type::Slice(_)) {
            self.found(ty, format!("{} has a size: take a `Vec`", self.what));
        }
        visit::visit_type_slice(self, ty);
    }

    fn visit_type_path(&mut self, ty: &'ast syn::TypePath) {
        if self.outermost(ty) && ty.path.is_ident("str") {
            self.found(ty, format!("{} has a size: take `String`", self.what));
        }
        visit::visit_type_path(self, ty);
    }

    fn visit_lifetime(&mut self, lifetime: &'ast syn::Lifetime) {
        if !self.generics && lifetime.ident != "static" {
            self.found(
                lifetime,
                format!(
                    "{} crosses to another process, a borrow can't: write `'static` or another type",
                    self.what
                ),
            );
        }
    }

    fn visit_type_impl_trait(&mut self, ty: &'ast syn::TypeImplTrait) {
        self.found(ty, format!("{} has a type that both sides know: name it instead of `impl …`", self.what));
    }

    fn visit_type_trait_object(&mut self, ty: &'ast syn::TypeTraitObject) {
        self.found(
            ty,
            format!("{} has a type that both sides know: objects cross as stubs, `…Ref`", self.what),
        );
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if let Some(first) = path.segments.first()
            && first.ident == "Self"
        {
            let advice = format!(
                "callers don't know the type behind `Self`: name it, or hand it out as `{}`",
                self.stub
            );
            self.found(&first.ident, advice);
        }
        visit::visit_path(self, path);
    }
}

/// A path without the spaces between its tokens.
fn plain(path: &syn::TypePath) -> String {
    path.to_token_stream().to_string().replace(' ', "")
}
