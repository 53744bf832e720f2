//! What is drawn is what is built, and what is written is what runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tests::binaries::workspace;
use tests::home::Home;
use tests::process::run;

use crate::examples::console_lines;

/// crate -> crates it uses.
type Edges = BTreeMap<String, BTreeSet<String>>;

/// The house's own edges, as they were agreed on; the drawing in docs/architecture.md must say the same.
const AGREED: [(&str, &str); 15] = [
    ("advisor", "spec"),
    ("engine", "spec"),
    ("providers", "engine spec"),
    ("agent", "engine spec templates"),
    ("rollout", "engine spec"),
    ("kernels", ""),
    ("daemon", "kernels spec"),
    ("guards", "spec"),
    ("audit", "spec"),
    ("gateway", "audit engine guards rollout spec"),
    ("templates", "spec"),
    ("runbooks", "spec"),
    ("cli", "advisor agent audit engine guards providers rollout runbooks spec templates"),
    ("tests", "spec"),
    ("spec", ""),
];

/// From `a -> b, c(part), d` in backquotes; `all but x and y` is every other crate of the product.
fn drawn(crates: &BTreeSet<String>) -> Edges {
    let page = fs::read_to_string(workspace().join("docs/architecture.md")).unwrap();
    let (_, rest) = page.split_once("\nDependencies (").expect("the paragraph on dependencies");
    let paragraph = rest.split("\n\n").next().unwrap().replace('\n', " ");
    let mut edges: Edges = crates.iter().map(|name| (name.clone(), BTreeSet::new())).collect();
    for arrow in paragraph.split('`').skip(1).step_by(2) {
        let Some((from, to)) = arrow.split_once(" -> ") else { continue };
        let uses = match to.strip_prefix("all but ") {
            Some(but) => {
                let but: Vec<&str> = but.split(" and ").chain([from, "tests"]).collect();
                crates.iter().filter(|name| !but.contains(&name.as_str())).cloned().collect()
            }
            None => without_parts(to).split(',').map(|name| name.trim().to_owned()).collect(),
        };
        edges.insert(from.to_owned(), uses);
    }
    edges
}

/// `engine(journal, store), spec` -> `engine, spec`.
fn without_parts(text: &str) -> String {
    let outside = |piece: &str| piece.split_once(')').map_or_else(|| piece.to_owned(), |(_, rest)| rest.to_owned());
    let mut pieces = text.split('(');
    let first = pieces.next().unwrap_or_default().to_owned();
    first + &pieces.map(outside).collect::<String>()
}

fn built() -> Edges {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--no-deps", "--format-version", "1", "--locked"]).current_dir(workspace());
    let packages = run(&mut command).exits(0).json()["packages"].as_array().unwrap().clone();
    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
    let crates: BTreeSet<String> = packages.iter().map(name).collect();
    let uses = |package: &Value| {
        // A test-only edge has the kind "dev".
        let normal = package["dependencies"].as_array().unwrap().iter().filter(|it| it["kind"].is_null());
        normal.map(name).filter(|used| crates.contains(used)).collect()
    };
    packages.iter().map(|package| (name(package), uses(package))).collect()
}

#[test]
fn crates_use_each_other_as_drawn_and_no_other_way() {
    let built = built();
    let crates: BTreeSet<String> = built.keys().cloned().collect();
    let drawn = drawn(&crates);
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>();
    let agreed: Edges = AGREED.iter().map(|(from, to)| ((*from).to_owned(), words(to))).collect();
    assert_eq!(drawn, agreed, "docs/architecture.md (left) against the agreed edges (right)");
    for (from, uses) in &built {
        let undrawn: Vec<_> = uses.difference(&drawn[from]).collect();
        assert!(undrawn.is_empty(), "{from} uses {undrawn:?}, which docs/architecture.md does not draw");
    }
    // `cli` may use all that it is drawn to use; of the others a drawn edge that is not built is a stale drawing.
    for (from, uses) in drawn.iter().filter(|(from, _)| *from != "cli") {
        let unbuilt: Vec<_> = uses.difference(&built[from]).collect();
        assert!(unbuilt.is_empty(), "docs/architecture.md draws {from} -> {unbuilt:?}, which is not so");
    }
}

/// The one fenced `sh` block under a heading of the README.
pub fn readme_block(heading: &str) -> String {
    let readme = fs::read_to_string(workspace().join("README.md")).unwrap();
    let (_, section) =
        readme.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no heading {heading}"));
    let section = section.split("\n## ").next().unwrap();
    let blocks: Vec<&str> = section.split("```sh\n").skip(1).collect();
    assert_eq!(blocks.len(), 1, "sh blocks under {heading}");
    blocks[0].split("```").next().unwrap().trim().to_owned()
}

#[test]
fn the_test_command_of_the_readme_is_what_ci_runs() {
    let command = readme_block("Test it");
    assert_eq!(command.lines().count(), 1, "{command}");
    let ci = fs::read_to_string(workspace().join(".ci/run")).unwrap();
    assert!(ci.lines().any(|line| line.trim() == command), "{command:?} is not in .ci/run word for word");
}

/// Each `dsctl` line of a page is one that dsctl understands: with `--help` behind it, it says so.
#[test]
fn every_command_that_the_pages_show_exists() {
    let home = Home::light();
    let mut pages = vec![workspace().join("README.md")];
    for folder in ["docs", "examples"] {
        pages.extend(markdown(&workspace().join(folder)));
    }
    let mut seen = 0;
    for page in &pages {
        for line in console_lines(page) {
            let line = line.split('#').next().unwrap_or_default().trim().to_owned();
            let words =
                line.strip_prefix("dsctl ").or_else(|| line.split_once("--bin dsctl -- ").map(|(_, words)| words));
            let Some(words) = words else { continue };
            seen += 1;
            let mut shell = Command::new("sh");
            home.dress(shell.args(["-c", &format!("dsctl {words} --help")]));
            let outcome = run(&mut shell);
            assert_eq!(outcome.code, 0, "{}: {line}\n{}", page.display(), outcome.transcript());
        }
    }
    assert!(seen >= 10, "only {seen} lines were found");
}

fn markdown(folder: &std::path::Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(markdown(&path));
        } else if path.extension().is_some_and(|end| end == "md") {
            found.push(path);
        }
    }
    found.sort();
    found
}
