//! The command line: one program, a command for each thing that people do with it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// A self-hosted messenger in which an AI can sit beside a person or answer in the person's place.
#[derive(Debug, Parser)]
#[command(name = "messenger", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command knows.
#[derive(Debug, Args)]
pub struct Common {
    /// A TOML file with settings; `messenger config` shows all of them.
    #[arg(long, env = "MESSENGER_CONFIG")]
    pub config: Option<PathBuf>,
    /// The services of this process: `all`, or names with commas between.
    #[arg(long, default_value = "all")]
    pub services: String,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Starts the services and serves until it is told to stop.
    Run(#[command(flatten)] Common),
    /// Brings the databases to the version of this program, or back.
    Migrate {
        /// In which direction.
        #[command(subcommand)]
        direction: Direction,
        /// Settings.
        #[command(flatten)]
        common: Common,
    },
    /// Says whether the settings can work, and what would run where.
    Check(#[command(flatten)] Common),
    /// Prints the effective settings, secrets hidden.
    Config(#[command(flatten)] Common),
    /// Makes the topics of the event log that are missing.
    Topics(#[command(flatten)] Common),
    /// Writes the OpenAPI documents, one file for each service.
    Openapi {
        /// Where to.
        #[arg(default_value = "docs/api")]
        folder: PathBuf,
    },
    /// Moves an embedded installation to a database on PostgreSQL, from where it lives on.
    ///
    /// Stop it first. The settings are those with which it runs; the database is empty. Everything is copied, compared, and
    /// kept where it was; the data folder does not start any more then. When the move is interrupted, the same command
    /// goes on. The last line says what to set to start the installation on the database; Kafka and Redis can be set then
    /// as well. Nobody has to log in anew, and clients come back by themselves.
    Move {
        /// The database, `postgres://USER@HOST/DATABASE`. Its password may stand in PGPASSWORD or ~/.pgpass.
        #[arg(long)]
        to: String,
        /// The way back: lets the data folder start again, as it was when it moved, and the database not. What was
        /// written there since stays there.
        #[arg(long)]
        back: bool,
        /// Settings.
        #[command(flatten)]
        common: Common,
    },
    /// Looks into the event log while no process uses it.
    Log {
        /// What to look at.
        #[command(subcommand)]
        command: LogCommand,
        /// Settings.
        #[command(flatten)]
        common: Common,
    },
}

/// Which way to migrate.
#[derive(Debug, Subcommand)]
pub enum Direction {
    /// To the newest version.
    Up,
    /// Back by some steps; data of those steps is lost.
    Down {
        /// How many steps for each service.
        #[arg(default_value_t = 1)]
        steps: usize,
    },
}

/// Ways to look into the log.
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Prints the newest records of a topic, one JSON object a line.
    Tail {
        /// The topic.
        topic: String,
        /// How many records of each partition.
        #[arg(long, default_value_t = 20)]
        last: i64,
    },
}
