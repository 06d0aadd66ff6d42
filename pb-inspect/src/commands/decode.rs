//! Recordings, and captured bytes, in words.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use bytes::{Bytes, BytesMut};
use pb_core::message::MAX_FRAME_BYTES;
use pb_core::wire::frame;
use pb_server::inspect::recording::{self, Entry, Reader};

use crate::error::Error;
use crate::out::{Out, json_line, plain, to_json};
use crate::spoken::{Row, Spoken};
use crate::table::cut;

/// Prints what is in a file, up to where it is damaged.
pub(super) fn decode(path: &Path, connections: &[u64], out: &Out) -> Result<(), Error> {
    let bytes = read(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
    let damaged = |what: String| Error::Damaged { path: path.to_owned(), what };
    let mut text = String::new();
    let show = |row: &Row| {
        if connections.is_empty() || row.connection.is_none_or(|of| connections.contains(&of)) {
            text.push_str(&line(row, out));
        }
        if text.len() > PRINTED_BYTES {
            out.print(&text)?;
            text.clear();
        }
        Ok(())
    };
    let done = say(&bytes, show, damaged);
    out.print(&text)?;
    done
}

/// Shows what is in a file, whatever it is.
fn say(
    bytes: &[u8],
    show: impl FnMut(&Row) -> Result<(), Error>,
    damaged: impl Fn(String) -> Error,
) -> Result<(), Error> {
    if bytes.starts_with(&recording::MAGIC) {
        recorded(bytes, show, damaged)
    } else if bytes.starts_with(&frame::MAGIC) {
        captured(bytes, show, damaged)
    } else {
        let first: Vec<_> = bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        Err(damaged(format!(
            "it is neither a recording, which begins with 89 50 42 52, nor what one side of a connection sends, which begins with 89 50 42 0a: it begins with {}",
            if first.is_empty() { "nothing".to_owned() } else { first.join(" ") }
        )))
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    if path != Path::new("-") {
        return fs::read(path);
    }
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What `pb record` has written.
fn recorded(
    bytes: &[u8],
    mut show: impl FnMut(&Row) -> Result<(), Error>,
    damaged: impl Fn(String) -> Error,
) -> Result<(), Error> {
    let mut reader = Reader::begin(bytes).map_err(|wrong| damaged(wrong.to_string()))?;
    let mut spoken = Spoken::default();
    loop {
        let offset = reader.offset() as u64;
        let entry = match reader.entry() {
            Ok(None) => return Ok(()),
            Ok(Some(entry)) => entry,
            Err(wrong) => return Err(damaged(wrong.to_string())),
        };
        let row = match entry {
            Entry::Frame { connection, at_us, sent, cut, bytes, body_bytes, content } => {
                let decoded = frame::decode(Bytes::from(content));
                let decoded = decoded.map_err(|wrong| {
                    damaged(format!("what is recorded at byte {offset} is no message: {wrong}"))
                })?;
                let row = spoken.frame(connection, sent, &decoded, cut.then_some(body_bytes));
                let from = if sent { "server" } else { "peer" };
                Row { at_us: Some(at_us), from: Some(from), bytes: Some(bytes), ..row }
            }
            other => spoken.other(other),
        };
        let time_us = row.at_us.map(|at_us| reader.began_us().saturating_add(at_us));
        show(&Row { offset, time_us, ..row })?;
    }
}

/// What one side has sent, from the beginning on.
fn captured(
    bytes: &[u8],
    mut show: impl FnMut(&Row) -> Result<(), Error>,
    damaged: impl Fn(String) -> Error,
) -> Result<(), Error> {
    let mut left = BytesMut::from(&bytes[frame::MAGIC.len()..]);
    let mut spoken = Spoken::default();
    loop {
        let offset = bytes.len() - left.len();
        if left.is_empty() {
            return Ok(());
        }
        let have = left.len();
        let whole = frame::whole_len(&left);
        let frame = match frame::split(&mut left, MAX_FRAME_BYTES) {
            Ok(Some(frame)) => frame,
            Ok(None) => {
                let of = whole.map_or("more than that".to_owned(), |whole| whole.to_string());
                return Err(damaged(format!(
                    "it ends within the frame that begins at byte {offset}: {have} of {of} bytes are there"
                )));
            }
            Err(wrong) => return Err(damaged(format!("no frame begins at byte {offset}: {wrong}"))),
        };
        let decoded = frame::decode(frame)
            .map_err(|wrong| damaged(format!("the frame at byte {offset} is no message: {wrong}")))?;
        let row = spoken.frame(0, true, &decoded, None);
        show(&Row {
            offset: offset as u64,
            bytes: Some((have - left.len()) as u64),
            connection: None,
            ..row
        })?;
    }
}

fn line(row: &Row, out: &Out) -> String {
    let line = if out.json { json_line(&to_json(row)) } else { cut(&plain(&words(row)), out.width) };
    line + "\n"
}

fn words(row: &Row) -> String {
    let bytes = row.bytes.map_or(String::new(), |bytes| format!("{bytes}B"));
    let Some(time_us) = row.time_us else { return format!("{:>8}  {bytes:>8}  {}", row.offset, row.line) };
    let arrow = match row.from {
        Some("peer") => '>',
        Some(_) => '<',
        None => '-',
    };
    let connection = row.connection.map_or(String::new(), |connection| connection.to_string());
    format!("{}  {connection:>4} {arrow} {bytes:>8}  {}", time_of_day(time_us), row.line)
}

/// The same as where events are watched, to the microsecond.
fn time_of_day(us: u64) -> String {
    format!("{}{:03}", super::watch::time_of_day(us), us % 1000)
}

/// Bytes that are printed at once.
const PRINTED_BYTES: usize = 64 << 10;
