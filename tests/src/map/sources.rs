use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, ItemFn, ItemMod, Macro, Meta};

/// The functions of a source file and its modules, and which of them are tests that run.
#[derive(Default)]
pub(super) struct Tests {
    known: HashMap<String, Kind>,
    /// Where files of modules without a body are looked for.
    folder: PathBuf,
    /// The folder of the file itself, which `#[path]` starts from.
    beside: PathBuf,
    left_out: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Runs,
    Ignored,
    LeftOut,
    Function,
}

impl Tests {
    /// Reads the file at `path`, which is the root of a target or stands alone.
    pub(super) fn of(path: &Path) -> Tests {
        let folder = path.parent().expect("a file is in a folder").to_owned();
        let mut tests = Tests { folder: folder.clone(), beside: folder, ..Tests::default() };
        tests.read(&fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
        tests
    }

    /// What is wrong with `name`, if it is not a test that runs.
    pub(super) fn wrong(&self, name: &str) -> Option<&'static str> {
        match self.known.get(name) {
            Some(Kind::Runs) => None,
            Some(Kind::Ignored) => Some("is ignored"),
            Some(Kind::LeftOut) => Some("is left out by a `cfg`"),
            Some(Kind::Function) => Some("is a function, but no test"),
            None => Some("does not exist"),
        }
    }

    fn read(&mut self, source: &str) {
        let file = syn::parse_file(source).unwrap_or_else(|error| panic!("a source does not parse: {error}"));
        let left_out = self.left_out;
        self.left_out |= is_left_out(&file.attrs);
        self.visit_file(&file);
        self.left_out = left_out;
    }

    /// Notes a function; of two with one name the one that runs counts.
    fn note(&mut self, name: String, kind: Kind) {
        let kind = if kind == Kind::Runs && self.left_out { Kind::LeftOut } else { kind };
        let known = self.known.entry(name).or_insert(kind);
        if kind == Kind::Runs {
            *known = kind;
        }
    }

    fn read_module(&mut self, module: &ItemMod) {
        let name = module.ident.to_string();
        let (file, folder) = match path_of(&module.attrs) {
            Some(path) => {
                let file = self.beside.join(path);
                let folder = file.parent().expect("a file is in a folder").to_owned();
                (file, folder)
            }
            None => {
                let file = self.folder.join(&name).with_extension("rs");
                let other = self.folder.join(&name).join("mod.rs");
                (if file.is_file() { file } else { other }, self.folder.join(&name))
            }
        };
        // What a `cfg` leaves out need not be there.
        let Ok(source) = fs::read_to_string(&file) else { return };
        let beside = file.parent().expect("a file is in a folder").to_owned();
        let outer =
            (std::mem::replace(&mut self.folder, folder), std::mem::replace(&mut self.beside, beside));
        self.read(&source);
        (self.folder, self.beside) = outer;
    }
}

impl Visit<'_> for Tests {
    fn visit_item_fn(&mut self, item: &ItemFn) {
        self.note(item.sig.ident.to_string(), kind(&item.attrs));
    }

    fn visit_item_mod(&mut self, module: &ItemMod) {
        let left_out = self.left_out;
        self.left_out |= is_left_out(&module.attrs);
        if module.content.is_some() {
            let inner = self.folder.join(module.ident.to_string());
            let outer = std::mem::replace(&mut self.folder, inner);
            visit::visit_item_mod(self, module);
            self.folder = outer;
        } else {
            self.read_module(module);
        }
        self.left_out = left_out;
    }

    /// `proptest!` holds functions, but not in the grammar of Rust: their heads are enough.
    fn visit_macro(&mut self, item: &Macro) {
        if item.path.segments.last().is_none_or(|last| last.ident != "proptest") {
            return;
        }
        let tokens: Vec<String> = item.tokens.clone().into_iter().map(|token| token.to_string()).collect();
        let mut kind = Kind::Function;
        for (n, token) in tokens.iter().enumerate() {
            match token.as_str() {
                "[test]" if kind == Kind::Function => kind = Kind::Runs,
                "[ignore]" => kind = Kind::Ignored,
                "fn" => {
                    if let Some(name) = tokens.get(n + 1) {
                        self.note(name.clone(), kind);
                    }
                    kind = Kind::Function;
                }
                _ => {}
            }
        }
    }
}

fn kind(attributes: &[Attribute]) -> Kind {
    let named = |name: &str| {
        attributes.iter().any(|one| one.path().segments.last().is_some_and(|last| last.ident == name))
    };
    match (named("test"), named("ignore")) {
        (false, _) => Kind::Function,
        (true, true) => Kind::Ignored,
        (true, false) if is_left_out(attributes) => Kind::LeftOut,
        (true, false) => Kind::Runs,
    }
}

/// Whether a `cfg` other than those that hold wherever the tests run stands there.
fn is_left_out(attributes: &[Attribute]) -> bool {
    attributes.iter().filter(|one| one.path().is_ident("cfg") || one.path().is_ident("cfg_attr")).any(|one| {
        match &one.meta {
            Meta::List(list) => {
                let condition = list.tokens.to_string().replace(' ', "");
                !["test", "unix", "target_os=\"linux\""].contains(&condition.as_str())
            }
            _ => true,
        }
    })
}

fn path_of(attributes: &[Attribute]) -> Option<PathBuf> {
    attributes.iter().find_map(|one| match &one.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value().into()),
            _ => None,
        },
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_told_from_functions_wherever_they_stand() {
        let mut tests = Tests::default();
        tests.read(
            "#[test] fn plain() {} fn helper() {} #[tokio::test(flavor = \"multi_thread\")] async fn of_tokio() {}
             #[test] #[ignore = \"slow\"] fn ignored() {} #[cfg(windows)] #[test] fn elsewhere() {}
             mod inner { #[test] fn within() {} }
             #[cfg(loom)] mod models { #[test] fn model() {} }
             #[cfg(unix)] mod here { #[test] fn on_unix() {} }
             proptest! { #![proptest_config(x)] #[test] fn any(n in 0..3) { helper(); } fn no_test(n in 0..3) {} }",
        );
        for name in ["plain", "of_tokio", "within", "on_unix", "any"] {
            assert_eq!(tests.wrong(name), None, "{name}");
        }
        assert_eq!(tests.wrong("ignored"), Some("is ignored"));
        for name in ["elsewhere", "model"] {
            assert_eq!(tests.wrong(name), Some("is left out by a `cfg`"), "{name}");
        }
        for name in ["helper", "no_test"] {
            assert_eq!(tests.wrong(name), Some("is a function, but no test"), "{name}");
        }
        assert_eq!(tests.wrong("absent"), Some("does not exist"));
    }
}
