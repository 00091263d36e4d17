//! Named points at which a test makes the process abort, as a power cut or `kill -9` would, or one call panic.
//!
//! Without the cargo feature `failpoints` a point costs nothing and cannot be armed.

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    };

    static POINT: OnceLock<(String, AtomicU64, bool)> = OnceLock::new();

    /// Arms one point for the life of the process: `name:n` aborts at its n-th passing, counted from 1; `name!n` panics.
    ///
    /// # Errors
    /// The text when it is not of that form, or a point is armed already.
    pub fn arm(spec: &str) -> Result<(), String> {
        let parsed = spec
            .rsplit_once([':', '!'])
            .and_then(|(name, n)| Some((name.to_owned(), n.parse::<u64>().ok()?)));
        let Some((name, n)) = parsed.filter(|(_, n)| *n > 0) else {
            return Err(format!(
                "`{spec}` is not a fail-point such as message.commit.after:3"
            ));
        };
        POINT
            .set((name, AtomicU64::new(n), spec.contains('!')))
            .map_err(|_| "a fail-point is armed already".to_owned())
    }

    /// Passes a point.
    ///
    /// # Panics
    /// Where a test has armed it so.
    pub fn pass(name: &str) {
        let Some((armed, left, panics)) = POINT.get() else {
            return;
        };
        if armed == name && left.fetch_sub(1, Ordering::SeqCst) == 1 {
            assert!(!panics, "the fail-point {name} was hit");
            std::process::abort();
        }
    }
}

#[cfg(feature = "failpoints")]
pub use armed::{arm, pass};

/// Passes a point; nothing without the feature.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub fn pass(_name: &str) {}

/// Marks a point at which a test may make the process abort, or panic.
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {
        $crate::failpoint::pass($name)
    };
}
