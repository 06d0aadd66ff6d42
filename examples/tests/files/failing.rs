//! Copies that end early, or leave something out: what they say, and what they leave.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::SystemTime;

use crate::link::{Fate, Link};
use crate::program::{Copied, Serving, copy, copy_within, signal, snapshot, start_copy_with, wait_for};

/// A copy of a big file and 50 small ones, over a link on which it takes far longer than the test.
struct Halfway {
    source: std::path::PathBuf,
    dest: std::path::PathBuf,
    serving: Serving,
    link: Link,
    copying: Child,
}

impl Halfway {
    fn start(scratch: &Path, arguments: &[&str]) -> Halfway {
        let (source, dest) = (scratch.join("source"), scratch.join("dest"));
        fs::create_dir(&source).unwrap();
        for number in 0..50 {
            fs::write(source.join(format!("small {number}")), number.to_string()).unwrap();
        }
        fs::write(source.join("big"), vec![7; 1 << 27]).unwrap();
        let serving = Serving::start(&source);
        let link = Link::start(&serving.url, &[Fate::Slow(4 << 20)]);
        let copying = start_copy_with(arguments, &link.url, &dest);
        let begun = || fs::metadata(dest.join(".big.pb-partial")).is_ok_and(|file| file.len() > 1 << 18);
        wait_for("the unfinished file", begun);
        Halfway { source, dest, serving, link, copying }
    }
}

/// What is not finished has another name than the file will have, and is there for the next run.
fn nothing_looks_finished_that_is_not(source: &Path, dest: &Path) {
    let mut unfinished = 0;
    for entry in fs::read_dir(dest).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        match name.as_str() {
            ".big.pb-partial" => unfinished += 1,
            name => {
                assert!(name.starts_with("small "), "{name} is left behind");
                assert_eq!(fs::read(source.join(name)).unwrap(), fs::read(dest.join(name)).unwrap());
            }
        }
    }
    assert_eq!(unfinished, 1);
}

#[test]
fn a_server_killed_in_mid_copy_is_said_and_nothing_looks_finished() {
    let scratch = tempfile::tempdir().unwrap();
    let Halfway { source, dest, serving, link, copying } =
        Halfway::start(scratch.path(), &["--patience", "0"]);
    drop(serving);
    drop(link);
    Copied::by(copying).failed_with("the server went away before all was copied: ");
    nothing_looks_finished_that_is_not(&source, &dest);
}

#[test]
fn a_server_that_does_not_come_back_is_waited_for_as_long_as_was_said() {
    let scratch = tempfile::tempdir().unwrap();
    let Halfway { source, dest, serving, copying, .. } = Halfway::start(scratch.path(), &["--patience", "1"]);
    drop(serving);
    let sentence = "the server went away before all was copied, and was not back within 1 s: ";
    Copied::by(copying).failed_with(sentence);
    nothing_looks_finished_that_is_not(&source, &dest);
}

/// Told to end, the server says that it finishes the calls of one client.
fn drains_for_one_client(serving: &mut Serving) {
    serving.tell_to_end();
    let line = serving.line();
    assert!(line.starts_with("draining: "), "{line}");
    assert!(
        line.ends_with(" of 1 client are finished, clients have 5 s; another signal ends it at once"),
        "{line}"
    );
}

#[test]
fn a_server_that_drains_says_what_and_its_client_says_why_it_ended() {
    let scratch = tempfile::tempdir().unwrap();
    let mut halfway = Halfway::start(scratch.path(), &["--patience", "0"]);
    drains_for_one_client(&mut halfway.serving);
    // The copy goes on until the time is over.
    Copied::by(halfway.copying).failed_with("the server was told to end before all was copied");
    assert_eq!(halfway.serving.ended(), (Some(0), vec!["drained".to_owned()]));
    nothing_looks_finished_that_is_not(&halfway.source, &halfway.dest);
}

