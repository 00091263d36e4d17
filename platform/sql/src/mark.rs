//! What is written on a store about the store itself: where it came from or went to, and whether it may be used.
//!
//! Whoever moves a store to another engine writes marks and reads them; a process that serves only asks
//! [`Db::check_usable`] once, before it begins.

use uuid::Uuid;

use crate::{Args, Db, Error, args, migrate::has_table};

const CREATE: &str = "CREATE TABLE IF NOT EXISTS store_mark (
    only_row BIGINT NOT NULL PRIMARY KEY,
    id TEXT NOT NULL,
    word TEXT NOT NULL,
    refusal TEXT)";

/// The mark of a store. A store has one, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Who made it: stores with the same one belong together.
    pub id: Uuid,
    /// What it means, a word of whoever wrote it.
    pub word: String,
    /// Why nobody may use the store, for the person who tries; `None` lets everybody.
    pub refusal: Option<String>,
}

impl Db {
    /// What is written on this store. It need not be migrated for that.
    pub async fn mark(&self) -> Result<Option<Mark>, Error> {
        if !has_table(self, "store_mark").await? {
            return Ok(None);
        }
        let sql = "SELECT id, word, refusal FROM store_mark";
        let Some(row) = self.fetch_optional(sql, Args::none()).await? else {
            return Ok(None);
        };
        let id: String = row.get("id")?;
        Ok(Some(Mark {
            id: Uuid::parse_str(&id).map_err(|error| Error::Corrupt(error.into()))?,
            word: row.get("word")?,
            refusal: row.get("refusal")?,
        }))
    }

    /// Writes a mark, or another one over it. The store is migrated.
    pub async fn set_mark(&self, mark: &Mark) -> Result<(), Error> {
        let mut tx = self.write_tx().await?;
        tx.execute(CREATE, Args::none()).await?;
        tx.execute(
            "INSERT INTO store_mark (only_row, id, word, refusal) VALUES (1, $1, $2, $3)
             ON CONFLICT (only_row) DO UPDATE SET id = excluded.id, word = excluded.word, refusal = excluded.refusal",
            args![mark.id.to_string(), &mark.word, mark.refusal.clone()],
        )
        .await?;
        tx.commit().await
    }

    /// Refuses a store whose mark says that nobody may use it.
    ///
    /// # Errors
    /// [`Error::Refused`] with the words of the mark.
    pub async fn check_usable(&self) -> Result<(), Error> {
        let refusal = self.mark().await?.and_then(|mark| mark.refusal);
        refusal.map_or(Ok(()), |why| Err(Error::Refused(why)))
    }
}
