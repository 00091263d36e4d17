//! Budgets, positions in the log, and the outbox.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use contracts::UserId;
use eventlog::Partition;
use sql::{Row, Tx, args};

use super::{Error, Store, limit};

const DAY_MS: i64 = 86_400_000;

/// A record that leaves with a transaction.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) topic: String,
    pub(crate) key: Bytes,
    pub(crate) payload: Bytes,
}

/// A record that was committed and is not known to be safe in the log.
#[derive(Clone, Debug)]
pub(crate) struct Unpublished {
    pub(crate) n: i64,
    pub(crate) outgoing: Outgoing,
}

/// What an owner used up today.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    pub(crate) calls: i64,
    pub(crate) tokens: i64,
}

impl Store {
    /// Guard 7: takes one call out of the owner's day; `false` when calls or tokens are used up.
    pub(crate) async fn reserve(
        &self,
        tx: &mut Tx,
        owner: UserId,
        now_ms: i64,
        most: Spent,
    ) -> Result<bool, Error> {
        let day = now_ms.div_euclid(DAY_MS);
        tx.execute(
            "INSERT INTO budget (owner, day, calls, tokens) VALUES ($1, $2, 0, 0) ON CONFLICT (owner, day) DO NOTHING",
            args![owner.0, day],
        )
        .await?;
        let taken = tx
            .execute(
                "UPDATE budget SET calls = calls + 1 WHERE owner = $1 AND day = $2 AND calls < $3 AND tokens < $4",
                args![owner.0, day, most.calls, most.tokens],
            )
            .await?;
        Ok(taken == 1)
    }

    /// Adds what a call cost.
    pub(crate) async fn settle(
        &self,
        tx: &mut Tx,
        owner: UserId,
        now_ms: i64,
        tokens: i64,
    ) -> Result<(), Error> {
        tx.execute(
            "INSERT INTO budget (owner, day, calls, tokens) VALUES ($1, $2, 0, $3)
             ON CONFLICT (owner, day) DO UPDATE SET tokens = budget.tokens + excluded.tokens",
            args![owner.0, now_ms.div_euclid(DAY_MS), tokens],
        )
        .await?;
        Ok(())
    }

    /// Removes what was used up on days before that of `before_ms`.
    pub(crate) async fn remove_days(&self, before_ms: i64) -> Result<(), Error> {
        let mut tx = self.db.write_tx().await?;
        tx.execute(
            "DELETE FROM budget WHERE day < $1",
            args![before_ms.div_euclid(DAY_MS)],
        )
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// What the owner used up today.
    pub(crate) async fn spent(&self, owner: UserId, now_ms: i64) -> Result<Spent, Error> {
        let row = self
            .db
            .fetch_optional(
                "SELECT calls, tokens FROM budget WHERE owner = $1 AND day = $2",
                args![owner.0, now_ms.div_euclid(DAY_MS)],
            )
            .await?;
        row.map_or(Ok(Spent::default()), |row| {
            Ok(Spent {
                calls: row.get("calls")?,
                tokens: row.get("tokens")?,
            })
        })
    }

    /// Moves a position on, if it is where the consumer believes; else this consumer is not the owner any more.
    pub(crate) async fn advance(
        &self,
        tx: &mut Tx,
        at: &Partition,
        from: i64,
        to: i64,
    ) -> Result<(), Error> {
        let moved = tx
            .execute(
                "UPDATE position SET next_offset = $4 WHERE topic_id = $1 AND part = $2 AND next_offset = $3",
                args![at.topic_id, i64::from(at.number), from, to],
            )
            .await?;
        if moved == 1 {
            Ok(())
        } else {
            Err(Error::Fenced)
        }
    }

    /// Where a partition stands; inserts `low` for one that nobody read yet.
    pub(crate) async fn position(&self, at: &Partition, low: i64) -> Result<i64, Error> {
        let mut tx = self.db.write_tx().await?;
        tx.execute(
            "INSERT INTO position (topic_id, part, next_offset) VALUES ($1, $2, $3)
             ON CONFLICT (topic_id, part) DO NOTHING",
            args![at.topic_id, i64::from(at.number), low],
        )
        .await?;
        let row = tx
            .fetch_optional(
                "SELECT next_offset FROM position WHERE topic_id = $1 AND part = $2",
                args![at.topic_id, i64::from(at.number)],
            )
            .await?;
        let next = row.map_or(Ok(low), |row| row.get("next_offset"))?;
        tx.commit().await?;
        Ok(next)
    }

    /// Puts a record into the outbox; it is published after the commit, in the order of these calls.
    pub(crate) async fn post(
        &self,
        tx: &mut Tx,
        worker: &str,
        now_ms: i64,
        out: Outgoing,
    ) -> Result<(), Error> {
        tx.execute(
            "INSERT INTO outbox (worker, created_ms, topic, key, payload) VALUES ($1, $2, $3, $4, $5)",
            args![worker, now_ms, out.topic, out.key.as_ref(), out.payload.as_ref()],
        )
        .await?;
        Ok(())
    }

    /// The next rows that `worker` committed, or anybody before `before_ms`.
    pub(crate) async fn unpublished(
        &self,
        worker: &str,
        before_ms: i64,
        count: usize,
    ) -> Result<Vec<Unpublished>, Error> {
        let rows = self
            .db
            .fetch_all(
                "SELECT n, topic, key, payload FROM outbox WHERE worker = $1 OR created_ms < $2 ORDER BY n LIMIT $3",
                args![worker, before_ms, limit(count)],
            )
            .await?;
        rows.iter().map(unpublished).collect()
    }

    /// Removes rows that the log has flushed.
    pub(crate) async fn remove_published(&self, rows: &[i64]) -> Result<(), Error> {
        let mut tx = self.db.write_tx().await?;
        let rows = rows.iter().map(|n| args![*n]).collect();
        tx.fetch_list("DELETE FROM outbox WHERE n IN ({list})", args![], 1, rows)
            .await?;
        tx.commit().await?;
        Ok(())
    }
}

fn unpublished(row: &Row) -> Result<Unpublished, Error> {
    let outgoing = Outgoing {
        topic: row.get("topic")?,
        key: row.get::<Vec<u8>>("key")?.into(),
        payload: row.get::<Vec<u8>>("payload")?.into(),
    };
    Ok(Unpublished {
        n: row.get("n")?,
        outgoing,
    })
}

struct StoredPositions(Store);

#[async_trait]
impl eventlog::Positions for StoredPositions {
    async fn start(
        &self,
        partition: &Partition,
        low: i64,
        _high: i64,
    ) -> Result<i64, kit::BoxError> {
        Ok(self.0.position(partition, low).await?)
    }
}

/// How consumers find their place: each topic is read by one group of this service only.
pub(crate) fn positions(store: &Store) -> Arc<dyn eventlog::Positions> {
    Arc::new(StoredPositions(store.clone()))
}
