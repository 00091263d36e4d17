//! The metrics of a store: connections, time per kind of work, errors by class.

use std::time::{Duration, Instant};

use metrics::{
    Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

use crate::Error;

const IN_USE: &str = "sql_connections_in_use";
const OPEN: &str = "sql_connections_open";
const ACQUIRE: &str = "sql_acquire_seconds";
const STATEMENT: &str = "sql_statement_seconds";
const ERRORS: &str = "sql_errors_total";

/// A statement that takes longer is worth a line in the log.
const SLOW: Duration = Duration::from_secs(1);

/// What a piece of work is, as a label.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Read,
    Write,
    Commit,
}

/// The handles of one service's store.
#[derive(Debug)]
pub(crate) struct Meters {
    service: String,
    in_use: Gauge,
    open: Gauge,
    acquire: Histogram,
    read: Histogram,
    write: Histogram,
    commit: Histogram,
}

impl Meters {
    pub(crate) fn new(service: &str) -> Self {
        // The handles below stay with the registry that exists when they are made.
        kit::telemetry::metrics();
        describe_gauge!(
            IN_USE,
            "Connections to the database that a transaction or statement holds"
        );
        describe_gauge!(OPEN, "Connections to the database that exist");
        describe_histogram!(
            ACQUIRE,
            Unit::Seconds,
            "Wait for a connection and the begin of a transaction"
        );
        describe_histogram!(
            STATEMENT,
            Unit::Seconds,
            "Time of a statement or a commit, by kind"
        );
        describe_counter!(ERRORS, "Errors of the database, by class");
        let label = service.to_owned();
        let statement =
            |kind: &'static str| histogram!(STATEMENT, "service" => label.clone(), "kind" => kind);
        Self {
            service: label.clone(),
            in_use: gauge!(IN_USE, "service" => label.clone()),
            open: gauge!(OPEN, "service" => label.clone()),
            acquire: histogram!(ACQUIRE, "service" => label.clone()),
            read: statement("read"),
            write: statement("write"),
            commit: statement("commit"),
        }
    }

    /// Counts a connection as used until the answer is dropped.
    pub(crate) fn acquired(&self, started: Instant, open: u32) -> InUse {
        self.acquire.record(started.elapsed());
        self.open.set(f64::from(open));
        self.in_use.increment(1);
        InUse(self.in_use.clone())
    }

    pub(crate) fn ran(&self, kind: Kind, started: Instant, sql: &str) {
        let took = started.elapsed();
        let histogram = match kind {
            Kind::Read => &self.read,
            Kind::Write => &self.write,
            Kind::Commit => &self.commit,
        };
        histogram.record(took);
        if took > SLOW {
            let sql: String = sql.chars().take(200).collect();
            tracing::warn!(
                service = self.service,
                seconds = took.as_secs_f64(),
                sql,
                "slow statement"
            );
        }
    }

    pub(crate) fn failed(&self, error: &Error) {
        counter!(ERRORS, "service" => self.service.clone(), "class" => error.class()).increment(1);
    }
}

/// A connection that is in use.
pub(crate) struct InUse(Gauge);

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}
