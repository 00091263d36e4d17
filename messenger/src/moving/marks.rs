//! What a move writes on either side. Whoever opens a store to serve reads it, and is told where the installation lives.

use std::path::Path;

use sql::{Mark, Uuid};

/// On the target: it is not whole yet.
pub(super) const COPYING: &str = "copying";
/// On the source: the installation lives elsewhere.
pub(super) const MOVED: &str = "moved";

/// The target is not whole yet.
pub(super) fn copying(id: Uuid, home: &Path) -> Mark {
    let why = format!(
        "a move from {} to this database has not come to its end: run the same `messenger move` again",
        home.display()
    );
    mark(id, COPYING, Some(why))
}

/// The target is where the installation lives.
pub(super) fn here(id: Uuid) -> Mark {
    mark(id, "here", None)
}

/// The source is where it lived.
pub(super) fn moved(id: Uuid, home: &Path, to: &str) -> Mark {
    let why = format!(
        "the installation in {} has moved to {to} and lives there: set DATABASE_URL; docs/runbook.md has the way back",
        home.display()
    );
    mark(id, MOVED, Some(why))
}

/// The target is where it lived, before it went back.
pub(super) fn left(id: Uuid, home: &Path) -> Mark {
    let why = format!(
        "this installation went back to {} and lives there: what is here was written before that, and another move needs \
         another database",
        home.display()
    );
    mark(id, "left", Some(why))
}

/// The source is where it lives again.
pub(super) fn back(id: Uuid) -> Mark {
    mark(id, "back", None)
}

fn mark(id: Uuid, word: &str, refusal: Option<String>) -> Mark {
    let word = word.to_owned();
    Mark { id, word, refusal }
}
