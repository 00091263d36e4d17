//! The shape of the tree as tests: who knows whom, what lies where, how long a file may be.
//!
//! A rule is a function from files to complaints. Each is tried on planted files as well, so that it can fail.
//! ARCHITECTURE.md says what the rules are for.

use std::{collections::BTreeSet, fs, path::Path};

/// A text file; the path is relative to the root, with `/`.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Names that no source holds, written apart so that this one does not either. Each is a word that clippy or a
/// reader could be told to overlook.
const FORBIDDEN: [&str; 5] =
    [concat!("#[", "ignore"), concat!("to", "do!("), concat!("unimple", "mented!("), concat!("db", "g!("), concat!("#[", "allow(")];
/// Where one of them is right, and why.
const FORBIDDEN_BUT: [(&str, &str); 1] =
    // The macro's import is needed by most scenarios and not by all, and `expect` fails on those that need it.
    [("e2e/tests/it/main.rs", FORBIDDEN[4])];
/// A test of a service may stand on the real thing instead of a mock.
const TESTS_BUT: [(&str, &str); 1] = [("auth", "user")];
/// One TLS stack, one calendar. `ring` stands in the lock file as an option of others that nobody switches on.
const BANNED: [&str; 4] = ["openssl", "openssl-sys", "native-tls", "chrono"];

type Rule = fn(&[Source]) -> Vec<String>;

const RULES: [Rule; 12] = [
    dependencies, rooms, statements, sizes, names, crate_docs, forbidden, metric_names, architecture, migrations, bans, secrets,
];

/// Every text file that we wrote.
pub(crate) fn tree() -> Vec<Source> {
    const NOT_OURS: [&str; 8] = ["target", "node_modules", ".git", "dist", "test-results", "data", ".servers", "package-lock.json"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if NOT_OURS.iter().any(|name| entry.file_name() == *name) {
                continue;
            } else if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                let path = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.push(Source { path, text });
            }
        }
    }
    found
}

/// The crate that a manifest names, its dependencies, and those of its tests only.
fn manifests(tree: &[Source]) -> impl Iterator<Item = (&str, &str, Vec<&str>, Vec<&str>)> {
    let ours = tree.iter().filter(|file| file.path.ends_with("/Cargo.toml") && !file.path.starts_with("tools/"));
    ours.map(|file| {
        let (mut section, mut used, mut tested) = ("", Vec::new(), Vec::new());
        for line in file.text.lines() {
            match line.split_once(['.', ' ', '=']) {
                _ if line.starts_with('[') => section = line,
                Some((name, _)) if section == "[dependencies]" => used.push(name),
                Some((name, _)) if section == "[dev-dependencies]" => tested.push(name),
                _ => {}
            }
        }
        let folder = file.path.trim_end_matches("/Cargo.toml");
        (folder, folder.rsplit('/').next().unwrap(), used, tested)
    })
}

fn crates<'a>(tree: &'a [Source], below: &str) -> BTreeSet<&'a str> {
    manifests(tree).filter(|(folder, ..)| folder.starts_with(below)).map(|(_, name, ..)| name).collect()
}

/// No service knows another, platform crates and contracts know the kit, only `messenger` knows everybody.
fn dependencies(tree: &[Source]) -> Vec<String> {
    let (services, platform, every) = (crates(tree, "services/"), crates(tree, "platform/"), crates(tree, ""));
    let mut wrong = Vec::new();
    for (folder, name, used, tested) in manifests(tree) {
        let of_tests = tested.into_iter().filter(|other| !TESTS_BUT.contains(&(name, other)));
        for other in used.into_iter().chain(of_tests).filter(|other| every.contains(other) && *other != name) {
            let may = match folder.split('/').next() {
                Some("services") => platform.contains(other) || other == "contracts",
                Some("platform" | "contracts") => other == "kit",
                Some("e2e") => !services.contains(other),
                Some("messenger") => true,
                _ => false,
            };
            if !may {
                wrong.push(format!("{folder} depends on {other}"));
            }
        }
    }
    wrong
}

/// Code without its comments.
fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        !text[..at].ends_with(is_part) && !text[at + word.len()..].starts_with(is_part)
    })
}

