//! Looking into directories: a page of entries becomes directories and links on the disk, and files that wait.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::Arc;

use super::file::Waiting;
use super::{Done, blocking, finish};
use crate::files::CopyError;
use crate::files::api::{DirRef, Entry, Kind, ListingRef, Page, Stat};
use crate::files::place::{FileThere, Made, Seen, TargetDir};
use crate::files::source::{RemoteFile, Source};

/// A directory of the server's that is to be looked into. Ours is opened only then: many may wait, and descriptors are few.
pub(super) enum Place {
    Root { target: Arc<TargetDir>, dir: DirRef },
    New { parent: Arc<TargetDir>, name: OsString, stat: Stat, dir: DirRef, made: Made },
    Begun { target: Arc<TargetDir>, listing: ListingRef },
}

/// What a page became: directories and links were made already.
#[derive(Default)]
pub(super) struct Unpacked {
    pub(super) places: Vec<Place>,
    pub(super) files: Vec<Waiting>,
    pub(super) dirs: u64,
    pub(super) links: u64,
    pub(super) kept: u64,
    pub(super) specials: Vec<PathBuf>,
    pub(super) missing: Vec<CopyError>,
}

/// Asks for the next page of a place and makes the directories and links in it.
pub(super) async fn unpack_page(place: Place, source: Arc<Source>, verify: bool) -> Done {
    let (target, asked) = match place {
        Place::Root { target, dir } => {
            let asked = source.first_page(dir, target.place()).await;
            (target, asked)
        }
        Place::New { parent, name, stat, dir, made } => match open(parent, name, stat, made).await {
            Ok(target) => {
                let asked = source.first_page(dir, target.place()).await;
                (Arc::new(target), asked)
            }
            Err(error) => return Done::NoPlace(error),
        },
        Place::Begun { target, listing } => match listing.next_page().await {
            Ok(page) => (target, Ok(Ok((listing, page)))),
            Err(error) => {
                let asked = source.first_page_again(target.place(), error).await;
                target.list_again();
                (target, asked)
            }
        },
    };
    let unpacked = match asked {
        Ok(Ok((listing, page))) => {
            let unpacking =
                Unpacking { target: Arc::clone(&target), source, verify, out: Unpacked::default() };
            blocking(move || unpacking.unpack(page, listing)).await
        }
        Ok(Err(error)) => Err(CopyError::call(target.path(), error)),
        Err(gone) => Err(gone),
    };
    Done::Page(target, unpacked)
}

async fn open(
    parent: Arc<TargetDir>,
    name: OsString,
    stat: Stat,
    made: Made,
) -> Result<TargetDir, CopyError> {
    let of = Arc::clone(&parent);
    let target = blocking(move || of.open_dir(&name, stat, made)).await?;
    finish(parent).await?;
    Ok(target)
}

struct Unpacking {
    target: Arc<TargetDir>,
    source: Arc<Source>,
    verify: bool,
    out: Unpacked,
}

impl Unpacking {
    fn unpack(mut self, page: Page, listing: ListingRef) -> Result<Unpacked, CopyError> {
        if !page.last {
            // The lowest of them: on a stack that is taken from its top, what is below this directory comes first.
            self.out.places.push(Place::Begun { target: Arc::clone(&self.target), listing });
        }
        for Entry { name, kind } in page.entries {
            let component = name.component().map_err(|why| CopyError::Name { name: name.to_path(), why })?;
            match self.target.see(component) {
                Seen::First => {}
                // The listing was begun anew behind this entry.
                Seen::Before => continue,
                Seen::Twice => return Err(CopyError::ListedTwice { path: self.target.path_of(component) }),
            }
            match self.take(component, kind) {
                Err(error) if error.is_of_one_entry() => self.out.missing.push(error),
                taken => taken?,
            }
        }
        Ok(self.out)
    }

    fn take(&mut self, name: &OsStr, kind: Kind) -> Result<(), CopyError> {
        let target = &self.target;
        match kind {
            Kind::Dir(dir, stat) => {
                let made = target.make_dir(name)?;
                self.out.dirs += u64::from(made == Made::New);
                let (parent, name) = (Arc::clone(target), name.to_owned());
                self.out.places.push(Place::New { parent, name, stat, dir, made });
            }
            Kind::File(file, stat) => match target.look(name, stat)? {
                FileThere::Same if !self.verify => self.out.kept += 1,
                there => {
                    let path = target.place().join(name);
                    let remote = Arc::new(RemoteFile { source: Arc::clone(&self.source), path, file, stat });
                    let (target, name) = (Arc::clone(target), name.to_owned());
                    self.out.files.push(Waiting { target, name, remote, there });
                }
            },
            Kind::Link(link, stat) => {
                let made = target.make_link(name, &link.0, stat)?;
                self.out.links += u64::from(made == Made::New);
            }
            Kind::Special => self.out.specials.push(target.path_of(name)),
            Kind::Unknown(why) => return Err(CopyError::Entry { path: target.path_of(name), why }),
        }
        Ok(())
    }
}
