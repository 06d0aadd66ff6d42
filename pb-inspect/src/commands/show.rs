//! One object with all that there is to know, and what each connection holds.

use std::fmt::Write as _;

use pb_server::inspect::{Branch, HolderRow, ObjectDetail, SignatureRow};

use super::lists::note;
use super::{number, or_never};
use crate::cli::Common;
use crate::error::Error;
use crate::link::Link;
use crate::out::{Out, many, plain, short, time};
use crate::shell::session;
use crate::table::{Column, cut, table};

pub(super) async fn show(common: &Common, object: &str, own: bool) -> Result<(), Error> {
    let link = Link::open(common).await?;
    let id = number(&link, object).await?;
    if session::current().is_some() {
        // It stays if it may be called: looking needs no more than that it is there.
        let _ = link.reference(id).await;
    }
    let detail = link.inspector.object(id, own).await?;
    let out = Out::of(common);
    if out.json {
        return out.print_json(&detail);
    }
    out.print(&shown(&detail, out.width))
}

/// The object, in lines of at most `width` columns.
pub(crate) fn shown(detail: &ObjectDetail, width: usize) -> String {
    let row = &detail.row;
    let mut text = String::new();
    let of = if row.type_name.is_empty() { format!("({})", row.kind) } else { row.type_name.clone() };
    line(&mut text, width, &format!("@{} {of}", row.id));
    if !row.interfaces.is_empty() {
        line(&mut text, width, &format!("interfaces  {}", row.interfaces.join(", ")));
    }
    let note = note(row);
    if !note.is_empty() {
        line(&mut text, width, &format!("note        {note}"));
    }
    let calls = format!("{}, {} in flight, {} failed", many(row.calls, "call"), row.in_flight, row.failed);
    line(&mut text, width, &format!("used        {calls}; last call: {}", ago(row.idle_ms)));
    let (references, holders) = (many(row.references, "reference"), many(row.holders, "connection"));
    let held = match row.holders {
        0 => "by no client".to_owned(),
        _ => format!("for {}, {references} from {holders}", time(row.age_ms)),
    };
    line(&mut text, width, &format!("held        {held}"));
    if let Some(why) = &detail.no_fields {
        line(&mut text, width, &format!("fields      not shown: {why}"));
    }
    for (at, field) in detail.fields.iter().enumerate() {
        let head = if at == 0 { "fields      " } else { "            " };
        let more = if field.cut { " …" } else { "" };
        line(&mut text, width, &format!("{head}{}: {}{more}", field.name, field.value));
    }
    for (at, method) in detail.methods.iter().enumerate() {
        let head = if at == 0 { "methods     " } else { "            " };
        line(&mut text, width, &format!("{head}{}", method.signature));
    }
    if !detail.holders.is_empty() {
        text.push_str("holders\n");
        text.push_str(&table(HOLDERS, detail.holders.iter().map(holder).collect(), width));
    }
    text
}

fn line(text: &mut String, width: usize, words: &str) {
    // A text takes whatever is written to it.
    let _ = writeln!(text, "{}", cut(&plain(words), width));
}

fn ago(ms: Option<u64>) -> String {
    ms.map_or_else(|| "never".to_owned(), |ms| format!("{} ago", time(ms)))
}

const HOLDERS: &[Column] = &[
    Column::Right("CONN"),
    Column::Left("PEER"),
    Column::Right("REFS"),
    Column::Right("FOR"),
    Column::Left("GIVEN BY"),
    Column::Right("CALLS"),
    Column::Right("FAIL"),
    Column::Right("IDLE"),
];

fn holder(row: &HolderRow) -> Vec<String> {
    let root = if row.export == 0 { "(its root)" } else { "" };
    vec![
        row.connection.to_string(),
        row.peer.clone(),
        row.references.to_string(),
        time(row.age_ms),
        row.given_by.clone().unwrap_or_else(|| root.to_owned()),
        row.calls.to_string(),
        row.failed.to_string(),
        or_never(row.idle_ms),
    ]
}

pub(super) async fn methods(common: &Common, object: &str) -> Result<(), Error> {
    let link = Link::open(common).await?;
    let id = number(&link, object).await?;
    let methods = link.inspector.object(id, false).await?.methods;
    let out = Out::of(common);
    if out.json {
        return out.print_json(&methods);
    }
    if methods.is_empty() {
        return out.print(&format!("@{id} does not live in that process, which so knows no methods of it\n"));
    }
    out.print(&methods.iter().map(|method| documented(method, out.width)).collect::<String>())
}

fn documented(method: &SignatureRow, width: usize) -> String {
    let mut text = String::new();
    method.docs.lines().for_each(|docs| line(&mut text, width, &format!("/// {}", docs.trim())));
    let _ = writeln!(text, "{}", plain(&method.signature));
    text
}

pub(super) async fn tree(common: &Common, own: bool) -> Result<(), Error> {
    let link = Link::open(common).await?;
    let (mut branches, mut from) = (Vec::new(), Some(0));
    while let Some(offset) = from {
        let tree = link.inspector.tree(own, offset).await?;
        branches.extend(tree.branches);
        // Whatever a server says, it ends.
        from = tree.next.filter(|next| *next > offset);
    }
    let out = Out::of(common);
    if out.json {
        return out.print_json(&branches);
    }
    if branches.is_empty() {
        return out.print("no connections\n");
    }
    let mut text = String::new();
    for branch in &branches {
        line(&mut text, out.width, &format!("connection {} from {}", branch.connection, branch.peer));
        text.push_str(&branch_lines(branch, out.width));
    }
    out.print(&text)
}

/// What one connection holds, a line for each type.
pub(crate) fn branch_lines(branch: &Branch, width: usize) -> String {
    let mut text = String::new();
    for (at, group) in branch.groups.iter().enumerate() {
        let twig = if at + 1 == branch.groups.len() { "└─" } else { "├─" };
        let of = match group.type_name.is_empty() {
            true => format!("({})", group.kind),
            false if group.kind == "local" => short(&group.type_name),
            // Those that live here and were lent stand apart from those that were not.
            false => format!("{} ({})", short(&group.type_name), group.kind),
        };
        let of_many =
            if group.objects == 1 { String::new() } else { format!("  x{}, such as", group.objects) };
        let suspects = match group.suspects {
            0 => String::new(),
            suspects => format!(", {suspects} of them held for a minute and never called"),
        };
        line(
            &mut text,
            width,
            &format!("{twig} {of}{of_many}  @{}  {}{suspects}", group.example, many(group.calls, "call")),
        );
    }
    text
}
