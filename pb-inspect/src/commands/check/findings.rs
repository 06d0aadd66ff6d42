//! What is wrong, by what was gathered.

use std::collections::HashMap;

use pb_server::inspect::{Branch, CallRow, EndRow, MethodRow};

use super::gathered::{Gathered, Old};
use super::{Finding, Severity, Tool};
use crate::commands::lists::why;
use crate::out::{bytes, many, micros, plain, short, time};
use crate::table::cut;

/// All findings, the worst first.
pub(super) fn findings(gathered: &Gathered, tool: &Tool) -> Vec<Finding> {
    let mut found = unread(gathered, tool);
    found.extend(gathered.old.iter().map(|old| old_calls(old, tool)));
    found.extend(most(gathered.methods.iter().filter_map(|row| failures(row, tool)).collect()));
    found.extend(most(owes(gathered, tool)));
    found.extend(most(gathered.branches.iter().filter_map(|branch| leak(branch, tool)).collect()));
    found.extend(most(broken(gathered, tool)));
    found.extend(ended(&gathered.ended, tool));
    // Those that are as bad stay in the order of their kinds.
    found.sort_by_key(|finding| finding.severity);
    found
}

/// The worst of a kind, and in the last one's place how many more there are.
fn most(mut found: Vec<Finding>) -> Vec<Finding> {
    found.sort_by_key(|finding| (finding.severity, std::cmp::Reverse(finding.count)));
    let more = found.len().saturating_sub(MOST);
    found.truncate(MOST);
    match found.last_mut() {
        Some(last) if more > 0 => last.text.push_str(&format!(", and there are {more} more like this")),
        _ => {}
    }
    found
}

/// Clients that do not read their answers.
fn unread(gathered: &Gathered, tool: &Tool) -> Vec<Finding> {
    let rows = gathered.unread.iter().take(MOST);
    let mut found: Vec<Finding> = rows
        .map(|row| Finding {
            what: "unread",
            severity: Severity::High,
            text: format!(
                "connection {} ({}) does not read: {} wait for it, and none of its calls is started until it reads",
                row.connection,
                said(&row.peer),
                bytes(row.unread_bytes)
            ),
            command: tool.line("conns", &["-f", &format!("connection={}", row.connection)]),
            count: row.unread_bytes,
            connection: Some(row.connection),
            peer: Some(row.peer.clone()),
            method: None,
            object: None,
        })
        .collect();
    let more = gathered.unread_count.saturating_sub(found.len() as u64);
    if let Some(last) = found.last_mut().filter(|_| more > 0) {
        last.text.push_str(&format!(", and there are {more} more like this"));
        last.command = tool.line("conns", &["-f", "halted=true"]);
    }
    found
}

/// Calls that are far older than others of their method.
fn old_calls(old: &Old, tool: &Tool) -> Finding {
    let name = &old.method.method;
    let others = match old.method.max_us {
        0 => "and how long others took was not measured".to_owned(),
        max => format!("where the longest that was measured took {}", micros(max)),
    };
    let oldest: Vec<String> = old.calls.iter().map(call).collect();
    let which = if old.count > oldest.len() as u64 { "the oldest are " } else { "" };
    let first = old.calls.first();
    Finding {
        what: "old_calls",
        severity: Severity::High,
        text: format!(
            "{} of {} {} far older than usual, {others}: {which}{}",
            many(old.count, "call"),
            method(name),
            if old.count == 1 { "is" } else { "are" },
            oldest.join("; ")
        ),
        command: tool.line("calls", &["-f", &format!("method={name}")]),
        count: old.count,
        connection: first.map(|call| call.connection),
        peer: first.map(|call| call.peer.clone()),
        method: Some(name.clone()),
        object: first.and_then(|call| call.object),
    }
}

fn call(row: &CallRow) -> String {
    let object = row.object.map_or_else(String::new, |id| {
        format!(" on @{id} {}", said(&short(&row.type_name))).trim_end().to_owned()
    });
    let state = match (&row.waits_for, &row.forwarded_to) {
        (Some(call), _) => format!("queued behind {}/{call}", row.connection),
        (None, Some(to)) => format!("forwarded to {}", said(to)),
        (None, None) => said(&row.state),
    };
    format!(
        "{}/{}{object} from {}, {state}, {} old",
        row.connection,
        row.call,
        said(&row.peer),
        time(row.age_ms)
    )
}

