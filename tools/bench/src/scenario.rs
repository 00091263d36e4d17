//! The measurements: each module is one scenario of docs/performance.md, and says there what it shows.

mod acknowledge;
mod apart;
mod fanout;
mod gateways;
mod hops;
mod idle;
mod load;
mod persist;
mod pipeline;
mod side;
mod start;
mod store;
mod waiting;

use std::{fs, path::Path, process::ExitCode, time::Instant};

use anyhow::{Context as _, Result};
use side::Watched;

use crate::{
    floor::fsync,
    machine::{self, Cores},
    options::{Engine, Run, Scenario},
    report::{Outcome, Report},
    server::{self, Folder, Site},
    servers::{Place, Servers},
};

/// Ids of commands begin here; the handshake uses lower ones.
const FIRST_ID: u64 = 10;

/// A median of fewer rounds is no figure to quote.
const ROUNDS: usize = 5;

/// Partitions of a topic, as the product has them.
const PARTITIONS: u32 = 8;

/// What every scenario is given.
struct Bench<'a> {
    run: &'a Run,
    cores: Cores,
    descriptors: u64,
    servers: Option<Servers>,
}

/// Runs the scenarios, prints the page, writes it to the file that was named.
///
/// The code is a failure when a scenario failed, or something was not delivered once and in order. A missed aim is shown and is
/// no failure: machines differ.
pub fn run(run: &Run) -> Result<ExitCode> {
    let messenger = fs::canonicalize(&run.messenger)
        .with_context(|| format!("there is no server program {}", run.messenger.display()))?;
    let data =
        fs::canonicalize(&run.data).with_context(|| format!("no folder {}", run.data.display()))?;
    let run = Run {
        messenger,
        data,
        ..run.clone()
    };
    let cores = Cores::find()?;
    let servers = match run.engine {
        Engine::Embedded => None,
        Engine::Servers => Some(Servers::start(&cores, &run.data)?),
    };
    let bench = Bench {
        run: &run,
        cores,
        descriptors: machine::raise_descriptor_limit()?,
        servers,
    };
    // The generator goes to its own core from the first moment on.
    bench.cores.on_server_core(|| ())?;

    let mut report = Report {
        head: head(&bench)?,
        scenarios: Vec::new(),
    };
    println!("{}\n", report.head.join("\n"));
    for scenario in &run.scenarios {
        let began = Instant::now();
        eprintln!("{scenario:?} runs ...");
        let outcome = bench
            .perform(*scenario)
            .map_err(|error| format!("{error:#}"));
        eprintln!("{scenario:?} took {:.0} s", began.elapsed().as_secs_f64());
        if let Err(error) = &outcome {
            eprintln!("{scenario:?} FAILED: {error}");
        }
        report.scenarios.push((format!("{scenario:?}"), outcome));
    }
    report.head.push(format!(
        "Load average after the run: {}.",
        machine::load_average()
    ));
    let page = report.markdown();
    println!("{page}");
    if let Some(out) = &run.out {
        write(out, &page)?;
    }
    Ok(if report.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn write(out: &Path, page: &str) -> Result<()> {
    fs::write(out, page).with_context(|| format!("cannot write {}", out.display()))
}

fn head(bench: &Bench) -> Result<Vec<String>> {
    let sizes = &bench.run.sizes;
    let disk = fsync::measure(&bench.run.data, sizes.fsync)?;
    let mut head = vec![
        format!("# Bench of {}", machine::date()),
        String::new(),
        format!(
            "Server on core {}, generator on core {}; {} rounds, both sides interleaved, order rotated.",
            bench.cores.server, bench.cores.generator, bench.run.rounds
        ),
        format!("Disk: {}.", fsync::described(&disk)),
        format!(
            "Limits are raised for the run. Settings: {}.",
            server::settings_line()
        ),
        format!("Load average before the run: {}.", machine::load_average()),
    ];
    if bench.servers.is_some() {
        head.push(
            "PostgreSQL, Kafka and Redis run on the server's core as the scripts of the tree start them: PostgreSQL with its \
             defaults and every flush, Kafka on one node, acks=all."
                .to_owned(),
        );
    }
    if bench.run.rounds < ROUNDS {
        head.insert(
            1,
            format!("**Fewer than {ROUNDS} rounds: for a first look only.**"),
        );
    }
    if sizes.reduced {
        head.insert(
            1,
            "**Reduced sizes: this run tries the bench itself and is no measurement.**".to_owned(),
        );
    }
    Ok(head)
}

impl Bench<'_> {
    /// A place of its own on the servers, if there are any.
    fn place(&self, name: &str) -> Result<Option<Place>> {
        let servers = self.servers.as_ref();
        servers
            .map(|servers| servers.place(name, PARTITIONS))
            .transpose()
    }

    /// The servers of a scenario that needs them.
    fn servers(&self) -> Result<&Servers> {
        self.servers.as_ref().context("no servers were started")
    }

    /// Our program on the server's core, with its files in `folder`.
    fn site<'a>(&'a self, folder: &'a Folder) -> Site<'a> {
        Site {
            program: &self.run.messenger,
            folder: folder.path(),
            cores: Some(&self.cores),
        }
    }

    /// Processes of ours, and the servers behind them.
    fn watched(&self, ours: Vec<u32>) -> Watched {
        Watched::with(ours, self.servers.as_ref())
    }

    /// No round pays for what another one left to be written.
    fn checkpoint(&self) -> Result<()> {
        self.servers.as_ref().map_or(Ok(()), Servers::checkpoint)
    }

    fn perform(&self, scenario: Scenario) -> Result<Outcome> {
        let sizes = &self.run.sizes;
        match scenario {
            Scenario::F1 => fanout::measure(self, 1, sizes.one_in_flight),
            Scenario::F2 => fanout::measure(self, 16, sizes.many_in_flight),
            Scenario::M1 => idle::measure(self),
            Scenario::D2 => acknowledge::measure(self),
            Scenario::T1 => store::measure(self, 1),
            Scenario::T100 => store::measure(self, sizes.chats),
            Scenario::B1 => start::measure(self),
            Scenario::S2 => apart::measure(self),
            Scenario::S1 => gateways::measure(self),
            Scenario::K1 => hops::measure(self),
            Scenario::K3 => pipeline::measure(self),
            Scenario::D1 => persist::measure(self),
        }
    }
}
