//! The stub: a struct over a reference, with the interface's methods and what is known of them.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::spanned::Spanned as _;
use syn::{Ident, Token, Type};

use super::table::Position;
use super::{Expansion, under};
use crate::attributes::{Forward, condition, documentation, documents_errors};
use crate::interface::{Answer, Flags, Method, Standing};

impl Expansion<'_> {
    /// The stub: its type, what all stubs have, and the interface's methods.
    pub fn stub(&self) -> TokenStream {
        let (pb, interface) = (self.pb, self.interface);
        let (vis, stub, wire_name) = (&interface.definition.vis, &interface.stub, &interface.wire_name);
        let attributes = &interface.definition.attrs;
        let docs = attributes.iter().filter(|attribute| attribute.path().is_ident("doc"));
        let allow: Vec<_> = Forward { public: false }.pick(attributes);
        let condition = condition(attributes).map(|condition| quote!(#[cfg(#condition)]));
        let about = format!(
            " A reference to an object that offers the interface `{wire_name}`, here or in another process. Clones \
             refer to the same object."
        );
        let constructor = self.constructor();
        let tables = self.tables();
        let methods = interface.methods.iter().map(|method| self.stub_method(method));
        quote! {
            #condition
            #(#allow)*
            #[allow(dead_code)]
            #(#docs)*
            #[doc = ""]
            #[doc = #about]
            #vis struct #stub(#pb::Access);

            #condition
            #(#allow)*
            #[allow(dead_code)]
            impl #stub {
                #constructor
                /// What a reference can do that isn't a method of the interface.
                #vis fn remote(&self) -> #pb::Remote<'_, Self> {
                    #pb::Remote::new(self)
                }
                /// The same reference as a stub whose calls must be answered within `time` from when each is made, as those
                /// of its clones and promises: `DeadlineExceeded` otherwise, whatever the other side does. The method is stopped
                /// then, unless it runs to its end. More than some 50 days count as that.
                #[must_use = "the calls of the stub that this returns have the deadline"]
                #vis fn within(&self, time: #pb::Duration) -> Self {
                    #stub(#pb::Access::within(&self.0, time))
                }
                #tables
                #(#methods)*
            }

            #condition
            #pb::stub! { #stub, #wire_name }
        }
    }

    fn constructor(&self) -> TokenStream {
        let (pb, interface) = (self.pb, self.interface);
        let (vis, stub, ident) = (&interface.definition.vis, &interface.stub, &interface.definition.ident);
        if !interface.sound {
            return quote! {
                /// A stand-in.
                #vis fn new<O: #pb::IntoObject>(_: O) -> Self { ::core::unreachable!() }
            };
        }
        quote! {
            /// Refers to an object of this process. The object lives as long as somebody, here or elsewhere, holds a
            /// reference to it.
            #vis fn new<O: #pb::IntoObject>(object: O) -> Self
            where
                O::Object: #ident,
            {
                #stub(#pb::reference(object, <O::Object as #ident>::__pb_offer()))
            }
        }
    }

    /// What this side knows of the interface: its name, documentation and methods.
    fn tables(&self) -> TokenStream {
        let (pb, stub, wire_name) = (self.pb, &self.interface.stub, &self.interface.wire_name);
        let docs = documentation(&self.interface.definition.attrs);
        let mut count = Position::default();
        self.table.iter().for_each(|entry| count.step(entry.method));
        let methods = self.table.iter().map(|entry| self.description(entry.method));
        quote! {
            #[doc(hidden)]
            fn __pb_methods() -> &'static [#pb::Method] {
                static METHODS: [#pb::Method; #count] = [#(#methods),*];
                &METHODS
            }
            #[doc(hidden)]
            fn __pb_interface() -> &'static #pb::Interface {
                static INTERFACE: #pb::Interface = #pb::Interface::new(#wire_name, #docs, #stub::__pb_methods);
                &INTERFACE
            }
        }
    }

    fn description(&self, method: &Method) -> TokenStream {
        let pb = self.pb;
        let signature = self.signature(method);
        let name = format!("{}/{}", self.interface.wire_name, method.wire_name.text);
        let docs = documentation(&method.item.attrs);
        let arguments = names(method).map(|name| name.unraw().to_string());
        let flags = self.flags(&method.flags);
        let condition = under(method);
        quote! {
            #condition
            #pb::Method::new(
                #name, #docs, &[#(#arguments),*],
                #flags,
                || #signature.shape(),
            )
        }
    }

    fn flags(&self, flags: &Flags) -> TokenStream {
        let pb = self.pb;
        let Flags { oneway, run_to_end, spawn, idempotent, answer_bytes } = *flags;
        let said = [
            oneway.then(|| quote!(oneway: true)),
            run_to_end.then(|| quote!(run_to_end: true)),
            spawn.then(|| quote!(spawn: true)),
            idempotent.then(|| quote!(idempotent: true)),
            answer_bytes.map(|bytes| quote!(answer_bytes: #bytes)),
        ];
        let mut said = said.into_iter().flatten().peekable();
        match said.peek() {
            None => quote!(#pb::MethodFlags::NONE),
            Some(_) => quote!(#pb::MethodFlags { #(#said,)* ..#pb::MethodFlags::NONE }),
        }
    }

    /// What a method takes and gives, as a value: the codec of each type, taken at that type's place. A type that has none is one error
    /// there, however often this stands somewhere, and what is called on it is silent. So it is no function of its own, whose result would
    /// have to be named.
    pub fn signature(&self, method: &Method) -> TokenStream {
        let pb = self.pb;
        let arguments = method.arguments.iter().map(|argument| {
            let place = if argument.default.is_some() { "optional" } else { "argument" };
            self.codec(&argument.pattern.ty, place)
        });
        let (ok, err) = self.answer_types(&method.answer);
        let ok = self.codec(&ok, "answer");
        let err = err.map_or_else(|| quote!(#pb::no_errors()), |err| self.codec(&err, "error"));
        quote!(#ok.signature((#(#arguments,)*), #err))
    }

    fn codec(&self, ty: &impl ToTokens, place: &str) -> TokenStream {
        let pb = self.pb;
        let place = Ident::new(place, ty.span());
        quote_spanned!(ty.span()=> #pb::Argument::<#ty>::NEW.#place().crosses())
    }

    /// The answer's and the error's type.
    fn answer_types(&self, answer: &Answer) -> (TokenStream, Option<TokenStream>) {
        let pb = self.pb;
        let part = |ty: &Type, part: &str| {
            let part = Ident::new(part, ty.span());
            quote_spanned!(ty.span()=> <#ty as #pb::ResultAlias>::#part)
        };
        match answer {
            Answer::Value(ty) => (ty.to_token_stream(), None),
            Answer::Result { ok, err } => (ok.to_token_stream(), Some(err.to_token_stream())),
            Answer::Alias(ty) => (part(ty, "Ok"), Some(part(ty, "Err"))),
        }
    }

    /// A method of the stub: the call is made when it returns.
    fn stub_method(&self, method: &Method) -> Option<TokenStream> {
        let pb = self.pb;
        let vis = &self.interface.definition.vis;
        if method.standing < Standing::Callable || !self.interface.sound {
            return None;
        }
        let (condition, name) = (under(method), &method.item.sig.ident);
        let attributes = Forward { public: true }.pick(&method.item.attrs);
        let attributes =
            attributes.into_iter().filter(|one| !(method.flags.oneway && one.path().is_ident("must_use")));
        let docs = stub_docs(method);
        let names: Vec<_> = names(method).collect();
        let types = method.arguments.iter().map(|argument| &argument.pattern.ty);
        let (ok, err) = self.answer_types(&method.answer);
        let output = match (method.flags.oneway, err) {
            (true, _) => None,
            (false, None) => Some(quote!(-> #pb::Deferred<#ok, #pb::Failure>)),
            (false, Some(err)) => Some(quote!(-> #pb::Deferred<#ok, #pb::CallError<#err>>)),
        };
        let (allow, body) = self.stub_body(method);
        Some(quote! {
            #condition
            #(#attributes)*
            #docs
            #allow
            #vis fn #name(&self, #(#names: #types),*) #output { #body }
        })
    }

    fn stub_body(&self, method: &Method) -> (Option<TokenStream>, TokenStream) {
        let Some(entry) = self.table.iter().find(|entry| std::ptr::eq(entry.method, method)) else {
            debug_assert!(self.mistakes, "only mistakes keep a method out of the table");
            return (Some(quote!(#[allow(unused_variables)])), quote!(::core::unreachable!()));
        };
        let (index, signature) = (&entry.index, self.signature(method));
        let names = names(method);
        let (verb, end) = match method.flags.oneway {
            true => (quote!(cast), Some(<Token![;]>::default())),
            false => (quote!(call), None),
        };
        (None, quote!(#signature.#verb(&self.0, &Self::__pb_methods()[#index], (#(#names,)*)) #end))
    }
}

/// The names of the arguments that callers pass.
fn names(method: &Method) -> impl Iterator<Item = &Ident> {
    method.arguments.iter().filter_map(|argument| argument.name.as_ref())
}

/// What every stub's method says behind its own documentation.
fn stub_docs(method: &Method) -> TokenStream {
    let sent = match (method.flags.oneway, method.flags.run_to_end) {
        (true, _) => " The call is on its way when this returns, and is never answered.",
        (false, true) => {
            " The call is on its way when this returns. Once started it runs to its end, though nobody awaits it."
        }
        (false, false) => {
            " The call is on its way when this returns. Dropping the `Deferred` before its answer cancels the call."
        }
    };
    let sent = format!("{sent}{}{}", again(method), missing(method));
    let documented = method.item.attrs.iter().any(|attribute| attribute.path().is_ident("doc"));
    let gap = documented.then(|| quote!(#[doc = ""]));
    if method.flags.oneway {
        return quote!(#gap #[doc = #sent]);
    }
    let errors = match method.answer {
        Answer::Value(_) => " A `Failure` if the call itself fails.",
        Answer::Result { .. } | Answer::Alias(_) => {
            " `CallError::App` with the method's own error, `CallError::Broker` if the call itself fails."
        }
    };
    let heading =
        (!documents_errors(&method.item.attrs)).then(|| quote!(#[doc = ""] #[doc = " # Errors"] #[doc = ""]));
    quote!(#gap #[doc = #sent] #heading #[doc = #errors])
}

fn again(method: &Method) -> &'static str {
    match method.flags.idempotent {
        true => " It is idempotent: where a call may have run, it may be made again.",
        false => "",
    }
}

/// What is said of arguments that an older callee may not know.
fn missing(method: &Method) -> String {
    let optional: Vec<String> = (method.arguments.iter())
        .filter(|argument| argument.default.is_some())
        .filter_map(|argument| argument.name.as_ref().map(|name| format!("`{}`", name.unraw())))
        .collect();
    if optional.is_empty() {
        return String::new();
    }
    format!(
        " A callee of an older build may not know {}: it is called all the same where that is at its default, else the call \
         fails `Incompatible`.",
        optional.join(", ")
    )
}
