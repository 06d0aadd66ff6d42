//! Copies that go on: after they were killed, over links that are cut, with servers that are started again.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::link::{Fate, Link};
use crate::program::{
    Copied, Serving, copy, copy_with, peak_memory, snapshot, start_copy, start_copy_with, wait_for,
};

/// 400 small files in four directories, a link, and a file of 8 MiB that no chunk of which is like another.
fn sample(source: &Path) {
    for number in 0..400_u32 {
        let dir = source.join(format!("dir {}", number % 4)).join("below");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(number.to_string()), number.to_string().repeat(100)).unwrap();
    }
    symlink("dir 1", source.join("link")).unwrap();
    let mixed = |n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8;
    fs::write(source.join("big"), (0..8 << 20).map(mixed).collect::<Vec<_>>()).unwrap();
}

fn inodes(root: &Path) -> BTreeMap<PathBuf, u64> {
    let inode = |path: &PathBuf| fs::symlink_metadata(root.join(path)).unwrap().ino();
    snapshot(root).into_keys().map(|path| (path.clone(), inode(&path))).collect()
}

/// A copy that was killed when 4 MiB had come.
fn killed_copy(scratch: &Path) -> (Serving, PathBuf, PathBuf) {
    let (source, dest) = (scratch.join("source"), scratch.join("dest"));
    sample(&source);
    let serving = Serving::start(&source);
    let link = Link::start(&serving.url, &[Fate::StallsAfter(4 << 20)]);
    let mut copying = start_copy(&link.url, &dest);
    let partial = dest.join(".big.pb-partial");
    wait_for("half of it", || {
        link.bytes() >= 4 << 20 && fs::metadata(&partial).is_ok_and(|file| file.len() > 1 << 20)
    });
    copying.kill().unwrap();
    copying.wait().unwrap();
    (serving, source, dest)
}

/// A small file that the killed copy has finished.
fn finished(dest: &Path) -> PathBuf {
    let small = snapshot(dest).into_keys().filter(|path| path.components().count() == 3);
    let mut whole = small.filter(|path| path.extension().is_none());
    whole.next().expect("a small file is finished")
}

#[test]
fn a_copy_that_was_killed_goes_on_and_copies_nothing_twice() {
    let scratch = tempfile::tempdir().unwrap();
    let (serving, source, dest) = killed_copy(scratch.path());
    let before = inodes(&dest);
    let link = Link::start(&serving.url, &[]);
    let copied = copy(&link.url, &dest);
    copied.succeeded();
    assert_eq!(snapshot(&source), snapshot(&dest));
    assert!(copied.stdout.contains(" files were there from before"), "{}", copied.stdout);
    let after = inodes(&dest);
    for (path, inode) in before {
        let unfinished =
            path.file_name().and_then(|name| name.to_str()?.strip_prefix('.')?.strip_suffix(".pb-partial"));
        let name = unfinished.map_or(path.clone(), |name| path.with_file_name(name));
        assert_eq!(after.get(&name), Some(&inode), "{} is another", name.display());
    }
    assert!(link.bytes() < 7 << 20, "{} bytes for what was left", link.bytes());
    // It is finished now: further runs leave it alone.
    copy(&serving.url, &dest).failed_with("is not empty, and no unfinished copy");
}

#[test]
fn an_unfinished_file_is_believed_as_far_as_it_has_the_same_contents() {
    let scratch = tempfile::tempdir().unwrap();
    let (serving, source, dest) = killed_copy(scratch.path());
    let partial = fs::File::options().write(true).open(dest.join(".big.pb-partial")).unwrap();
    partial.write_all_at(b"lost by the disk", 100_000).unwrap();
    copy(&serving.url, &dest).succeeded();
    assert_eq!(snapshot(&source), snapshot(&dest));
}

#[test]
fn what_changed_between_two_runs_is_copied_as_it_is_now() {
    let scratch = tempfile::tempdir().unwrap();
    let (serving, source, dest) = killed_copy(scratch.path());
    let done = finished(&dest);
    fs::write(source.join(&done), "longer than it was before: another file altogether, with another time")
        .unwrap();
    fs::write(source.join("big"), "small now").unwrap();
    fs::remove_file(source.join("link")).unwrap();
    symlink("dir 2", source.join("link")).unwrap();
    fs::write(source.join("new"), "new").unwrap();
    copy(&serving.url, &dest).succeeded();
    assert_eq!(snapshot(&source), snapshot(&dest));
}

