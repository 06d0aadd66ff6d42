//! Finds every path that a source file names: in `use` trees, types, expressions, patterns and attributes, and in
//! the tokens of macros, which `syn` leaves unparsed.

use std::collections::BTreeMap;

use syn::buffer::{Cursor, TokenBuffer};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemExternCrate, ItemMod, ItemUse, Macro, Meta, UseTree, VisRestricted};

/// Segments from a root: the crate's own for [`Path::Ours`], whatever the first segment names for [`Path::Other`].
type Segments = Vec<String>;

/// A path as it stands in the source, made absolute where `crate`, `self` or `super` begin it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Path {
    /// Begins at the root of the crate. Empty: it is the root.
    Ours(Segments),
    /// Begins with another crate or with a name in scope, which some `use` brought there.
    Other(Segments),
    /// More `super`s than there are modules around.
    Above(Segments),
}

/// A path where it was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mention {
    /// The module around it, from the root of the crate.
    pub module: Segments,
    /// Whether it stands in code that only tests have.
    pub in_tests: bool,
    /// What it names.
    pub path: Path,
    /// Whether it takes everything in there (`::*`), or the thing itself under another name (`as`).
    pub hides: bool,
}

/// What one or several files name, and what they bring into being.
#[derive(Default, Debug)]
pub struct Found {
    /// Every path with a first segment that can lead somewhere.
    pub mentions: Vec<Mention>,
    /// What `use` items bring into a module: (module and name) to what it stands for.
    pub imports: BTreeMap<Segments, Path>,
    /// `macro_rules!` with `#[macro_export]`, which `crate::name!` finds from everywhere: name to module.
    pub exported_macros: BTreeMap<String, Segments>,
    /// Modules in files of their own that only tests have.
    pub test_modules: Vec<Segments>,
    /// What this reader cannot look into; a rule of its own, so that nothing hides there.
    pub blind: Vec<String>,
}

/// Adds what `source`, the file of the module `module`, names. `own_crate` are the crate's names beside `crate`;
/// `rooms` the modules at its root, which plain paths in the root reach.
pub fn read(
    source: &str,
    module: &[&str],
    own_crate: &[&str],
    rooms: &[&str],
    found: &mut Found,
) -> syn::Result<()> {
    let file = syn::parse_file(source)?;
    let module = module.iter().map(|part| part.to_string()).collect();
    let mut reader = Reader { module, in_tests: false, own_crate, rooms, found };
    reader.visit_file(&file);
    Ok(())
}

struct Reader<'a> {
    module: Segments,
    in_tests: bool,
    own_crate: &'a [&'a str],
    rooms: &'a [&'a str],
    found: &'a mut Found,
}

