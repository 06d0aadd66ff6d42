//! The guide, `docs/guide`: what its pages show is compiled and run here. A page `name.md` has its module, `guide/name.rs`.

use std::fs;
use std::path::{Path, PathBuf};

use pb_tests::pages::{Block, anchors, blocks, links, stands_in};

#[path = "guide/by_name.rs"]
mod by_name;
#[path = "guide/callbacks.rs"]
mod callbacks;
#[path = "guide/errors.rs"]
mod errors;
#[path = "guide/first_service.rs"]
mod first_service;
#[path = "guide/from_tarpc.rs"]
mod from_tarpc;
#[path = "guide/from_twisted_pb.rs"]
mod from_twisted_pb;
#[path = "guide/inspecting.rs"]
mod inspecting;
#[path = "guide/lifetimes.rs"]
mod lifetimes;
#[path = "guide/limits.rs"]
mod limits;
#[path = "guide/operating.rs"]
mod operating;
#[path = "guide/pipelining.rs"]
mod pipelining;
#[path = "guide/reconnecting.rs"]
mod reconnecting;
#[path = "guide/testing.rs"]
mod testing;
#[path = "guide/versions.rs"]
mod versions;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The pages of a folder of the documentation, with their names.
fn pages(folder: &str) -> Vec<(String, String)> {
    let entries = fs::read_dir(root().join(folder)).expect("the folder is there");
    let paths = entries.map(|entry| entry.expect("it can be read").path());
    let pages = paths.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages
        .map(|path| (format!("{folder}/{}", path.file_name().unwrap().to_str().unwrap()), read(&path)))
        .collect()
}

/// What a page may show: its own module, the example programs, and what the compiler says of mistakes.
fn sources(page: &str) -> Vec<String> {
    let name = page.rsplit('/').next().unwrap().trim_end_matches(".md").replace('-', "_");
    let mut files = vec![root().join(format!("tests/tests/guide/{name}.rs"))];
    let folders = [
        "examples/src/jobs",
        "examples/src/counter",
        "examples/examples",
        "pb-inspect/tests",
        "tests/ui/fail",
    ];
    for folder in folders {
        let entries = fs::read_dir(root().join(folder)).expect("the folder is there");
        files
            .extend(entries.map(|entry| entry.expect("it can be read").path()).filter(|path| path.is_file()));
    }
    files.push(root().join("examples/hello/Cargo.toml"));
    files.into_iter().filter(|file| file.exists()).map(|file| read(&file)).collect()
}

/// Whether what a block shows is so: code stands in a file in one piece; each line that is seen, or typed, stands in one.
fn is_backed(block: &Block<'_>, sources: &[String]) -> bool {
    match block.language {
        "rust" | "toml" => sources.iter().any(|source| stands_in(block, source)),
        "text" | "sh" => block.lines.iter().all(|line| sources.iter().any(|source| source.contains(line))),
        _ => false,
    }
}

#[test]
fn everything_that_the_guide_shows_is_compiled_or_seen_in_a_test() {
    let mut shown = 0;
    let mut faults = Vec::new();
    for (page, text) in pages("docs/guide") {
        let sources = sources(&page);
        for block in blocks(&text) {
            shown += 1;
            if !is_backed(&block, &sources) {
                faults.push(format!("{page}, ```{}:\n{}", block.language, block.lines.join("\n")));
            }
        }
    }
    assert!(faults.is_empty(), "nothing stands behind these:\n{}", faults.join("\n\n"));
    assert!(shown >= 40, "saw only {shown} pieces");
}

#[test]
fn every_link_of_the_documentation_leads_to_a_page_and_a_heading_of_it() {
    let mut faults = Vec::new();
    let mut seen = 0;
    for (page, text) in pages("docs").into_iter().chain(pages("docs/guide")) {
        for link in links(&text) {
            seen += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let from = root().join(&page);
            let to = if file.is_empty() { from.clone() } else { from.parent().unwrap().join(file) };
            let leads =
                to.exists() && (anchor.is_empty() || anchors(&read(&to)).any(|heading| heading == anchor));
            if !leads {
                faults.push(format!("{page} links to {link}"));
            }
        }
    }
    assert!(faults.is_empty(), "these lead nowhere:\n{}", faults.join("\n"));
    assert!(seen >= 40, "saw only {seen} links");
}

#[test]
fn every_page_of_the_documentation_stands_in_its_index() {
    let index = read(&root().join("docs/README.md"));
    let listed: Vec<&str> = links(&index).collect();
    for (page, _) in pages("docs").into_iter().chain(pages("docs/guide")) {
        let name = page.strip_prefix("docs/").unwrap();
        assert!(name == "README.md" || listed.contains(&name), "{page} is not in docs/README.md");
    }
}

#[test]
fn what_nothing_stands_behind_is_seen() {
    let page = "# A page\ntext\n```rust\nlet a = 1;\n  a + 1\n```\n```text\nit failed\n```\n```\nx\n```\n[a](b.md#c) [x](https://y)";
    let blocks = blocks(page);
    assert_eq!(blocks.len(), 3);
    let backed =
        |source: &str| blocks.iter().map(|block| is_backed(block, &[source.into()])).collect::<Vec<_>>();
    assert_eq!(backed("x\n    let a = 1;\n    a + 1\n// \"it failed: no\"\n"), [true, true, false]);
    assert_eq!(backed("let a = 1;\n\na + 1\nit fails\n"), [false, false, false]);
    assert_eq!(links(page).collect::<Vec<_>>(), ["b.md#c"]);
    assert_eq!(anchors("x\n## One: `two`, three_4\n").collect::<Vec<_>>(), ["one-two-three_4"]);
}
