//! From tokens to an [`Interface`]. Only attributes are judged here, because only here they are seen.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident};
use syn::ext::IdentExt as _;
use syn::meta::ParseNestedMeta;
use syn::parse::{ParseStream, Parser as _};
use syn::{
    AttrStyle, Attribute, FnArg, ItemTrait, LitInt, LitStr, Meta, Pat, PatType, Path, ReturnType, Signature,
    TraitItem, TraitItemFn, Type, Visibility, parse_quote,
};

use super::{Answer, Argument, Flags, Interface, Method, Standing, WireName, bare, is_context, last_segment};
use crate::attributes::{condition, read_crate, read_flag, skip_value};
use crate::mistakes::Mistakes;

/// The options of `#[remote_interface(…)]`: the path that `crate` gives.
pub fn options(options: TokenStream, mistakes: &mut Mistakes) -> Option<Path> {
    let mut chosen = None;
    let parser = syn::meta::parser(|option| {
        if option.path.is_ident("crate") {
            return read_crate(&option, &mut chosen);
        }
        let name = option.path.to_token_stream();
        mistakes.at(
            &option.path,
            format!("unknown option `{name}`: #[remote_interface] has only `crate = path`"),
        );
        skip_value(&option)
    });
    if let Err(error) = parser.parse2(options) {
        mistakes.add(error);
    }
    chosen
}

/// Takes a trait apart.
pub fn interface(mut definition: ItemTrait, mistakes: &mut Mistakes) -> Interface {
    let (mut methods, mut others) = (Vec::new(), Vec::new());
    make_outer(&mut definition.attrs);
    for item in std::mem::take(&mut definition.items) {
        match item {
            TraitItem::Fn(item) => methods.push(method(item, mistakes)),
            TraitItem::Verbatim(tokens) => match visible_method.parse2(tokens.clone()) {
                Ok((vis, item)) => {
                    mistakes.at(vis, "methods are as visible as their trait: remove this");
                    methods.push(Method { standing: Standing::Callable, ..method(item, mistakes) });
                }
                Err(_) => others.push(TraitItem::Verbatim(tokens)),
            },
            other => others.push(other),
        }
    }
    Interface {
        stub: format_ident!("{}Ref", definition.ident.unraw(), span = definition.ident.span()),
        wire_name: definition.ident.unraw().to_string(),
        definition,
        methods,
        others,
        rivals: Vec::new(),
        sound: true,
    }
}

/// A method with a visibility, which syn takes for no method.
fn visible_method(input: ParseStream<'_>) -> syn::Result<(Visibility, TraitItemFn)> {
    let attributes = input.call(Attribute::parse_outer)?;
    let vis: Visibility = input.parse()?;
    let item: TraitItemFn = input.parse()?;
    Ok((vis, TraitItemFn { attrs: attributes.into_iter().chain(item.attrs).collect(), ..item }))
}

fn method(mut item: TraitItemFn, mistakes: &mut Mistakes) -> Method {
    make_outer(&mut item.attrs);
    let mut options = Options { name: None, flags: Flags::default(), sound: true };
    for attribute in take_remote(&mut item.attrs) {
        options.read(&attribute, mistakes);
    }
    let mut standing = if options.sound { Standing::Sound } else { Standing::Callable };
    for attribute in item.sig.inputs.iter_mut().flat_map(take_remote_of_argument) {
        mistakes.at(attribute, "arguments have no options: remove #[remote]");
        standing = Standing::Callable;
    }
    let (context, arguments) = arguments(&item.sig);
    Method {
        wire_name: options.name.unwrap_or_else(|| WireName {
            text: item.sig.ident.unraw().to_string(),
            place: item.sig.ident.to_token_stream(),
        }),
        flags: options.flags,
        context,
        arguments,
        answer: answer(&item.sig.output),
        condition: condition(&item.attrs),
        standing,
        item,
    }
}

/// An attribute at the beginning of a body goes before the item: what is a body changes.
fn make_outer(attributes: &mut [Attribute]) {
    attributes.iter_mut().for_each(|attribute| attribute.style = AttrStyle::Outer);
}

/// What the `#[remote(…)]` of a method say.
struct Options {
    name: Option<WireName>,
    flags: Flags,
    sound: bool,
}