impl Reader<'_> {
    fn resolve(&self, segments: &[String]) -> Path {
        let Some(first) = segments.first() else { return Path::Other(Vec::new()) };
        let rest = &segments[1..];
        match first.as_str() {
            "crate" => Path::Ours(rest.to_vec()),
            own if self.own_crate.contains(&own) => Path::Ours(rest.to_vec()),
            "self" | "super" => {
                let supers = segments.iter().filter(|part| *part == "super").count();
                let steps = segments.iter().take_while(|part| *part == "super" || *part == "self").count();
                match self.module.len().checked_sub(supers) {
                    Some(depth) => Path::Ours([&self.module[..depth], &segments[steps..]].concat()),
                    None => Path::Above(segments.to_vec()),
                }
            }
            plain if self.module.is_empty() && self.rooms.contains(&plain) => Path::Ours(segments.to_vec()),
            _ => Path::Other(segments.to_vec()),
        }
    }

    fn mention(&mut self, segments: &[String], hides: bool) {
        let path = self.resolve(segments);
        self.found.mentions.push(Mention {
            module: self.module.clone(),
            in_tests: self.in_tests,
            path,
            hides,
        });
    }

    fn import(&mut self, name: String, segments: &[String]) {
        let path = self.resolve(segments);
        let mut key = self.module.clone();
        key.push(name);
        self.found.imports.insert(key, path);
    }

    /// One arm of a `use` tree a call; `prefix` is what stands before it.
    fn walk_use(&mut self, prefix: &mut Segments, tree: &UseTree) {
        match tree {
            UseTree::Path(step) => {
                prefix.push(step.ident.to_string());
                self.walk_use(prefix, &step.tree);
                prefix.pop();
            }
            UseTree::Name(name) => self.leaf(prefix, &name.ident.to_string(), None),
            UseTree::Rename(rename) => {
                self.leaf(prefix, &rename.ident.to_string(), Some(rename.rename.to_string()))
            }
            UseTree::Glob(_) => self.mention(prefix, true),
            UseTree::Group(group) => group.items.iter().for_each(|item| self.walk_use(prefix, item)),
        }
    }

    fn leaf(&mut self, prefix: &Segments, name: &str, renamed: Option<String>) {
        let mut path = prefix.clone();
        // `use a::{self}` names `a`; `use self::x` keeps its `self` for `resolve`.
        if name != "self" || prefix.is_empty() {
            path.push(name.to_string());
        }
        let known_as = renamed.clone().or_else(|| path.last().cloned());
        self.mention(&path, renamed.is_some());
        self.import(known_as.unwrap_or_default(), &path);
    }

    /// Paths among tokens: a name, then `::` and a name or a group as often as they come.
    fn walk_tokens(&mut self, mut cursor: Cursor<'_>) {
        while !cursor.eof() {
            if let Some((inside, _, _, after)) = cursor.any_group() {
                self.walk_tokens(inside);
                cursor = after;
            } else if let Some((ident, after)) = cursor.ident() {
                cursor = self.walk_path_tokens(vec![ident.to_string()], after);
            } else if let Some((literal, after)) = cursor.literal() {
                self.walk_text(&literal.to_string());
                cursor = after;
            } else {
                cursor = cursor.token_tree().map_or_else(Cursor::empty, |(_, after)| after);
            }
        }
    }

    fn walk_path_tokens<'c>(&mut self, mut path: Segments, mut cursor: Cursor<'c>) -> Cursor<'c> {
        while let Some(after) = double_colon(cursor) {
            if let Some((ident, after)) = after.ident() {
                path.push(ident.to_string());
                cursor = after;
            } else if let Some((inside, _, _, after)) = after.any_group() {
                self.walk_group_tokens(&path, inside);
                return after;
            } else if let Some((_, after)) = after.punct().filter(|(punct, _)| punct.as_char() == '*') {
                self.mention(&path, true);
                return after;
            } else {
                break;
            }
        }
        let renamed = cursor.ident().is_some_and(|(word, _)| word == "as");
        // A lone word is a keyword, a variable or a field far more often than a path, but for these.
        if path.len() > 1 || (renamed && path[0] == "crate") {
            self.mention(&path, renamed && path.len() == 1);
        }
        cursor
    }

    /// The inside of `prefix::{…}` among tokens.
    fn walk_group_tokens(&mut self, prefix: &Segments, mut cursor: Cursor<'_>) {
        while !cursor.eof() {
            if let Some((ident, after)) = cursor.ident() {
                let mut path = prefix.clone();
                if ident != "self" {
                    path.push(ident.to_string());
                }
                cursor = self.walk_path_tokens(path, after);
            } else if cursor.punct().is_some_and(|(punct, _)| punct.as_char() == '*') {
                self.mention(prefix, true);
                cursor = cursor.token_tree().map_or_else(Cursor::empty, |(_, after)| after);
            } else {
                cursor = cursor.token_tree().map_or_else(Cursor::empty, |(_, after)| after);
            }
        }
    }

    /// A path in quotes, as `#[serde(with = "crate::…")]` has it.
    fn walk_text(&mut self, literal: &str) {
        let text = literal.trim_matches('"');
        if text.contains("::")
            && let Ok(path) = syn::parse_str::<syn::Path>(text)
        {
            self.visit_path(&path);
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let outer = self.in_tests;
        self.in_tests |= item.attrs.iter().any(is_cfg_test);
        if item.attrs.iter().any(|attribute| attribute.path().is_ident("path")) {
            self.found.blind.push(format!("module `{}` says where its file is with #[path]", item.ident));
        }
        self.module.push(item.ident.to_string());
        if self.in_tests && item.content.is_none() {
            self.found.test_modules.push(self.module.clone());
        }
        visit::visit_item_mod(self, item);
        self.module.pop();
        self.in_tests = outer;
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        item.attrs.iter().for_each(|attribute| self.visit_attribute(attribute));
        self.walk_use(&mut Vec::new(), &item.tree);
    }

    fn visit_item_extern_crate(&mut self, item: &'ast ItemExternCrate) {
        let renamed = item.rename.is_some() && !self.module.is_empty();
        self.mention(&[item.ident.to_string()], renamed);
    }

    fn visit_item(&mut self, item: &'ast Item) {
        if let Item::Macro(rules) = item
            && let Some(name) = &rules.ident
            && rules.attrs.iter().any(|attribute| attribute.path().is_ident("macro_export"))
        {
            self.found.exported_macros.insert(name.to_string(), self.module.clone());
        }
        visit::visit_item(self, item);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if segments.len() > 1 {
            self.mention(&segments, false);
        }
        visit::visit_path(self, path);
    }

    /// `pub(crate)` and `pub(in …)` say who may see, not what is seen.
    fn visit_vis_restricted(&mut self, _: &'ast VisRestricted) {}

    fn visit_macro(&mut self, found: &'ast Macro) {
        self.visit_path(&found.path);
        if found.path.segments.last().is_some_and(|name| name.ident == "include") {
            self.found.blind.push("code is taken in with include!".to_string());
        }
        self.walk_tokens(TokenBuffer::new2(found.tokens.clone()).begin());
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        // Documentation may point at any floor: a link is not a use.
        if attribute.path().is_ident("doc") {
            return;
        }
        visit::visit_attribute(self, attribute);
        if let Meta::List(list) = &attribute.meta {
            self.walk_tokens(TokenBuffer::new2(list.tokens.clone()).begin());
        }
    }
}

fn double_colon(cursor: Cursor<'_>) -> Option<Cursor<'_>> {
    let (first, after) = cursor.punct()?;
    let (second, after) = after.punct()?;
    (first.as_char() == ':' && second.as_char() == ':').then_some(after)
}

fn is_cfg_test(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute.parse_args::<syn::Path>().is_ok_and(|flag| flag.is_ident("test"))
}
