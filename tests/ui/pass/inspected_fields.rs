//! Fields of structs of all kinds, of enums and of generic types can be shown.
#![deny(warnings)]
#![allow(dead_code, reason = "what is not shown is not read")]
#![no_implicit_prelude]

use ::pb_core::Referenceable;

#[derive(Referenceable)]
struct Named<T> {
    #[inspect]
    r#type: T,
    #[inspect]
    cents: ::std::sync::atomic::AtomicU64,
    _pin: u32,
}

#[derive(Referenceable)]
struct Tuple(#[inspect] u32, u32, #[inspect] ::std::string::String);

#[derive(Referenceable)]
struct Unit;

#[derive(Referenceable)]
enum Either {
    One { #[inspect] owner: ::std::string::String, _pin: u32 },
    Other(u32, #[inspect] u32),
    Neither,
}

fn shown(object: &impl Referenceable) -> ::std::string::String {
    let mut shown = <::pb_core::objects::Shown as ::std::default::Default>::default();
    Referenceable::inspect(object, &mut shown);
    let fields = ::std::iter::IntoIterator::into_iter(shown.into_fields());
    let texts = ::std::iter::Iterator::map(fields, |field| ::std::format!("{}={}", field.name, field.value));
    ::std::iter::Iterator::collect::<::std::vec::Vec<_>>(texts).join(" ")
}

fn main() {
    ::std::assert_eq!(shown(&Named { r#type: 'a', cents: ::std::convert::Into::into(7), _pin: 1 }), "type='a' cents=7");
    ::std::assert_eq!(shown(&Tuple(1, 2, ::std::string::String::new())), "0=1 2=\"\"");
    ::std::assert_eq!(shown(&Unit), "");
    let owner = ::std::string::ToString::to_string("ada");
    ::std::assert_eq!(shown(&Either::One { owner, _pin: 1 }), "owner=\"ada\"");
    ::std::assert_eq!(shown(&Either::Other(1, 2)), "1=2");
    ::std::assert_eq!(shown(&Either::Neither), "");
}
