//! The method table, and places in it that hold although `#[cfg]` takes methods out.

use proc_macro2::{Literal, TokenStream};
use quote::{ToTokens, quote};

use crate::interface::{Interface, Method, Standing};

/// A method and its place in the table.
pub struct Entry<'a> {
    pub method: &'a Method,
    pub index: Position,
}

/// A place in a table of which a part may be absent: so many for certain, and one for each condition that holds.
#[derive(Clone, Default)]
pub struct Position {
    certain: usize,
    conditions: Vec<TokenStream>,
}

/// The sound methods, in their order.
pub fn table(interface: &Interface) -> Vec<Entry<'_>> {
    let mut next = Position::default();
    let sound = interface.methods.iter().filter(|method| method.standing == Standing::Sound);
    sound
        .map(|method| {
            let index = next.clone();
            next.step(method);
            Entry { method, index }
        })
        .collect()
}

impl Position {
    /// Goes on behind `method`.
    pub fn step(&mut self, method: &Method) {
        match &method.condition {
            None => self.certain += 1,
            Some(condition) => self.conditions.push(condition.clone()),
        }
    }

    /// As a match arm's pattern. A condition makes it an expression, which only a guard can hold.
    pub fn pattern(&self) -> TokenStream {
        if self.conditions.is_empty() { self.to_token_stream() } else { quote!(_ if method == #self) }
    }
}

impl ToTokens for Position {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let certain = Literal::usize_unsuffixed(self.certain);
        let conditions = &self.conditions;
        tokens.extend(quote!(#certain #(+ ::core::cfg!(#conditions) as usize)*));
    }
}
