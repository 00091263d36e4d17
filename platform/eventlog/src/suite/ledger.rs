//! What a service has in its database: effects, and the position moved with them in one transaction.

use std::collections::HashMap;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::value;
use crate::{Delivered, Partition, Positions};

/// Effects and positions that change together, as one transaction of a service would.
#[derive(Debug, Default)]
pub struct Ledger {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    positions: HashMap<Partition, i64>,
    effects: Vec<String>,
    failures: u32,
}

impl Ledger {
    /// The next `count` questions for a start fail.
    pub fn fail(&self, count: u32) {
        self.state.lock().failures = count;
    }

    /// Sets a position, as an operator or a restored database would.
    pub fn set(&self, partition: &Partition, position: i64) {
        self.state
            .lock()
            .positions
            .insert(partition.clone(), position);
    }

    /// The next offset to read, if a row was ever inserted.
    pub fn position(&self, partition: &Partition) -> Option<i64> {
        self.state.lock().positions.get(partition).copied()
    }

    /// Applies records of one partition and moves the position past them, but only from `expected`, where
    /// the caller believes it to be: `false` when somebody else was faster.
    pub fn apply(&self, records: &[Delivered], expected: i64) -> bool {
        let (Some(first), Some(last)) = (records.first(), records.last()) else {
            return true;
        };
        let mut state = self.state.lock();
        let Some(position) = state.positions.get_mut(&first.partition) else {
            return false;
        };
        if *position != expected || first.offset < expected {
            return false;
        }
        *position = last.offset + 1;
        state.effects.extend(records.iter().map(value));
        true
    }

    /// Everything that ever took effect, in order.
    pub fn effects(&self) -> Vec<String> {
        self.state.lock().effects.clone()
    }
}

#[async_trait]
impl Positions for Ledger {
    async fn start(
        &self,
        partition: &Partition,
        low: i64,
        _high: i64,
    ) -> Result<i64, kit::BoxError> {
        let mut state = self.state.lock();
        if state.failures > 0 {
            state.failures -= 1;
            return Err("the database is away".into());
        }
        Ok(*state.positions.entry(partition.clone()).or_insert(low))
    }
}
