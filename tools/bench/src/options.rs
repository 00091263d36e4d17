//! The command line, read into types.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail};

use crate::floor::fanout::Way;

/// How the program is used.
pub const USAGE: &str = "\
usage:
  bench run --messenger PROGRAM [--scenarios F1,F2,M1,D2,T100,B1] [--rounds 5] [--out FILE] [--data FOLDER] [--reduced]
  bench run --messenger PROGRAM --engine servers [--scenarios T1,T100,S2,G1,S1,K1,K2,K3,D1] ...
  bench floor fanout --listen ADDRESS [--bytes 200] [--coalesce]
  bench floor fsync [--data FOLDER] [--seconds 5]
  bench floor accept [--listen ADDRESS]
  bench floor follow --broker ADDRESS --topic NAME

  --data     a folder on the disk to measure; servers get folders of their own in it (default: the temporary folder)
  --reduced  few connections and messages, to try the bench itself: the figures are no measurement and say so
  --engine   `servers` brings up PostgreSQL, Kafka and Redis with the scripts of the tree, for this run alone
scenarios: F1 F2 M1 D2 T1 T100 B1; with --engine servers T1 T100 S2 (with G1) S1 K1 (with K2) K3 D1";

/// What is asked for.
#[derive(Debug)]
pub enum Task {
    /// Measure.
    Run(Run),
    /// Be the fan-out floor.
    Fanout {
        /// Where.
        listen: SocketAddr,
        /// How messages leave.
        way: Way,
        /// The payload of a message in bytes.
        bytes: usize,
    },
    /// Measure the disk alone.
    Fsync {
        /// Where.
        data: PathBuf,
        /// For how long.
        time: Duration,
    },
    /// Be the bare reader of a topic.
    Follow {
        /// Kafka.
        broker: SocketAddr,
        /// What is read.
        topic: String,
    },
    /// Be the bare process, or without an address measure it.
    Accept {
        /// Where.
        listen: Option<SocketAddr>,
    },
}

/// A run of scenarios.
#[derive(Clone, Debug)]
pub struct Run {
    /// Our server's program.
    pub messenger: PathBuf,
    /// In this order.
    pub scenarios: Vec<Scenario>,
    /// What stands behind the product.
    pub engine: Engine,
    /// Rounds of each scenario, for both sides.
    pub rounds: usize,
    /// Where the report goes, beside standard output.
    pub out: Option<PathBuf>,
    /// A folder on a disk.
    pub data: PathBuf,
    /// How large.
    pub sizes: Sizes,
}

/// What stands behind the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Its own log, `SQLite`, memory.
    Embedded,
    /// Kafka, PostgreSQL, Redis.
    Servers,
}

impl Engine {
    /// What is measured with it when nothing is named.
    const fn scenarios(self) -> &'static str {
        match self {
            Self::Embedded => "F1,F2,M1,D2,T100,B1",
            Self::Servers => "T1,T100,S2,S1,K1,K3,D1",
        }
    }
}

/// What can be measured; see docs/performance.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Fan-out, one message in flight.
    F1,
    /// Fan-out, 16 in flight.
    F2,
    /// Memory of idle connections.
    M1,
    /// Durable acknowledgement at a fixed rate.
    D2,
    /// Stored messages in one chat.
    T1,
    /// Stored messages in a hundred chats.
    T100,
    /// From the start to the first message.
    B1,
    /// The same load with every service apart and in one process; and G1, the calls between services that it takes.
    S2,
    /// A record that nobody at a gateway watches.
    S1,
    /// Delivery, and K2, acknowledgement, against two hops and a commit.
    K1,
    /// Messages through one partition against a loop that does nothing else.
    K3,
    /// Stored messages that were waiting, against COPY.
    D1,
}

impl Scenario {
    /// Whether it can be measured with `engine`.
    fn has(self, engine: Engine) -> bool {
        let embedded = matches!(self, Self::F1 | Self::F2 | Self::M1 | Self::D2 | Self::B1);
        match self {
            Self::T1 | Self::T100 => true,
            _ => embedded == (engine == Engine::Embedded),
        }
    }
}

