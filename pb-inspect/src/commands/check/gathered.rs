//! What is asked of a server to find what is wrong: few rows, which it has filtered.

use std::collections::HashMap;
use std::time::Duration;

use pb_server::inspect::{Branch, CallRow, ConnectionRow, EndRow, InspectorRef, MethodRow, ObjectRow};

use super::super::lists::gather;
use super::Asked;
use crate::cli::Listing;
use crate::error::Error;

/// What a server has said.
#[derive(Default)]
pub(super) struct Gathered {
    /// Connections that did not read at both looks, those first for which most waits; and how many do not read.
    pub(super) unread: Vec<ConnectionRow>,
    pub(super) unread_count: u64,
    /// Connections that owed answers at both looks, and have said nothing between them.
    pub(super) owing: Vec<ConnectionRow>,
    pub(super) branches: Vec<Branch>,
    pub(super) methods: Vec<MethodRow>,
    pub(super) old: Vec<Old>,
    /// References that are broken, and how many there are.
    pub(super) broken: Vec<ObjectRow>,
    pub(super) broken_count: u64,
    pub(super) ended: Vec<EndRow>,
    /// Time between the two looks.
    pub(super) over: Duration,
}

/// Calls of one method that are far older than others.
pub(super) struct Old {
    pub(super) method: MethodRow,
    /// The oldest of them, and how many there are.
    pub(super) calls: Vec<CallRow>,
    pub(super) count: u64,
}

pub(super) async fn gathered(
    inspector: &InspectorRef,
    asked: &Asked<'_>,
    over: Duration,
    older: Duration,
) -> Result<Gathered, Error> {
    let listing = |filter: &[&str], sort: &str, limit: u64| Listing {
        common: asked.common.clone(),
        filter: filter.iter().map(|&condition| condition.to_owned()).collect(),
        sort: (!sort.is_empty()).then(|| sort.to_owned()),
        limit,
        offset: 0,
        own: asked.own,
        watch: None,
    };
    let unread = listing(&["halted=true"], "-unread_bytes", MOST_CONNECTIONS);
    let owing = listing(&["owes>0"], "-owes", MOST_CONNECTIONS);
    let was_unread = by_number(gather::<ConnectionRow>(inspector, &unread).await?.0);
    let were_owing = by_number(gather::<ConnectionRow>(inspector, &owing).await?.0);
    // What only passes by is not wrong.
    tokio::time::sleep(over).await;
    let (mut unread, mut unread_count) = gather::<ConnectionRow>(inspector, &unread).await?;
    let had = unread.len();
    unread.retain(|row| was_unread.contains_key(&row.connection));
    unread_count = unread_count.saturating_sub((had - unread.len()) as u64);
    let mut owing = gather::<ConnectionRow>(inspector, &owing).await?.0;
    let is_mute = |row: &ConnectionRow| {
        were_owing.get(&row.connection).is_some_and(|before| before.bytes_in == row.bytes_in)
    };
    owing.retain(is_mute);

    let methods = gather::<MethodRow>(inspector, &listing(&[], "-oldest_ms", MOST_METHODS)).await?.0;
    let mut old = Vec::new();
    let suspects = methods.iter().filter(|row| row.oldest_ms.is_some_and(|age| age > longest(row, older)));
    for method in suspects.take(MOST_OLD_METHODS) {
        let filter = [format!("method={}", method.method), format!("age_ms>{}", longest(method, older))];
        let (calls, count) =
            gather(inspector, &listing(&filter.each_ref().map(String::as_str), "-age_ms", SHOWN_CALLS))
                .await?;
        if !calls.is_empty() {
            old.push(Old { method: method.clone(), calls, count });
        }
    }
    let (broken, broken_count) =
        gather::<ObjectRow>(inspector, &listing(&["kind=broken"], "", MOST_BROKEN)).await?;
    let ended = gather::<EndRow>(inspector, &listing(&[], "", MOST_ENDS)).await?.0;
    let branches = branches(inspector, asked.own).await?;
    Ok(Gathered { unread, unread_count, owing, branches, methods, old, broken, broken_count, ended, over })
}

fn by_number(rows: Vec<ConnectionRow>) -> HashMap<u64, ConnectionRow> {
    rows.into_iter().map(|row| (row.connection, row)).collect()
}

/// Milliseconds that a call of this method may take before it is far older than others.
fn longest(method: &MethodRow, older: Duration) -> u64 {
    let older = u64::try_from(older.as_millis()).unwrap_or(u64::MAX);
    older.max(method.max_us.saturating_mul(FAR) / 1000)
}

/// What each connection holds, as far as the bound goes.
async fn branches(inspector: &InspectorRef, own: bool) -> Result<Vec<Branch>, Error> {
    let (mut branches, mut from) = (Vec::new(), Some(0));
    for _ in 0..MOST_TREES {
        let Some(offset) = from else { break };
        let tree = inspector.tree(own, offset).await?;
        branches.extend(tree.branches);
        // Whatever a server says, it ends.
        from = tree.next.filter(|next| *next > offset);
    }
    Ok(branches)
}

/// How many times as long as the longest that was measured is far longer.
const FAR: u64 = 3;
/// Rows that are taken of each kind at the most; what they are sorted by puts the worst among them.
const MOST_CONNECTIONS: u64 = 1000;
const MOST_METHODS: u64 = 1000;
const MOST_BROKEN: u64 = 10_000;
/// More than a server keeps.
const MOST_ENDS: u64 = 100;
/// Methods of which calls are asked for.
const MOST_OLD_METHODS: usize = 20;
/// Calls of each that are shown.
const SHOWN_CALLS: u64 = 3;
/// Parts of the tree, of 512 KiB at the most: some hundred thousand connections.
const MOST_TREES: usize = 64;
