//! Pages of the documentation, and whether what they show stands in files that are compiled and run.

/// A fenced block of a page.
#[derive(PartialEq, Eq, Debug)]
pub struct Block<'a> {
    /// What stands behind the backticks.
    pub language: &'a str,
    /// Its lines, without what they are indented by.
    pub lines: Vec<&'a str>,
}

/// The fenced blocks of `page`.
#[must_use]
pub fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let lines = lines.by_ref().take_while(|line| *line != "```").map(str::trim).collect();
            blocks.push(Block { language, lines });
        }
    }
    blocks
}

/// Whether the lines of `block` stand in `source`, one behind the other.
#[must_use]
pub fn stands_in(block: &Block<'_>, source: &str) -> bool {
    let source: Vec<&str> = source.lines().map(str::trim).collect();
    source.windows(block.lines.len().max(1)).any(|lines| lines == block.lines.as_slice())
}

/// Where the links of `page` lead, without those to other sites.
pub fn links(page: &str) -> impl Iterator<Item = &str> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|link| !link.starts_with("http"))
}

/// The anchors of a page's headings, as they are made of them.
pub fn anchors(page: &str) -> impl Iterator<Item = String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| {
        let text = line.trim_start_matches('#').trim().to_lowercase();
        let kept = text.chars().filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-' || *c == '_');
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}
