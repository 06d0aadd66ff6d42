//! What is wrong with the macro's input, collected.

use std::fmt::Display;

use proc_macro2::TokenStream;
use quote::ToTokens;

/// The mistakes found so far: all of them are reported, each once.
#[derive(Default)]
pub struct Mistakes(Option<syn::Error>);

impl Mistakes {
    /// Records a mistake at `tokens`. `advice` is a sentence that says what to do.
    pub fn at(&mut self, tokens: impl ToTokens, advice: impl Display) {
        self.add(syn::Error::new_spanned(tokens, advice));
    }

    /// Records what a parser complained of.
    pub fn add(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(first) => first.combine(error),
            none => *none = Some(error),
        }
    }

    /// Takes over those of `others`.
    pub fn append(&mut self, others: Mistakes) {
        others.0.into_iter().for_each(|error| self.add(error));
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// One `compile_error!` a mistake; nothing if there are none.
    pub fn into_compile_errors(self) -> TokenStream {
        self.0.map(|error| error.into_compile_error()).unwrap_or_default()
    }
}

impl From<syn::Error> for Mistakes {
    fn from(error: syn::Error) -> Self {
        Self(Some(error))
    }
}