/// A file of a service, and where in its `src` it lies; without its tests.
fn rooms_of(tree: &[Source]) -> impl Iterator<Item = (&Source, &str)> {
    tree.iter().filter_map(|file| {
        let (_, room) = file.path.strip_prefix("services/")?.split_once("/src/")?;
        (file.path.ends_with(".rs") && !room.contains("tests")).then_some((file, room))
    })
}

/// Rules do not wait, use cases know no wire and no driver, doors know no driver.
fn rooms(tree: &[Source]) -> Vec<String> {
    let words = |room: &str| -> &[&str] {
        match room.split(['/', '.']).next() {
            Some("domain") => &["async", "await", "axum", "tonic", "sqlx", "tokio"],
            Some("app") => &["axum", "tonic", "sqlx"],
            _ => &["sqlx"],
        }
    };
    rooms_of(tree)
        .flat_map(|(file, room)| {
            let code = code(&file.text);
            words(room).iter().filter(move |word| has_word(&code, word)).map(|word| format!("{} knows {word}", file.path))
        })
        .collect()
}

/// SQL stands in the store and in nothing else.
fn statements(tree: &[Source]) -> Vec<String> {
    const SQL: [&str; 4] = ["SELECT ", "INSERT INTO ", "DELETE FROM ", "CREATE TABLE "];
    let outside = rooms_of(tree).filter(|(_, room)| !room.starts_with("store") && *room != "dialect.rs");
    outside
        .filter(|(file, _)| SQL.iter().any(|word| code(&file.text).contains(word)))
        .map(|(file, _)| format!("{} has SQL, which belongs into store", file.path))
        .collect()
}

fn is_source(file: &Source) -> bool {
    let ours = [".rs", ".ts", ".tsx", ".mjs"].iter().any(|end| file.path.ends_with(end));
    ours && !file.path.starts_with("contracts/src/gen/")
}

/// No file over 500 lines; the kit stays small.
fn sizes(tree: &[Source]) -> Vec<String> {
    let lines = |file: &Source| file.text.lines().count();
    let long = tree.iter().filter(|file| is_source(file) && lines(file) > 500);
    let mut wrong: Vec<_> = long.map(|file| format!("{} has {} lines, 500 is the limit", file.path, lines(file))).collect();
    let kit: usize = tree.iter().filter(|file| file.path.starts_with("platform/kit/src/")).map(lines).sum();
    if kit > 2000 {
        wrong.push(format!("platform/kit has {kit} lines, 2000 is the limit"));
    }
    wrong
}

/// Names say what a thing is.
fn names(tree: &[Source]) -> Vec<String> {
    let nothing = |part: &str| matches!(part.split('.').next(), Some("utils" | "util" | "helpers" | "helper" | "common" | "misc"));
    let code = tree.iter().filter(|file| is_source(file));
    code.filter(|file| file.path.split('/').any(nothing)).map(|file| format!("{} says nothing by its name", file.path)).collect()
}

/// Every crate says what it is for.
fn crate_docs(tree: &[Source]) -> Vec<String> {
    let roots = tree.iter().filter(|file| file.path.ends_with("/src/lib.rs") || file.path.ends_with("/src/main.rs"));
    let silent = roots.filter(|file| !file.text.starts_with("//!") && !file.text.starts_with("#![doc"));
    silent.map(|file| format!("{} does not begin by saying what the crate is for", file.path)).collect()
}

fn forbidden(tree: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in tree.iter().filter(|file| is_source(file) && file.path.ends_with(".rs")) {
        let code = code(&file.text);
        let found = FORBIDDEN.into_iter().filter(|word| code.contains(word));
        let found = found.filter(|word| !FORBIDDEN_BUT.contains(&(file.path.as_str(), word)));
        wrong.extend(found.map(|word| format!("{} has {word}", file.path)));
    }
    wrong
}

