//! The floors of the packages, and the lints that every one of them keeps.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// What each package of the workspace may depend on among ours, in any way (to build, to run, to test).
const PACKAGES: [(&str, &[&str]); 8] = [
    ("pb-derive", &[]),
    ("pb-core", &["pb-derive"]),
    ("pb-server", &["pb-core", "pb-derive"]),
    ("pb-client", &["pb-core", "pb-derive"]),
    // Its tests look into what the examples serve.
    ("pb-inspect", &["pb-core", "pb-derive", "pb-server", "pb-client", "pb-examples"]),
    ("pb-examples", &["pb-core", "pb-derive", "pb-server", "pb-client"]),
    ("pb-tests", &["pb-core", "pb-derive", "pb-server", "pb-client"]),
    ("pb-tests-renamed", &["pb-server"]),
];

/// Package to (its manifest, what it depends on).
type Packages = BTreeMap<String, (String, Vec<String>)>;

fn workspace() -> Packages {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let text = |value: &Value| value.as_str().expect("cargo prints a string here").to_string();
    let list = |value: &Value| value.as_array().expect("cargo prints a list here").clone();
    list(&metadata["packages"])
        .iter()
        .map(|package| {
            let needs = list(&package["dependencies"]).iter().map(|need| text(&need["name"])).collect();
            (text(&package["name"]), (text(&package["manifest_path"]), needs))
        })
        .collect()
}

fn faults_of(packages: &Packages) -> Vec<String> {
    let mut faults = Vec::new();
    for (package, (_, needs)) in packages {
        let Some((_, allowed)) = PACKAGES.iter().find(|(name, _)| name == package) else {
            faults.push(format!("{package} has no floor: give it one in this test"));
            continue;
        };
        let ours = needs.iter().filter(|need| packages.contains_key(*need));
        faults.extend(
            ours.filter(|need| !allowed.contains(&need.as_str()))
                .map(|need| format!("{package} depends on {need}")),
        );
    }
    faults
}

/// The lines of one table of a manifest, without comments.
fn table<'a>(manifest: &'a str, header: &str) -> Vec<&'a str> {
    let lines = manifest.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines.skip_while(|line| *line != header).skip(1).take_while(|line| !line.starts_with('[')).collect()
}

#[test]
fn each_package_depends_only_on_packages_below() {
    let packages = workspace();
    assert_eq!(faults_of(&packages), Vec::<String>::new());
    for (package, _) in PACKAGES {
        assert!(packages.contains_key(package), "{package} is not in the workspace");
    }
    let edges = packages.values().flat_map(|(_, needs)| needs).filter(|need| packages.contains_key(*need));
    assert!(edges.count() >= 8, "saw too few dependencies between packages");
}

#[test]
fn planted_dependencies_are_found() {
    let package = |needs: &[&str]| (String::new(), needs.iter().map(|need| need.to_string()).collect());
    let mut packages: Packages =
        PACKAGES.iter().map(|(name, needs)| (name.to_string(), package(needs))).collect();
    assert_eq!(faults_of(&packages), Vec::<String>::new());
    packages.insert("pb-server".into(), package(&["pb-core", "pb-client", "tokio"]));
    assert_eq!(faults_of(&packages), ["pb-server depends on pb-client"]);
    packages.insert("pb-derive".into(), package(&["syn", "pb-core"]));
    packages.insert("pb-core".into(), package(&["pb-tests"]));
    packages.insert("pb-new".into(), package(&[]));
    assert_eq!(faults_of(&packages).len(), 4);
}

#[test]
fn every_package_keeps_the_lints_and_unsafe_code_is_forbidden() {
    let root = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"))
        .expect("the workspace's manifest is readable");
    assert!(table(&root, "[workspace.lints.rust]").contains(&r#"unsafe_code = "forbid""#));
    for (package, (manifest, _)) in workspace() {
        let manifest = fs::read_to_string(&manifest).expect("a package's manifest is readable");
        assert!(table(&manifest, "[lints]").contains(&"workspace = true"), "{package} has lints of its own");
    }
}

#[test]
fn a_manifests_table_ends_where_the_next_begins() {
    let manifest = "[lints]\n# workspace = true\n\n[package]\nworkspace = true\n";
    assert_eq!(table(manifest, "[lints]"), ["", ""]);
}
