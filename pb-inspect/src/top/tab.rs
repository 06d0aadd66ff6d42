//! The lists that the screen has: their columns, and what they are sorted and filtered by.

use pb_server::inspect::{CallRow, ConnectionRow, MethodRow, ObjectRow};

use crate::commands::lists::Listed;
use crate::table::Column;

/// A list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tab {
    Objects,
    Calls,
    Connections,
    Methods,
}

impl Tab {
    pub(super) const ALL: [Tab; 4] = [Tab::Objects, Tab::Calls, Tab::Connections, Tab::Methods];

    pub(super) fn title(self) -> &'static str {
        match self {
            Tab::Objects => "Objects",
            Tab::Calls => "Calls",
            Tab::Connections => "Connections",
            Tab::Methods => "Methods",
        }
    }

    pub(super) fn columns(self) -> &'static [Column] {
        match self {
            Tab::Objects => ObjectRow::COLUMNS,
            Tab::Calls => CallRow::COLUMNS,
            Tab::Connections => ConnectionRow::COLUMNS,
            Tab::Methods => MethodRow::COLUMNS,
        }
    }

    /// What stands where there are no rows.
    pub(super) fn none(self) -> &'static str {
        match self {
            Tab::Objects => ObjectRow::NONE,
            Tab::Calls => CallRow::NONE,
            Tab::Connections => ConnectionRow::NONE,
            Tab::Methods => MethodRow::NONE,
        }
    }

    /// What it can be sorted by, in the order of the columns.
    pub(super) fn keys(self) -> &'static [&'static str] {
        match self {
            Tab::Objects => &[
                "id",
                "type_name",
                "interfaces",
                "holders",
                "references",
                "calls",
                "in_flight",
                "failed",
                "age_ms",
                "idle_ms",
            ],
            Tab::Calls => {
                &["connection", "call", "method", "object", "state", "age_ms", "deadline_ms", "peer"]
            }
            Tab::Connections => &[
                "connection",
                "peer",
                "age_ms",
                "objects",
                "calls",
                "in_flight",
                "failed",
                "bytes_in",
                "bytes_out",
                "unread_bytes",
            ],
            Tab::Methods => {
                &["method", "calls", "in_flight", "oldest_ms", "failed", "p50_us", "p99_us", "max_us"]
            }
        }
    }

    /// The key that it is sorted by until somebody says, and whether the largest come first.
    pub(super) fn order(self) -> (usize, bool) {
        let key = match self {
            Tab::Objects | Tab::Methods => "calls",
            Tab::Calls => "age_ms",
            Tab::Connections => "objects",
        };
        (self.keys().iter().position(|known| *known == key).unwrap_or(0), true)
    }

    /// What a word without a key is looked for in.
    fn words_in(self) -> &'static str {
        match self {
            Tab::Objects => "type_name",
            Tab::Calls | Tab::Methods => "method",
            Tab::Connections => "peer",
        }
    }

    /// The conditions that were typed: `KEY=TEXT` and the like, or words that must be found.
    pub(super) fn conditions(self, typed: &str) -> Vec<String> {
        let condition = |word: &str| match word.contains(['=', '!', '~', '>', '<']) {
            true => word.to_owned(),
            false => format!("{}~{word}", self.words_in()),
        };
        typed.split_whitespace().map(condition).collect()
    }
}
