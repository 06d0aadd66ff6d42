//! Calls a method without its types.

use std::collections::HashMap;

use pb_client::{AnyRef, CallError, Given, MethodDescription, Plain, Shape, Value};
use serde_json::Value as Json;

use super::{number, seconds};
use crate::cli::Common;
use crate::error::Error;
use crate::json::{Reader, named, references, to_json};
use crate::link::Link;
use crate::out::{Out, plain};
use crate::shell::session;

pub(super) async fn call(
    common: &Common,
    object: &str,
    method: &str,
    arguments: &[String],
    within: f64,
) -> Result<(), Error> {
    let time = seconds(within, "for an answer")?;
    let link = Link::open(common).await?;
    let id = number(&link, object).await?;
    let target = link.reference(id).await?;
    let target = target.within(time);
    let description = target.remote().describe().await?;
    let method = description.method(method).map_err(|failure| Error::Usage(plain(&failure.to_string())))?;
    let given = given(&link, method, arguments).await?;
    method.check_arguments(given.clone()).map_err(|error| Error::Usage(told(&plain(&error.to_string()))))?;
    let (out, name) = (Out::of(common), method.name.clone());
    match target.remote().invoke(method, given).await {
        Ok(value) => answered(&out, &json(&link, &value).await?),
        Err(CallError::App(error)) => {
            let error = json(&link, &error).await?;
            if out.json {
                out.print_json(&serde_json::json!({ "error": error }))?;
            }
            Err(Error::Method { method: plain(&name), error: plain(&error.to_string()) })
        }
        Err(CallError::Broker(failure)) => Err(failure.into()),
    }
}

/// What is wrong with an argument, and how to write what it looks like.
fn told(misfit: &str) -> String {
    let advice = match misfit {
        _ if misfit.contains("found the text \"@") => {
            "; no object of that number is there, or it may not be called"
        }
        _ if misfit.contains("expected bytes, found the text") => {
            "; bytes are written as hexadecimal digits, or as text:WORDS"
        }
        _ => "",
    };
    format!("{misfit}{advice}")
}

fn answered(out: &Out, value: &Json) -> Result<(), Error> {
    // A session's results have numbers.
    if let Some(session) = session::current() {
        let number = session.keep(value.clone());
        if !out.json {
            out.print(&format!("${number} = "))?;
        }
    }
    out.print_json(value)
}

/// The arguments as values, with the objects that they name.
async fn given(link: &Link, method: &MethodDescription, words: &[String]) -> Result<Given, Error> {
    let parsed: Vec<Json> = words
        .iter()
        .map(|word| serde_json::from_str(word).unwrap_or_else(|_| Json::String(word.clone())))
        .collect();
    let mut ids = Vec::new();
    parsed.iter().for_each(|json| named(json, &mut ids));
    let mut objects: HashMap<u64, AnyRef> = HashMap::new();
    for id in ids {
        // A text that only looks like the name of an object stays one.
        if let Ok(reference) = link.reference(id).await {
            objects.insert(id, reference);
        }
    }
    let known = |id| objects.get(&id).cloned();
    let reader = Reader::new(&known);
    if let [Json::Object(fields)] = parsed.as_slice()
        && are_names(method, fields)
    {
        let shape_of = |name: &str| {
            method.arguments.iter().find(|argument| argument.name == name).map(|argument| &argument.shape)
        };
        let value = |(name, json): (&String, &Json)| {
            let shape = shape_of(name).unwrap_or(&Shape::Plain(Plain::Unit));
            (name.as_str().into(), reader.value(shape, json))
        };
        return Ok(Given::ByName(fields.iter().map(value).collect()));
    }
    let values =
        parsed.iter().zip(words).enumerate().map(|(at, (json, word))| match method.arguments.get(at) {
            // A text need not be quoted, though it looks like something else.
            Some(argument) if is_text(&argument.shape) && !json.is_string() => Value::Text(word.clone()),
            Some(argument) => reader.value(&argument.shape, json),
            None => reader.value(&Shape::Plain(Plain::Unit), json),
        });
    Ok(Given::InOrder(values.collect()))
}

fn is_text(shape: &Shape) -> bool {
    match shape {
        Shape::Newtype(_, inner) => is_text(inner),
        shape => matches!(shape, Shape::Plain(Plain::Text)),
    }
}

/// Whether the one object that was given says the arguments by their names; else it is the only argument itself.
fn are_names(method: &MethodDescription, fields: &serde_json::Map<String, Json>) -> bool {
    let known = |name: &String| method.arguments.iter().any(|argument| argument.name == *name);
    match method.arguments.as_slice() {
        [only] => matches!(only.shape, Shape::Plain(_)) || fields.keys().all(known) && !fields.is_empty(),
        _ => true,
    }
}

/// A value as JSON, whose references are the numbers that the inspector knows them by.
async fn json(link: &Link, value: &Value) -> Result<Json, Error> {
    let mut found = Vec::new();
    references(value, &mut found);
    let mut names = Vec::new();
    for reference in found {
        names.push(format!("@{}", link.number(&reference).await?));
    }
    Ok(to_json(value, &mut names.into_iter()))
}