/// Whoever wants to know every metric of a crate reads one file. The few of kit and contracts stand beside what they
/// count; docs/runbook.md lists them.
fn metric_names(tree: &[Source]) -> Vec<String> {
    let is_free = |path: &str| path.ends_with("/metrics.rs") || path.starts_with("platform/kit/") || path.starts_with("contracts/");
    let elsewhere = tree.iter().filter(|file| file.path.ends_with(".rs") && !is_free(&file.path));
    let is_literal = |text: &str, call: &str| text.split(call).skip(1).any(|rest| rest.trim_start().starts_with('"'));
    let calls = ["counter", "gauge", "histogram"].map(|call| format!("{call}!("));
    let named = elsewhere.filter(|file| calls.iter().any(|call| is_literal(&file.text, call)));
    named.map(|file| format!("{} names a metric, which belongs into metrics.rs", file.path)).collect()
}

/// What has to have exactly one owner: crates, tables, topics, consumer groups.
fn owned(tree: &[Source]) -> BTreeSet<String> {
    let quoted = |line: &str| line.split('"').nth(1).map(str::to_owned);
    let mut owned: BTreeSet<_> = manifests(tree).map(|(_, name, ..)| name.to_owned()).collect();
    for file in tree {
        let service = file.path.split('/').nth(1).unwrap_or_default();
        for line in file.text.lines() {
            if file.path.contains("/migrations/") && let Some(table) = line.strip_prefix("CREATE TABLE ") {
                owned.insert(format!("{service}.{}", table.split([' ', '(']).next().unwrap()));
            } else if file.path == "contracts/src/events.rs" && line.contains(".to_owned()") {
                owned.extend(quoted(line));
            } else if file.path.starts_with("services/") && line.contains("const ") && line.contains("GROUP: &str") {
                owned.extend(quoted(line));
            }
        }
    }
    owned
}

fn architecture(tree: &[Source]) -> Vec<String> {
    let text = tree.iter().find(|file| file.path == "ARCHITECTURE.md").map_or("", |file| &file.text);
    let section = |title: &str| text.split("\n## ").find(|section| section.starts_with(title)).unwrap_or_default();
    let rows = section("Owners").lines().chain(section("Code map").lines());
    let first_cells: Vec<_> = rows.filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let is_crate = crates(tree, "");
    let times = |name: &str| first_cells.iter().filter(|cell| **cell == name).count();
    // A group may carry the name of its crate: then it stands in two lists.
    let wrong = owned(tree).into_iter().filter(|name| times(name) == 0 || times(name) > 1 + usize::from(is_crate.contains(&**name)));
    wrong.map(|name| format!("ARCHITECTURE.md lists `{name}` {} times", times(&name))).collect()
}

/// Both engines have the same steps, and each step leads back.
fn migrations(tree: &[Source]) -> Vec<String> {
    let steps: BTreeSet<_> = tree.iter().filter(|file| file.path.contains("/migrations/")).map(|file| file.path.as_str()).collect();
    let twins = |path: &str| {
        let (from, to) = if path.contains("/sqlite/") { ("/sqlite/", "/postgres/") } else { ("/postgres/", "/sqlite/") };
        let (way, back) = if path.ends_with(".up.sql") { (".up.sql", ".down.sql") } else { (".down.sql", ".up.sql") };
        [path.replace(from, to), path.replace(way, back)]
    };
    let missing = steps.iter().flat_map(|path| twins(path)).filter(|twin| !steps.contains(twin.as_str()));
    missing.map(|twin| format!("{twin} is missing")).collect()
}

fn bans(tree: &[Source]) -> Vec<String> {
    let lock = tree.iter().find(|file| file.path == "Cargo.lock").map_or("", |file| &file.text);
    let used = manifests(tree).flat_map(|(folder, _, used, tested)| used.into_iter().chain(tested).map(move |name| (folder, name)));
    let mut wrong: Vec<_> = used.filter(|(_, name)| *name == "ring").map(|(folder, _)| format!("{folder} uses ring")).collect();
    let banned = BANNED.iter().filter(|name| lock.contains(&format!("name = \"{name}\"")));
    wrong.extend(banned.map(|name| format!("Cargo.lock has {name}")));
    wrong
}

