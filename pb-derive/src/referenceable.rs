//! `#[derive(Referenceable)]`.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Data, DeriveInput, Path, parse_quote};

use crate::attributes::CRATE_ADVICE;
use crate::inspected;
use crate::mistakes::Mistakes;
use crate::paths;

/// The whole macro.
pub fn derive(item: TokenStream) -> TokenStream {
    let input: DeriveInput = match syn::parse2(item) {
        Ok(input) => input,
        Err(error) => return error.into_compile_error(),
    };
    let mut mistakes = Mistakes::default();
    if let Data::Union(data) = &input.data {
        mistakes.at(data.union_token, "a union has no state that many callers could share: use a struct");
    }
    if let Some(lifetime) = input.generics.lifetimes().next() {
        mistakes.at(lifetime, "an object lives as long as somebody elsewhere refers to it, a borrow does not: own what it holds");
    }
    check_fields(&input.data, &mut mistakes);
    let options = Options::read(&input, &mut mistakes);
    let mut code = match paths::runtime(options.runtime.as_ref()) {
        Ok(pb) => expand(&input, &options.interfaces, &pb, &mut mistakes),
        Err(error) => return error.into_compile_error(),
    };
    code.extend(mistakes.into_compile_errors());
    code
}

/// The compiler lets a derive's attributes stand on fields and variants as well.
fn check_fields(data: &Data, mistakes: &mut Mistakes) {
    let variants: Vec<_> = match data {
        Data::Enum(data) => data.variants.iter().collect(),
        Data::Struct(_) | Data::Union(_) => Vec::new(),
    };
    let fields: Vec<_> = match data {
        Data::Struct(data) => data.fields.iter().collect(),
        Data::Union(data) => data.fields.named.iter().collect(),
        Data::Enum(_) => variants.iter().flat_map(|variant| &variant.fields).collect(),
    };
    let all = variants.iter().map(|variant| &variant.attrs).chain(fields.iter().map(|field| &field.attrs));
    for attribute in all.flatten().filter(|attribute| attribute.path().is_ident("referenceable")) {
        mistakes
            .at(attribute, "interfaces are the whole object's: write #[referenceable(…)] before the type");
    }
}

/// What `#[referenceable(…)]` says.
#[derive(Default)]
struct Options {
    runtime: Option<Path>,
    interfaces: Vec<Path>,
}

impl Options {
    fn read(input: &DeriveInput, mistakes: &mut Mistakes) -> Self {
        let mut options = Options::default();
        for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("referenceable")) {
            let Ok(list) = attribute.meta.require_list() else {
                mistakes
                    .at(attribute, "write the further interfaces in parentheses: #[referenceable(Audited)]");
                continue;
            };
            if let Err(error) =
                list.parse_args_with(|input: syn::parse::ParseStream<'_>| options.items(input, mistakes))
            {
                mistakes.add(error);
            }
        }
        options
    }

    fn items(&mut self, input: syn::parse::ParseStream<'_>, mistakes: &mut Mistakes) -> syn::Result<()> {
        use syn::{Token, parse::discouraged::Speculative as _};
        while !input.is_empty() {
            let ahead = input.fork();
            if input.peek(Token![crate]) && input.peek2(Token![=]) {
                let said = input.parse::<Token![crate]>()?;
                input.parse::<Token![=]>()?;
                let ahead = input.fork();
                match ahead.call(Path::parse_mod_style) {
                    Ok(path) => {
                        input.advance_to(&ahead);
                        if self.runtime.replace(path).is_some() {
                            mistakes.at(said, "`crate` is said twice: remove one");
                        }
                    }
                    Err(_) => mistakes.at(rest_of_option(input)?, CRATE_ADVICE),
                }
            } else if let Ok(path) = ahead.parse::<Path>()
                && (ahead.is_empty() || ahead.peek(Token![,]))
            {
                input.advance_to(&ahead);
                if self.interfaces.contains(&path) {
                    mistakes.at(&path, "this interface is listed already: remove one");
                } else {
                    self.interfaces.push(path);
                }
            } else {
                mistakes.at(
                    rest_of_option(input)?,
                    "this is no interface: write the path of a trait, as in #[referenceable(Audited)]",
                );
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(())
    }
}

/// Takes what is left of an option that is in error.
fn rest_of_option(input: syn::parse::ParseStream<'_>) -> syn::Result<TokenStream> {
    let mut rest = TokenStream::new();
    while !input.is_empty() && !input.peek(syn::Token![,]) {
        rest.extend([input.parse::<proc_macro2::TokenTree>()?]);
    }
    Ok(rest)
}

fn expand(
    input: &DeriveInput,
    interfaces: &[Path],
    pb: &TokenStream,
    mistakes: &mut Mistakes,
) -> TokenStream {
    let ident = &input.ident;
    let (shown, inspect) = inspected::method(input, pb, mistakes);
    let offers = interfaces.iter().map(|path| quote_spanned!(path.span()=> <Self as #path>::__pb_offer));
    let mut generics = input.generics.clone();
    if !generics.params.is_empty() {
        // What of a generic type can be handed out is decided where it is used.
        let clause = generics.make_where_clause();
        clause.predicates.push(parse_quote!(Self: #pb::Send + #pb::Sync + 'static));
        clause
            .predicates
            .extend(interfaces.iter().map(|path| -> syn::WherePredicate { parse_quote!(Self: #path) }));
        clause
            .predicates
            .extend(shown.iter().map(|of| -> syn::WherePredicate { parse_quote!(#of: #pb::Debug) }));
    }
    let (parameters, arguments, clause) = generics.split_for_impl();
    let parameters = parameters.to_token_stream();
    quote! {
        #[automatically_derived]
        impl #parameters #pb::Referenceable for #ident #arguments #clause {
            // Where it is not, that is one error, of the trait's: the clause keeps it from being others, and the lifetime the clause from being one.
            fn offers() -> &'static [fn() -> #pb::Offer<Self>]
            where
                for<'__pb> Self: #pb::Send + #pb::Sync,
            {
                &[#(#offers),*]
            }

            #inspect
        }
    }
}
