//! The rules.

use std::collections::BTreeSet;

use super::Source;

/// Names that no source holds, written apart so that this one does not either. Each is a word that clippy or a
/// reader could be told to overlook.
const FORBIDDEN: [&str; 5] = [
    concat!("#[", "ignore"),
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
    concat!("db", "g!("),
    concat!("#[", "allow("),
];
/// Where one of them is right, and why.
const FORBIDDEN_BUT: [(&str, &str); 1] = [
    // A small disk has to be mounted first: scripts/small-disk does, and runs it. The ledger does not count it.
    ("e2e/tests/it/trouble.rs", FORBIDDEN[0]),
];
/// A test of a service may stand on the real thing instead of a mock.
const TESTS_BUT: [(&str, &str); 2] = [("auth", "user"), ("notification", "message")];
/// One TLS stack, one calendar. `ring` stands in the lock file as an option of others that nobody switches on.
const BANNED: [&str; 4] = ["openssl", "openssl-sys", "native-tls", "chrono"];
/// The crate that a manifest names, its dependencies, and those of its tests only.
pub(crate) fn manifests(
    tree: &[Source],
) -> impl Iterator<Item = (&str, &str, Vec<&str>, Vec<&str>)> {
    let ours = tree
        .iter()
        .filter(|file| file.path.ends_with("/Cargo.toml") && !file.path.starts_with("tools/"));
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

pub(crate) fn crates<'a>(tree: &'a [Source], below: &str) -> BTreeSet<&'a str> {
    manifests(tree)
        .filter(|(folder, ..)| folder.starts_with(below))
        .map(|(_, name, ..)| name)
        .collect()
}