/// A method that the broker has failed.
fn failures(row: &MethodRow, tool: &Tool) -> Option<Finding> {
    // Who gives a call up knows it.
    let mut kinds: Vec<_> = row.failures_by_kind.iter().filter(|(kind, _)| *kind != "Cancelled").collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let count = kinds.iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(**count));
    if count <= FEW {
        return None;
    }
    let severity = match count {
        _ if row.failures_by_kind.get("Internal").is_some_and(|count| *count > FEW) => Severity::High,
        count if count >= row.calls / 10 => Severity::High,
        count if count >= row.calls / 1000 => Severity::Medium,
        _ => Severity::Low,
    };
    let kinds: Vec<String> =
        kinds.iter().take(MOST).map(|(kind, count)| format!("{} {count}", said(kind))).collect();
    Some(Finding {
        what: "failures",
        severity,
        text: format!(
            "{} of {} have failed, with none of the method's own errors: {}",
            many(count, "call"),
            method(&row.method),
            kinds.join(", ")
        ),
        command: tool.line("stats", &["-f", &format!("method={}", row.method)]),
        count,
        connection: None,
        peer: None,
        method: Some(row.method.clone()),
        object: None,
    })
}

/// Peers that do not answer.
fn owes(gathered: &Gathered, tool: &Tool) -> Vec<Finding> {
    let over = time(u64::try_from(gathered.over.as_millis()).unwrap_or(u64::MAX));
    let rows = gathered.owing.iter();
    rows.map(|row| Finding {
        what: "owes",
        severity: Severity::Medium,
        text: format!(
            "connection {} ({}) owes this server {}, and has said nothing for {over}: methods here wait for it",
            row.connection,
            said(&row.peer),
            many(row.owes, "answer")
        ),
        command: tool.line("conns", &["-f", &format!("connection={}", row.connection)]),
        count: row.owes,
        connection: Some(row.connection),
        peer: Some(row.peer.clone()),
        method: None,
        object: None,
    })
    .collect()
}

/// A connection that holds much and calls none of it.
fn leak(branch: &Branch, tool: &Tool) -> Option<Finding> {
    let sum = |count: fn(&pb_server::inspect::Group) -> u64| {
        branch.groups.iter().fold(0_u64, |sum, group| sum.saturating_add(count(group)))
    };
    let idle = |group: &pb_server::inspect::Group| if group.calls == 0 { group.objects } else { 0 };
    let (suspects, unused) = (sum(|group| group.suspects), sum(idle));
    let (severity, count, how) = match (suspects, unused) {
        (LEAK.., _) => (Severity::Medium, suspects, "for a minute or longer and never called them"),
        (_, HOARD..) => (Severity::Low, unused, "and has called none of them yet"),
        _ => return None,
    };
    let main = branch
        .groups
        .iter()
        .max_by_key(|group| if suspects >= LEAK { group.suspects } else { idle(group) })?;
    let of = if main.type_name.is_empty() { main.kind.clone() } else { short(&main.type_name) };
    Some(Finding {
        what: "leak",
        severity,
        text: format!(
            "connection {} ({}) holds {} objects {how}, most of them {}, such as @{}",
            branch.connection,
            said(&branch.peer),
            grouped(count),
            said(&of),
            main.example
        ),
        command: tool.line("tree", &[]),
        count,
        connection: Some(branch.connection),
        peer: Some(branch.peer.clone()),
        method: None,
        object: Some(main.example),
    })
}

