//! What an interface may hold. Each rule reports its mistakes and says how much of the method is still usable.

mod types;

use proc_macro2::Ident;
use quote::{ToTokens, quote};
use syn::ext::IdentExt as _;
use syn::spanned::Spanned as _;
use syn::{FnArg, GenericParam, Pat, Receiver, ReturnType, TraitItem, Type};

use super::{Answer, Argument, Interface, Method, Rivals, Standing, bare, is_context};
use crate::mistakes::Mistakes;

/// Arguments of a method, at the most: the runtime has codecs for tuples up to this size.
const MAX_ARGUMENTS: usize = 12;
/// Bytes of `Interface/method`, at the most (docs/protocol.md, "Method").
const MAX_NAME_BYTES: usize = 256;
/// Methods that every stub or Deferred has itself.
const TAKEN: [&str; 6] = ["new", "clone", "remote", "within", "detach", "promised"];

/// Checks all rules.
pub fn check(interface: &mut Interface, mistakes: &mut Mistakes) {
    check_head(interface, mistakes);
    for other in &interface.others {
        check_other(other, mistakes);
    }
    let (stub, wire_name) = (&interface.stub, &interface.wire_name);
    for method in &mut interface.methods {
        let mut checking = Checking { mistakes, standing: method.standing };
        checking.modifiers(method);
        checking.rust_name(method);
        checking.wire_name(method, wire_name);
        checking.receiver(method);
        checking.arguments(method, stub);
        checking.answer(method, stub);
        method.standing = checking.standing;
    }
    check_twins(interface, mistakes);
}

fn check_head(interface: &mut Interface, mistakes: &mut Mistakes) {
    let definition = &interface.definition;
    if let Some(token) = &definition.unsafety {
        mistakes.at(token, "callers can't keep an unsafe trait's promises: remove `unsafe`");
    }
    if !definition.generics.params.is_empty() {
        mistakes.at(
            &definition.generics,
            "an interface is the same for all its callers: remove the generics and name concrete types",
        );
        interface.sound = false;
    }
    if let Some(clause) = &definition.generics.where_clause {
        mistakes.at(clause, "write what `Self` needs as supertraits, and remove the `where` clause");
        interface.sound = false;
    }
}

fn check_other(other: &TraitItem, mistakes: &mut Mistakes) {
    const ADVICE: &str = "move it to a trait of its own";
    match other {
        TraitItem::Const(item) => mistakes.at(
            item.const_token,
            format!("an interface holds only methods, and this is a constant: {ADVICE}"),
        ),
        TraitItem::Type(item) => {
            mistakes.at(
                item.type_token,
                format!("an interface holds only methods, and this is a type: {ADVICE}"),
            );
        }
        TraitItem::Macro(item) => mistakes.at(
            &item.mac.path,
            "the macro sees only what is written here: write the methods instead of a macro",
        ),
        other => mistakes.at(other, "an interface holds only methods: `async fn name(&self, …) -> …;`"),
    }
}

/// The rules for one method, and how it stands so far.
struct Checking<'a> {
    mistakes: &'a mut Mistakes,
    standing: Standing,
}

