//! The program `files`, as its users start it: two processes and a real disk.

mod failing;
mod hostile;
mod link;
mod program;
mod resuming;
mod walking;
mod watching;

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use program::{Copied, Serving, copy, copy_within, snapshot};

fn sample_tree(root: &Path) {
    use std::os::unix::ffi::OsStrExt;
    let bytes: Vec<u8> = (0..3 * 1024 * 1024_u32).map(|n| (n % 251) as u8).collect();
    fs::create_dir_all(root.join("a/b/c/d")).unwrap();
    fs::create_dir(root.join("empty dir")).unwrap();
    fs::write(root.join("empty"), "").unwrap();
    fs::write(root.join("a/three-mib"), &bytes).unwrap();
    fs::write(root.join("a/one-chunk"), &bytes[..128 * 1024]).unwrap();
    fs::write(root.join("a/one-chunk-and-a-byte"), &bytes[..128 * 1024 + 1]).unwrap();
    fs::write(root.join("a/b/c/d/deep"), "deep").unwrap();
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"no\xff\xfeutf-8")), "bytes").unwrap();
    fs::write(root.join("line\nfeed"), "odd").unwrap();
    fs::write(root.join(".empty.pb-partial"), "a name like that of an unfinished file").unwrap();
    fs::write(root.join("l".repeat(255)), "the longest name").unwrap();
    fs::write(root.join("program"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(root.join("program"), fs::Permissions::from_mode(0o750)).unwrap();
    fs::write(root.join("read-only"), "r").unwrap();
    fs::set_permissions(root.join("read-only"), fs::Permissions::from_mode(0o400)).unwrap();
    symlink("a/b", root.join("relative")).unwrap();
    symlink("nowhere/at all", root.join("dangling")).unwrap();
    symlink("/etc/passwd", root.join("absolute")).unwrap();
    symlink("../../..", root.join("a/b/upwards")).unwrap();
    let old = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    fs::File::open(root.join("a/three-mib")).unwrap().set_modified(old).unwrap();
    fs::create_dir(root.join("locked")).unwrap();
    fs::write(root.join("locked/file"), "in a directory that nobody may write to").unwrap();
    fs::create_dir(root.join("locked/dir")).unwrap();
    fs::set_permissions(root.join("locked"), fs::Permissions::from_mode(0o555)).unwrap();
}

/// So that the scratch directory can be removed by whoever is not root.
fn unlock(root: &Path) {
    fs::set_permissions(root.join("locked"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_tree_is_served_at_several_addresses_until_the_server_is_told_to_end() {
    let scratch = tempfile::tempdir().unwrap();
    let source = scratch.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "content").unwrap();
    let socket = format!("unix://{}", scratch.path().join("files.sock").display());
    let (serving, urls) = Serving::start_at(&source, &["tcp://127.0.0.1:0", &socket]);
    assert_eq!(urls[1], socket);
    for (number, url) in urls.iter().enumerate() {
        let dest = scratch.path().join(number.to_string());
        copy(url, &dest).succeeded();
        assert_eq!(fs::read(dest.join("file")).unwrap(), b"content");
    }
    assert_eq!(serving.terminate(), Some(0));
    assert!(!scratch.path().join("files.sock").exists());
    copy(&socket, &scratch.path().join("late")).failed_with("cannot connect to unix://");
}

#[test]
fn a_copy_is_the_same_tree() {
    let scratch = tempfile::tempdir().unwrap();
    let (source, dest) = (scratch.path().join("source"), scratch.path().join("dest"));
    fs::create_dir(&source).unwrap();
    sample_tree(&source);
    let serving = Serving::start(&source);
    let copied = copy(&serving.url, &dest);
    let (original, copy) = (snapshot(&source), snapshot(&dest));
    unlock(&source);
    unlock(&dest);
    copied.succeeded();
    assert_eq!(copied.stderr, "", "no bar and no notices where nobody looks");
    assert_eq!(copied.stdout.lines().count(), 1);
    assert!(copied.stdout.starts_with("copied 12 files, 7 directories and 4 links, 3."), "{}", copied.stdout);
    assert_eq!(original, copy);
}

#[test]
fn a_link_out_of_the_tree_is_made_again_and_never_followed() {
    let scratch = tempfile::tempdir().unwrap();
    let (source, dest) = (scratch.path().join("source"), scratch.path().join("dest"));
    let outside = scratch.path().join("outside");
    fs::create_dir(&source).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    symlink(&outside, source.join("out")).unwrap();
    let serving = Serving::start(&source);
    copy(&serving.url, &dest).succeeded();
    assert_eq!(fs::read_link(dest.join("out")).unwrap(), outside);
    fs::rename(&outside, scratch.path().join("moved")).unwrap();
    assert_eq!(fs::metadata(dest.join("out")).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_directory_of_many_pages_is_copied_whole() {
    let scratch = tempfile::tempdir().unwrap();
    let (source, dest) = (scratch.path().join("source"), scratch.path().join("dest"));
    for number in 0..300 {
        fs::create_dir_all(source.join(format!("many/dir {number}"))).unwrap();
        fs::write(source.join(format!("many/file {number}")), number.to_string()).unwrap();
        fs::write(source.join(format!("many/dir {number}/file")), number.to_string()).unwrap();
    }
    let serving = Serving::start(&source);
    copy(&serving.url, &dest).succeeded();
    assert_eq!(snapshot(&source), snapshot(&dest));
}

#[test]
fn a_wide_tree_takes_few_descriptors() {
    let scratch = tempfile::tempdir().unwrap();
    let (source, dest) = (scratch.path().join("source"), scratch.path().join("dest"));
    for number in 0..2_000 {
        fs::create_dir_all(source.join(format!("{}/{number}", number % 200))).unwrap();
    }
    let serving = Serving::start(&source);
    // 64 files and 8 pages at a time, the connection and the runtime: far below the usual 1,024.
    copy_within("ulimit -n 128", &serving.url, &dest).succeeded();
    assert_eq!(snapshot(&source), snapshot(&dest));
}

#[test]
fn a_pipe_is_left_out_with_a_notice() {
    let scratch = tempfile::tempdir().unwrap();
    let (source, dest) = (scratch.path().join("source"), scratch.path().join("dest"));
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "file").unwrap();
    let made = std::process::Command::new("mkfifo").arg(source.join("pipe")).status().unwrap();
    assert!(made.success());
    let serving = Serving::start(&source);
    let copied = copy(&serving.url, &dest);
    copied.succeeded();
    assert_eq!(
        copied.stderr,
        format!("files: left out {}: it is no file, directory or link\n", dest.join("pipe").display())
    );
    assert_eq!(snapshot(&dest).len(), 2);
}

#[test]
fn an_unreadable_file_is_named_and_the_others_are_copied() {
    let scratch = tempfile::tempdir().unwrap();
    let (source, dest) = (scratch.path().join("source"), scratch.path().join("dest"));
    fs::create_dir(&source).unwrap();
    fs::write(source.join("readable"), "r").unwrap();
    fs::write(source.join("unreadable"), "u").unwrap();
    fs::set_permissions(source.join("unreadable"), fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(source.join("unreadable")).is_ok() {
        return; // We are root, to whom every file is readable.
    }
    let serving = Serving::start(&source);
    let copied = copy(&serving.url, &dest);
    copied.failed_with(&format!(
        "cannot copy {}: the server may not read it",
        dest.join("unreadable").display()
    ));
    assert_eq!(fs::read(dest.join("readable")).unwrap(), b"r");
    assert!(!dest.join("unreadable").exists());
}

#[test]
fn a_destination_that_is_not_empty_is_left_as_it_is() {
    let scratch = tempfile::tempdir().unwrap();
    let (source, dest) = (scratch.path().join("source"), scratch.path().join("dest"));
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "new").unwrap();
    fs::create_dir(&dest).unwrap();
    fs::write(dest.join("file"), "old").unwrap();
    let before = snapshot(&dest);
    let serving = Serving::start(&source);
    copy(&serving.url, &dest).failed_with("is not empty, and no unfinished copy: nothing was copied");
    assert_eq!(snapshot(&dest), before);
    copy(&serving.url, &dest.join("file")).failed_with("Not a directory");
    copy(&serving.url, &dest.join("no/parent")).failed_with("No such file or directory");
    assert_eq!(snapshot(&dest), before);
}

#[test]
fn an_empty_destination_is_taken() {
    let scratch = tempfile::tempdir().unwrap();
    let (source, dest) = (scratch.path().join("source"), scratch.path().join("dest"));
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "file").unwrap();
    fs::create_dir(&dest).unwrap();
    let serving = Serving::start(&source);
    copy(&serving.url, &dest).succeeded();
    assert_eq!(snapshot(&source), snapshot(&dest));
}

#[test]
fn what_cannot_be_served_is_said_in_a_sentence() {
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("file"), "").unwrap();
    Copied::of(&["serve".as_ref(), scratch.path().join("missing").as_ref()])
        .failed_with("No such file or directory");
    Copied::of(&["serve".as_ref(), scratch.path().join("file").as_ref()]).failed_with("Not a directory");
    let listen = ["serve".as_ref(), scratch.path().as_os_str(), "--listen".as_ref(), "gopher://x".as_ref()];
    Copied::of(&listen).failed_with("gopher");
}

#[test]
fn a_server_that_is_not_there_is_said_in_a_sentence() {
    let scratch = tempfile::tempdir().unwrap();
    let dest = scratch.path().join("dest");
    // Bound, so that nobody else takes the port, and never listening: who connects is refused.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", nobody.local_addr().unwrap());
    drop(nobody);
    copy(&url, &dest).failed_with("refused");
    copy("nonsense", &dest).failed_with("nonsense");
    assert!(!dest.exists(), "nothing is made before there is something to copy");
}
