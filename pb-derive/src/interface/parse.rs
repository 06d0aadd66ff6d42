//! From tokens to an [`Interface`]. Only attributes are judged here, because only here they are seen.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident};
use syn::ext::IdentExt as _;
use syn::meta::ParseNestedMeta;
use syn::parse::{ParseStream, Parser as _};
use syn::{
    AttrStyle, Attribute, FnArg, ItemTrait, LitInt, LitStr, Meta, Pat, PatType, Path, Receiver, ReturnType,
    Signature, TraitItem, TraitItemConst, TraitItemFn, TraitItemMacro, TraitItemType, Type, Visibility,
    parse_quote,
};

use super::{Answer, Argument, Flags, Interface, Method, Standing, WireName, bare, is_context, last_segment};
use crate::attributes::{condition, read_crate, read_flag, read_value, skip_value};
use crate::mistakes::Mistakes;

/// The options of `#[remote_interface(…)]`: the path that `crate` gives.
pub fn options(options: TokenStream, mistakes: &mut Mistakes) -> Option<Path> {
    let mut chosen = None;
    let parser = syn::meta::parser(|option| {
        if option.path.is_ident("crate") {
            return read_crate(&option, &mut chosen, mistakes);
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
    others.iter_mut().for_each(drop_options);
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

/// What is no method is a mistake already; the compiler would add that it knows no `#[remote]`.
fn drop_options(other: &mut TraitItem) {
    let (TraitItem::Const(TraitItemConst { attrs, .. })
    | TraitItem::Type(TraitItemType { attrs, .. })
    | TraitItem::Macro(TraitItemMacro { attrs, .. })) = other
    else {
        return;
    };
    take_remote(attrs);
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
    let defaults = item.sig.inputs.iter_mut().map(|argument| match argument {
        FnArg::Typed(argument) if !takes_context(&argument.ty) => {
            let options = ArgumentOptions::read(argument, mistakes);
            standing = standing.min(if options.sound { Standing::Sound } else { Standing::Callable });
            options.default
        }
        FnArg::Typed(PatType { attrs, .. }) | FnArg::Receiver(Receiver { attrs, .. }) => {
            for attribute in take_remote(attrs) {
                mistakes.at(attribute, "callers don't pass this, so it has no options: remove #[remote]");
                standing = Standing::Callable;
            }
            None
        }
    });
    let defaults = defaults.collect();
    let (context, arguments) = arguments(&item.sig, defaults);
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
            if option.path.is_ident("idempotent") {
                return read_flag(&option, &mut self.flags.idempotent, &mut found);
            }
            if option.path.is_ident("answer_bytes") {
                return read_answer_bytes(&option, &mut self.flags.answer_bytes, &mut found);
            }
            if option.path.is_ident("name") {
                return read_name(&option, &mut self.name, &mut found);
            }
            let name = option.path.to_token_stream();
            found.at(
                &option.path,
                match option.path.is_ident("default") {
                    true => {
                        "`default` goes on an argument: write #[remote(default)] before its name".to_owned()
                    }
                    false => format!("unknown option `{name}`: the options of a method are {KNOWN}"),
                },
            );
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

const KNOWN: &str = "`answer_bytes = …`, `idempotent`, `name = \"…\"`, `oneway`, `run_to_end` and `spawn`";

/// Reads `name = "…"`.
fn read_name(
    option: &ParseNestedMeta<'_>,
    name: &mut Option<WireName>,
    found: &mut Mistakes,
) -> syn::Result<()> {
    let Some(text) = read_value::<LitStr>(option, "`name` takes a text: write `name = \"…\"`", found)?
    else {
        return Ok(());
    };
    let read = WireName { text: text.value(), place: text.to_token_stream() };
    if name.replace(read).is_some() {
        found.at(&option.path, "`name` is said twice: remove one");
    }
    Ok(())
}

/// Reads `answer_bytes = 1048576`.
fn read_answer_bytes(
    option: &ParseNestedMeta<'_>,
    answer_bytes: &mut Option<u64>,
    found: &mut Mistakes,
) -> syn::Result<()> {
    let advice = format!("`answer_bytes` takes a number of bytes from 1 to {MAX_ANSWER_BYTES}");
    let Some(number) = read_value::<LitInt>(option, &advice, found)? else { return Ok(()) };
    match number.base10_parse::<u64>() {
        Ok(bytes) if (1..=MAX_ANSWER_BYTES).contains(&bytes) => {
            if answer_bytes.replace(bytes).is_some() {
                found.at(&option.path, "`answer_bytes` is said twice: remove one");
            }
        }
        _ => found.at(&number, advice),
    }
    Ok(())
}

/// The largest frame there is.
const MAX_ANSWER_BYTES: u64 = 1 << 26;

/// The options of one argument: whether it may be missing.
struct ArgumentOptions {
    /// The `default`, where it stands.
    default: Option<Path>,
    sound: bool,
}

impl ArgumentOptions {
    fn read(argument: &mut PatType, mistakes: &mut Mistakes) -> Self {
        const ADVICE: &str = "an argument has only the option `default`: #[remote(default)]";
        let (mut default, mut found) = (None, Mistakes::default());
        for attribute in take_remote(&mut argument.attrs) {
            let mut any = false;
            let result = attribute.parse_nested_meta(|option| {
                any = true;
                let mut said = default.is_some();
                if option.path.is_ident("default") {
                    read_flag(&option, &mut said, &mut found)?;
                    default = Some(option.path);
                    return Ok(());
                }
                let name = option.path.to_token_stream();
                found.at(&option.path, format!("unknown option `{name}`: {ADVICE}"));
                skip_value(&option)
            });
            match (result, &attribute.meta) {
                (Ok(()), _) if any => {}
                (Ok(()), _) | (Err(_), Meta::Path(_) | Meta::NameValue(_)) => found.at(&attribute, ADVICE),
                (Err(error), Meta::List(_)) => found.add(error),
            }
        }
        let sound = found.is_empty();
        mistakes.append(found);
        ArgumentOptions { default, sound }
    }
}

/// Removes the `#[remote]` attributes: the compiler knows none of that name.
fn take_remote(attributes: &mut Vec<Attribute>) -> Vec<Attribute> {
    attributes.extract_if(.., |attribute| attribute.path().is_ident("remote")).collect()
}

/// Whether the first argument is the call's context, and the arguments that the caller passes.
fn arguments(signature: &Signature, defaults: Vec<Option<Path>>) -> (bool, Vec<Argument>) {
    let typed = |(argument, default): (&FnArg, Option<Path>)| match argument {
        FnArg::Typed(pattern) => {
            Some(Argument { name: name_of(&pattern.pat), pattern: pattern.clone(), default })
        }
        FnArg::Receiver(_) => None,
    };
    let mut typed: Vec<Argument> = signature.inputs.iter().zip(defaults).filter_map(typed).collect();
    let context = typed.first().is_some_and(|first| takes_context(&first.pattern.ty));
    if context {
        typed.remove(0);
    }
    (context, typed)
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
