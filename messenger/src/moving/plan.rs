//! What there is to copy, table by table: counted, copied, and read again on both sides.

use anyhow::{Context as _, ensure};
use sql::{
    Db,
    transfer::{self, Table},
};

use super::{screen::Screen, stores::Stores};
use crate::Service;

/// What there is to copy.
pub(super) struct Plan<'a> {
    parts: Vec<Part<'a>>,
    /// All of them together.
    pub(super) rows: u64,
}

struct Part<'a> {
    /// `service.table`.
    name: String,
    table: Table,
    from: &'a Db,
    to: &'a Db,
    rows: u64,
}

impl<'a> Plan<'a> {
    /// Counts; empties what an earlier move has begun to fill.
    pub(super) async fn make(
        source: &'a Stores,
        target: &'a Stores,
        begun: &[Service],
    ) -> anyhow::Result<Self> {
        let mut parts = Vec::new();
        for (service, from) in source.each() {
            let to = target.of(service)?;
            let tables = transfer::tables(from, to).await?;
            if begun.contains(&service) {
                transfer::clear(to, &tables).await?;
            }
            for table in tables {
                let rows = transfer::rows(from, table.name()).await?;
                let name = format!("{service}.{}", table.name());
                parts.push(Part {
                    name,
                    table,
                    from,
                    to,
                    rows,
                });
            }
        }
        let rows = parts.iter().map(|part| part.rows).sum();
        Ok(Self { parts, rows })
    }

    pub(super) async fn copy(&self, screen: &mut Screen) -> anyhow::Result<()> {
        let mut work = screen.work("copying", self.rows);
        for Part {
            name,
            table,
            from,
            to,
            ..
        } in &self.parts
        {
            let copied = transfer::copy(from, to, table, &mut |rows| work.at(name, rows)).await;
            work.done(name, copied.with_context(|| name.clone())?, "");
            kit::failpoint!("move.table");
        }
        Ok(())
    }

    /// Reads everything again, on both sides at once.
    pub(super) async fn compare(&self, screen: &mut Screen) -> anyhow::Result<()> {
        let mut work = screen.work("comparing", self.rows);
        for Part {
            name,
            table,
            from,
            to,
            rows,
        } in &self.parts
        {
            let (mut told, mut silent) = (|rows| work.at(name, rows), |_| ());
            let both = tokio::try_join!(
                transfer::digest(from, table, &mut told),
                transfer::digest(to, table, &mut silent)
            );
            let (there, here) = both.with_context(|| name.clone())?;
            ensure!(
                there == here && there.rows == *rows,
                "{name} is not the same on both sides: {} of {rows} rows there, {} here; the source is as it was",
                there.rows,
                here.rows
            );
            work.done(name, here.rows, &format!(", sum {:032x}", here.sum));
        }
        Ok(())
    }
}
