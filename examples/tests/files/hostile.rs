//! Servers that lie, and one that only counts.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pb_examples::files::api::{
    Digest, Dir, DirRef, Entry, File, FileRef, FileStat, FilesError, Kind, LinkTarget, Listing, ListingRef,
    Name, Page, Run, Runs, Stat, WatchRef, WatcherRef,
};
use pb_server::{Referenceable, Server};
use serde_bytes::ByteBuf;

use crate::program::{Copied, copy};

const STAT: Stat = Stat { mode: 0o755, modified: 1_000_000_000, modified_nanos: 0 };

/// Makes the entries of one page, or `None` behind the last page.
type Pages = Arc<dyn Fn(usize) -> Option<Vec<Entry>> + Send + Sync>;

#[derive(Referenceable)]
struct Liar(Pages);

impl Dir for Liar {
    async fn stat(&self) -> Result<Stat, FilesError> {
        Ok(STAT)
    }

    async fn list(&self) -> Result<ListingRef, FilesError> {
        Ok(ListingRef::new(Lies { pages: Arc::clone(&self.0), next: AtomicUsize::new(0) }))
    }

    async fn dir(&self, name: Name) -> Result<DirRef, FilesError> {
        Err(FilesError::NoDir { name })
    }

    async fn file(&self, name: Name) -> Result<FileRef, FilesError> {
        Err(FilesError::NoFile { name })
    }

    async fn watch(&self, _watcher: WatcherRef) -> Result<WatchRef, FilesError> {
        Err(FilesError::Denied)
    }
}

#[derive(Referenceable)]
struct Lies {
    pages: Pages,
    next: AtomicUsize,
}

impl Listing for Lies {
    async fn next_page(&self) -> Result<Page, FilesError> {
        match (self.pages)(self.next.fetch_add(1, Ordering::SeqCst)) {
            Some(entries) => Ok(Page { entries, last: false }),
            None => Ok(Page { entries: Vec::new(), last: true }),
        }
    }
}

/// A file that gives one `x` more, or fewer, than it is asked for, and counts itself.
#[derive(Referenceable)]
struct Xs {
    more: isize,
    runs: Vec<Run>,
    alive: Arc<AtomicUsize>,
}

impl Xs {
    fn entry(name: &str, size: u64, more: isize) -> Entry {
        Xs::counted(name, size, more, &Arc::default())
    }

    fn counted(name: &str, size: u64, more: isize, alive: &Arc<AtomicUsize>) -> Entry {
        alive.fetch_add(1, Ordering::SeqCst);
        let file = FileRef::new(Xs { more, runs: Vec::new(), alive: Arc::clone(alive) });
        let stat = FileStat { stat: STAT, size, sparse: false };
        Entry { name: Name::new(name), kind: Kind::File(file, stat) }
    }
}

impl File for Xs {
    async fn read(&self, _offset: u64, len: u32) -> Result<ByteBuf, FilesError> {
        Ok(ByteBuf::from(vec![b'x'; (len as usize).saturating_add_signed(self.more)]))
    }

    async fn stat(&self) -> Result<FileStat, FilesError> {
        Ok(FileStat { stat: STAT, size: 1, sparse: false })
    }

    async fn runs(&self, _offset: u64) -> Result<Runs, FilesError> {
        Ok(Runs { runs: self.runs.clone(), last: false })
    }

    async fn digest(&self, _offset: u64, _len: u32) -> Result<Digest, FilesError> {
        Err(FilesError::Denied)
    }
}