impl Checking<'_> {
    fn mistake(&mut self, tokens: impl ToTokens, left: Standing, advice: impl std::fmt::Display) {
        self.mistakes.at(tokens, advice);
        self.standing = self.standing.min(left);
    }

    fn modifiers(&mut self, method: &Method) {
        let signature = &method.item.sig;
        if let Some(token) = &signature.unsafety {
            self.mistake(
                token,
                Standing::Callable,
                "a remote caller can't promise anything: remove `unsafe`",
            );
        }
        if let Some(token) = &signature.constness {
            self.mistake(
                token,
                Standing::Callable,
                "nothing is called before the program runs: remove `const`",
            );
        }
        if let Some(abi) = &signature.abi {
            self.mistake(abi, Standing::Callable, "calls don't go by a C ABI: remove `extern`");
        }
        if signature.asyncness.is_none() {
            self.mistake(
                signature.fn_token,
                Standing::Callable,
                "the answer comes later: write `async fn`; the body may be plain code",
            );
        }
        let generics = &signature.generics;
        if !generics.params.is_empty() {
            let lifetimes = generics.params.iter().all(|p| matches!(p, GenericParam::Lifetime(_)));
            let advice = match lifetimes {
                true => "no borrow crosses to another process: remove the lifetimes and pass owned values",
                false => "callers elsewhere can't choose a type: remove the generics and name concrete types",
            };
            self.mistake(generics, Standing::TraitOnly, advice);
        } else if let Some(clause) = &generics.where_clause {
            self.mistake(clause, Standing::TraitOnly, "remove the `where` clause: types here are concrete");
        }
    }

    fn rust_name(&mut self, method: &Method) {
        let ident = &method.item.sig.ident;
        let name = ident.unraw().to_string();
        if TAKEN.contains(&name.as_str()) {
            let advice = format!(
                "`{name}` is a method of every stub: rename this one; #[remote(name = \"{name}\")] keeps its name on \
                 the wire"
            );
            self.mistake(ident, Standing::TraitOnly, advice);
        } else if name.starts_with("__pb") {
            let advice = "names that begin with `__pb` are the macro's own: rename the method";
            self.mistake(ident, Standing::TraitOnly, advice);
        }
    }

    fn wire_name(&mut self, method: &Method, interface: &str) {
        let name = &method.wire_name;
        let bytes = interface.len() + 1 + name.text.len();
        let advice = if name.text.is_empty() {
            "a method's name has at least one character".to_owned()
        } else if name.text.starts_with('$') {
            "names that begin with `$` are the broker's: choose another".to_owned()
        } else if name.text.contains(|c: char| c == '/' || c.is_control()) {
            "a method's name has no `/`, which ends the interface's name, and no control characters"
                .to_owned()
        } else if bytes > MAX_NAME_BYTES {
            format!("`{interface}/…` has {bytes} bytes, and names have at most {MAX_NAME_BYTES}: shorten it")
        } else {
            return;
        };
        self.mistake(&name.place, Standing::Callable, advice);
    }

    fn receiver(&mut self, method: &Method) {
        const ADVICE: &str = "write `&self`: many callers use one object at once";
        let signature = &method.item.sig;
        let Some(FnArg::Receiver(receiver)) = signature.inputs.first() else {
            let advice = "a method is called on an object: add `&self` as its first argument";
            return self.mistake(&signature.ident, Standing::Callable, advice);
        };
        let Receiver { reference, mutability, self_token, colon_token, .. } = receiver;
        match (reference, mutability, colon_token) {
            (_, _, Some(_)) => self.mistake(receiver, Standing::Callable, ADVICE),
            (Some((and, _)), Some(mutable), None) => {
                let advice = format!("{ADVICE}; keep what changes in a lock or an atomic");
                self.mistake(quote!(#and #mutable #self_token), Standing::Callable, advice);
            }
            (None, _, None) => {
                let advice = format!("{ADVICE}, and the object outlives the call");
                self.mistake(quote!(#mutability #self_token), Standing::Callable, advice);
            }
            (Some((_, Some(lifetime))), None, None) if signature.generics.params.is_empty() => {
                let advice = "no borrow crosses to another process: write `&self`";
                self.mistake(lifetime, Standing::Callable, advice);
            }
            (Some(_), None, None) => {}
        }
    }

    fn arguments(&mut self, method: &Method, stub: &Ident) {
        if let Some(cx) = method.context.then(|| method.item.sig.inputs.get(1)).flatten()
            && let FnArg::Typed(cx) = cx
            && let Type::Reference(reference) = bare(&cx.ty)
            && let Some(lifetime) = &reference.lifetime
            && method.item.sig.generics.params.is_empty()
        {
            self.mistake(lifetime, Standing::Callable, "write `&CallContext`: it lives as long as the call");
        }
        let generics = !method.item.sig.generics.params.is_empty();
        for argument in &method.arguments {
            self.pattern(argument, method.item.default.is_some());
            self.argument_type(&argument.pattern.ty, generics, stub);
        }
        self.order(&method.arguments);
        if let Some(thirteenth) = method.arguments.get(MAX_ARGUMENTS) {
            let count = method.arguments.len();
            let advice = format!(
                "a method has at most {MAX_ARGUMENTS} arguments, and this one {count}: pass some of them as a struct"
            );
            self.mistake(&thirteenth.pattern, Standing::TraitOnly, advice);
        }
    }

    /// Those that may be missing come last.
    fn order(&mut self, arguments: &[Argument]) {
        let last = arguments.iter().rposition(|argument| argument.default.is_none()).unwrap_or(0);
        if let Some(default) =
            arguments[..last.min(arguments.len())].iter().find_map(|one| one.default.as_ref())
        {
            let advice = "only the last arguments may be missing: give those behind it #[remote(default)], or move it to the end";
            self.mistake(default, Standing::Callable, advice);
        }
    }

    fn pattern(&mut self, argument: &Argument, has_body: bool) {
        for attribute in &argument.pattern.attrs {
            if attribute.path().is_ident("cfg") || attribute.path().is_ident("cfg_attr") {
                let advice = "an argument that is there only at times changes the signature: put #[cfg] on two methods";
                self.mistake(attribute, Standing::TraitOnly, advice);
            }
        }
        let pattern = &argument.pattern.pat;
        match (&argument.name, &**pattern) {
            (None, pattern) => {
                let advice = "arguments have plain names, which callers and the inspector see: `name: Type`";
                self.mistake(pattern, Standing::TraitOnly, advice);
            }
            (Some(_), Pat::Ident(name)) if name.mutability.is_some() && !has_body => {
                self.mistake(
                    name.mutability,
                    Standing::Callable,
                    "remove `mut`: the method has no body here",
                );
            }
            (Some(_), _) => {}
        }
    }

    fn argument_type(&mut self, ty: &Type, generics: bool, stub: &Ident) {
        if is_context(ty) {
            let advice = "the context is lent, and comes first: write `cx: &CallContext` right after `&self`";
            return self.mistake(ty, Standing::TraitOnly, advice);
        }
        if let Type::Reference(reference) = bare(ty)
            && is_context(&reference.elem)
        {
            let advice =
                "the context comes first and is not changed: write `cx: &CallContext` right after `&self`";
            return self.mistake(reference.and_token, Standing::TraitOnly, advice);
        }
        self.owned(ty, "an argument", generics, stub);
    }

    fn answer(&mut self, method: &Method, stub: &Ident) {
        if method.flags.oneway && method.flags.answer_bytes.is_some() {
            let advice = "a oneway method is never answered: remove `answer_bytes`, or `oneway`";
            return self.mistake(&method.item.sig.ident, Standing::Callable, advice);
        }
        if method.flags.oneway && method.flags.idempotent {
            let advice = "a oneway method is never answered, so nobody knows when to call it again: remove `idempotent`, or `oneway`";
            return self.mistake(&method.item.sig.ident, Standing::Callable, advice);
        }
        let ReturnType::Type(_, ty) = &method.item.sig.output else { return };
        if method.flags.oneway && !matches!(bare(ty), Type::Tuple(tuple) if tuple.elems.is_empty()) {
            let advice = "a oneway method is never answered: remove the return type, or `oneway`";
            return self.mistake(ty, Standing::Callable, advice);
        }
        let generics = !method.item.sig.generics.params.is_empty();
        match &method.answer {
            Answer::Value(ty) | Answer::Alias(ty) => self.owned(ty, "an answer", generics, stub),
            Answer::Result { ok, err } => {
                self.owned(ok, "an answer", generics, stub);
                self.owned(err, "an error", generics, stub);
            }
        }
    }

    /// A type without borrows and without types that only this side knows. The first misfit in it is reported.
    fn owned(&mut self, ty: &Type, what: &str, generics: bool, stub: &Ident) {
        let misfit = types::misfit(ty, what, generics, stub);
        if let Some((place, advice)) = misfit {
            self.mistake(place, Standing::TraitOnly, advice);
        }
    }
}

/// Two methods of one name on the wire. Where a `#[cfg]` decides, the compiler does.
fn check_twins(interface: &mut Interface, mistakes: &mut Mistakes) {
    for later in 1..interface.methods.len() {
        let (before, rest) = interface.methods.split_at_mut(later);
        let method = &mut rest[0];
        let same = |other: &&Method| other.wire_name.text == method.wire_name.text;
        let Some(twin) = before.iter().find(same) else { continue };
        let one_ident = twin.item.sig.ident.unraw() == method.item.sig.ident.unraw();
        let advice = format!(
            "the interface has a method `{}` already: choose another name, or #[remote(name = \"…\")]",
            method.wire_name.text
        );
        match (&twin.condition, &method.condition) {
            (None, None) => {
                mistakes.at(&method.wire_name.place, advice);
                let left = if one_ident { Standing::Omitted } else { Standing::Callable };
                method.standing = method.standing.min(left);
            }
            // The compiler itself refuses two of one name in the trait.
            _ if one_ident => {}
            (one, other) => {
                let both: Vec<_> = one.iter().chain(other).collect();
                let error = syn::Error::new(method.wire_name.place.span(), advice).into_compile_error();
                interface.rivals.push(Rivals { both: quote!(all(#(#both),*)), error });
            }
        }
    }
}