/// No service knows another, platform crates know the kit, contracts also how gRPC is spoken; only `messenger` knows
/// everybody.
pub(crate) fn dependencies(tree: &[Source]) -> Vec<String> {
    let (services, platform, every) = (
        crates(tree, "services/"),
        crates(tree, "platform/"),
        crates(tree, ""),
    );
    let mut wrong = Vec::new();
    for (folder, name, used, tested) in manifests(tree) {
        let of_tests = tested
            .into_iter()
            .filter(|other| !TESTS_BUT.contains(&(name, other)));
        for other in used
            .into_iter()
            .chain(of_tests)
            .filter(|other| every.contains(other) && *other != name)
        {
            let may = match folder.split('/').next() {
                Some("services") => platform.contains(other) || other == "contracts",
                Some("platform") => other == "kit",
                Some("contracts") => other == "kit" || other == "rpc",
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
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
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
pub(crate) fn rooms(tree: &[Source]) -> Vec<String> {
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
            words(room)
                .iter()
                .filter(move |word| has_word(&code, word))
                .map(|word| format!("{} knows {word}", file.path))
        })
        .collect()
}

/// SQL stands in the store and in nothing else.
pub(crate) fn statements(tree: &[Source]) -> Vec<String> {
    const SQL: [&str; 4] = ["SELECT ", "INSERT INTO ", "DELETE FROM ", "CREATE TABLE "];
    let outside =
        rooms_of(tree).filter(|(_, room)| !room.starts_with("store") && *room != "dialect.rs");
    outside
        .filter(|(file, _)| SQL.iter().any(|word| code(&file.text).contains(word)))
        .map(|(file, _)| format!("{} has SQL, which belongs into store", file.path))
        .collect()
}

fn is_source(file: &Source) -> bool {
    let ours = [".rs", ".ts", ".tsx", ".mjs"]
        .iter()
        .any(|end| file.path.ends_with(end));
    ours && !file.path.starts_with("contracts/src/gen/")
}

/// No file over 500 lines; the kit stays small, its unit tests not counted.
pub(crate) fn sizes(tree: &[Source]) -> Vec<String> {
    let lines = |file: &Source| file.text.lines().count();
    let long = tree
        .iter()
        .filter(|file| is_source(file) && lines(file) > 500);
    let mut wrong: Vec<_> = long
        .map(|file| format!("{} has {} lines, 500 is the limit", file.path, lines(file)))
        .collect();
    let code = |file: &Source| {
        let tests = file.text.find("#[cfg(test)]").unwrap_or(file.text.len());
        file.text[..tests].lines().count()
    };
    let kit: usize = tree
        .iter()
        .filter(|file| file.path.starts_with("platform/kit/src/"))
        .map(code)
        .sum();
    if kit > 2000 {
        wrong.push(format!(
            "platform/kit has {kit} lines without tests, 2000 is the limit"
        ));
    }
    wrong
}

/// Names say what a thing is.
pub(crate) fn names(tree: &[Source]) -> Vec<String> {
    let nothing = |part: &str| {
        matches!(
            part.split('.').next(),
            Some("utils" | "util" | "helpers" | "helper" | "common" | "misc")
        )
    };
    let code = tree.iter().filter(|file| is_source(file));
    code.filter(|file| file.path.split('/').any(nothing))
        .map(|file| format!("{} says nothing by its name", file.path))
        .collect()
}

/// Every crate says what it is for.
pub(crate) fn crate_docs(tree: &[Source]) -> Vec<String> {
    let roots = tree
        .iter()
        .filter(|file| file.path.ends_with("/src/lib.rs") || file.path.ends_with("/src/main.rs"));
    let silent =
        roots.filter(|file| !file.text.starts_with("//!") && !file.text.starts_with("#![doc"));
    silent
        .map(|file| {
            format!(
                "{} does not begin by saying what the crate is for",
                file.path
            )
        })
        .collect()
}

pub(crate) fn forbidden(tree: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in tree
        .iter()
        .filter(|file| is_source(file) && file.path.ends_with(".rs"))
    {
        let code = code(&file.text);
        let found = FORBIDDEN.into_iter().filter(|word| code.contains(word));
        let found = found.filter(|word| !FORBIDDEN_BUT.contains(&(file.path.as_str(), word)));
        wrong.extend(found.map(|word| format!("{} has {word}", file.path)));
    }
    wrong
}

/// Whoever wants to know every metric of a crate reads one file. The few of kit and contracts stand beside what they
/// count; docs/runbook.md lists them.
pub(crate) fn metric_names(tree: &[Source]) -> Vec<String> {
    let is_free = |path: &str| {
        path.ends_with("/metrics.rs")
            || path.starts_with("platform/kit/")
            || path.starts_with("contracts/")
    };
    let elsewhere = tree
        .iter()
        .filter(|file| file.path.ends_with(".rs") && !is_free(&file.path));
    let is_literal = |text: &str, call: &str| {
        text.split(call)
            .skip(1)
            .any(|rest| rest.trim_start().starts_with('"'))
    };
    let calls = ["counter", "gauge", "histogram"].map(|call| format!("{call}!("));
    let named = elsewhere.filter(|file| calls.iter().any(|call| is_literal(&file.text, call)));
    named
        .map(|file| {
            format!(
                "{} names a metric, which belongs into metrics.rs",
                file.path
            )
        })
        .collect()
}

/// What has to have exactly one owner: crates, tables, topics, consumer groups.
fn owned(tree: &[Source]) -> BTreeSet<String> {
    let quoted = |line: &str| line.split('"').nth(1).map(str::to_owned);
    let mut owned: BTreeSet<_> = manifests(tree)
        .map(|(_, name, ..)| name.to_owned())
        .collect();
    for file in tree {
        let service = file.path.split('/').nth(1).unwrap_or_default();
        for line in file.text.lines() {
            if file.path.contains("/migrations/")
                && let Some(table) = line.strip_prefix("CREATE TABLE ")
            {
                owned.insert(format!(
                    "{service}.{}",
                    table.split([' ', '(']).next().unwrap()
                ));
            }
            let is_topic = file.path == "contracts/src/events.rs" && line.contains(".to_owned()");
            let is_group = file.path.starts_with("services/")
                && line.contains("const ")
                && line.contains("GROUP: &str");
            if is_topic || is_group {
                owned.extend(quoted(line));
            }
        }
    }
    owned
}

pub(crate) fn architecture(tree: &[Source]) -> Vec<String> {
    let text = tree
        .iter()
        .find(|file| file.path == "ARCHITECTURE.md")
        .map_or("", |file| &file.text);
    let section = |title: &str| {
        text.split("\n## ")
            .find(|section| section.starts_with(title))
            .unwrap_or_default()
    };
    let rows = section("Owners").lines().chain(section("Code map").lines());
    let first_cells: Vec<_> = rows
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    let is_crate = crates(tree, "");
    let times = |name: &str| first_cells.iter().filter(|cell| **cell == name).count();
    // A group may carry the name of its crate: then it stands in two lists.
    let wrong = owned(tree).into_iter().filter(|name| {
        times(name) == 0 || times(name) > 1 + usize::from(is_crate.contains(&**name))
    });
    wrong
        .map(|name| format!("ARCHITECTURE.md lists `{name}` {} times", times(&name)))
        .collect()
}

/// Both engines have the same steps, and each step leads back.
pub(crate) fn migrations(tree: &[Source]) -> Vec<String> {
    let steps: BTreeSet<_> = tree
        .iter()
        .filter(|file| file.path.contains("/migrations/"))
        .map(|file| file.path.as_str())
        .collect();
    let twins = |path: &str| {
        let (from, to) = if path.contains("/sqlite/") {
            ("/sqlite/", "/postgres/")
        } else {
            ("/postgres/", "/sqlite/")
        };
        let (way, back) = if path.ends_with(".up.sql") {
            (".up.sql", ".down.sql")
        } else {
            (".down.sql", ".up.sql")
        };
        [path.replace(from, to), path.replace(way, back)]
    };
    let missing = steps
        .iter()
        .flat_map(|path| twins(path))
        .filter(|twin| !steps.contains(twin.as_str()));
    missing.map(|twin| format!("{twin} is missing")).collect()
}

pub(crate) fn bans(tree: &[Source]) -> Vec<String> {
    let lock = tree
        .iter()
        .find(|file| file.path == "Cargo.lock")
        .map_or("", |file| &file.text);
    let used = manifests(tree).flat_map(|(folder, _, used, tested)| {
        used.into_iter()
            .chain(tested)
            .map(move |name| (folder, name))
    });
    let mut wrong: Vec<_> = used
        .filter(|(_, name)| *name == "ring")
        .map(|(folder, _)| format!("{folder} uses ring"))
        .collect();
    let banned = BANNED
        .iter()
        .filter(|name| lock.contains(&format!("name = \"{name}\"")));
    wrong.extend(banned.map(|name| format!("Cargo.lock has {name}")));
    wrong
}

/// What looks like a key or a token of somebody.
pub(crate) fn secrets(tree: &[Source]) -> Vec<String> {
    const BEGINNINGS: [(&str, usize); 8] = [
        ("AKIA", 16),
        ("ghp_", 30),
        ("github_pat_", 30),
        ("glpat-", 20),
        ("sk-", 32),
        ("xoxb-", 20),
        ("AIza", 30),
        ("npm_", 30),
    ];
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let is_token = |text: &str, (beginning, least): (&str, usize)| {
        text.match_indices(beginning).any(|(at, _)| {
            let rest = &text[at + beginning.len()..];
            !text[..at].ends_with(is_part)
                && rest.find(|c| !is_part(c)).unwrap_or(rest.len()) >= least
        })
    };
    let found = tree.iter().filter(|file| {
        file.text.contains(concat!("PRIVATE ", "KEY-----"))
            || BEGINNINGS
                .into_iter()
                .any(|kind| is_token(&file.text, kind))
    });
    found
        .map(|file| format!("{} holds what looks like a secret", file.path))
        .collect()
}

/// What docs/runbook.md tells people to look at exists: every name in backticks with an underscore in it is a metric or a
/// word that the code has in quotes.
pub(crate) fn runbook(tree: &[Source]) -> Vec<String> {
    let Some(runbook) = tree.iter().find(|file| file.path == "docs/runbook.md") else {
        return Vec::new();
    };
    let is_name = |text: &str| {
        text.contains('_')
            && text
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let named = runbook.text.split('`').skip(1).step_by(2);
    let unknown = named.filter(|name| is_name(name)).filter(|name| {
        let quoted = format!("\"{name}\"");
        let mut code = tree.iter().filter(|file| file.path.ends_with(".rs"));
        !code.any(|file| file.text.contains(&quoted))
    });
    unknown
        .map(|name| format!("docs/runbook.md speaks of `{name}`, which nothing is called"))
        .collect()
}

/// The first page says the same in both languages: as many sections, the same commands, the same tables.
pub(crate) fn readmes(tree: &[Source]) -> Vec<String> {
    let shape = |path: &str| {
        let text = tree
            .iter()
            .find(|file| file.path == path)
            .map_or("", |file| &file.text);
        let (mut sections, mut rows, mut commands, mut is_code) = (0, 0, Vec::new(), false);
        for line in text.lines() {
            is_code ^= line.starts_with("```");
            sections += usize::from(line.starts_with("## "));
            rows += usize::from(line.starts_with('|'));
            // What a comment says is in the reader's language.
            if is_code {
                commands.push(
                    line.split(" #")
                        .next()
                        .unwrap_or_default()
                        .trim_end()
                        .to_owned(),
                );
            }
        }
        (sections, rows, commands)
    };
    let is_same = shape("README.md") == shape("README.ru.md");
    let wrong = (!is_same).then(|| "README.md and README.ru.md differ in shape".to_owned());
    wrong.into_iter().collect()
}
