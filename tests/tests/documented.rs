//! What the public items' documentation says beside what they are: async functions what a drop leaves behind, fallible ones when they fail
//! (that each has documentation at all is the compiler's to see: `deny(missing_docs)`). Read with `syn`.

use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::Visit;

const CRATES: [&str; 4] = ["pb-core", "pb-server", "pb-client", "pb-derive"];
/// `pb-derive` gives out its two macros, which are documented in `pb-core`.
const WITH_FUNCTIONS: [&str; 3] = ["pb-core", "pb-server", "pb-client"];

/// Public functions of one file.
#[derive(Default)]
struct Functions {
    found: usize,
    faults: Vec<String>,
}

impl Functions {
    fn read(source: &str) -> Functions {
        let mut functions = Functions::default();
        functions.visit_file(&syn::parse_file(source).expect("it parses"));
        functions
    }

    fn judge(&mut self, attributes: &[syn::Attribute], signature: &syn::Signature) {
        let docs = docs(attributes);
        if is_hidden(attributes) {
            return;
        }
        self.found += 1;
        let name = &signature.ident;
        if signature.asyncness.is_some() && !docs.contains("# Cancel safety") {
            self.faults.push(format!("{name} is async and says nothing under `# Cancel safety`"));
        }
        if returns_result(signature) && !docs.contains("# Errors") {
            self.faults.push(format!("{name} may fail and says nothing under `# Errors`"));
        }
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let in_tests = module.attrs.iter().any(|attribute| attribute.path().is_ident("cfg"));
        if !in_tests && !is_hidden(&module.attrs) {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if matches!(function.vis, syn::Visibility::Public(_)) {
            self.judge(&function.attrs, &function.sig);
        }
    }

    fn visit_item_impl(&mut self, block: &'ast syn::ItemImpl) {
        // What a trait's methods say stands at the trait.
        if block.trait_.is_none() {
            syn::visit::visit_item_impl(self, block);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if matches!(function.vis, syn::Visibility::Public(_)) {
            self.judge(&function.attrs, &function.sig);
        }
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        if !matches!(item.vis, syn::Visibility::Public(_)) || is_hidden(&item.attrs) {
            return;
        }
        let remote = item.attrs.iter().any(|attribute| attribute.path().is_ident("remote_interface"));
        if !remote {
            return syn::visit::visit_item_trait(self, item);
        }
        // What its methods say travels to who asks for a description, and is about them; what holds for all of them stands at the trait.
        self.found += 1;
        let docs = docs(&item.attrs);
        if !docs.contains("# Cancel safety") || !docs.contains("# Errors") {
            self.faults.push(format!("{} does not say both `# Errors` and `# Cancel safety`", item.ident));
        }
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        self.judge(&function.attrs, &function.sig);
    }
}

fn docs(attributes: &[syn::Attribute]) -> String {
    let lines =
        attributes.iter().filter(|attribute| attribute.path().is_ident("doc")).filter_map(|attribute| {
            let syn::Meta::NameValue(pair) = &attribute.meta else { return None };
            let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = &pair.value else {
                return None;
            };
            Some(text.value() + "\n")
        });
    lines.collect()
}

fn is_hidden(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("doc")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|word| word == "hidden")
    })
}

fn returns_result(signature: &syn::Signature) -> bool {
    let syn::ReturnType::Type(_, answer) = &signature.output else { return false };
    let syn::Type::Path(path) = &**answer else { return false };
    path.path.segments.last().is_some_and(|segment| segment.ident == "Result")
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be read").path();
        match path.is_dir() {
            true => sources(&path, files),
            false if path.extension().is_some_and(|extension| extension == "rs") => files.push(path),
            false => {}
        }
    }
}

fn files(name: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("src"), &mut files);
    // Files of tests are modules that stand behind a `cfg`.
    files.retain(|file| file.file_name().is_none_or(|name| name != "tests.rs"));
    files
}

#[test]
fn public_functions_say_when_they_fail_and_what_a_dropped_future_leaves() {
    let (mut found, mut faults) = (0, Vec::new());
    for file in WITH_FUNCTIONS.into_iter().flat_map(files) {
        let functions = Functions::read(&fs::read_to_string(&file).expect("it can be read"));
        found += functions.found;
        faults.extend(functions.faults.iter().map(|fault| format!("{}: {fault}", file.display())));
    }
    assert!(faults.is_empty(), "{} of {found}:\n{}", faults.len(), faults.join("\n"));
    assert!(found > 400, "saw only {found}");
}

#[test]
fn every_crate_denies_public_items_without_documentation() {
    for name in CRATES {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("src/lib.rs");
        let file = syn::parse_file(&fs::read_to_string(root).expect("it can be read")).expect("it parses");
        let denies = file.attrs.iter().any(|attribute| {
            attribute.path().is_ident("deny")
                && attribute.parse_args::<syn::Ident>().is_ok_and(|lint| lint == "missing_docs")
        });
        assert!(denies, "{name} does not say #![deny(missing_docs)]");
    }
}

#[test]
fn what_is_not_said_is_seen() {
    let source = "
        /// # Errors
        /// None.
        pub fn told() -> Result<(), ()> { Ok(()) }
        pub fn untold() -> io::Result<()> { Ok(()) }
        pub(crate) fn ours() -> Result<(), ()> { Ok(()) }
        #[doc(hidden)]
        pub async fn hidden() {}
        impl X { pub async fn forgets(&self) {} async fn private(&self) {} }
        impl T for X { async fn of_the_trait(&self) {} }
        pub trait T { async fn of_a_trait(&self); }
        #[remote_interface]
        pub trait Remote { async fn travels(&self); }
        #[cfg(test)]
        mod tests { pub async fn a_test() {} }
    ";
    let Functions { found, faults } = Functions::read(source);
    let named: Vec<_> = faults.iter().filter_map(|fault| fault.split(' ').next()).collect();
    assert_eq!((found, named), (5, vec!["untold", "forgets", "of_a_trait", "Remote"]));
}
