//! `messenger move`: an embedded installation goes to PostgreSQL, whole, and lives there from then on.
//!
//! At no moment can both be started. The target is marked as unfinished before its first row and refuses to serve; when
//! everything was compared, the source is marked as moved and refuses; only then the target is opened. Whatever ends the move
//! in between, the same command goes on: before the source is marked it copies anew, afterwards it only opens the target.
//! Clients come back with positions of an epoch that is over, and read what they need anew.
//!
//! Start reading at [`run`]. `drain` brings to an end what is on its way, `stores` reads and writes the marks.

mod drain;
mod screen;
mod stores;

use std::{path::Path, time::Instant};

use anyhow::{Context as _, bail, ensure};
use kit::{Ids as _, RandomIds, SystemClock};
use sql::{
    Db, Engine, Mark,
    transfer::{self, Table},
};

pub(crate) use screen::Screen;
use stores::{BACK, COPYING, HERE, LEFT, MOVED, Stores};

use crate::{Config, Service, topology::without_password, wiring};

/// What is wrong with a move from these settings to `to`, before anything is opened: one line for each trouble.
pub(crate) fn check(config: &Config, to: &str) -> Vec<String> {
    let mut troubles = Vec::new();
    let elsewhere = [
        ("sql", &config.sql, "sqlite:", "DATABASE_URL"),
        ("log", &config.log, "embedded:", "KAFKA_BROKERS"),
    ];
    for (setting, url, scheme, variable) in elsewhere {
        if !url.starts_with(scheme) {
            troubles.push(format!(
                "{setting} = \"{}\" is a server: a move begins at an embedded installation, with its settings, so without \
                 {variable}",
                without_password(url)
            ));
        }
    }
    match Engine::of(to) {
        Ok(Engine::Postgres) => {
            troubles.extend(sql::check(to).err().map(|error| format!("--to: {error}")));
        }
        _ => troubles.push("--to must be postgres://USER@HOST/DATABASE".to_owned()),
    }
    troubles
}

/// Moves the installation to the database at `to`, or completes a move that ended early.
///
/// # Errors
/// What stands in the way, in one line for the operator. The source is as it was, unless the last line said that it has moved.
pub(crate) async fn run(config: &Config, to: &str, screen: &mut Screen) -> anyhow::Result<()> {
    let shown = without_password(to);
    let source = Stores::open_source(config).await?;
    let target = Stores::open(to, config).await?;
    let _claim = claim(&target).await.with_context(|| shown.clone())?;
    let mark = if let Some(mark) = source.gone().await? {
        // Everything was compared before; the target may still be closed.
        ensure!(is_at(&target, &mark).await?, "{}", refusal(&mark));
        source.mark(&mark).await?;
        source.close().await;
        mark
    } else {
        let begun = target.vacant().await.with_context(|| shown.clone())?;
        source.migrate().await?;
        check_secret(config, &source).await?;
        source.close().await;
        let still = drain::still(config, screen).await?;
        let mark = copied(config, &still.stores, &target, &begun, &shown, screen).await?;
        kit::failpoint!("move.compared");
        still.stores.mark(&mark).await?;
        still.close().await;
        mark
    };
    kit::failpoint!("move.closed");
    let (id, word) = (mark.id, HERE.to_owned());
    let refusal = None;
    target.mark(&Mark { id, word, refusal }).await?;
    target.close().await;
    screen.say(&format!(
        "moved to {shown}; {} stays as it is and does not start any more (docs/runbook.md has the way back)",
        config.data.display()
    ));
    screen.say(&how_to_start(config, &shown));
    Ok(())
}

/// Lets the source start again instead, and the target not. What was written there since stays there.
///
/// # Errors
/// As [`run`].
pub(crate) async fn back(config: &Config, to: &str, screen: &mut Screen) -> anyhow::Result<()> {
    let shown = without_password(to);
    let source = Stores::open_source(config).await?;
    let gone = source.gone().await?;
    let gone = gone.context("this installation has not moved: it can be started as it is")?;
    let target = Stores::open(to, config).await?;
    let _claim = claim(&target).await.with_context(|| shown.clone())?;
    let id = gone.id;
    if is_at(&target, &gone).await? {
        let why = format!(
            "this installation went back to {} and lives there: what is here was written before that, and another move needs \
             another database",
            place(&config.data)
        );
        let (word, refusal) = (LEFT.to_owned(), Some(why));
        target.mark(&Mark { id, word, refusal }).await?;
    } else {
        // The database is lost, or this is another one: only where nobody is, nobody can be left behind.
        target.vacant().await.with_context(|| refusal(&gone))?;
    }
    target.close().await;
    let aside = set_log_aside(config).await?;
    let (word, refusal) = (BACK.to_owned(), None);
    source.mark(&Mark { id, word, refusal }).await?;
    source.close().await;
    screen.say(&format!(
        "the log of the time since the move is {aside} now"
    ));
    screen.say(&format!(
        "{} can be started again, as it was when it moved; {shown} cannot",
        config.data.display()
    ));
    Ok(())
}

