//! What is printed: tables for people, JSON for programs.

use std::io::{self, Write};

pub(crate) use pb_server::inspect::short_type as short;
use serde::Serialize;
use serde_json::Value;

use crate::cli::Common;
use crate::error::Error;

/// How to print.
pub(crate) struct Out {
    pub(crate) json: bool,
    /// Columns that lines may have.
    pub(crate) width: usize,
}

impl Out {
    pub(crate) fn of(common: &Common) -> Out {
        Out::new(common.json, common.width)
    }

    pub(crate) fn new(json: bool, width: Option<usize>) -> Out {
        Out { json, width: width.or_else(columns).unwrap_or(usize::MAX) }
    }

    pub(crate) fn print(&self, text: &str) -> Result<(), Error> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    }

    /// One JSON value, in a line of its own.
    pub(crate) fn print_json(&self, value: &impl Serialize) -> Result<(), Error> {
        self.print(&format!("{}\n", json_line(&to_json(value))))
    }
}

/// The columns of the terminal; nothing where it is none.
fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// One JSON value as it is printed.
pub(crate) fn json_line(value: &Value) -> String {
    escaped(&value.to_string())
}

/// As JSON. What rows say more stands among their fields, which is how programs find what later versions say.
pub(crate) fn to_json(value: &impl Serialize) -> Value {
    let mut json = serde_json::to_value(value).unwrap_or(Value::Null);
    flatten(&mut json);
    json
}

fn flatten(json: &mut Value) {
    match json {
        Value::Array(values) => values.iter_mut().for_each(flatten),
        Value::Object(fields) => {
            if let Some(Value::Array(details)) = fields.remove("details") {
                for detail in details {
                    if let [Value::String(key), value] = detail.as_array().map_or(&[][..], Vec::as_slice) {
                        fields.entry(key.clone()).or_insert_with(|| value.clone());
                    }
                }
            }
            fields.values_mut().for_each(flatten);
        }
        _ => {}
    }
}

/// JSON in which what a terminal would obey is escaped: only texts have any.
fn escaped(json: &str) -> String {
    json.chars().fold(String::with_capacity(json.len()), |mut escaped, char| {
        match is_odd(char) {
            true => escaped.push_str(&format!("\\u{:04x}", u32::from(char))),
            false => escaped.push(char),
        }
        escaped
    })
}

/// A text of the server's, of which a terminal obeys nothing, whatever the server is.
pub(crate) fn plain(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut plain, char| {
        match is_odd(char) {
            true => plain.extend(char.escape_unicode()),
            false => plain.push(char),
        }
        plain
    })
}

/// Controls, and what turns the direction of writing.
fn is_odd(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A time, for people: 950ms, 3.2s, 4m10s, 2h05m, 3d04h.
pub(crate) fn time(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        _ if ms < 1000 => format!("{ms}ms"),
        0..60 => format!("{s}.{}s", ms % 1000 / 100),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        3600..86_400 => format!("{}h{:02}m", s / 3600, s / 60 % 60),
        _ => format!("{}d{:02}h", s / 86_400, s / 3600 % 24),
    }
}

/// A time of microseconds, for people.
pub(crate) fn micros(us: u64) -> String {
    match us {
        0..1000 => format!("{us}us"),
        1000..10_000 => format!("{}.{}ms", us / 1000, us % 1000 / 100),
        _ => time(us / 1000),
    }
}

/// Bytes, for people.
pub(crate) fn bytes(count: u64) -> String {
    match count {
        0..10_240 => format!("{count}B"),
        10_240..10_485_760 => format!("{}KiB", count >> 10),
        10_485_760..10_737_418_240 => format!("{}MiB", count >> 20),
        _ => format!("{}GiB", count >> 30),
    }
}

/// So many of something.
pub(crate) fn many(count: u64, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_obeys_nothing_in_json_and_programs_read_what_was_said() {
        let said = "a\u{9b}2Jb\u{202e}c\u{7f}\n\u{1b}[31m";
        let printed = escaped(&to_json(&said).to_string());
        assert_eq!(printed, r#""a\u009b2Jb\u202ec\u007f\n\u001b[31m""#);
        assert_eq!(serde_json::from_str::<String>(&printed).expect("it is JSON"), said);
    }

    #[test]
    fn times_bytes_and_types_are_short() {
        let times = [0, 950, 3_249, 250_000, 7_500_000, 273_600_000].map(time);
        assert_eq!(times, ["0ms", "950ms", "3.2s", "4m10s", "2h05m", "3d04h"]);
        assert_eq!([7, 1_234, 56_789].map(micros), ["7us", "1.2ms", "56ms"]);
        assert_eq!([10, 20_480, 50 << 20, 50 << 30].map(bytes), ["10B", "20KiB", "50MiB", "50GiB"]);
        assert_eq!(short("files::served::Served<alloc::vec::Vec<u8>, (a::B, c)>"), "Served<Vec<u8>, (B, c)>");
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_printed() {
        assert_eq!(plain("a\u{1b}[2Jb\u{202e}c\n"), "a\\u{1b}[2Jb\\u{202e}c\\u{a}");
    }

    #[test]
    fn details_stand_among_the_fields_and_change_none() {
        let row = serde_json::json!({"id": 1, "details": [["since", "then"], ["id", "2"]]});
        assert_eq!(to_json(&row), serde_json::json!({"id": 1, "since": "then"}));
    }
}
