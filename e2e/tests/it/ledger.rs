//! `docs/requirements.md` is true: every claim names tests that exist, and every test that names an id stands there.
//!
//! A test names what it shows in its doc lines (`row:C16`, `guarantee:G2`, `threat:T11`, `fault:F9`). `UPDATE_LEDGER=1`
//! writes the tests and the counts into the page; the words, and what is only partly shown and why, are written by
//! people.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use crate::tidy::{Source, manifests, tree};

const LEDGER: &str = "docs/requirements.md";
const KINDS: [&str; 4] = ["row", "guarantee", "threat", "fault"];
/// What a line says whose tests all lie inside of a module: nobody looked from outside.
const INSIDE: &str = "partly: from inside only";
/// A test that names ids.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Test {
    name: String,
    /// Whether it meets the thing as somebody else does.
    is_outside: bool,
    /// On how many engines it runs.
    times: u8,
}

/// `row:C16` in a text.
fn ids(text: &str) -> impl Iterator<Item = String> {
    text.split_whitespace().filter_map(|word| {
        let (kind, id) = word.split_once(':')?;
        let id: String = id.chars().take_while(char::is_ascii_alphanumeric).collect();
        let kind = kind.trim_start_matches('(');
        (KINDS.contains(&kind) && id.len() > 1).then(|| format!("{kind}:{id}"))
    })
}

/// `services/ai/src/domain/kernel/rules.rs` is `ai::rules`; a file that only collects gives the name of its folder.
fn module(path: &str) -> String {
    let parts: Vec<_> = path.split(['/', '.']).collect();
    let krate = match parts[0] {
        "services" | "platform" => parts[1],
        other => other,
    };
    let file = parts.iter().rev().skip(1);
    let mut names = file.filter(|name| !["mod", "main", "lib", "tests", "it"].contains(*name));
    format!("{krate}::{}", names.next().unwrap_or(&krate))
}

/// The name that a line of Rust gives to a function.
fn function(line: &str) -> Option<&str> {
    let (before, rest) = line.split_once("fn ")?;
    let is_function = before
        .split_whitespace()
        .all(|word| word.starts_with("pub") || word == "async");
    is_function.then(|| rest.split(['(', '<']).next())?
}

/// The tests of one file with the ids that they name, and the number of all its tests.
fn read(file: &Source) -> (Vec<(Test, Vec<String>)>, usize) {
    // On how many engines a scenario of this file runs.
    let engines = if file.text.contains("scenarios! {") {
        3
    } else {
        2
    };
    let is_suite = file.path.contains("/src/suite");
    let is_outside = [
        "/tests/",
        "/tests.rs",
        "/suite",
        "web/e2e/",
        "web/sdk/test/",
    ]
    .iter()
    .any(|part| file.path.contains(part));
    let (mut named, mut all) = (Vec::new(), 0);
    let (mut docs, mut is_test, mut in_attribute) = (String::new(), false, false);
    // What does not run by itself shows nothing.
    let mut is_left_out = false;
    let mut lines = file.text.lines();
    while let Some(line) = lines.next() {
        let text = line.trim();
        if let Some(doc) = text.strip_prefix("///") {
            let _ = write!(docs, "{doc} ");
        } else if in_attribute || text.starts_with("#[") {
            is_test |= text.starts_with("#[test]") || text.starts_with("#[tokio::test");
            is_left_out |= text.starts_with(concat!("#[", "ignore"));
            in_attribute = !text.ends_with(']');
        } else {
            if let Some(name) = function(text) {
                let is_scenario = text.contains("(engine)") && file.path.starts_with("e2e/tests/");
                if (is_test || is_scenario || is_suite) && !is_left_out {
                    all += usize::from(!is_suite);
                    let end = format!("{}}}", &line[..line.len() - line.trim_start().len()]);
                    let mut body = lines.clone().take_while(|line| *line != end);
                    let found = Test {
                        name: format!("{}::{name}", module(&file.path)),
                        is_outside,
                        times: if is_scenario {
                            engines
                        } else if body
                            .any(|line| line.contains("both(") || line.contains("worlds("))
                        {
                            2
                        } else {
                            1
                        },
                    };
                    named.push((found, ids(&docs).collect()));
                }
            }
            docs.clear();
            (is_test, is_left_out) = (false, false);
        }
    }
    named.retain(|(_, ids): &(Test, Vec<String>)| !ids.is_empty());
    (named, all)
}

