//! The floors of `ARCHITECTURE.md`: each room of `pb-core` uses only floors below, and each package only packages
//! below. Read with `syn`, because a search for text is easily fooled: by nested `use` trees, by `super`, by names
//! that `lib.rs` hands on, by the tokens of macros.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path as FilePath, PathBuf};

#[path = "floors/packages.rs"]
mod packages;
#[path = "floors/paths.rs"]
mod paths;

use paths::{Found, Mention, Path};

/// Every module at the root of `pb-core` with its floor.
const ROOMS: [(&str, u8); 8] = [
    ("message", 0),
    ("wire", 1),
    ("proto", 1),
    ("defer", 1),
    ("objects", 2),
    ("cred", 2),
    ("reactor", 3),
    ("broker", 4),
];
/// The lowest floor that knows sockets, tasks and the clock: feature "net" begins here.
const NET_FLOOR: u8 = 3;
/// The one look across a floor: a login hands out references.
const NEIGHBOURS: [(&str, &str); 1] = [("cred", "objects")];
/// Files of the root of the crate: they hand names on, and use nothing.
const EXEMPT: [(&str, &[&str]); 3] =
    [("lib.rs", &[]), ("private.rs", &["__private"]), ("macros.rs", &["macros"])];

/// What only the floors above `NET_FLOOR` name, in the standard library.
const WORLD: [&[&str]; 9] = [
    &["std", "net"],
    &["std", "fs"],
    &["std", "process"],
    &["std", "os"],
    &["std", "env"],
    &["thread", "spawn"],
    &["thread", "sleep"],
    &["Instant", "now"],
    &["SystemTime", "now"],
];

