//! From an [`Interface`] to code: the trait with its dispatcher, and the stub.
//!
//! Small on purpose: what all interfaces have in common lives in the runtime, behind one path, `pb`.

mod stub;
mod table;

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};
use syn::{Block, FnArg, Pat, ReturnType};

use self::table::{Entry, table};
use super::{Answer, Interface, Method, Standing};
use crate::attributes::mentions_deprecated;

/// All the code. With `mistakes`, methods that aren't sound are left out or are stand-ins, which only keep other code
/// from failing as well.
pub fn expand(interface: &Interface, pb: &TokenStream, mistakes: bool) -> TokenStream {
    let expansion = Expansion { interface, pb, table: table(interface), mistakes };
    let definition = expansion.definition();
    let stub = expansion.stub();
    let rivals = interface.rivals.iter().map(|rivals| {
        let (both, error) = (&rivals.both, &rivals.error);
        quote!(#[cfg(#both)] const _: () = { #error };)
    });
    quote!(#definition #stub #(#rivals)*)
}

struct Expansion<'a> {
    interface: &'a Interface,
    pb: &'a TokenStream,
    /// The sound methods, in their order: the method table.
    table: Vec<Entry<'a>>,
    mistakes: bool,
}

impl Expansion<'_> {
    /// The trait, with hidden items that lead from it to everything else.
    fn definition(&self) -> TokenStream {
        let (pb, interface) = (self.pb, self.interface);
        let definition = &interface.definition;
        let (attributes, vis, unsafety) = (&definition.attrs, &definition.vis, &definition.unsafety);
        let (ident, generics) = (&definition.ident, &definition.generics);
        let supertraits = definition.supertraits.iter();
        let others = &interface.others;
        let kept = interface.methods.iter().filter(|method| method.standing != Standing::Omitted);
        let methods = kept.map(|method| self.declaration(method));
        let hidden = interface.sound.then(|| self.hidden());
        let clause = &generics.where_clause;
        quote! {
            #(#attributes)*
            #vis #unsafety trait #ident #generics:
                #(#supertraits +)* #pb::Sized + 'static #clause
            {
                #(#others)*
                #(#methods)*
                #hidden
            }
        }
    }

    /// A method as the trait has it: `async` becomes a future that is `Send`.
    fn declaration(&self, method: &Method) -> TokenStream {
        let pb = self.pb;
        let item = &method.item;
        let attributes = &item.attrs;
        let mut signature = item.sig.clone();
        let body = item.default.as_ref();
        if signature.asyncness.take().is_none() {
            let body = body.map_or_else(|| quote!(;), ToTokens::to_token_stream);
            return quote!(#(#attributes)* #signature #body);
        }
        signature.constness = None;
        if body.is_none() {
            signature.inputs.iter_mut().for_each(plain_pattern);
        }
        let answer = match &signature.output {
            ReturnType::Default => quote!(()),
            ReturnType::Type(_, ty) => ty.to_token_stream(),
        };
        // A mistaken method may hold what isn't Send, a type parameter for example: that would be a second error.
        let usable = method.standing >= Standing::Callable;
        let send = usable.then(|| quote!(+ #pb::Send));
        signature.output = ReturnType::Default;
        let clause = signature.generics.where_clause.take();
        // That an object can be shared is its `Referenceable`'s to say, once: without this each of its methods would be an error, too.
        let clause = match clause {
            None if usable => Some(quote!(where Self: #pb::Sync)),
            clause => clause.map(ToTokens::into_token_stream),
        };
        let body = match body {
            Some(body) if usable => typed_body(body, &answer),
            Some(body) => quote!({ async move #body }),
            None => quote!(;),
        };
        quote! {
            #(#attributes)*
            #signature -> impl #pb::Future<Output = #answer> #send #clause #body
        }
    }

    fn hidden(&self) -> TokenStream {
        let pb = self.pb;
        let (ident, stub) = (&self.interface.definition.ident, &self.interface.stub);
        let arms = self.table.iter().map(|entry| self.arm(entry));
        let deprecated = self.interface.methods.iter().any(|method| mentions_deprecated(&method.item.attrs));
        let deprecated = deprecated.then(|| quote!(#[allow(deprecated)]));
        // Without a method that is there for certain, nothing may use `me`.
        let unused = self.table.iter().all(|entry| entry.method.condition.is_some());
        let unused = unused.then(|| quote!(#[allow(unused_variables)]));
        quote! {
            #[doc(hidden)]
            fn __pb_offer() -> #pb::Offer<Self> where Self: #pb::Send + #pb::Sync {
                #pb::Offer::new(#stub::__pb_interface, <Self as #ident>::__pb_dispatch)
            }
            #[doc(hidden)]
            #deprecated
            #unused
            fn __pb_dispatch(me: &#pb::Arc<Self>, method: usize, call: &mut #pb::Incoming<'_>) -> #pb::Started
            where
                Self: #pb::Send + #pb::Sync,
            {
                let me: #pb::Arc<Self> = #pb::Clone::clone(me);
                match method {
                    #(#arms)*
                    _ => call.unimplemented(),
                }
            }
        }
    }

    fn arm(&self, entry: &Entry<'_>) -> TokenStream {
        let pb = self.pb;
        let interface = &self.interface.definition.ident;
        let method = entry.method;
        let (name, signature) = (&method.item.sig.ident, self.signature(method));
        // Names of our own: the user's may be those of `me`, `call` and `cx`.
        let arguments: Vec<_> = (0..method.arguments.len()).map(|n| format_ident!("__a{n}")).collect();
        let (entry_point, cx, context) = match method.context {
            true => (quote!(run_asking), Some(quote!(, cx)), Some(quote!(&cx,))),
            false => (quote!(run), None, None),
        };
        let run = quote!(<Self as #interface>::#name(&*me, #context #(#arguments),*).await);
        let run = match method.answer {
            Answer::Value(_) => quote!(#pb::Ok::<_, #pb::NoError>(#run)),
            Answer::Result { .. } | Answer::Alias(_) => run,
        };
        let (condition, pattern) = (under(method), entry.index.pattern());
        quote! {
            #condition
            #pattern => #signature.#entry_point(call, move |(#(#arguments,)*) #cx| async move { #run }),
        }
    }
}

/// A default body as a future. An async block doesn't know its type, as an async function does, so it is told twice:
/// for `return` and `?`, and for the body's value. A body of the wrong type is then an error in the body.
fn typed_body(body: &Block, answer: &TokenStream) -> TokenStream {
    quote! {
        {
            async move {
                if let ::core::option::Option::Some(__pb_answer) = ::core::option::Option::None::<#answer> {
                    return __pb_answer;
                }
                #[allow(clippy::diverging_sub_expression)]
                let __pb_answer: #answer = #body;
                #[allow(unreachable_code)]
                __pb_answer
            }
        }
    }
}

/// The `#[cfg]` of everything that a conditional method has.
fn under(method: &Method) -> Option<TokenStream> {
    method.condition.as_ref().map(|condition| quote!(#[cfg(#condition)]))
}

/// Without a body, a pattern is an error of the compiler's as well.
fn plain_pattern(argument: &mut FnArg) {
    if let FnArg::Typed(argument) = argument {
        match &mut *argument.pat {
            Pat::Ident(name) if name.by_ref.is_none() && name.subpat.is_none() => name.mutability = None,
            pattern => {
                *pattern = Pat::Wild(syn::PatWild { attrs: Vec::new(), underscore_token: Default::default() })
            }
        }
    }
}
