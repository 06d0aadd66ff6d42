//! A line's words, and the results that they name.

use serde_json::{Deserializer, Value as Json};

use crate::error::Error;
use crate::json::object;

/// Takes a line apart, as a shell does: words with spaces between, `'as it is'` and `"with \" in it"`. A word that begins with `{` or `[` is JSON and ends
/// where that does; it needs no quotes. What follows a `#` that begins a word is no part of it.
///
/// # Errors
/// A quote that does not end, or what begins like JSON and is none.
pub(super) fn words(line: &str) -> Result<Vec<String>, Error> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, after) = match first {
            '#' => break,
            '{' | '[' => json(rest)?,
            _ => quoted(rest)?,
        };
        words.push(word);
        rest = after.trim_start();
    }
    Ok(words)
}

fn json(text: &str) -> Result<(String, &str), Error> {
    let mut values = Deserializer::from_str(text).into_iter::<Json>();
    match values.next() {
        Some(Ok(_)) => {
            let (word, rest) = text.split_at(values.byte_offset());
            Ok((word.to_owned(), rest))
        }
        Some(Err(error)) => Err(Error::Usage(format!("a word that begins like this one is JSON: {error}"))),
        None => Ok((text.to_owned(), "")),
    }
}

fn quoted(text: &str) -> Result<(String, &str), Error> {
    let (mut word, mut quote) = (String::new(), None);
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match (quote, char) {
            (None, char) if char.is_whitespace() => return Ok((word, &text[at..])),
            (None, '\'' | '"') => quote = Some(char),
            (Some(open), char) if open == char => quote = None,
            (None | Some('"'), '\\') => word.extend(chars.next().map(|(_, char)| char)),
            (_, char) => word.push(char),
        }
    }
    match quote {
        None => Ok((word, "")),
        Some(quote) => Err(Error::Usage(format!("a {quote} is not closed"))),
    }
}

/// Puts results where words name them: `$1`, a part as `$1.owner` or `$1[0]`, also within JSON. `$$1` is the text `$1`.
///
/// # Errors
/// There is no such result, or no such part of it.
pub(super) fn named(word: &str, result: &dyn Fn(usize) -> Option<Json>) -> Result<String, Error> {
    if let Some(value) = value_of(word, result)? {
        return Ok(match value.as_str() {
            // The name of an object is a word of its own.
            Some(text) if object(text).is_some() => text.to_owned(),
            _ => value.to_string(),
        });
    }
    if word.starts_with(['{', '['])
        && let Ok(mut json) = serde_json::from_str(word)
    {
        within(&mut json, result)?;
        return Ok(json.to_string());
    }
    Ok(word.strip_prefix('$').filter(|rest| is_name(rest)).unwrap_or(word).to_owned())
}

fn within(json: &mut Json, result: &dyn Fn(usize) -> Option<Json>) -> Result<(), Error> {
    match json {
        Json::String(text) => {
            if let Some(value) = value_of(text, result)? {
                *json = value;
            } else if let Some(rest) = text.strip_prefix('$').filter(|rest| is_name(rest)) {
                *json = rest.into();
            }
        }
        Json::Array(values) => values.iter_mut().try_for_each(|value| within(value, result))?,
        Json::Object(fields) => fields.values_mut().try_for_each(|value| within(value, result))?,
        _ => {}
    }
    Ok(())
}

/// Whether it is `$` and a number, and what may follow.
fn is_name(text: &str) -> bool {
    text.strip_prefix('$').is_some_and(|rest| rest.starts_with(|char: char| char.is_ascii_digit()))
}

fn value_of(word: &str, result: &dyn Fn(usize) -> Option<Json>) -> Result<Option<Json>, Error> {
    if !is_name(word) {
        return Ok(None);
    }
    let rest = &word[1..];
    let end = rest.find(|char: char| !char.is_ascii_digit()).unwrap_or(rest.len());
    let (number, mut path) = rest.split_at(end);
    let value = number.parse().ok().and_then(result);
    let mut value = value.ok_or_else(|| Error::Usage(format!("there is no result ${number}")))?;
    while !path.is_empty() {
        let none = || Error::Usage(format!("{word}: there is no {path} in {value}"));
        let (part, after) = match path.strip_prefix('[') {
            Some(inside) => {
                let (index, after) = inside.split_once(']').ok_or_else(none)?;
                (index.parse::<usize>().ok().and_then(|index| value.get(index)), after)
            }
            None => {
                let inside = path.strip_prefix('.').ok_or_else(none)?;
                let end = inside.find(['.', '[']).unwrap_or(inside.len());
                let (field, after) = inside.split_at(end);
                (value.get(field), after)
            }
        };
        let part = part.ok_or_else(none)?.clone();
        (value, path) = (part, after);
    }
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn split(line: &str) -> Vec<String> {
        words(line).expect("it is a line")
    }

    #[test]
    fn words_are_a_shells_but_for_json_that_needs_no_quotes() {
        assert_eq!(split("  call  @1 add 2 "), ["call", "@1", "add", "2"]);
        assert_eq!(
            split(r#"call @1 add '{"a": 1}' "two words" a\ b"#),
            ["call", "@1", "add", r#"{"a": 1}"#, "two words", "a b"]
        );
        assert_eq!(
            split(r#"call @1 add {"a": ["x y", 1]} [1, 2] -5"#),
            ["call", "@1", "add", r#"{"a": ["x y", 1]}"#, "[1, 2]", "-5"]
        );
        assert_eq!(split("ping # nobody reads this"), ["ping"]);
        assert_eq!(split("objects -f names='a b' ''"), ["objects", "-f", "names=a b", ""]);
        assert!(split("   ").is_empty() && split("# nothing").is_empty());
        for line in ["say 'it", "say \"it", "call {\"a\": }", "call [1, 2"] {
            assert!(words(line).is_err(), "{line}");
        }
    }

    #[test]
    fn results_stand_where_they_are_named() {
        let result = |number: usize| match number {
            1 => Some(json!("@12")),
            2 => Some(json!({"owner": {"name": "ada"}, "files": ["@3", "@4"]})),
            _ => None,
        };
        let of = |word: &str| named(word, &result).map_err(|error| error.to_string());
        assert_eq!(of("$1").as_deref(), Ok("@12"));
        assert_eq!(of("$2.files[1]").as_deref(), Ok("@4"));
        assert_eq!(of("$2.owner.name").as_deref(), Ok("\"ada\""));
        assert_eq!(
            of(r#"{"to":"$1","of":["$2.owner","$$1"]}"#).as_deref(),
            Ok(r#"{"of":[{"name":"ada"},"$1"],"to":"@12"}"#)
        );
        assert_eq!(of("$$1").as_deref(), Ok("$1"));
        assert_eq!(of("$HOME").as_deref(), Ok("$HOME"));
        assert_eq!(of("$3"), Err("there is no result $3".to_owned()));
        assert!(
            of("$2.files[2]").is_err()
                && of("$2.nobody").is_err()
                && of("$1x").is_err()
                && of("$2[").is_err()
        );
    }
}