fn floor_of(room: &str) -> Option<u8> {
    ROOMS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

fn may_use(room: &str, other: &str) -> bool {
    room == other || floor_of(other) < floor_of(room) || NEIGHBOURS.contains(&(room, other))
}

fn read(source: &str, module: &[&str], found: &mut Found) {
    let rooms: Vec<&str> = ROOMS.iter().map(|(name, _)| *name).collect();
    paths::read(source, module, &["pb_core"], &rooms, found)
        .unwrap_or_else(|error| panic!("module {} does not parse: {error}", module.join("::")));
}

/// Where a path of ours leads.
#[derive(PartialEq, Eq, Debug)]
enum Leads {
    Room(String),
    /// To another crate, through a name that the root hands on.
    Outside,
    Nowhere,
}

/// Follows what `lib.rs` hands on (`pub use`, also in modules inside it) until a room is met.
fn follow(path: &[String], root: &Found) -> Leads {
    let mut path = path.to_vec();
    for _ in 0..8 {
        let Some(first) = path.first() else { return Leads::Nowhere };
        if floor_of(first).is_some() {
            return Leads::Room(first.clone());
        }
        if let (1, Some(module)) = (path.len(), root.exported_macros.get(first)) {
            return module.first().map_or(Leads::Outside, |room| Leads::Room(room.clone()));
        }
        let handed_on = (1..=path.len()).rev().find_map(|length| {
            let target = root.imports.get(&path[..length])?;
            Some((target.clone(), path[length..].to_vec()))
        });
        path = match handed_on {
            Some((Path::Ours(target), rest)) => [target, rest].concat(),
            Some((Path::Other(_), _)) => return Leads::Outside,
            Some((Path::Above(_), _)) | None => return Leads::Nowhere,
        };
    }
    Leads::Nowhere
}

/// What one mention breaks, and the room that it leads to where that is another one.
fn judge(mention: &Mention, in_tests: bool, root: &Found) -> (Option<String>, Option<String>) {
    let room = mention.module.first().expect("only rooms are judged").as_str();
    let here = mention.module.join("::");
    let fault = |what: String| (Some(format!("{here} {what}")), None);
    match &mention.path {
        Path::Above(path) => fault(format!("names {}, which is above the crate", path.join("::"))),
        Path::Ours(path) if path.is_empty() => {
            fault("takes the root of the crate as a whole, which hides what it uses".to_string())
        }
        Path::Ours(path) => match follow(path, root) {
            Leads::Room(other) if may_use(room, &other) => (None, (other != room).then_some(other)),
            Leads::Room(other) => fault(format!("uses {}, which leads to {other}", path.join("::"))),
            Leads::Outside => (None, None),
            Leads::Nowhere => fault(format!("names {}, which leads to no known room", path.join("::"))),
        },
        Path::Other(path) => {
            let below_net = floor_of(room) < Some(NET_FLOOR);
            let tokio = path.first().is_some_and(|name| name == "tokio" || name.starts_with("tokio_"));
            let world = WORLD.iter().any(|part| path.windows(part.len()).any(|window| window == *part));
            // A test may look at the clock, but not bring tokio below its floor.
            if below_net && (tokio || (world && !in_tests)) {
                return fault(format!("names {}, which only floors {NET_FLOOR} and up do", path.join("::")));
            }
            (None, None)
        }
    }
}

/// All faults, and the different uses of one room by another.
fn inspect(found: &Found, root: &Found) -> (Vec<String>, BTreeSet<(String, String)>) {
    let mut faults: Vec<String> = found.blind.clone();
    let mut uses = BTreeSet::new();
    for mention in found.mentions.iter().filter(|mention| !mention.module.is_empty()) {
        let in_tests =
            mention.in_tests || found.test_modules.iter().any(|test| mention.module.starts_with(test));
        let (fault, used) = judge(mention, in_tests, root);
        faults.extend(fault);
        uses.extend(used.map(|other| (mention.module.join("::"), other)));
    }
    (faults, uses)
}

fn source_files(folder: &FilePath, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).expect("a folder of the sources is readable");
    for entry in entries {
        let path = entry.expect("an entry of the sources is readable").path();
        if path.is_dir() {
            source_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
}

/// `defer/slot.rs` is the module `defer::slot`, `defer/mod.rs` and `defer.rs` are `defer`.
fn module_of(file: &FilePath) -> Vec<String> {
    let mut module: Vec<String> =
        file.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    module.pop_if(|last| last == "mod");
    module
}

#[test]
fn each_room_uses_only_floors_below() {
    let sources = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("../pb-core/src");
    let mut files = Vec::new();
    source_files(&sources, &mut files);

    let (mut root, mut found, mut faults) = (Found::default(), Found::default(), Vec::new());
    for file in &files {
        let name = file.strip_prefix(&sources).expect("it was found there");
        let source = fs::read_to_string(file).expect("a source file is text");
        if let Some((_, module)) = EXEMPT.iter().find(|(exempt, _)| name == FilePath::new(exempt)) {
            read(&source, module, &mut root);
            continue;
        }
        let module = module_of(name);
        if floor_of(&module[0]).is_none() {
            faults.push(format!("{} is in no room: give it a floor in this test", name.display()));
        }
        read(&source, &module.iter().map(String::as_str).collect::<Vec<_>>(), &mut found);
    }
    root.exported_macros.extend(std::mem::take(&mut found.exported_macros));
    let (more, uses) = inspect(&found, &root);
    faults.extend(more);

    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    // A reader that sees nothing finds no fault either.
    assert!(files.len() >= FEWEST_FILES, "saw only {} files", files.len());
    assert!(uses.len() >= FEWEST_USES, "saw only {} uses of one room by another: {uses:?}", uses.len());
    assert!(found.mentions.len() >= FEWEST_PATHS, "saw only {} paths", found.mentions.len());
}

/// Below what there is, and far above what a blind reader would see.
const FEWEST_FILES: usize = 45;
const FEWEST_USES: usize = 45;
const FEWEST_PATHS: usize = 2000;

/// Snippets that stand in a module, and what the reader must say to them.
mod planted {
    use super::*;

    fn faults_of(module: &[&str], source: &str) -> Vec<String> {
        let (mut root, mut found) = (Found::default(), Found::default());
        let lib = "extern crate self as pb_core; pub mod message; pub mod broker; pub use broker::Broker;
            pub use message::Failure; pub use defer::{Deferred, Slot as Place};
            #[doc(hidden)] pub mod __private { pub use crate::objects::Incoming; pub use core::clone::Clone; }";
        read(lib, &[], &mut root);
        read(source, module, &mut found);
        root.exported_macros.extend(std::mem::take(&mut found.exported_macros));
        inspect(&found, &root).0
    }

    #[track_caller]
    fn is_found(module: &[&str], source: &str) {
        assert_eq!(faults_of(module, source).len(), 1, "{source}: {:?}", faults_of(module, source));
    }

    #[track_caller]
    fn is_allowed(module: &[&str], source: &str) {
        assert_eq!(faults_of(module, source), Vec::<String>::new(), "{source}");
    }

    #[test]
    fn rooms_above_and_beside_are_found() {
        is_found(&["wire"], "use crate::proto::Connection;");
        is_found(&["wire", "frame"], "use super::super::proto::Connection;");
        is_found(&["defer"], "use self::super::proto::Connection;");
        is_found(&["message"], "use pb_core::wire::frame;");
        is_found(&["message"], "use ::pb_core::wire;");
        is_found(
            &["proto"],
            "use std::{fmt, collections::{HashMap}}; use crate::{message::{Call, Cast}, wire};",
        );
        is_found(&["proto"], "use {crate::{message::Failure, defer::{self}}, std::fmt};");
        is_found(&["objects"], "use crate::cred::Portal;");
        is_found(&["reactor"], "pub(crate) use crate::broker::*;");
        is_found(&["reactor"], "mod inner { mod deep { use super::super::super::broker; } }");
    }

    #[test]
    fn paths_outside_of_use_items_are_found() {
        is_found(&["wire"], "fn f() { crate::proto::Connection::new(); }");
        is_found(&["wire"], "fn f(c: &super::proto::Connection) {}");
        is_found(&["wire"], "impl<T> crate::defer::Pending for T {}");
        is_found(&["wire"], "fn f() { match 1 { crate::proto::ONE => {} _ => {} } }");
        is_found(&["wire"], "fn f() -> <Vec<u8> as crate::defer::Pending>::Out { loop {} }");
        is_found(&["proto"], "fn f() { fn g() { use crate::wire::frame as codec; } }");
        is_found(&["proto"], r#"struct S { #[serde(with = "crate::wire::body")] x: u8 }"#);
        is_found(&["proto"], "#[derive(crate::wire::Frame)] struct S;");
    }

    #[test]
    fn paths_in_the_tokens_of_macros_are_found() {
        is_found(&["wire"], "fn f() { vec![1, { crate::proto::new() }]; }");
        is_found(&["wire"], "macro_rules! m { ($x:expr) => { $crate::broker::run($x) }; }");
        is_found(
            &["wire"],
            "macro_rules! m { () => { use $crate::{message::{Call}, defer::{Deferred}}; }; }",
        );
        is_found(&["message"], "m! { use super::wire::*; }");
        is_found(&["objects"], "thread_local! { static S: Cell<crate::broker::Broker> = const { new() }; }");
        is_found(&["wire"], "crate::broker::run!();");
    }

    #[test]
    fn names_that_the_root_hands_on_lead_to_their_rooms() {
        is_found(&["objects"], "use crate::Broker;");
        is_found(&["wire"], "use crate::{Failure, Deferred};");
        is_found(&["proto"], "fn f(p: crate::Place) {}");
        is_found(&["defer"], "use crate::__private::Incoming;");
        is_found(&["defer"], "use crate::Unheard;");
        is_found(&["message"], "use super::*;");
        is_found(&["message"], "use crate as everything;");
        is_found(&["message", "failure"], "use super::super::{self as everything};");
        is_found(&["message"], "use super::super::other;");
        is_allowed(&["defer"], "use crate::Failure; use crate::__private::Clone;");
        is_allowed(&["broker"], "use crate::{Deferred, Place, __private::Incoming};");
    }

    #[test]
    fn exported_macros_stand_on_the_floor_of_their_room() {
        let (mut root, mut found) = (Found::default(), Found::default());
        read("#[macro_export] macro_rules! stub { () => {}; }", &["objects"], &mut root);
        read("fn f() { crate::stub!(); }", &["defer"], &mut found);
        assert_eq!(inspect(&found, &root).0.len(), 1);
    }

    #[test]
    fn tokio_and_the_clock_are_found_below_their_floor() {
        is_found(&["objects"], "use tokio::sync::Mutex;");
        is_found(&["defer"], "async fn f() { tokio::task::yield_now().await }");
        is_found(&["defer"], "fn f() { select! { x = ::tokio::time::sleep(d) => {} } }");
        is_found(&["defer"], "mod tests { #[tokio::test] async fn f() {} }");
        is_found(&["cred"], "use tokio_rustls::rustls;");
        is_found(&["proto"], "fn f() { let now = std::time::Instant::now(); }");
        is_found(&["proto"], "use std::{fmt, net::{SocketAddr}};");
        is_allowed(&["reactor"], "use tokio::net::TcpStream; use std::net::SocketAddr;");
        is_allowed(
            &["proto"],
            "use std::time::Instant; #[cfg(test)] mod tests { fn f() { Instant::now(); } }",
        );
        is_allowed(&["proto"], "#[cfg(test)] mod tests;");
    }

    #[test]
    fn what_cannot_be_read_is_a_fault() {
        is_found(&["wire"], r#"include!("../hidden.rs");"#);
        is_found(&["wire"], r#"#[path = "../hidden.rs"] mod hidden;"#);
    }

    #[test]
    fn floors_below_and_the_own_room_are_allowed() {
        is_allowed(&["proto"], "use crate::message::{self, Call}; use super::proto::exports::Exports;");
        is_allowed(
            &["proto", "exports"],
            "use super::*; use super::imports::Imports; use super::super::message;",
        );
        is_allowed(&["cred"], "use crate::objects::Reference;");
        is_allowed(&["broker"], "use crate::{defer, objects, proto, reactor, wire, message as words};");
        is_allowed(
            &["wire"],
            "pub(in crate::wire) fn f() {} pub(crate) struct S; fn g() { self.crate_name() }",
        );
        is_allowed(
            &["wire"],
            "//! See [`crate::broker`].\n/// Calls [`crate::proto::Connection`].\nfn f() {}",
        );
        is_allowed(&["wire"], r#"const TEXT: &str = "calls crate::broker::run, says the reader";"#);
    }
}