/// The tests in JavaScript, of the page, its SDK and the clients that are not ours: `// row:C16` above a `test(` or a `step(`.
fn read_web(file: &Source) -> Vec<(Test, Vec<String>)> {
    let is_outside = ["web/e2e/", "e2e/foreign/"]
        .iter()
        .any(|folder| file.path.starts_with(folder));
    let lines: Vec<_> = file.text.lines().map(str::trim).collect();
    let named = lines.windows(2).filter_map(|pair| {
        let found: Vec<_> = ids(pair[0].strip_prefix("//")?).collect();
        let (call, name) = pair[1].split_once("('")?;
        let is_test = ["test", "step"].iter().any(|word| call.ends_with(word));
        let name = format!("{} '{}'", module(&file.path), name.split('\'').next()?);
        let test = Test {
            name,
            is_outside,
            times: 1,
        };
        (is_test && !found.is_empty()).then_some((test, found))
    });
    named.collect()
}

/// Every test that names something, by what it names.
fn tests(tree: &[Source]) -> BTreeMap<String, BTreeSet<Test>> {
    let mut by_id: BTreeMap<String, BTreeSet<Test>> = BTreeMap::new();
    for file in tree {
        let named = match file.path.rsplit('.').next() {
            Some("rs") => read(file).0,
            Some("ts" | "mjs") => read_web(file),
            _ => Vec::new(),
        };
        for (test, ids) in named {
            for id in ids {
                by_id.entry(id).or_default().insert(test.clone());
            }
        }
    }
    by_id
}

/// What a line has to say, given what it says.
fn state(written: &str, tests: Option<&BTreeSet<Test>>) -> String {
    match tests {
        None => "missing".to_owned(),
        Some(tests) if !tests.iter().any(|test| test.is_outside) => INSIDE.to_owned(),
        Some(_) if written.starts_with("partly: ") && written != INSIDE => written.to_owned(),
        Some(_) => "shown".to_owned(),
    }
}

fn cell(tests: Option<&BTreeSet<Test>>) -> String {
    let names = tests.into_iter().flatten().map(|test| {
        let times = match test.times {
            1 => String::new(),
            times => format!(" ×{times}"),
        };
        format!("`{}`{times}", test.name)
    });
    names.collect::<Vec<_>>().join("<br>")
}

/// The page as it has to be, and the ids that have a line.
fn rendered(page: &str, tests: &BTreeMap<String, BTreeSet<Test>>) -> (String, Vec<String>) {
    let (mut text, mut kind, mut known) = (String::new(), "", Vec::new());
    let mut counts: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            let title = title.to_ascii_lowercase();
            kind = KINDS
                .into_iter()
                .find(|kind| title.starts_with(kind))
                .unwrap_or("");
        }
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        if cells.len() == 6 && cells[1].ends_with(|c: char| c.is_ascii_digit()) {
            let id = format!("{kind}:{}", cells[1]);
            let (found, words) = (tests.get(&id), cells[2]);
            let state = state(cells[3], found);
            let place = ["shown", "partly", "missing"]
                .iter()
                .position(|word| state.starts_with(word));
            counts.entry(kind).or_default()[place.unwrap()] += 1;
            let _ = writeln!(
                text,
                "| {} | {words} | {state} | {} |",
                cells[1],
                cell(found)
            );
            known.push(id);
        } else if !line.starts_with("Counts: ") {
            text.push_str(line);
            text.push('\n');
        } else {
            text.push_str("Counts: \n");
        }
    }
    let counted = ["row", "guarantee"].map(|kind| {
        let [shown, partly, missing] = counts.get(kind).copied().unwrap_or_default();
        format!("{kind}s: {shown} shown, {partly} partly shown, {missing} missing")
    });
    let counts = format!("Counts: {}.", counted.join("; "));
    (text.replace("Counts: ", &counts), known)
}

/// What is wrong with the page.
fn complaints(page: &str, tests: &BTreeMap<String, BTreeSet<Test>>) -> Vec<String> {
    let (right, known) = rendered(page, tests);
    let wrong = page
        .lines()
        .zip(right.lines())
        .filter(|(is, should)| is != should);
    let mut wrong: Vec<_> = wrong
        .map(|(is, should)| format!("- {is}\n+ {should}"))
        .collect();
    let unknown = tests.keys().filter(|id| !known.contains(id));
    wrong.extend(unknown.map(|id| format!("{id} is named by a test and has no line")));
    let mut seen = BTreeSet::new();
    let twice = known.iter().filter(|id| !seen.insert(*id));
    wrong.extend(twice.map(|id| format!("{id} has two lines")));
    wrong
}

