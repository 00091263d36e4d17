//! The log of this process as it would stand on standard output.

use std::{
    io::{Result, Write},
    sync::Once,
};

use parking_lot::Mutex;
use serde_json::Value;
use tracing_subscriber::{fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

static LINES: Mutex<Vec<Value>> = Mutex::new(Vec::new());

/// Takes one line at a time.
struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> Result<usize> {
        LINES.lock().push(serde_json::from_slice(line)?);
        Ok(line.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

/// From now on the log is kept.
pub(crate) fn keep() {
    static START: Once = Once::new();
    START.call_once(|| {
        let lines = fmt::layer().json().flatten_event(true);
        let filter = tracing_subscriber::filter::LevelFilter::INFO;
        tracing_subscriber::registry()
            .with(filter)
            .with(lines.with_writer(|| Lines))
            .init();
    });
}

/// The lines so far in which `key` has this value.
pub(crate) fn with(key: &str, value: &str) -> Vec<Value> {
    let lines = LINES.lock();
    let found = lines.iter().filter(|line| line[key] == value);
    found.cloned().collect()
}
