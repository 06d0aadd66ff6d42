//! Ways by path: `cat`, and what one may reach with it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use pb_examples::files::api::{BadName, DirRef, FilesError, Name};
use pb_examples::files::tree::Tree;
use pb_examples::files::walk::{dir_at, file_at, why};
use pb_examples::files::{cat, served};

use crate::program::{Copied, Serving};

fn read(url: &str, path: impl AsRef<OsStr>) -> Copied {
    Copied::of(&["cat".as_ref(), url.as_ref(), path.as_ref()])
}

fn root_of(dir: &Path) -> DirRef {
    served::root(Tree::open(dir).unwrap()).0
}

#[tokio::test]
async fn a_way_of_any_length_and_the_read_at_its_end_are_sent_without_an_answer() {
    let scratch = tempfile::tempdir().unwrap();
    fs::create_dir_all(scratch.path().join("a/b/c/d/e")).unwrap();
    fs::write(scratch.path().join("a/b/c/d/e/file"), "at the end of it").unwrap();
    let (_server, client) = pb_server::pair(root_of(scratch.path())).await;
    let root: DirRef = client.root();
    let file = file_at(&root, Path::new("/a/b/./c/d/e/file")).expect("a name");
    let read = file.read(3, 3);
    let counters = client.counters();
    assert_eq!((counters.sent.calls, counters.received.values), (7, 0), "six names, one read, no wait");
    assert_eq!(read.await.expect("it is there").into_vec(), b"the");
}

#[tokio::test]
async fn a_file_of_many_chunks_is_read_whole_and_in_order() {
    let scratch = tempfile::tempdir().unwrap();
    for size in [0, 1, 131_071, 131_072, 131_073, 1_000_000] {
        let bytes: Vec<u8> = (0..size).map(|n: u32| (n % 249) as u8).collect();
        fs::write(scratch.path().join("file"), &bytes).unwrap();
        let (_server, client) = pb_server::pair(root_of(scratch.path())).await;
        let mut out = Vec::new();
        let written = cat::cat(&client.root(), Path::new("file"), &mut out).await.expect("it is there");
        assert_eq!((written, out), (u64::from(size), bytes));
    }
}

#[tokio::test]
async fn no_name_leads_out_of_the_tree() {
    let scratch = tempfile::tempdir().unwrap();
    let (inside, outside) = (scratch.path().join("inside"), scratch.path().join("outside"));
    fs::create_dir(&inside).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    symlink(&outside, inside.join("link")).unwrap();
    symlink("../outside/secret", inside.join("file")).unwrap();
    let (_server, client) = pb_server::pair(root_of(&inside)).await;
    let root: DirRef = client.root();
    for (bad, what) in [
        (&b".."[..], BadName::Dots),
        (b".", BadName::Dots),
        (b"", BadName::Empty),
        (b"../outside", BadName::Slash),
        (b"a\0b", BadName::Zero),
        (&[b'l'; 100_000], BadName::Long),
    ] {
        let refused = FilesError::BadName(what);
        let dir = root.dir(Name::new(bad)).await.expect_err("no such name");
        let file = root.file(Name::new(bad)).await.expect_err("no such name");
        assert_eq!((why(dir), why(file)), (Ok(refused.clone()), Ok(refused)));
    }
    let link = root.dir(Name::new("link")).await.expect_err("links are not followed");
    assert_eq!(why(link), Ok(FilesError::NoDir { name: Name::new("link") }));
    let link = root.file(Name::new("file")).await.expect_err("links are not followed");
    assert_eq!(why(link), Ok(FilesError::NoFile { name: Name::new("file") }));
    // What is asked beyond them fails with the step that failed.
    let stat =
        dir_at(&root, Path::new("link/nowhere/at/all")).stat().await.expect_err("links are not followed");
    assert_eq!(why(stat), Ok(FilesError::NoDir { name: Name::new("link") }));
}

#[test]
fn a_file_is_written_to_standard_output_whatever_it_is_named() {
    let scratch = tempfile::tempdir().unwrap();
    let odd = Path::new(OsStr::from_bytes(b"a/no\xff\xfeutf-8"));
    let long = Path::new("a").join("l".repeat(255));
    fs::create_dir(scratch.path().join("a")).unwrap();
    fs::write(scratch.path().join(odd), "odd").unwrap();
    fs::write(scratch.path().join(&long), "long").unwrap();
    let serving = Serving::start(scratch.path());
    for (path, contents) in [(odd, "odd"), (&long, "long")] {
        let read = read(&serving.url, path);
        read.succeeded();
        assert_eq!((read.stdout.as_str(), read.stderr.as_str()), (contents, ""));
    }
}

#[test]
fn what_cannot_be_read_is_said_in_a_sentence() {
    let scratch = tempfile::tempdir().unwrap();
    fs::create_dir_all(scratch.path().join("a/b")).unwrap();
    fs::write(scratch.path().join("a/file"), "").unwrap();
    let serving = Serving::start(scratch.path());
    for (path, sentence) in [
        ("a/c/d/file", "files: cannot read a/c/d/file: there is no directory c"),
        ("a/file/d", "files: cannot read a/file/d: there is no directory file"),
        ("a/nothing", "files: cannot read a/nothing: there is no file nothing"),
        ("a/b", "files: cannot read a/b: there is no file b"),
        ("a/line\nfeed", "files: cannot read a/line\\nfeed: there is no file line\\nfeed"),
        (
            "a/../../etc/passwd",
            "files: cannot read a/../../etc/passwd: no entry can have this name: it stands for another directory",
        ),
        ("/", "files: / names no file"),
    ] {
        let read = read(&serving.url, path);
        read.failed_with(sentence);
        assert_eq!((read.stderr.trim_end(), read.stdout.as_str()), (sentence, ""));
    }
    let long = format!("a/{}", "l".repeat(300));
    read(&serving.url, &long).failed_with("File name too long");
    let longer = format!("a/{}", "l".repeat(2000));
    read(&serving.url, &longer).failed_with("it has more than 1024 bytes");
}
