//! `messenger move`: an embedded installation goes to PostgreSQL, whole, and lives there from then on.
//!
//! At no moment can both be started. The target is marked as unfinished before its first row and refuses to serve; when
//! everything was compared, the source is marked as moved and refuses; only then the target is opened. Whatever ends the move
//! in between, the same command goes on: before the source is marked it copies anew, afterwards it only opens the target.
//! Clients come back with positions of an epoch that is over, and read what they need anew.
//!
//! Start reading at [`run`]. `marks` has what is written on either side, `drain` brings to an end what is on its way, `plan` copies and
//! compares.

mod drain;
mod marks;
mod plan;
mod screen;
mod stores;

use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use kit::{Ids as _, RandomIds, SystemClock};
use sql::{Engine, Mark, transfer};

use plan::Plan;
pub(crate) use screen::Screen;
use stores::{Stores, home};

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
    let mut claim = claim(&target).await.with_context(|| shown.clone())?;
    let id = if let Some(gone) = source.gone().await? {
        // Everything was compared before; the target may still be closed.
        ensure!(is_at(&target, &gone).await?, "{}", refusal(gone));
        source.mark(&gone).await?;
        source.close().await;
        gone.id
    } else {
        alone(&mut claim).await.with_context(|| shown.clone())?;
        let begun = target.vacant().await.with_context(|| shown.clone())?;
        if !begun.is_empty() {
            screen
                .say("an earlier move did not come to its end: what it has copied is copied anew");
        }
        source.migrate().await?;
        check_secret(config, &source).await?;
        source.close().await;
        let (id, home) = (RandomIds.next(), home(config)?);
        let still = drain::still(config, screen).await?;
        target.migrate().await?;
        target.mark(&marks::copying(id, &home)).await?;
        fill(&still.stores, &target, &begun, screen).await?;
        kit::failpoint!("move.compared");
        still.stores.mark(&marks::moved(id, &home, &shown)).await?;
        still.close().await;
        id
    };
    kit::failpoint!("move.closed");
    target.mark(&marks::here(id)).await?;
    target.close().await;
    screen.say(&format!(
        "moved to {shown}; {} stays as it is and does not start any more (docs/runbook.md has the way back)",
        home(config)?.display()
    ));
    screen.say(&how_to_start(config, to));
    Ok(())
}

/// Lets the source start again instead, and the target not. What was written there since stays there.
///
/// # Errors
/// As [`run`].
pub(crate) async fn back(config: &Config, to: &str, screen: &mut Screen) -> anyhow::Result<()> {
    let (shown, home) = (without_password(to), home(config)?);
    let source = Stores::open_source(config).await?;
    let gone = source.gone().await?;
    let gone = gone.context("this installation has not moved: it can be started as it is")?;
    let target = Stores::open(to, config).await?;
    let mut claim = claim(&target).await.with_context(|| shown.clone())?;
    alone(&mut claim).await.with_context(|| shown.clone())?;
    let id = gone.id;
    if is_at(&target, &gone).await? {
        target.mark(&marks::left(id, &home)).await?;
    } else {
        // The database is lost, or this is another one: only where nobody is, nobody can be left behind.
        target.vacant().await.with_context(|| refusal(gone))?;
    }
    target.close().await;
    let aside = set_log_aside(config).await?;
    source.mark(&marks::back(id)).await?;
    source.close().await;
    screen.say(&format!(
        "the log of the time since the move is {aside} now"
    ));
    screen.say(&format!(
        "{} can be started again, as it was when it moved; {shown} cannot",
        home.display()
    ));
    Ok(())
}

/// Asks the server for the first time, and keeps every other move out.
async fn claim(target: &Stores) -> anyhow::Result<transfer::Claim> {
    Ok(transfer::claim(target.of(Service::User)?).await?)
}

/// Refuses a target on which somebody works.
async fn alone(claim: &mut transfer::Claim) -> anyhow::Result<()> {
    let others = claim.others().await?;
    ensure!(
        others == 0,
        "a messenger is running there, with {others} sessions: stop it first"
    );
    Ok(())
}

/// Copies everything into the target and compares it.
async fn fill(
    source: &Stores,
    target: &Stores,
    begun: &[Service],
    screen: &mut Screen,
) -> anyhow::Result<()> {
    let started = Instant::now();
    let plan = Plan::make(source, target, begun).await?;
    plan.copy(screen).await?;
    plan.compare(screen).await?;
    message::begin_anew(target.of(Service::Message)?, &RandomIds).await?;
    let (rows, took) = (plan.rows, started.elapsed().as_secs_f64());
    screen.say(&format!(
        "{rows} rows, the same on both sides, in {took:.1} s"
    ));
    Ok(())
}

/// Whether this is where the installation went.
async fn is_at(target: &Stores, gone: &Mark) -> Result<bool, sql::Error> {
    Ok(target.marks().await?.iter().any(|mark| mark.id == gone.id))
}

fn refusal(gone: Mark) -> String {
    gone.refusal.unwrap_or_default()
}

/// A secret that does not open the signing key would only show when the installation has moved.
async fn check_secret(config: &Config, source: &Stores) -> anyhow::Result<()> {
    let (file, db) = (wiring::key_file(config), source.of(Service::Auth)?);
    Ok(auth::check_secret(&config.auth, Some(&file), db, &SystemClock).await?)
}

/// What has to be set, as a command.
fn how_to_start(config: &Config, to: &str) -> String {
    let shown = without_password(to);
    let start =
        |secret: &str| format!("to start it there: DATABASE_URL={shown} {secret}messenger run");
    let mut line = if config.auth.secret.is_some() {
        start("") + ", with auth.secret as it was"
    } else {
        let file = wiring::key_file(config);
        let file = file.canonicalize().unwrap_or(file);
        start(&format!(
            "MESSENGER_AUTH__SECRET=\"$(cat '{}')\" ",
            file.display()
        ))
    };
    if shown != to {
        line += ", and the password in the address";
    }
    line
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