impl Options {
    fn read(&mut self, attribute: &Attribute, mistakes: &mut Mistakes) {
        const KNOWN: &str = "`oneway`, `run_to_end`, `spawn`, `answer_bytes = …` and `name = \"…\"`";
        let mut found = Mistakes::default();
        let mut any = false;
        let result = attribute.parse_nested_meta(|option| {
            any = true;
            if option.path.is_ident("oneway") {
                return read_flag(&option, &mut self.flags.oneway, &mut found);
            }
            if option.path.is_ident("run_to_end") {
                return read_flag(&option, &mut self.flags.run_to_end, &mut found);
            }
            if option.path.is_ident("spawn") {
                return read_flag(&option, &mut self.flags.spawn, &mut found);
            }
            if option.path.is_ident("answer_bytes") {
                return read_answer_bytes(&option, &mut self.flags.answer_bytes, &mut found);
            }
            if option.path.is_ident("name") {
                let text: LitStr = option.value()?.parse()?;
                let name = WireName { text: text.value(), place: text.to_token_stream() };
                if self.name.replace(name).is_some() {
                    found.at(&option.path, "`name` is said twice: remove one");
                }
                return Ok(());
            }
            let name = option.path.to_token_stream();
            found.at(&option.path, format!("unknown option `{name}`: the options of a method are {KNOWN}"));
            skip_value(&option)
        });
        match (result, &attribute.meta) {
            (Ok(()), _) if any => {}
            // An empty list, none at all, or `#[remote = …]`.
            (Ok(()), _) | (Err(_), Meta::Path(_) | Meta::NameValue(_)) => {
                found.at(attribute, format!("#[remote(…)] holds options: {KNOWN}"));
            }
            (Err(error), Meta::List(_)) => found.add(error),
        }
        self.sound &= found.is_empty();
        mistakes.append(found);
    }
}

/// Reads `answer_bytes = 1048576`.
fn read_answer_bytes(
    option: &ParseNestedMeta<'_>,
    answer_bytes: &mut Option<u64>,
    found: &mut Mistakes,
) -> syn::Result<()> {
    let number: LitInt = option.value()?.parse()?;
    match number.base10_parse::<u64>() {
        Ok(bytes) if (1..=MAX_ANSWER_BYTES).contains(&bytes) => {
            if answer_bytes.replace(bytes).is_some() {
                found.at(&option.path, "`answer_bytes` is said twice: remove one");
            }
        }
        _ => found.at(&number, format!("`answer_bytes` is a number of bytes from 1 to {MAX_ANSWER_BYTES}")),
    }
    Ok(())
}

/// The largest frame there is.
const MAX_ANSWER_BYTES: u64 = 1 << 26;

/// Removes the `#[remote]` attributes: the compiler knows none of that name.
fn take_remote(attributes: &mut Vec<Attribute>) -> Vec<Attribute> {
    attributes.extract_if(.., |attribute| attribute.path().is_ident("remote")).collect()
}

fn take_remote_of_argument(argument: &mut FnArg) -> Vec<Attribute> {
    match argument {
        FnArg::Receiver(receiver) => take_remote(&mut receiver.attrs),
        FnArg::Typed(argument) => take_remote(&mut argument.attrs),
    }
}

/// Whether the first argument is the call's context, and the arguments that the caller passes.
fn arguments(signature: &Signature) -> (bool, Vec<Argument>) {
    let typed = |argument: &FnArg| match argument {
        FnArg::Typed(argument) => Some(argument.clone()),
        FnArg::Receiver(_) => None,
    };
    let mut typed: Vec<PatType> = signature.inputs.iter().filter_map(typed).collect();
    let context = typed.first().is_some_and(|first| takes_context(&first.ty));
    if context {
        typed.remove(0);
    }
    let argument = |pattern: PatType| Argument { name: name_of(&pattern.pat), pattern };
    (context, typed.into_iter().map(argument).collect())
}

/// Whether it is `&CallContext`: a lifetime or `mut` there are for the rules to judge.
fn takes_context(ty: &Type) -> bool {
    matches!(bare(ty), Type::Reference(reference) if reference.mutability.is_none() && is_context(&reference.elem))
}

fn name_of(pattern: &Pat) -> Option<syn::Ident> {
    match pattern {
        Pat::Ident(name) if name.by_ref.is_none() && name.subpat.is_none() => Some(name.ident.clone()),
        _ => None,
    }
}

fn answer(output: &ReturnType) -> Answer {
    let ReturnType::Type(_, ty) = output else {
        return Answer::Value(parse_quote!(()));
    };
    match last_segment(ty) {
        Some((name, types)) if name == "Result" => match types[..] {
            [ok, err] => Answer::Result { ok: Box::new(ok.clone()), err: Box::new(err.clone()) },
            _ => Answer::Alias((**ty).clone()),
        },
        _ => Answer::Value((**ty).clone()),
    }
}
