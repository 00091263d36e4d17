//! S1: what a record costs a gateway at which nobody watches its chat, with one, two and four gateways; all members are at the
//! first. Beside them a bare reader of the same records.

use std::process::Command;

use anyhow::{Context as _, Result};

use super::{
    Bench,
    load::{Chats, Sample},
    side::{ADDED, KAFKA, OURS, Side},
    store::{tally, values},
    waiting::Waiting,
};
use crate::{
    floor::kafka::FOLLOWS,
    ledger::Tally,
    process::Process,
    report::{Aim, Compare, Figure, Outcome},
    server::{Folder, Server, Split},
    servers::Place,
    world::{self, Pair},
};

/// How many gateways there are.
const GATEWAYS: [usize; 3] = [1, 2, 4];
/// The bare reader, and the gateways beside the first.
const READER: usize = ADDED;
const FOREIGN: usize = ADDED + 1;

pub(super) fn measure(bench: &Bench) -> Result<Outcome> {
    let folder = Folder::new(&bench.run.data, "s1")?;
    let place = bench.place("s1")?.context("no servers")?;
    let split = bench.site(&folder).split(&place)?;
    let pairs = world::pairs(split.address(), bench.run.sizes.chats)?;
    let reader = reader(bench, &place, &folder)?;
    let mut samples = [const { Vec::new() }; GATEWAYS.len()];
    for round in 0..bench.run.rounds {
        for turn in 0..GATEWAYS.len() {
            let which = (round + turn) % GATEWAYS.len();
            let foreign = (1..GATEWAYS[which])
                .map(|number| split.gateway(bench.site(&folder), number))
                .collect::<Result<Vec<_>>>()?;
            let mut waiting = Waiting::open(&place, &pairs)?;
            let side = side(bench, &split, &pairs, &reader, &foreign);
            bench.checkpoint()?;
            let chats = Chats::open(bench, &side)?;
            samples[which].push(chats.measure_waiting(bench.run.sizes.apart, &mut waiting)?);
            foreign.into_iter().try_for_each(Server::stop)?;
        }
    }
    split.stop()?;
    Ok(outcome(bench, &samples))
}

fn reader(bench: &Bench, place: &Place, folder: &Folder) -> Result<Process> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["floor", "follow", "--broker", &place.brokers]);
    command.args(["--topic", &place.forward()]);
    let log = folder.path().join("follow.log");
    let mut reader = Process::start(&bench.cores, command, &log)?;
    let follows = || std::fs::read_to_string(&log).is_ok_and(|said| said.contains(FOLLOWS));
    reader.wait_until("it follows the topic", follows)?;
    Ok(reader)
}

/// The members at the first gateway, and whose time is counted.
fn side<'a>(
    bench: &Bench,
    split: &Split,
    pairs: &'a [Pair],
    reader: &Process,
    foreign: &[Server],
) -> Side<'a> {
    let foreign: Vec<_> = foreign.iter().map(|server| server.process().id()).collect();
    let mut watched = bench.watched([split.pids(), foreign.clone()].concat());
    watched.add(vec![reader.id()]);
    watched.add(foreign);
    Side::ours(split.address(), watched, pairs)
}

fn outcome(bench: &Bench, samples: &[Vec<Sample>; GATEWAYS.len()]) -> Outcome {
    let mut figures = Vec::new();
    for (count, samples) in GATEWAYS.iter().zip(samples).skip(1) {
        let foreign = (count - 1) as f64;
        let each = values(samples, |sample| sample.micros(FOREIGN) / foreign);
        figures.push(
            Figure::plain(
                format!("{count} gateways: CPU of a foreign record at one, us"),
                each,
            )
            .against(
                values(samples, |sample| sample.micros(READER)),
                Compare::Ratio,
            )
            .aims(Aim::Ours(2.0)),
        );
    }
    let first = &samples[0];
    for (whose, group) in [("all our processes", OURS), ("Kafka", KAFKA)] {
        for (count, samples) in GATEWAYS.iter().zip(samples).skip(1) {
            let cost = |samples| values(samples, |sample| sample.micros(group));
            let what = format!("{count} gateways: CPU of {whose}, us per message");
            figures.push(Figure::plain(what, cost(samples)).against(cost(first), Compare::Ratio));
        }
    }
    Outcome {
        figures,
        tally: samples
            .iter()
            .map(|samples| tally(samples))
            .fold(Tally::default(), std::ops::Add::add),
        notes: vec![format!(
            "every service in a process of its own; {} private chats, all members at one gateway; {} messages \
             a round, a record each, put into the log at once; floor of a foreign record: a bare consumer of \
             the same topic in the same moments; floor of the sums: one gateway in the same round",
            bench.run.sizes.chats, bench.run.sizes.apart
        )],
    }
}
