//! The shape of the tree as tests: who knows whom, what lies where, how long a file may be.
//!
//! A rule is a function from files to complaints, in `rules`. Each is tried on planted files as well, so that it can
//! fail. ARCHITECTURE.md says what the rules are for.

mod rules;

use std::{fs, path::Path};

pub(crate) use rules::manifests;
use rules::*;

/// A text file; the path is relative to the root, with `/`.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

type Rule = fn(&[Source]) -> Vec<String>;

const RULES: [Rule; 14] = [
    dependencies,
    rooms,
    statements,
    sizes,
    names,
    crate_docs,
    forbidden,
    metric_names,
    architecture,
    migrations,
    bans,
    secrets,
    runbook,
    readmes,
];
/// Every text file that we wrote.
pub(crate) fn tree() -> Vec<Source> {
    const NOT_OURS: [&str; 8] = [
        "target",
        "node_modules",
        ".git",
        "dist",
        "test-results",
        "data",
        ".servers",
        "package-lock.json",
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if NOT_OURS.iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                let path = path
                    .strip_prefix(root)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                found.push(Source { path, text });
            }
        }
    }
    found
}

/// row:G25, row:G34, row:G35: the walls stand, the code map is whole, nothing secret lies about, the first page is the same in
/// both languages.
#[test]
fn the_tree_is_tidy() {
    let tree = tree();
    assert!(tree.len() > 200, "the tree is read: {} files", tree.len());
    let complaints: Vec<_> = RULES.iter().flat_map(|rule| rule(&tree)).collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// A tree that no rule complains about.
fn small_tree() -> Vec<Source> {
    [
        ("Cargo.lock", "name = \"serde\""),
        (
            "ARCHITECTURE.md",
            "\n## Code map\n| `two` |\n## Owners\n| `two.box` |",
        ),
        (
            "services/two/Cargo.toml",
            "[dependencies]\nserde.workspace = true",
        ),
        ("services/two/src/lib.rs", "//! Two.\n"),
        (
            "services/two/src/store.rs",
            "//! SELECT\nconst A: &str = \"SELECT 1\";",
        ),
        (
            "services/two/migrations/sqlite/1.up.sql",
            "CREATE TABLE box (id)",
        ),
        ("services/two/migrations/sqlite/1.down.sql", ""),
        (
            "services/two/migrations/postgres/1.up.sql",
            "CREATE TABLE box (id)",
        ),
        ("services/two/migrations/postgres/1.down.sql", ""),
    ]
    .into_iter()
    .map(|(path, text)| Source {
        path: path.to_owned(),
        text: text.to_owned(),
    })
    .collect()
}

/// Each rule is silent on a small tree and complains about one more file in it.
#[test]
fn every_rule_can_fail() {
    let key = format!("ghp_{}", "a1".repeat(18));
    let long = "//\n".repeat(501);
    let plants: [(Rule, &str, &str); 23] = [
        (
            dependencies,
            "services/one/Cargo.toml",
            "[dependencies]\ntwo.workspace = true",
        ),
        (
            dependencies,
            "services/one/Cargo.toml",
            "[dev-dependencies]\ntwo = { workspace = true }",
        ),
        (
            dependencies,
            "platform/one/Cargo.toml",
            "[dependencies]\ntwo.workspace = true",
        ),
        (
            dependencies,
            "e2e/Cargo.toml",
            "[dependencies]\ntwo.workspace = true",
        ),
        (
            rooms,
            "services/two/src/domain/rule.rs",
            "pub async fn wait() {}",
        ),
        (rooms, "services/two/src/app.rs", "use axum::Router;"),
        (rooms, "services/two/src/api/http.rs", "use sqlx::Row;"),
        (
            statements,
            "services/two/src/api/http.rs",
            "db.run(\"INSERT INTO box\")",
        ),
        (sizes, "web/src/Big.tsx", &long),
        (sizes, "platform/kit/src/big.rs", &long.repeat(4)),
        (names, "services/two/src/helpers.rs", ""),
        (crate_docs, "services/one/src/lib.rs", "mod one;"),
        (forbidden, "services/two/src/app.rs", concat!("db", "g!(1)")),
        (
            metric_names,
            "services/two/src/app.rs",
            concat!("counter", "!(\n    \"two_total\")"),
        ),
        (architecture, "services/one/Cargo.toml", ""),
        (
            architecture,
            "services/two/migrations/sqlite/2.up.sql",
            "CREATE TABLE lid (",
        ),
        (
            architecture,
            "services/two/src/consumers.rs",
            "const GROUP: &str = \"readers\";",
        ),
        (migrations, "services/two/migrations/sqlite/2.up.sql", ""),
        (bans, "Cargo.lock", "name = \"openssl\""),
        (
            bans,
            "services/one/Cargo.toml",
            "[dependencies]\nring.workspace = true",
        ),
        (secrets, "docs/notes.md", &key),
        (runbook, "docs/runbook.md", "look at `two_lost_total`"),
        (readmes, "README.ru.md", "```sh\nmake two\n```"),
    ];
    for (rule, path, text) in plants {
        let mut tree = small_tree();
        assert_eq!(rule(&tree), Vec::<String>::new(), "{path}");
        tree.retain(|file| file.path != path);
        tree.push(Source {
            path: path.to_owned(),
            text: text.to_owned(),
        });
        assert!(
            !rule(&tree).is_empty(),
            "nobody complains about {path}: {text}"
        );
    }
}