#[test]
fn a_file_of_an_earlier_run_is_known_by_size_and_time_or_by_its_contents_if_asked() {
    let scratch = tempfile::tempdir().unwrap();
    let (serving, source, dest) = killed_copy(scratch.path());
    let spoil = |dest: &Path| {
        let path = dest.join(finished(dest));
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.write_all_at(b"X", 1).unwrap();
        file.set_modified(time).unwrap();
        path.strip_prefix(dest).unwrap().to_owned()
    };
    let spoilt = spoil(&dest);
    let other = scratch.path().join("other");
    let copied = std::process::Command::new("cp").arg("-a").args([&dest, &other]).status().unwrap();
    assert!(copied.success());
    copy(&serving.url, &dest).succeeded();
    let differ = |dest: &Path| {
        let (source, dest) = (snapshot(&source), snapshot(dest));
        source
            .into_iter()
            .filter(|(path, seen)| dest.get(path) != Some(seen))
            .map(|(path, _)| path)
            .collect::<Vec<_>>()
    };
    assert_eq!(differ(&dest), [spoilt]);
    copy_with(&["--verify"], &serving.url, &other).succeeded();
    assert!(differ(&other).is_empty(), "{:?}", differ(&other));
}

#[test]
fn a_copy_goes_on_by_itself_when_its_server_is_started_again() {
    let scratch = tempfile::tempdir().unwrap();
    let (source, dest) = (scratch.path().join("source"), scratch.path().join("dest"));
    sample(&source);
    let serving = Serving::start(&source);
    let link = Link::start(&serving.url, &[Fate::Slow(4 << 20)]);
    let copying = start_copy(&link.url, &dest);
    wait_for("half of it", || link.bytes() > 4 << 20);
    drop(serving);
    // Nobody is there for a while.
    std::thread::sleep(Duration::from_millis(300));
    let serving = Serving::start(&source);
    link.lead_to(&serving.url);
    let copied = Copied::by(copying);
    copied.succeeded();
    assert!(copied.stdout.contains("; connected again 1 times"), "{}", copied.stdout);
    assert!(copied.stdout.starts_with("copied 401 files, 8 directories and 1 links"), "{}", copied.stdout);
    assert_eq!(copied.stderr, "files: the connection was lost, and made again: the copy goes on\n");
    assert_eq!(snapshot(&source), snapshot(&dest));
}

#[test]
fn a_file_that_is_another_on_the_next_connection_is_not_mixed_with_the_first() {
    let scratch = tempfile::tempdir().unwrap();
    let (source, dest) = (scratch.path().join("source"), scratch.path().join("dest"));
    sample(&source);
    let serving = Serving::start(&source);
    let link = Link::start(&serving.url, &[Fate::StallsAfter(4 << 20)]);
    let copying = start_copy(&link.url, &dest);
    let partial = dest.join(".big.pb-partial");
    wait_for("half of it", || fs::metadata(&partial).is_ok_and(|file| file.len() > 1 << 20));
    drop(serving);
    let big = fs::File::options().write(true).open(source.join("big")).unwrap();
    big.write_all_at(&vec![b'X'; 4 << 20], 4 << 20).unwrap();
    big.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let serving = Serving::start(&source);
    let next = Link::start(&serving.url, &[]);
    link.lead_to(&next.url);
    link.cut();
    let copied = Copied::by(copying);
    copied.failed_with("the connection was lost, and made again");
    assert!(copied.stderr.contains("big: it changed while it was copied"), "{}", copied.stderr);
    assert!(!dest.join("big").exists() && !partial.exists());
}

#[test]
fn a_listing_that_is_cut_is_begun_anew_and_nothing_is_copied_or_counted_twice() {
    let scratch = tempfile::tempdir().unwrap();
    let (source, dest) = (scratch.path().join("source"), scratch.path().join("dest"));
    // One directory of 13 pages.
    for number in 0..2_000 {
        let name = source.join(format!("all/{number}"));
        if number % 4 == 0 {
            fs::create_dir_all(&name).unwrap();
            fs::write(name.join("file"), number.to_string()).unwrap();
        } else if number % 100 == 1 {
            symlink("nowhere", name).unwrap();
        } else {
            fs::write(name, number.to_string()).unwrap();
        }
    }
    let serving = Serving::start(&source);
    let link = Link::start(&serving.url, &[Fate::CutAfter(40_000); 5]);
    let copied = copy(&link.url, &dest);
    copied.succeeded();
    assert_eq!(link.connections(), 6);
    let says = "copied 1980 files, 501 directories and 20 links, ";
    assert!(copied.stdout.starts_with(says), "{}", copied.stdout);
    assert_eq!(snapshot(&source), snapshot(&dest));
}

