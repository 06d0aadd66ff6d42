//! What a process weighs, as the kernel counts it.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::os::unix::fs::FileExt;

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

/// Has every page of this process's files in memory, the program's text above all, and says how many there are: what is weighed later must not
/// grow by code that runs for the first time, which the system maps sixteen pages at a time.
pub fn touch_files() -> Result<u64> {
    let maps = std::fs::read_to_string("/proc/self/maps").context("/proc/self/maps cannot be read")?;
    let memory = File::open("/proc/self/mem").context("/proc/self/mem cannot be read")?;
    let mut touched = 0;
    for (from, to) in maps.lines().filter_map(mapped_file) {
        for page in (from..to).step_by(PAGE_BYTES) {
            // Behind a file's end there is nothing to be mapped.
            touched += u64::from(memory.read_at(&mut [0], page).is_ok());
        }
    }
    Ok(touched)
}

/// Where a line of `maps` says that a file is mapped, which can be read.
fn mapped_file(line: &str) -> Option<(u64, u64)> {
    let mut fields = line.split_whitespace();
    let (range, may) = (fields.next()?, fields.next()?);
    let path = fields.nth(3)?;
    let (from, to) = range.split_once('-')?;
    let range = (u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?);
    (may.starts_with('r') && path.starts_with('/')).then_some(range)
}

/// Of the smallest pages that there are; on a machine with larger ones some are touched more than once.
const PAGE_BYTES: usize = 4096;

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
    fn only_files_that_can_be_read_are_touched() {
        let file = "559539827000-55953982c000 r-xp 00002000 fe:00 247030                     /usr/bin/cat";
        assert_eq!(mapped_file(file), Some((0x5595_3982_7000, 0x5595_3982_c000)));
        assert_eq!(mapped_file("7efc1820c000-7efc1822e000 rw-p 00000000 00:00 0 "), None);
        assert_eq!(mapped_file("559541763000-559541784000 rw-p 00000000 00:00 0      [heap]"), None);
        assert_eq!(mapped_file("7efc1820c000-7efc1822e000 ---p 00000000 fe:00 12 /usr/lib/x.so"), None);
        assert!(touch_files().expect("a Linux with /proc") > 100, "a program has pages");
    }

    #[test]
    fn this_process_weighs_something() {
        let here = Resident::of(std::process::id()).expect("a Linux with /proc");
        assert!(here.rss_kib > here.anonymous_kib && here.anonymous_kib > 0);
    }
}
