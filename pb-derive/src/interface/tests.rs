use proc_macro2::TokenStream;
use quote::quote;

use super::remote_interface;

fn expand(item: TokenStream) -> String {
    let code = remote_interface(quote!(crate = ::pb_core), item);
    prettyplease::unparse(&syn::parse2(code).expect("the expansion is a sequence of items"))
}

/// The texts of the errors that an expansion reports.
fn errors(item: TokenStream) -> Vec<String> {
    let code = expand(item);
    let texts = code.split("compile_error! {").skip(1);
    texts.map(|text| text.split('"').nth(1).expect("an error has a text").to_owned()).collect()
}

#[test]
fn a_one_method_trait_expands_to_under_200_lines() {
    let code = expand(quote! {
        /// A bank.
        #[remote_interface]
        pub trait Bank {
            /// Opens an account.
            async fn open(&self, owner: String) -> Result<AccountRef, BankError>;
        }
    });
    let lines = code.lines().count();
    assert!(lines < 200, "{lines} lines:\n{code}");
}

#[test]
fn a_further_method_adds_at_most_72_lines() {
    let of = |methods: TokenStream| expand(quote!(pub trait Bank { #methods })).lines().count();
    let one = quote!(
        async fn open(&self, owner: String) -> Result<AccountRef, BankError>;
    );
    let two = quote!(#one async fn close(&self, owner: String) -> Result<AccountRef, BankError>;);
    let (one, two) = (of(one), of(two));
    assert!(two - one <= 72, "{one} lines, then {two}");
}

#[test]
fn every_path_of_the_expansion_begins_in_our_crate_or_core() {
    let code = expand(quote! {
        pub trait Bank {
            async fn open(&self, owner: u8) -> u64;
            #[cfg(unix)]
            #[remote(oneway)]
            async fn note(&self, text: u8);
        }
    });
    let paths = code
        .match_indices("::")
        .filter(|(at, _)| !code[..*at].ends_with(|c: char| c.is_alphanumeric() || "_>".contains(c)));
    for (at, _) in paths {
        let path = &code[at..];
        assert!(
            ["::pb_core::", "::core::", "::<"].iter().any(|ours| path.starts_with(ours)),
            "a path of somebody else's: {}",
            &path[..path.len().min(40)]
        );
    }
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let texts = errors(quote! {
        pub trait Bank {
            const LIMIT: u64;
            fn plain(&self);
            async fn changing(&mut self, name: &str) -> &str;
            #[remote(magic)]
            async fn new(&self);
        }
    });
    assert_eq!(texts.len(), 7, "{texts:#?}");
}

#[test]
fn a_mistaken_method_does_not_take_the_others_with_it() {
    let code = expand(quote! {
        pub trait Bank {
            async fn broken(&self, name: &str);
            async fn sound(&self) -> u64;
        }
    });
    let tokens: String = code.split_whitespace().collect();
    assert!(tokens.contains("pubfnsound(&self,)->::pb_core::__private::Deferred<u64,"), "{code}");
    assert_eq!(tokens.matches("fnbroken").count(), 1, "only the trait has it:\n{code}");
}

#[test]
fn conditional_methods_have_places_that_depend_on_the_conditions() {
    let code = expand(quote! {
        pub trait Bank {
            async fn first(&self);
            #[cfg(a)]
            async fn second(&self);
            #[cfg_attr(b, cfg(c))]
            async fn third(&self);
            async fn fourth(&self);
        }
    });
    let tokens: String = code.split_whitespace().collect();
    let third = "1+::core::cfg!(a)asusize";
    let fourth = "1+::core::cfg!(a)asusize+::core::cfg!(any(not(b),c))asusize";
    assert!(tokens.contains(&format!("#[cfg(any(not(b),c))]_ifmethod=={third}=>")), "{code}");
    assert!(tokens.contains(&format!("_ifmethod=={fourth}=>")), "{code}");
    assert!(tokens.contains(&format!("__pb_methods()[{fourth}]")), "{code}");
}