/// Asks the server for the first time, and keeps every other move out.
async fn claim(target: &Stores) -> anyhow::Result<transfer::Claim> {
    Ok(transfer::claim(target.of(Service::User)?).await?)
}

/// Whether this is where the installation went.
async fn is_at(target: &Stores, gone: &Mark) -> Result<bool, sql::Error> {
    Ok(target.marks().await?.iter().any(|mark| mark.id == gone.id))
}

fn refusal(mark: &Mark) -> String {
    mark.refusal.clone().unwrap_or_default()
}

/// A secret that does not open the signing key would only show when the installation has moved.
async fn check_secret(config: &Config, source: &Stores) -> anyhow::Result<()> {
    let (file, db) = (wiring::key_file(config), source.of(Service::Auth)?);
    Ok(auth::check_secret(&config.auth, Some(&file), db, &SystemClock).await?)
}

/// Copies everything and compares it; gives what is to be written on the source.
async fn copied(
    config: &Config,
    source: &Stores,
    target: &Stores,
    begun: &[Service],
    shown: &str,
    screen: &mut Screen,
) -> anyhow::Result<Mark> {
    let id = RandomIds.next();
    let data = place(&config.data);
    target.migrate().await?;
    let why = format!(
        "a move from {data} to this database has not come to its end: run the same `messenger move` again"
    );
    let (word, refusal) = (COPYING.to_owned(), Some(why));
    target.mark(&Mark { id, word, refusal }).await?;

    let plan = Plan::make(source, target, begun).await?;
    let started = Instant::now();
    plan.copy(screen).await?;
    plan.compare(screen).await?;
    message::begin_anew(target.of(Service::Message)?, &RandomIds).await?;
    screen.say(&format!(
        "{} rows, the same on both sides, in {:.1} s",
        plan.rows,
        started.elapsed().as_secs_f64()
    ));
    let why = format!(
        "the installation in {data} has moved to {shown} and lives there: set DATABASE_URL; docs/runbook.md has the way back"
    );
    let (word, refusal) = (MOVED.to_owned(), Some(why));
    Ok(Mark { id, word, refusal })
}

/// What there is to copy.
struct Plan<'a> {
    parts: Vec<Part<'a>>,
    rows: u64,
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
    async fn make(
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

    async fn copy(&self, screen: &mut Screen) -> anyhow::Result<()> {
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
    async fn compare(&self, screen: &mut Screen) -> anyhow::Result<()> {
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

/// A folder as it can be found from anywhere.
fn place(folder: &Path) -> String {
    let whole = folder.canonicalize();
    whole.as_deref().unwrap_or(folder).display().to_string()
}

/// What has to be set, as a command.
fn how_to_start(config: &Config, shown: &str) -> String {
    let start =
        |secret: &str| format!("to start it there: DATABASE_URL={shown} {secret}messenger run");
    if config.auth.secret.is_some() {
        start("") + ", with auth.secret as it was"
    } else {
        let file = place(&wiring::key_file(config));
        start(&format!("MESSENGER_AUTH__SECRET=\"$(cat '{file}')\" "))
    }
}

/// What came since the move means nothing to the tables from before it. They miss nothing either: when they moved, everything
/// in the log had been read.
async fn set_log_aside(config: &Config) -> anyhow::Result<String> {
    let node = kit::Node::new();
    // Nobody uses it.
    wiring::open_log(&node, config).await?.close().await;
    let Some(file) = eventlog::check(&config.log, &config.eventlog)? else {
        bail!("the log is no file");
    };
    let aside = format!("{}.{}", file.display(), RandomIds.next());
    std::fs::rename(&file, &aside).with_context(|| file.display().to_string())?;
    Ok(aside)
}