impl Drop for Xs {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

fn dir(name: &str, pages: Pages) -> Entry {
    Entry { name: Name::new(name), kind: Kind::Dir(DirRef::new(Liar(pages)), STAT) }
}

fn link(name: &str, target: &Path) -> Entry {
    let target = target.as_os_str().as_encoded_bytes().to_vec();
    Entry { name: Name::new(name), kind: Kind::Link(LinkTarget(target), STAT) }
}

/// One page, made by `entries`.
fn one_page(entries: impl Fn() -> Vec<Entry> + Send + Sync + 'static) -> Pages {
    Arc::new(move |page| (page == 0).then(&entries))
}

/// Copies from a server whose root has these pages.
async fn copy_of(pages: Pages, dest: &Path) -> Copied {
    let server = Server::new(DirRef::new(Liar(pages)))
        .listen("tcp://127.0.0.1:0")
        .await
        .expect("a free port")
        .spawn()
        .unwrap();
    let (url, dest) = (server.urls()[0].clone(), dest.to_owned());
    let copied = tokio::task::spawn_blocking(move || copy(&url, &dest)).await.unwrap();
    server.shutdown().await;
    copied
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_elsewhere_ends_the_copy() {
    for (name, shown) in [
        ("../evil", "../evil"),
        ("/evil", "/evil"),
        ("..", ".."),
        (".", "."),
        ("", ""),
        ("ev/il", "ev/il"),
        ("evil\0", "evil\\u{0}"),
    ] {
        let scratch = tempfile::tempdir().unwrap();
        for make in [
            |name: &str| Xs::entry(name, 1, 0),
            |name: &str| dir(name, Arc::new(|_| None)),
            |name: &str| link(name, "target".as_ref()),
        ] {
            let dest = tempfile::tempdir_in(scratch.path()).unwrap();
            let copied = copy_of(one_page(move || vec![make(name)]), dest.path()).await;
            copied.failed_with("the server sent a name that none of its entries can have");
            assert!(
                copied.stderr.trim_end_matches('\n').ends_with(&format!(": {shown}")),
                "{}",
                copied.stderr
            );
            assert_eq!(fs::read_dir(dest.path()).unwrap().count(), 0);
        }
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_made_earlier_is_not_written_through() {
    let scratch = tempfile::tempdir().unwrap();
    let outside = scratch.path().join("outside");
    fs::create_dir(&outside).unwrap();
    for entries in [
        |out: &Path| vec![link("a", out), dir("a", one_page(|| vec![Xs::entry("evil", 1, 0)]))],
        |out: &Path| vec![link("a", &out.join("evil")), Xs::entry("a", 1, 0)],
        |out: &Path| {
            vec![link(".a.pb-partial", &out.join("evil")), link("a", &out.join("evil")), Xs::entry("a", 1, 0)]
        },
    ] {
        let (outside, dest) = (outside.clone(), tempfile::tempdir_in(scratch.path()).unwrap());
        let copied = copy_of(
            one_page({
                let outside = outside.clone();
                move || entries(&outside)
            }),
            dest.path(),
        )
        .await;
        copied.failed_with("is there already: the server listed the name twice");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_listed_twice_ends_the_copy() {
    let scratch = tempfile::tempdir().unwrap();
    let copied =
        copy_of(one_page(|| vec![Xs::entry("a", 1, 0), Xs::entry("a", 1, 0)]), &scratch.path().join("dest"))
            .await;
    copied.failed_with("is there already: the server listed the name twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_another_size_than_listed_is_left_out() {
    let scratch = tempfile::tempdir().unwrap();
    let dest = scratch.path().join("dest");
    let entries =
        || vec![Xs::entry("good", 300_000, 0), Xs::entry("short", 300_000, -1), Xs::entry("long", 9, 1)];
    let copied = copy_of(one_page(entries), &dest).await;
    copied.failed_with(" bytes, not ");
    assert_eq!(copied.stderr.lines().last(), Some("files: 2 entries could not be copied"));
    let names: Vec<_> = fs::read_dir(&dest).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["good"]);
    assert_eq!(fs::read(dest.join("good")).unwrap(), vec![b'x'; 300_000]);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_where_none_can_be_are_not_copied() {
    let (size, run) = (1 << 20, |start, len| Run { start, len });
    for runs in [
        vec![],
        vec![run(0, 0)],
        vec![run(0, size + 1)],
        vec![run(size, 1)],
        vec![run(u64::MAX, u64::MAX)],
        vec![run(4096, 4096), run(0, 4096)],
        vec![run(0, 4096), run(4095, 4096)],
        // The same again and again: they are never the last.
        vec![run(0, 4096)],
    ] {
        let scratch = tempfile::tempdir().unwrap();
        let dest = scratch.path().join("dest");
        let entries = move || {
            let file = FileRef::new(Xs { more: 0, runs: runs.clone(), alive: Arc::default() });
            let kind = Kind::File(file, FileStat { stat: STAT, size, sparse: true });
            vec![Entry { name: Name::new("file"), kind }, Xs::entry("good", 9, 0)]
        };
        copy_of(one_page(entries), &dest)
            .await
            .failed_with("the server said that its data lie where they cannot");
        let names: Vec<_> = fs::read_dir(&dest).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["good"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn references_held_do_not_grow_with_the_directory() {
    let scratch = tempfile::tempdir().unwrap();
    let (alive, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let pages: Pages = Arc::new({
        let (alive, most) = (Arc::clone(&alive), Arc::clone(&most));
        move |page| {
            let name = |entry| format!("{page} {entry}");
            let entries =
                (page < 50).then(|| (0..200).map(|entry| Xs::counted(&name(entry), 1, 0, &alive)).collect());
            most.fetch_max(alive.load(Ordering::SeqCst), Ordering::SeqCst);
            entries
        }
    });
    copy_of(pages, &scratch.path().join("dest")).await.succeeded();
    assert_eq!(fs::read_dir(scratch.path().join("dest")).unwrap().count(), 10_000);
    // 256 may wait and 64 be copied, and one page comes on top. Releases travel in batches: so twice that.
    assert!(
        most.load(Ordering::SeqCst) < 1_100,
        "{} of 10,000 files were held at a time",
        most.load(Ordering::SeqCst)
    );
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}