/// References that are broken and held, by why they are and what gave them.
fn broken(gathered: &Gathered, tool: &Tool) -> Vec<Finding> {
    let mut groups: HashMap<(&str, Option<&str>), (u64, u64, u64)> = HashMap::new();
    for row in &gathered.broken {
        let by = row.details.iter().find(|(key, _)| key == "given_by").map(|(_, method)| &**method);
        let group = groups.entry((row.broken.as_deref().unwrap_or_default(), by)).or_insert((0, 0, row.id));
        group.0 += 1;
        group.1 = group.1.saturating_add(row.holders);
    }
    // A row does not say who its holder is; how many hold any that is broken, the tree does.
    let holds = |branch: &&Branch| branch.groups.iter().any(|group| group.kind == "broken");
    let holding = gathered.branches.iter().filter(holds).count() as u64;
    let is_all = gathered.broken.len() as u64 == gathered.broken_count;
    let only = groups.len() == 1 && is_all;
    let found = groups.into_iter().map(|((reason, by), (count, holders, id))| {
        let connections = holders.min(holding.max(1));
        let by_whom = match only || connections <= 1 {
            true => many(connections, "connection"),
            false => format!("at most {}", many(connections, "connection")),
        };
        let given = by.map_or_else(String::new, |by| format!(", given by {}", said(by)));
        let (is, many) = if count == 1 { ("is", "reference") } else { ("are", "references") };
        let least = if is_all { "" } else { "at least " };
        Finding {
            what: "broken",
            severity: Severity::Medium,
            text: format!(
                "{least}{count} {many} {is} broken and still held by {by_whom}{given}: {}",
                said(reason)
            ),
            command: tool.line("objects", &["-f", "kind=broken"]),
            count,
            connection: None,
            peer: None,
            method: by.map(str::to_owned),
            object: Some(id),
        }
    });
    let mut found: Vec<Finding> = found.collect();
    // A map has no order.
    found.sort_by_key(|finding| finding.object);
    found
}

/// Connections that have ended without a goodbye lately: those that had greeted, and strangers.
fn ended(rows: &[EndRow], tool: &Tool) -> Vec<Finding> {
    let of = |greeted: bool| {
        let rows = rows.iter().filter(|row| row.greeted == greeted && row.ago_ms <= LATELY_MS);
        let rows: Vec<&EndRow> = rows.filter(|row| !is_goodbye(row)).collect();
        let last = rows.iter().min_by_key(|row| row.ago_ms)?;
        let (severity, what) = match greeted {
            true => (Severity::Medium, "connection"),
            false => (Severity::Low, "stranger"),
        };
        let lasts = if rows.len() == 1 { "it was" } else { "the last was" };
        Some(Finding {
            what: "ended",
            severity,
            text: format!(
                "{} {} ended within the hour without a goodbye; {lasts} {} from {}, {} ago, after {}, holding {}: {}",
                many(rows.len() as u64, what),
                if rows.len() == 1 { "has" } else { "have" },
                last.connection,
                said(&last.peer),
                time(last.ago_ms),
                time(last.lasted_ms),
                many(last.objects, "object"),
                said(&why(last))
            ),
            command: tool.line("conns", &["--ended", "-f", &format!("greeted={greeted}")]),
            count: rows.len() as u64,
            connection: Some(last.connection),
            peer: Some(last.peer.clone()),
            method: None,
            object: None,
        })
    };
    [of(true), of(false)].into_iter().flatten().collect()
}

/// Whether one of the two has closed it on purpose, as far as its words tell. Who is killed closes, too: its system does.
fn is_goodbye(row: &EndRow) -> bool {
    let told = row.reason.strip_prefix("the peer ended the connection: ").unwrap_or(&row.reason);
    row.kind == "Disconnected" && !UNWILLED.iter().any(|words| told.starts_with(words))
}

/// What a server says of itself, in a line that has room for more.
fn said(text: &str) -> String {
    cut(&plain(text), MOST_TEXT)
}

fn method(name: &str) -> String {
    if name.is_empty() { "methods that are not counted apart".to_owned() } else { said(name) }
}

/// As 50,000.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How a reason begins that nobody has meant: the words of `pb_core::broker`, on this side or, told by it, on the peer's.
const UNWILLED: [&str; 7] = [
    "the connection was lost",
    "the connection is dead",
    "the connection takes no bytes",
    "the peer took no bytes",
    "the peer sent",
    "the peer broke",
    "the rest of a frame",
];
/// Findings of one kind.
const MOST: usize = 10;
/// Columns that a server's text takes.
const MOST_TEXT: usize = 120;
/// Objects of a connection that are leak suspects: fewer are kept by programs that are right.
const LEAK: u64 = 100;
/// Objects of a connection that it has not called yet: as many as a peer's budget has room for by default, nearly.
const HOARD: u64 = 10_000;
/// Failures of a method that are not worth a word.
pub(super) const FEW: u64 = 3;
/// How long ago an end is news.
const LATELY_MS: u64 = 3_600_000;

#[cfg(test)]
mod tests;