/// Files of some bytes in directories of 100, and one file of holes with data in `runs` places, a MiB each.
fn big_sample(source: &Path, files: u32, size: u64, runs: u64) {
    for number in 0..files {
        let dir = source.join(format!("{}/{}", number / 2_000, number / 100 % 20));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("file {number}")), number.to_string().repeat((number % 300) as usize))
            .unwrap();
    }
    let sparse = fs::File::create(source.join("sparse")).unwrap();
    sparse.set_len(size).unwrap();
    for run in 0..runs {
        let data: Vec<u8> =
            (0..1 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 20) as u8 ^ run as u8).collect();
        sparse.write_all_at(&data, run * (size / runs) + run * 4096).unwrap();
    }
}

/// Compares without taking either file whole into memory.
fn assert_same_file(one: &Path, other: &Path) {
    let same = std::process::Command::new("cmp").arg(one).arg(other).status().unwrap();
    assert!(same.success(), "{} differs", other.display());
}

/// Copies over a link that is cut five times, at equal distances of what comes in all, and says what it took.
fn copy_over_cuts(scratch: &Path, files: u32, size: u64, runs: u64) -> String {
    let (source, dest) = (scratch.join("source"), scratch.join("dest"));
    big_sample(&source, files, size, runs);
    let serving = Serving::start(&source);
    let part = (u64::from(files) * 900 + (runs << 20)) / 6;
    let link = Link::start(&serving.url, &[Fate::CutAfter(part); 5]);
    let begun = std::time::Instant::now();
    let mut copying = start_copy_with(&["--patience", "60"], &link.url, &dest);
    let (mut client_peak, mut server_peak) = (0, 0);
    while copying.try_wait().unwrap().is_none() {
        client_peak = client_peak.max(peak_memory(copying.id()).unwrap_or(0));
        server_peak = server_peak.max(peak_memory(serving.id()).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(10));
    }
    let took = begun.elapsed();
    let copied = Copied::by(copying);
    copied.succeeded();
    assert_eq!(link.connections(), 6, "it was cut five times");
    let says = format!("copied {} files, ", files + 1);
    assert!(
        copied.stdout.starts_with(&says) && copied.stdout.contains("; connected again 5 times"),
        "{}",
        copied.stdout
    );
    assert_same_file(&source.join("sparse"), &dest.join("sparse"));
    let blocks = |path: &Path| fs::metadata(path.join("sparse")).unwrap().blocks();
    assert!(blocks(&dest) <= blocks(&source) + 64, "{} blocks of {}", blocks(&dest), blocks(&source));
    for path in [&source, &dest] {
        fs::remove_file(path.join("sparse")).unwrap();
        fs::File::open(path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }
    assert_eq!(snapshot(&source), snapshot(&dest));
    assert!(client_peak > 0 && client_peak < 64 << 10, "{client_peak} KiB of the client's");
    assert!(server_peak > 0 && server_peak < 64 << 10, "{server_peak} KiB of the server's");
    format!(
        "{files} files and {} MiB with {runs} MiB of data in {:.1} s, {} bytes; at most {client_peak} KiB (client) and {server_peak} KiB (server)",
        size >> 20,
        took.as_secs_f64(),
        link.bytes(),
    )
}

#[test]
fn a_copy_over_a_link_that_is_cut_five_times_is_the_same_tree_with_its_holes() {
    let scratch = tempfile::tempdir().unwrap();
    println!("{}", copy_over_cuts(scratch.path(), 2_000, 256 << 20, 16));
}

/// The same in full size: `.ci/long`, or by hand with `--ignored --nocapture`. The figures stand in docs/performance.md.
#[test]
#[ignore = "takes 200 MiB of disk and some minutes"]
fn twenty_thousand_files_and_four_gib_come_over_a_link_that_is_cut_five_times() {
    let scratch = tempfile::tempdir().unwrap();
    println!("{}", copy_over_cuts(scratch.path(), 20_000, 4 << 30, 64));
}
