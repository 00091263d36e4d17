//! What the commands do. Every failure is one line on standard error for each trouble, and an exit code of its own.

use std::{collections::VecDeque, io::Write as _, process::ExitCode};

use anyhow::Context as _;
use eventlog::{Delivered, EventLog};

use crate::{
    Config, Process, Service, Topology, check,
    cli::{Cli, Command, Common, Direction, LogCommand},
    moving::{self, Screen},
    wiring,
};

/// The settings cannot work (`EX_CONFIG` of sysexits.h).
const BAD_CONFIG: u8 = 78;
/// A part that is needed is not there, or not to be had (`EX_UNAVAILABLE`).
const CANNOT_START: u8 = 69;
/// A task failed for good while serving.
const FAILED: u8 = 1;

/// Runs a command; gives the exit code.
pub fn run(cli: Cli) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(CANNOT_START, &[error.to_string()]),
    };
    let done = runtime.block_on(execute(cli));
    // Everything that has to end well has ended. What is left blocks a thread - a hash whose caller is gone, a name that
    // does not resolve - and nobody waits for it.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, lines)) => fail(code, &lines),
    }
}

fn fail(code: u8, lines: &[String]) -> ExitCode {
    for text in lines {
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let _ = writeln!(std::io::stderr(), "messenger: {line}");
    }
    ExitCode::from(code)
}

type Failure = (u8, Vec<String>);

async fn execute(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Run(common) => {
            let (config, topology) = load(&common)?;
            serve(&config, &topology).await
        }
        Command::Migrate { direction, common } => {
            let (config, topology) = settings(&common)?;
            migrate(&config, &topology, &direction)
                .await
                .map_err(cannot_start)
        }
        Command::Check(common) => {
            let (config, topology) = load(&common)?;
            possible(&config, &topology)?;
            print(&topology.table(&config))
        }
        Command::Config(common) => {
            let (config, _) = settings(&common)?;
            print(&config.printed().map_err(bad_config)?)
        }
        Command::Topics(common) => {
            let (config, topology) = load(&common)?;
            possible(&config, &topology)?;
            topics(&config).await.map_err(cannot_start)
        }
        Command::Move { to, back, common } => {
            let (config, topology) = load(&common)?;
            move_to(&config, &topology, &to, back).await
        }
        Command::Openapi { folder } => write_openapi(&folder).map_err(cannot_start),
        Command::Log { command, common } => {
            let (config, _) = settings(&common)?;
            let LogCommand::Tail { topic, last } = command;
            tail(&config, &topic, last).await.map_err(cannot_start)
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in `map_err`")]
fn cannot_start(error: anyhow::Error) -> Failure {
    (CANNOT_START, vec![format!("{error:#}")])
}

fn bad_config(error: String) -> Failure {
    (BAD_CONFIG, vec![error])
}

fn print(text: &str) -> Result<(), Failure> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| (FAILED, vec![error.to_string()]))
}

fn load(common: &Common) -> Result<(Config, Topology), Failure> {
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let topology = Topology::parse(&common.services).map_err(bad_config)?;
    let config =
        Config::load(common.config.as_deref(), variables, &topology).map_err(bad_config)?;
    Ok((config, topology))
}

fn settings(common: &Common) -> Result<(Config, Topology), Failure> {
    let (config, topology) = load(common)?;
    topology
        .check(&config)
        .map_err(|troubles| (BAD_CONFIG, troubles))?;
    Ok((config, topology))
}

/// Refuses everything that can be seen to fail before anything is opened.
fn possible(config: &Config, topology: &Topology) -> Result<(), Failure> {
    crate::choose_cryptography();
    let (settings, folders) = (check::settings(config, topology), check::folders(config));
    let code = if settings.is_empty() {
        CANNOT_START
    } else {
        BAD_CONFIG
    };
    let lines = [settings, folders].concat();
    if lines.is_empty() {
        Ok(())
    } else {
        Err((code, lines))
    }
}

async fn serve(config: &Config, topology: &Topology) -> Result<(), Failure> {
    possible(config, topology)?;
    kit::telemetry::init_logs(&config.log_filter).map_err(bad_config)?;
    arm_failpoint()?;
    let process = Process::build(config, topology)
        .await
        .map_err(cannot_start)?;
    let (public, private) = process
        .addresses()
        .map_err(|error| (CANNOT_START, vec![error.to_string()]))?;
    tracing::info!(%public, %private, "serving on http://{public}");
    process
        .serve(stop_signal())
        .await
        .map_err(|error| (FAILED, vec![error]))?;
    tracing::info!("stopped");
    Ok(())
}

