//! What a process weighs, as the kernel counts it.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Resident memory in KiB.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Resident {
    /// All of it, the program's own text among it (`VmRSS`).
    pub rss_kib: u64,
    /// What belongs to no file: heap and stacks (`RssAnon`).
    pub anonymous_kib: u64,
}

impl Resident {
    /// Of process `id`. Counted page by page (`smaps_rollup`): `status` may be off by dozens of pages a thread.
    pub fn of(id: u32) -> Result<Resident> {
        let path = format!("/proc/{id}/smaps_rollup");
        let text = std::fs::read_to_string(&path).with_context(|| format!("{path} cannot be read"))?;
        Resident::parse(&text).with_context(|| format!("{path} has no Rss and Anonymous"))
    }

    /// The larger of each.
    #[must_use]
    pub fn max(self, other: Resident) -> Resident {
        Resident {
            rss_kib: self.rss_kib.max(other.rss_kib),
            anonymous_kib: self.anonymous_kib.max(other.anonymous_kib),
        }
    }

    /// What it has more than `base`.
    #[must_use]
    pub fn beyond(self, base: Resident) -> Resident {
        Resident {
            rss_kib: self.rss_kib.saturating_sub(base.rss_kib),
            anonymous_kib: self.anonymous_kib.saturating_sub(base.anonymous_kib),
        }
    }

    fn parse(text: &str) -> Option<Resident> {
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        Some(Resident { rss_kib: field("Rss:")?, anonymous_kib: field("Anonymous:")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_fields_are_read() {
        let text = "00-ff ---p 00000000 00:00 0   [rollup]\nRss:   4264 kB\nPss: 1 kB\nAnonymous:   384 kB\n";
        assert_eq!(Resident::parse(text), Some(Resident { rss_kib: 4264, anonymous_kib: 384 }));
        assert_eq!(Resident::parse("Rss: 1 kB\n"), None);
    }

    #[test]
    fn this_process_weighs_something() {
        let here = Resident::of(std::process::id()).expect("a Linux with /proc");
        assert!(here.rss_kib > here.anonymous_kib && here.anonymous_kib > 0);
    }
}
