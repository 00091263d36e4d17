//! The measurements: each module is one scenario of docs/performance.md, and says there what it shows.

mod acknowledge;
mod fanout;
mod idle;
mod side;
mod start;
mod store;

use std::{fs, path::Path, process::ExitCode, time::Instant};

use anyhow::{Context as _, Result};

use crate::{
    floor::fsync,
    machine::{self, Cores},
    options::{Run, Scenario},
    report::{Outcome, Report},
    server,
};

/// Ids of commands begin here; the handshake uses lower ones.
const FIRST_ID: u64 = 10;

/// A median of fewer rounds is no figure to quote.
const ROUNDS: usize = 5;

/// What every scenario is given.
struct Bench<'a> {
    run: &'a Run,
    cores: Cores,
    descriptors: u64,
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
    let bench = Bench {
        run: &run,
        cores: Cores::find()?,
        descriptors: machine::raise_descriptor_limit()?,
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
        }
    }
}
