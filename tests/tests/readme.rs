//! What README.md shows is what the repository holds.

use std::fs;
use std::path::{Path, PathBuf};

/// A fenced block: what stands behind the fence's backticks, the last line with text before it, and its lines.
struct Block {
    language: String,
    before: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).expect("README.md is there")
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut before = "";
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let inside = lines.by_ref().take_while(|line| !line.starts_with("```"));
            let text = inside.map(|line| format!("{line}\n")).collect();
            blocks.push(Block { language: language.to_string(), before: before.to_string(), text });
        } else if !line.trim().is_empty() {
            before = line;
        }
    }
    blocks
}

/// The file that the line before a block names, as in "`examples/hello/src/main.rs`:".
fn named_file(before: &str) -> Option<&str> {
    before.strip_suffix("`:")?.rsplit_once('`').map(|(_, file)| file)
}

#[test]
fn the_first_block_holds_the_two_commands() {
    let first =
        blocks(&readme()).into_iter().find(|block| block.language == "sh").expect("it has an sh block");
    assert_eq!(first.text, "cargo run --release --example tour\ncargo test --workspace\n");
}

#[test]
fn every_piece_of_code_is_a_file_of_the_repository() {
    let mut compared = 0;
    for block in blocks(&readme()).iter().filter(|block| block.language != "sh") {
        let file = named_file(&block.before)
            .unwrap_or_else(|| panic!("before this block stands no file's name:\n{}", block.text));
        let there = fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(block.text, there, "README.md and {file} differ");
        compared += 1;
    }
    assert!(
        compared >= 2,
        "saw only {compared} pieces of code: hello world and its Cargo.toml are at least two"
    );
}

#[test]
fn hello_world_is_short_and_depends_on_little() {
    let rust: Vec<Block> =
        blocks(&readme()).into_iter().filter(|block| block.language.starts_with("rust")).collect();
    let lines = rust.iter().flat_map(|block| block.text.lines());
    let lines = lines.filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with("//")).count();
    assert!((5..=25).contains(&lines), "hello world has {lines} lines");
    let manifest =
        fs::read_to_string(root().join("examples/hello/Cargo.toml")).expect("hello world is there");
    let needs = manifest.lines().skip_while(|line| *line != "[dependencies]").skip(1);
    let needs = needs.take_while(|line| !line.starts_with('[')).filter(|line| line.contains('=')).count();
    assert!((1..=MOST_DEPENDENCIES).contains(&needs), "hello world has {needs} direct dependencies");
}

/// Two a side, the runtime being one of them; both sides are one package there.
const MOST_DEPENDENCIES: usize = 3;

#[test]
fn every_link_leads_to_a_file() {
    let page = readme();
    let links: Vec<&str> = page.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(links.len() >= 8, "saw only {} links", links.len());
    for link in links.iter().filter(|link| !link.starts_with("http")) {
        let file = link.split('#').next().unwrap_or_default();
        assert!(root().join(file).exists(), "README.md links to {file}, which is not there");
    }
}

#[test]
fn the_reader_of_the_page_sees_blocks_and_their_files() {
    let page = "Text\n\n```sh\na\nb\n```\nIn `x/main.rs`:\n\n```rust\nfn main() {}\n```\n";
    let found = blocks(page);
    assert_eq!(found.len(), 2);
    assert_eq!((found[0].language.as_str(), found[0].text.as_str()), ("sh", "a\nb\n"));
    assert_eq!((named_file(&found[0].before), named_file(&found[1].before)), (None, Some("x/main.rs")));
    assert_eq!(found[1].text, "fn main() {}\n");
}