/// How large the scenarios are.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// Whether these are too small to be a measurement.
    pub reduced: bool,
    /// Connections of F1 and F2.
    pub connections: usize,
    /// Messages of one round of F1.
    pub one_in_flight: u64,
    /// Messages of one round of F2.
    pub many_in_flight: u64,
    /// Messages before the measured ones.
    pub warm_up: u64,
    /// Connections of M1.
    pub idle: usize,
    /// How long they idle before memory is read.
    pub idle_time: Duration,
    /// Messages of one round of D2, 50 a second.
    pub paced: u64,
    /// Messages of one round of T.
    pub stored: u64,
    /// Messages of one round of S1, S2 and K3, and hops of their floors.
    pub apart: u64,
    /// Messages of one round of K, 100 a second; the floor has as many.
    pub hops: u64,
    /// Messages of one round of D1.
    pub waiting: u64,
    /// Chats of T100.
    pub chats: usize,
    /// Quiet time before and after a measured stretch, counted: what a server does late is not free.
    pub settle: Duration,
    /// How long the disk is measured before and after each round of D2.
    pub fsync: Duration,
    /// When nothing arrives for so long, the rest is missing.
    pub stall: Duration,
}

impl Sizes {
    /// Those of docs/performance.md.
    pub const FULL: Self = Self {
        reduced: false,
        connections: 1000,
        one_in_flight: 1000,
        many_in_flight: 4000,
        warm_up: 100,
        idle: 9000,
        idle_time: Duration::from_secs(10),
        paced: 1500,
        stored: 20_000,
        apart: 10_000,
        hops: 1000,
        waiting: 100_000,
        chats: 100,
        settle: Duration::from_millis(1500),
        fsync: Duration::from_secs(2),
        stall: Duration::from_secs(15),
    };

    /// Just enough that everything happens.
    pub const REDUCED: Self = Self {
        reduced: true,
        connections: 20,
        one_in_flight: 50,
        many_in_flight: 100,
        warm_up: 5,
        idle: 60,
        idle_time: Duration::from_millis(200),
        paced: 25,
        stored: 200,
        apart: 200,
        hops: 25,
        waiting: 5000,
        chats: 5,
        settle: Duration::from_millis(50),
        fsync: Duration::from_millis(100),
        stall: Duration::from_secs(2),
    };
}

/// Reads the arguments that follow the program's name.
pub fn parse(arguments: &[String]) -> Result<Task> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["run", flags @ ..] => Ok(Task::Run(run(&mut Flags::new(flags))?)),
        ["floor", what, flags @ ..] => floor(what, &mut Flags::new(flags)),
        _ => bail!("{USAGE}"),
    }
}

fn run(flags: &mut Flags) -> Result<Run> {
    let engine = match flags.value("--engine")? {
        None | Some("embedded") => Engine::Embedded,
        Some("servers") => Engine::Servers,
        Some(other) => bail!("there is no engine `{other}`\n{USAGE}"),
    };
    let names = flags.value("--scenarios")?.unwrap_or(engine.scenarios());
    let mut scenarios = Vec::new();
    for name in names.split(',') {
        let scenario = scenario(name)?;
        if !scenario.has(engine) {
            bail!("{name} is not measured with this engine\n{USAGE}");
        }
        if !scenarios.contains(&scenario) {
            scenarios.push(scenario);
        }
    }
    let options = Run {
        engine,
        scenarios,
        messenger: flags
            .value("--messenger")?
            .context("--messenger is missing")?
            .into(),
        rounds: flags
            .value("--rounds")?
            .unwrap_or("5")
            .parse()
            .context("--rounds is not a number")?,
        out: flags.value("--out")?.map(PathBuf::from),
        data: folder(flags)?,
        sizes: if flags.has("--reduced") {
            Sizes::REDUCED
        } else {
            Sizes::FULL
        },
    };
    flags.end()?;
    if options.rounds == 0 {
        bail!("--rounds must be at least 1");
    }
    Ok(options)
}

fn floor(what: &str, flags: &mut Flags) -> Result<Task> {
    let task = match what {
        "fanout" => Task::Fanout {
            listen: flags
                .value("--listen")?
                .context("--listen is missing")?
                .parse()?,
            way: if flags.has("--coalesce") {
                Way::Coalesced
            } else {
                Way::OneByOne
            },
            bytes: flags
                .value("--bytes")?
                .unwrap_or("200")
                .parse()
                .context("--bytes is not a number")?,
        },
        "fsync" => Task::Fsync {
            data: folder(flags)?,
            time: Duration::from_secs(flags.value("--seconds")?.unwrap_or("5").parse()?),
        },
        "follow" => Task::Follow {
            broker: flags
                .value("--broker")?
                .context("--broker is missing")?
                .parse()?,
            topic: flags
                .value("--topic")?
                .context("--topic is missing")?
                .to_owned(),
        },
        "accept" => Task::Accept {
            listen: flags.value("--listen")?.map(str::parse).transpose()?,
        },
        other => bail!("there is no floor `{other}`\n{USAGE}"),
    };
    flags.end()?;
    Ok(task)
}