#[test]
fn a_second_signal_ends_a_drain() {
    let scratch = tempfile::tempdir().unwrap();
    let mut halfway = Halfway::start(scratch.path(), &["--patience", "0"]);
    drains_for_one_client(&mut halfway.serving);
    halfway.serving.tell_to_end();
    assert_eq!(halfway.serving.ended(), (Some(0), vec!["ended before it had drained".to_owned()]));
    // Whether the client has heard of the drain, behind all that was on its way, or only of the end.
    Copied::by(halfway.copying).failed_with(" before all was copied");
    nothing_looks_finished_that_is_not(&halfway.source, &halfway.dest);
}

#[test]
fn a_server_without_clients_drains_at_once() {
    let scratch = tempfile::tempdir().unwrap();
    let mut serving = Serving::start(scratch.path());
    serving.tell_to_end();
    let first =
        "draining: 0 calls of 0 clients are finished, clients have 5 s; another signal ends it at once";
    assert_eq!(serving.line(), first);
    assert_eq!(serving.ended(), (Some(0), vec!["drained".to_owned()]));
}

#[test]
fn an_interrupted_copy_leaves_nothing_that_looks_finished() {
    let scratch = tempfile::tempdir().unwrap();
    let Halfway { source, dest, copying, .. } = Halfway::start(scratch.path(), &[]);
    signal(copying.id(), "INT");
    Copied::by(copying).failed_with("interrupted; the same command goes on from there");
    nothing_looks_finished_that_is_not(&source, &dest);
}

#[test]
fn a_second_copy_to_the_same_place_is_refused_and_harms_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let Halfway { source, dest, serving, mut copying, .. } = Halfway::start(scratch.path(), &[]);
    copy(&serving.url, &dest).failed_with("is under way: nothing was copied");
    copying.kill().unwrap();
    copying.wait().unwrap();
    nothing_looks_finished_that_is_not(&source, &dest);
    copy(&serving.url, &dest).succeeded();
    assert_eq!(snapshot(&source), snapshot(&dest));
}

#[test]
fn files_that_change_or_vanish_in_mid_copy_are_named_and_the_others_are_copied() {
    type Spoil = fn(&Path);
    let spoiled: [(Spoil, &str); 3] = [
        (|big| fs::write(big, "another").unwrap(), "it changed while it was copied"),
        (
            |big| {
                fs::File::options()
                    .write(true)
                    .open(big)
                    .unwrap()
                    .set_modified(SystemTime::UNIX_EPOCH)
                    .unwrap()
            },
            "it changed while it was copied",
        ),
        (|big| fs::remove_file(big).unwrap(), "it is no longer what it was when it was listed"),
    ];
    for (spoil, sentence) in spoiled {
        let scratch = tempfile::tempdir().unwrap();
        let Halfway { source, dest, serving, copying, .. } = Halfway::start(scratch.path(), &[]);
        spoil(&source.join("big"));
        let copied = Copied::by(copying);
        let shown = dest.join("big").display().to_string();
        copied.failed_with(&format!("cannot copy {shown}: {sentence}"));
        assert_eq!(copied.stderr.lines().last(), Some("files: 1 entries could not be copied"));
        assert_eq!(fs::read_dir(&dest).unwrap().count(), 50, "nothing of it is left");
        drop(serving);
    }
}

#[test]
fn a_disk_that_takes_no_more_is_said_and_the_next_run_goes_on() {
    let scratch = tempfile::tempdir().unwrap();
    let (source, dest) = (scratch.path().join("source"), scratch.path().join("dest"));
    fs::create_dir(&source).unwrap();
    fs::write(source.join("small"), "small").unwrap();
    fs::write(source.join("big"), vec![7; 3 * 1024 * 1024]).unwrap();
    let serving = Serving::start(&source);
    // A limit on the size of files stands for the full disk, which takes a mount and so root.
    // Its signal is ignored, so that the error is the writing call's, as a full disk's is. POSIX counts blocks of 512 bytes.
    let copied = copy_within("trap '' XFSZ; ulimit -f 2048", &serving.url, &dest);
    copied.failed_with(&format!("cannot write {}: File too large", dest.join("big").display()));
    let left = snapshot(&dest);
    let expected = ["", "small", ".big.pb-partial"].map(Path::new);
    assert!(left.keys().all(|path| expected.contains(&path.as_path())), "{left:?}");
    copy(&serving.url, &dest).succeeded();
    assert_eq!(snapshot(&source), snapshot(&dest));
}