/// What looks like a key or a token of somebody.
fn secrets(tree: &[Source]) -> Vec<String> {
    const BEGINNINGS: [(&str, usize); 8] = [
        ("AKIA", 16), ("ghp_", 30), ("github_pat_", 30), ("glpat-", 20), ("sk-", 32), ("xoxb-", 20), ("AIza", 30), ("npm_", 30),
    ];
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let is_token = |text: &str, (beginning, least): (&str, usize)| {
        text.match_indices(beginning).any(|(at, _)| {
            let rest = &text[at + beginning.len()..];
            !text[..at].ends_with(is_part) && rest.find(|c| !is_part(c)).unwrap_or(rest.len()) >= least
        })
    };
    let found = tree.iter().filter(|file| {
        file.text.contains(concat!("PRIVATE ", "KEY-----")) || BEGINNINGS.into_iter().any(|kind| is_token(&file.text, kind))
    });
    found.map(|file| format!("{} holds what looks like a secret", file.path)).collect()
}

/// row:G25, row:G35: the walls stand, the code map is whole, nothing secret lies about.
#[test]
fn the_tree_is_tidy() {
    let tree = tree();
    assert!(tree.len() > 200, "the tree is read: {} files", tree.len());
    let complaints: Vec<_> = RULES.iter().flat_map(|rule| rule(&tree)).collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// Each rule is silent on a small tree and complains about one more file in it.
#[test]
fn every_rule_can_fail() {
    let base = || {
        [
            ("Cargo.lock", "name = \"serde\""),
            ("ARCHITECTURE.md", "\n## Code map\n| `two` |\n## Owners\n| `two.box` |"),
            ("services/two/Cargo.toml", "[dependencies]\nserde.workspace = true"),
            ("services/two/src/lib.rs", "//! Two.\n"),
            ("services/two/src/store.rs", "//! SELECT\nconst A: &str = \"SELECT 1\";"),
            ("services/two/migrations/sqlite/1.up.sql", "CREATE TABLE box (id)"),
            ("services/two/migrations/sqlite/1.down.sql", ""),
            ("services/two/migrations/postgres/1.up.sql", "CREATE TABLE box (id)"),
            ("services/two/migrations/postgres/1.down.sql", ""),
        ]
        .map(|(path, text)| Source { path: path.to_owned(), text: text.to_owned() })
    };
    let key = format!("ghp_{}", "a1".repeat(18));
    let long = "//\n".repeat(501);
    let plants: [(Rule, &str, &str); 21] = [
        (dependencies, "services/one/Cargo.toml", "[dependencies]\ntwo.workspace = true"),
        (dependencies, "services/one/Cargo.toml", "[dev-dependencies]\ntwo = { workspace = true }"),
        (dependencies, "platform/one/Cargo.toml", "[dependencies]\ntwo.workspace = true"),
        (dependencies, "e2e/Cargo.toml", "[dependencies]\ntwo.workspace = true"),
        (rooms, "services/two/src/domain/rule.rs", "pub async fn wait() {}"),
        (rooms, "services/two/src/app.rs", "use axum::Router;"),
        (rooms, "services/two/src/api/http.rs", "use sqlx::Row;"),
        (statements, "services/two/src/api/http.rs", "db.run(\"INSERT INTO box\")"),
        (sizes, "web/src/Big.tsx", &long),
        (sizes, "platform/kit/src/big.rs", &long.repeat(4)),
        (names, "services/two/src/helpers.rs", ""),
        (crate_docs, "services/one/src/lib.rs", "mod one;"),
        (forbidden, "services/two/src/app.rs", concat!("db", "g!(1)")),
        (metric_names, "services/two/src/app.rs", concat!("counter", "!(\n    \"two_total\")")),
        (architecture, "services/one/Cargo.toml", ""),
        (architecture, "services/two/migrations/sqlite/2.up.sql", "CREATE TABLE lid ("),
        (architecture, "services/two/src/consumers.rs", "const GROUP: &str = \"readers\";"),
        (migrations, "services/two/migrations/sqlite/2.up.sql", ""),
        (bans, "Cargo.lock", "name = \"openssl\""),
        (bans, "services/one/Cargo.toml", "[dependencies]\nring.workspace = true"),
        (secrets, "docs/notes.md", &key),
    ];
    for (rule, path, text) in plants {
        let mut tree = Vec::from(base());
        assert_eq!(rule(&tree), Vec::<String>::new(), "{path}");
        tree.retain(|file| file.path != path);
        tree.push(Source { path: path.to_owned(), text: text.to_owned() });
        assert!(!rule(&tree).is_empty(), "nobody complains about {path}: {text}");
    }
}