/// A test says by a variable where the process dies.
fn arm_failpoint() -> Result<(), Failure> {
    #[cfg(feature = "failpoints")]
    if let Some(spec) = std::env::var_os("MESSENGER_FAILPOINT") {
        kit::failpoint::arm(&spec.to_string_lossy()).map_err(bad_config)?;
    }
    Ok(())
}

/// Moves the installation, or lets it come back. Ctrl-C ends it at any point; the same command goes on.
async fn move_to(
    config: &Config,
    topology: &Topology,
    to: &str,
    back: bool,
) -> Result<(), Failure> {
    let troubles = moving::check(config, to);
    if !troubles.is_empty() {
        return Err((BAD_CONFIG, troubles));
    }
    possible(config, topology)?;
    arm_failpoint()?;
    let mut screen = Screen::open();
    let work = async {
        if back {
            moving::back(config, to, &mut screen).await
        } else {
            moving::run(config, to, &mut screen).await
        }
    };
    tokio::select! {
        done = work => done.map_err(cannot_start),
        _ = tokio::signal::ctrl_c() => {
            let text = "stopped before the end: the same command goes on from here";
            Err((FAILED, vec![text.to_owned()]))
        }
    }
}

/// Ends at the first SIGINT or SIGTERM. A second one ends the process at once.
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tracing::info!("stopping; a second signal stops at once");
    #[expect(
        clippy::disallowed_methods,
        reason = "it outlives every node on purpose"
    )]
    drop(tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        std::process::exit(130);
    }));
}

async fn migrate(
    config: &Config,
    topology: &Topology,
    direction: &Direction,
) -> anyhow::Result<()> {
    check::make_folders(config)?;
    for service in Service::ALL
        .into_iter()
        .filter(|service| topology.is_here(*service))
    {
        let Some(migrations) = service.migrations() else {
            continue;
        };
        let db = sql::open(&config.sql, service.name(), &config.pool).await?;
        let done = match direction {
            Direction::Up => sql::migrate_up(&db, migrations).await?,
            Direction::Down { steps } => sql::migrate_down(&db, migrations, *steps).await?,
        };
        db.close().await;
        let done = if done.is_empty() {
            "nothing to do".to_owned()
        } else {
            done.join(", ")
        };
        writeln!(std::io::stdout(), "{:<8} {done}", service.name())?;
    }
    Ok(())
}

/// Makes the topics that are missing, as every start does.
async fn topics(config: &Config) -> anyhow::Result<()> {
    check::make_folders(config)?;
    let node = kit::Node::new();
    let log = wiring::open_log(&node, config).await?;
    for topic in log.ensure(&wiring::topics(config)).await? {
        writeln!(std::io::stdout(), "{:<4} {}", topic.partitions, topic.name)?;
    }
    log.close().await;
    Ok(())
}

fn write_openapi(folder: &std::path::Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("folder {}", folder.display()))?;
    for (name, document) in crate::openapi() {
        let path = folder.join(format!("{name}.json"));
        std::fs::write(&path, document.to_pretty_json()? + "\n")
            .with_context(|| format!("{}", path.display()))?;
    }
    Ok(())
}

async fn tail(config: &Config, topic: &str, last: i64) -> anyhow::Result<()> {
    let node = kit::Node::new();
    let log = wiring::open_log(&node, config).await?;
    let mut out = std::io::stdout().lock();
    for (part, bounds) in log.watermarks(topic).await?.into_iter().enumerate() {
        let part = u32::try_from(part)?;
        for record in newest(log.as_ref(), topic, part, bounds, last).await? {
            let value: serde_json::Value = serde_json::from_slice(&record.value)
                .unwrap_or_else(|_| String::from_utf8_lossy(&record.value).into_owned().into());
            let key = String::from_utf8_lossy(&record.key);
            let line = serde_json::json!({ "partition": part, "offset": record.offset, "key": key, "value": value });
            writeln!(out, "{line}")?;
        }
    }
    drop(out);
    log.close().await;
    Ok(())
}

/// The `last` newest records of a partition that exist: offsets have gaps, so it looks back farther and farther.
async fn newest(
    log: &dyn EventLog,
    topic: &str,
    part: u32,
    (low, high): (i64, i64),
    last: i64,
) -> anyhow::Result<VecDeque<Delivered>> {
    let wanted = usize::try_from(last)?;
    let mut back = last;
    loop {
        let start = low.max(high.saturating_sub(back));
        let (mut from, mut found) = (start, VecDeque::new());
        loop {
            let records = log.read(topic, part, from, 1000).await?;
            let Some(newest) = records.last() else { break };
            from = newest.offset + 1;
            found.extend(records);
            found.drain(..found.len().saturating_sub(wanted));
        }
        if found.len() == wanted || start == low {
            return Ok(found);
        }
        back = back.saturating_mul(2);
    }
}
