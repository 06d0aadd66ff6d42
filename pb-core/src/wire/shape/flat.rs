//! Shapes as values in bodies: a flat list of tokens, parents before children.
//!
//! A shape nested as serde would nest it takes three containers a level and would pass the depth of bodies long before
//! the type that it describes does. A flat list has no depth, and a hostile one no more parts than bytes.

use std::borrow::Cow;

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};

use super::{Content, Field, Opaque, Plain, Shape, Variant, Why};
use crate::wire::body::MAX_DEPTH;

/// One shape without its children, which follow it in order.
#[derive(serde::Serialize, serde::Deserialize)]
enum Token<'a> {
    Plain(Plain),
    Option,
    Seq,
    Map,
    Array(u32),
    Tuple(u32),
    Newtype(Cow<'a, str>),
    Struct(Cow<'a, str>, Vec<Cow<'a, str>>),
    Enum(Cow<'a, str>, Vec<(Cow<'a, str>, Form<'a>)>),
    Reference(Cow<'a, str>),
    Again(u32),
    Opaque(Cow<'a, str>, Why),
}

/// What a variant carries, without the shapes.
#[derive(serde::Serialize, serde::Deserialize)]
enum Form<'a> {
    Unit,
    Newtype,
    Tuple(u32),
    Struct(Vec<Cow<'a, str>>),
}

impl Serialize for Shape {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tokens = Vec::new();
        flatten(self, &mut tokens);
        tokens.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let tokens: Vec<Token<'_>> = Vec::deserialize(deserializer)?;
        let mut tokens = tokens.into_iter();
        let shape = raise(&mut tokens, 0).map_err(D::Error::custom)?;
        match tokens.len() {
            0 => Ok(shape),
            behind => Err(D::Error::custom(format_args!("{behind} tokens stand behind a shape"))),
        }
    }
}

fn flatten<'a>(shape: &'a Shape, out: &mut Vec<Token<'a>>) {
    match shape {
        Shape::Plain(plain) => out.push(Token::Plain(*plain)),
        Shape::Option(inner) => parent(Token::Option, [&**inner], out),
        Shape::Seq(element) => parent(Token::Seq, [&**element], out),
        Shape::Map(key, value) => parent(Token::Map, [&**key, value], out),
        Shape::Array(element, len) => parent(Token::Array(*len), [&**element], out),
        Shape::Tuple(elements) => parent(Token::Tuple(count(elements.len())), elements, out),
        Shape::Newtype(name, inner) => parent(Token::Newtype(name.into()), [&**inner], out),
        Shape::Struct(name, fields) => {
            parent(Token::Struct(name.into(), names(fields)), fields.iter().map(|field| &field.shape), out);
        }
        Shape::Enum(name, variants) => {
            let forms = variants.iter().map(|variant| (Cow::from(&variant.name), form(&variant.content)));
            parent(Token::Enum(name.into(), forms.collect()), variants.iter().flat_map(children), out);
        }
        Shape::Reference(interface) => out.push(Token::Reference(interface.into())),
        Shape::Again(up) => out.push(Token::Again(*up)),
        Shape::Opaque(opaque) => out.push(Token::Opaque((&opaque.type_name).into(), opaque.why)),
    }
}

fn parent<'a>(token: Token<'a>, children: impl IntoIterator<Item = &'a Shape>, out: &mut Vec<Token<'a>>) {
    out.push(token);
    for child in children {
        flatten(child, out);
    }
}

fn names(fields: &[Field]) -> Vec<Cow<'_, str>> {
    fields.iter().map(|field| Cow::from(&field.name)).collect()
}

fn form(content: &Content) -> Form<'_> {
    match content {
        Content::Unit => Form::Unit,
        Content::Newtype(_) => Form::Newtype,
        Content::Tuple(elements) => Form::Tuple(count(elements.len())),
        Content::Struct(fields) => Form::Struct(names(fields)),
    }
}

fn children(variant: &Variant) -> Vec<&Shape> {
    match &variant.content {
        Content::Unit => Vec::new(),
        Content::Newtype(shape) => vec![shape],
        Content::Tuple(elements) => elements.iter().collect(),
        Content::Struct(fields) => fields.iter().map(|field| &field.shape).collect(),
    }
}

/// Parts of one type are counted in source files; the tracer stops long before this saturates.
fn count(parts: usize) -> u32 {
    u32::try_from(parts).unwrap_or(u32::MAX)
}

type Tokens<'a> = std::vec::IntoIter<Token<'a>>;

fn raise(tokens: &mut Tokens<'_>, depth: u32) -> Result<Shape, String> {
    if depth > MAX_DEPTH {
        return Err(format!("a shape has more than {MAX_DEPTH} containers within each other"));
    }
    let token = tokens.next().ok_or("a shape ends before its parts")?;
    let next = depth + 1;
    let mut boxed = || raise(tokens, next).map(Box::new);
    Ok(match token {
        Token::Plain(plain) => Shape::Plain(plain),
        Token::Option => Shape::Option(boxed()?),
        Token::Seq => Shape::Seq(boxed()?),
        Token::Map => Shape::Map(boxed()?, boxed()?),
        Token::Array(len) => Shape::Array(boxed()?, len),
        Token::Tuple(len) => Shape::Tuple(tuple(len, tokens, next)?),
        Token::Newtype(name) => Shape::Newtype(name.into(), boxed()?),
        Token::Struct(name, fields) => Shape::Struct(name.into(), structure(fields, tokens, next)?),
        Token::Enum(name, variants) => {
            let variants = variants.into_iter().map(|(name, form)| {
                let content = match form {
                    Form::Unit => Content::Unit,
                    Form::Newtype => Content::Newtype(raise(tokens, next)?),
                    Form::Tuple(len) => Content::Tuple(tuple(len, tokens, next)?),
                    Form::Struct(fields) => Content::Struct(structure(fields, tokens, next)?),
                };
                Ok(Variant { name: name.into(), content })
            });
            Shape::Enum(name.into(), variants.collect::<Result<_, String>>()?)
        }
        Token::Reference(interface) => Shape::Reference(interface.into()),
        Token::Again(up) => Shape::Again(up),
        Token::Opaque(type_name, why) => Shape::Opaque(Opaque { type_name: type_name.into(), why }),
    })
}

fn tuple(len: u32, tokens: &mut Tokens<'_>, depth: u32) -> Result<Vec<Shape>, String> {
    // Each element takes a token, so the claimed length ends with them; nothing is allocated by it.
    (0..len).map(|_| raise(tokens, depth)).collect()
}

fn structure(names: Vec<Cow<'_, str>>, tokens: &mut Tokens<'_>, depth: u32) -> Result<Vec<Field>, String> {
    let field = |name: Cow<'_, str>| Ok(Field { name: name.into(), shape: raise(tokens, depth)? });
    names.into_iter().map(field).collect()
}
