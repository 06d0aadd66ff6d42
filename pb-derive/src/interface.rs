//! `#[remote_interface]`: parse, check all rules, expand.

mod expand;
mod parse;
mod rules;

use proc_macro2::{Ident, TokenStream};
use syn::{GenericArgument, Item, ItemTrait, PathArguments, TraitItem, TraitItemFn, Type};

use crate::mistakes::Mistakes;
use crate::paths;

/// The whole macro. What it returns compiles but for the mistakes that it reports.
pub fn remote_interface(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut mistakes = Mistakes::default();
    let Some(definition) = the_trait(&item, &mut mistakes) else {
        return with(mistakes, item);
    };
    let chosen = parse::options(options, &mut mistakes);
    let runtime = match paths::runtime(chosen.as_ref()) {
        Ok(runtime) => runtime,
        // Nothing can be generated without it, so nothing else is worth saying.
        Err(error) => return with(Mistakes::from(error), item),
    };
    let mut interface = parse::interface(definition, &mut mistakes);
    rules::check(&mut interface, &mut mistakes);
    let code = expand::expand(&interface, &runtime, !mistakes.is_empty());
    with(mistakes, code)
}

/// An interface as it was written, and what the rules say of its parts.
pub struct Interface {
    /// The trait without its items.
    pub definition: ItemTrait,
    /// `BankRef`.
    pub stub: Ident,
    /// `Bank`, without `r#`.
    pub wire_name: String,
    pub methods: Vec<Method>,
    /// Items that aren't methods: all of them mistakes.
    pub others: Vec<TraitItem>,
    /// Pairs of conditional methods that would share a wire name where both exist.
    pub rivals: Vec<Rivals>,
    /// Whether the trait's head is in order; if not, nothing can refer to the trait.
    pub sound: bool,
}

pub struct Method {
    /// As written, without `#[remote]`.
    pub item: TraitItemFn,
    pub wire_name: WireName,
    pub flags: Flags,
    /// Whether it takes `cx: &CallContext`.
    pub context: bool,
    /// What the caller passes.
    pub arguments: Vec<Argument>,
    pub answer: Answer,
    /// The `#[cfg]` it stands under.
    pub condition: Option<TokenStream>,
    pub standing: Standing,
}

pub struct Argument {
    pub pattern: syn::PatType,
    /// The name, where the pattern is just that.
    pub name: Option<Ident>,
    /// The `default` that says that callers may not know it.
    pub default: Option<syn::Path>,
}

pub struct WireName {
    pub text: String,
    /// The tokens that say so.
    pub place: TokenStream,
}

#[derive(Default)]
pub struct Flags {
    pub oneway: bool,
    pub run_to_end: bool,
    pub spawn: bool,
    pub idempotent: bool,
    /// The largest answer that its callers take, where it is not the default.
    pub answer_bytes: Option<u64>,
}

/// What a method returns, seen by the form of its type.
pub enum Answer {
    /// Any type: the method itself can't fail.
    Value(Type),
    /// `Result<T, E>`.
    Result { ok: Box<Type>, err: Box<Type> },
    /// An alias of `Result`, recognised by its name.
    Alias(Type),
}

/// How much of a method can be generated, worst first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Standing {
    /// Not even in the trait: it is there already.
    Omitted,
    /// In the trait only.
    TraitOnly,
    /// The trait and a stub's method that other code can name.
    Callable,
    /// All of it.
    Sound,
}

/// Two methods of one wire name, and the condition under which both exist.
pub struct Rivals {
    pub both: TokenStream,
    pub error: TokenStream,
}

/// A type without the parentheses and invisible groups around it (`macro_rules!` makes those).
pub fn bare(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => bare(&group.elem),
        Type::Paren(paren) => bare(&paren.elem),
        ty => ty,
    }
}

/// The name and the type arguments of a path's last segment.
fn last_segment(ty: &Type) -> Option<(&Ident, Vec<&Type>)> {
    let Type::Path(path) = bare(ty) else { return None };
    let segment = path.path.segments.last()?;
    let types = match &segment.arguments {
        PathArguments::AngleBracketed(arguments) => {
            arguments.args.iter().filter_map(|argument| match argument {
                GenericArgument::Type(ty) => Some(ty),
                _ => None,
            })
        }
        _ => return Some((&segment.ident, Vec::new())),
    };
    Some((&segment.ident, types.collect()))
}

/// Whether it is `CallContext`, under whichever path.
pub fn is_context(ty: &Type) -> bool {
    last_segment(ty).is_some_and(|(name, _)| name == "CallContext")
}

fn the_trait(item: &TokenStream, mistakes: &mut Mistakes) -> Option<ItemTrait> {
    match syn::parse2::<Item>(item.clone()) {
        Ok(Item::Trait(definition)) => Some(definition),
        Ok(_) => {
            mistakes.add(syn::Error::new(
                proc_macro2::Span::call_site(),
                "#[remote_interface] goes on a trait; the structs behind it have #[derive(Referenceable)]",
            ));
            None
        }
        Err(error) => {
            mistakes.add(error);
            None
        }
    }
}

fn with(mistakes: Mistakes, mut code: TokenStream) -> TokenStream {
    code.extend(mistakes.into_compile_errors());
    code
}

#[cfg(test)]
mod tests;