/// Every claim of the page is kept by tests, and every test's claim stands on the page.
#[test]
fn the_ledger_is_true() {
    let tree = tree();
    let tests = tests(&tree);
    assert!(tests.len() > 100, "the tests are read: {}", tests.len());
    let page = &tree.iter().find(|file| file.path == LEDGER).unwrap().text;
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap();
    let (right, known) = rendered(page, &tests);
    let rows = known.iter().filter(|id| id.starts_with("row:")).count();
    assert_eq!(rows, 172, "rows of the requirements");
    println!(
        "{}",
        right
            .lines()
            .find(|line| line.starts_with("Counts: "))
            .unwrap()
    );
    if std::env::var_os("UPDATE_LEDGER").is_some() {
        std::fs::write(root.join(LEDGER), &right).unwrap();
    }
    let page = std::fs::read_to_string(root.join(LEDGER)).unwrap();
    let wrong = complaints(&page, &tests);
    assert!(
        wrong.is_empty(),
        "{}\n\nUPDATE_LEDGER=1 writes what can be written\n",
        wrong.join("\n")
    );
    // A case of a suite is run by the adapters that its list is given to.
    for file in tree.iter().filter(|file| file.path.contains("/src/suite")) {
        for (test, _) in read(file).0 {
            let case = test.name.rsplit("::").next().unwrap();
            let code = tree.iter().filter(|file| file.path.ends_with(".rs"));
            let times = code
                .map(|file| file.text.matches(case).count())
                .sum::<usize>();
            assert!(times > 1, "{case} of {} stands in no list", file.path);
        }
    }
}

/// A claim without a test, a test that is gone, an id that nobody knows: each is noticed.
#[test]
fn the_ledger_can_fail() {
    let source = |text: &str| Source {
        path: "services/one/tests/it/two.rs".to_owned(),
        text: text.to_owned(),
    };
    let found = tests(&[source(
        "/// row:A01, row:A02: it\n/// works.\n#[test]\nfn works() {}\n",
    )]);
    let page = "Counts: \n## Rows\n| A01 | a | partly: half of it | |\n| A02 | b | shown | |\n| A03 | c | missing | |\n";
    let (right, _) = rendered(page, &found);
    assert!(
        right.contains("| A01 | a | partly: half of it | `one::two::works` |"),
        "{right}"
    );
    assert!(
        right.contains("| A02 | b | shown | `one::two::works` |"),
        "{right}"
    );
    assert!(
        right.starts_with("Counts: rows: 1 shown, 1 partly shown, 1 missing;"),
        "{right}"
    );
    assert_eq!(complaints(&right, &found), Vec::<String>::new());
    for (from, to) in [
        ("| A03 | c | missing |", "| A03 | c | shown |"),
        ("`one::two::works`", "`one::two::worked`"),
        ("| A02 |", "| B02 |"),
        ("| A03 |", "| A02 |"),
        ("1 missing", "0 missing"),
    ] {
        let planted = right.replacen(from, to, 1);
        assert!(!complaints(&planted, &found).is_empty(), "{from} -> {to}");
    }
    // Not a test, or one that does not run by itself, so no claim.
    for attribute in ["", concat!("#[test]\n#[", "ignore = \"later\"]\n")] {
        let text = format!("/// row:A01\n{attribute}fn helps() {{}}\n");
        assert!(tests(&[source(&text)]).is_empty(), "{text}");
    }
    let inside = Source {
        path: "services/one/src/two.rs".to_owned(),
        ..source("/// row:A01\n#[test]\nfn works() {}\n")
    };
    assert_eq!(state("shown", tests(&[inside]).get("row:A01")), INSIDE);
}

/// row:G27: every crate that has something to get wrong has tests, and they stand beside what they test.
#[test]
fn every_crate_is_tested() {
    let tree = tree();
    let mut all = 0;
    for (folder, name, ..) in manifests(&tree) {
        let below = format!("{folder}/");
        let files = tree.iter().filter(|file| file.path.starts_with(&below));
        let count: usize = files
            .filter(|file| file.path.ends_with(".rs"))
            .map(|file| read(file).1)
            .sum();
        assert!(count > 0, "{name} has no test");
        all += count;
    }
    println!("{all} tests in Rust, scenarios counted once");
}