fn folder(flags: &mut Flags) -> Result<PathBuf> {
    Ok(flags
        .value("--data")?
        .map_or_else(std::env::temp_dir, PathBuf::from))
}

fn scenario(name: &str) -> Result<Scenario> {
    Ok(match name {
        "F1" => Scenario::F1,
        "F2" => Scenario::F2,
        "M1" => Scenario::M1,
        "D2" => Scenario::D2,
        "T1" => Scenario::T1,
        "T100" => Scenario::T100,
        "B1" => Scenario::B1,
        "S2" | "G1" => Scenario::S2,
        "S1" => Scenario::S1,
        "K1" | "K2" => Scenario::K1,
        "K3" => Scenario::K3,
        "D1" => Scenario::D1,
        other => bail!("there is no scenario `{other}`\n{USAGE}"),
    })
}

struct Flags<'a>(Vec<&'a str>);

impl<'a> Flags<'a> {
    fn new(words: &[&'a str]) -> Self {
        Self(words.to_vec())
    }

    fn has(&mut self, name: &str) -> bool {
        let found = self.0.iter().position(|word| *word == name);
        found.map(|at| self.0.remove(at)).is_some()
    }

    fn value(&mut self, name: &str) -> Result<Option<&'a str>> {
        let Some(at) = self.0.iter().position(|word| *word == name) else {
            return Ok(None);
        };
        self.0.remove(at);
        if at == self.0.len() {
            bail!("{name} needs a value");
        }
        Ok(Some(self.0.remove(at)))
    }

    fn end(&self) -> Result<()> {
        if self.0.is_empty() {
            Ok(())
        } else {
            bail!("not understood: {}\n{USAGE}", self.0.join(" "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Task> {
        parse(
            &line
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn a_run_has_every_scenario_of_the_page_and_five_rounds_unless_told_otherwise() {
        let Task::Run(run) = parsed("run --messenger ./m").unwrap() else {
            panic!("no run")
        };
        assert_eq!(
            (run.scenarios.len(), run.rounds, run.sizes.reduced),
            (6, 5, false)
        );
        let Task::Run(run) =
            parsed("run --messenger ./m --scenarios T1,B1 --rounds 7 --reduced").unwrap()
        else {
            panic!("no run")
        };
        assert_eq!(run.scenarios, [Scenario::T1, Scenario::B1]);
        assert_eq!((run.rounds, run.sizes.reduced), (7, true));
    }

    #[test]
    fn a_scenario_is_measured_once_and_with_an_engine_that_it_has() {
        let Task::Run(run) =
            parsed("run --messenger ./m --engine servers --scenarios K1,K2,T1").unwrap()
        else {
            panic!("no run")
        };
        assert_eq!(run.scenarios, [Scenario::K1, Scenario::T1]);
        let Task::Run(run) = parsed("run --messenger ./m --engine servers").unwrap() else {
            panic!("no run")
        };
        assert_eq!(run.scenarios.len(), 7);
        for wrong in [
            "--scenarios K1",
            "--engine servers --scenarios F1",
            "--engine air",
        ] {
            assert!(
                parsed(&format!("run --messenger m {wrong}")).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for wrong in [
            "run",
            "run --messenger",
            "run --messenger m --fast",
            "floor air",
            "run --messenger m --scenarios F9",
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
        assert!(
            parsed("run --messenger m --fast")
                .unwrap_err()
                .to_string()
                .contains("--fast")
        );
    }

    #[test]
    fn a_full_round_has_at_least_a_thousand_messages() {
        let sizes = Sizes::FULL;
        assert!(
            [
                sizes.one_in_flight,
                sizes.many_in_flight,
                sizes.paced,
                sizes.stored,
                sizes.apart,
                sizes.hops,
                sizes.waiting
            ]
            .iter()
            .all(|count| *count >= 1000)
        );
    }
}
