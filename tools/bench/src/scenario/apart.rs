//! S2 and G1: what a message costs in all when every service is a process of its own on Kafka, PostgreSQL and Redis, beside
//! one process on embedded storage; and how many calls between services it takes.

use anyhow::{Context as _, Result};

use super::{
    Bench,
    load::{Chats, Sample, UNCONFIRMED},
    side::{KAFKA, OURS, POSTGRES, REDIS, Side, Watched},
    store::{tally, values},
};
use crate::{
    report::{Aim, Compare, Figure, Outcome},
    server::{Folder, Server},
    world,
};

/// What every call to another service counts.
const CALLS: &str = "rpc_calls_total";

pub(super) fn measure(bench: &Bench) -> Result<Outcome> {
    let folder = Folder::new(&bench.run.data, "s2")?;
    let place = bench.place("s2")?.context("no servers")?;
    let chats = bench.run.sizes.chats;
    let split = bench.site(&folder).split(&place)?;
    let pairs = world::pairs(split.address(), chats)?;
    let apart = Side::ours(split.address(), bench.watched(split.pids()), &pairs);
    let alone = Folder::new(&bench.run.data, "s2-embedded")?;
    let server = Server::start(&bench.run.messenger, alone.path(), &bench.cores)?;
    let pairs = world::pairs(server.address(), chats)?;
    let embedded = Watched::one(server.process().id());
    let embedded = Side::ours(server.address(), embedded, &pairs);

    let messages = bench.run.sizes.apart;
    let (mut ours, mut floor, mut calls): (Vec<_>, Vec<_>, Vec<_>) = Default::default();
    for round in 0..bench.run.rounds {
        for turn in 0..2 {
            if (round + turn) % 2 == 0 {
                bench.checkpoint()?;
                let chats = Chats::open(bench, &apart)?;
                let before = split.metric(CALLS)?;
                ours.push(chats.measure(messages, UNCONFIRMED)?);
                let all = (bench.run.sizes.warm_up + messages) as f64;
                calls.push((split.metric(CALLS)? - before) / all);
            } else {
                floor.push(Chats::open(bench, &embedded)?.measure(messages, UNCONFIRMED)?);
            }
        }
    }
    split.stop()?;
    server.stop()?;
    Ok(outcome(bench, &ours, &floor, calls))
}

fn outcome(bench: &Bench, ours: &[Sample], floor: &[Sample], calls: Vec<f64>) -> Outcome {
    let sum = |groups: &'static [usize]| {
        values(ours, |sample| {
            groups.iter().map(|group| sample.micros(*group)).sum()
        })
    };
    let embedded = || values(floor, |sample| sample.micros(OURS));
    let against =
        |what, groups| Figure::plain(what, sum(groups)).against(embedded(), Compare::Ratio);
    Outcome {
        figures: vec![
            against(
                "CPU of everything, us per message",
                &[OURS, POSTGRES, KAFKA, REDIS],
            )
            .aims(Aim::Compared(3.0)),
            against("ours and PostgreSQL, us", &[OURS, POSTGRES]),
            against("ours alone, us", &[OURS]),
            Figure::plain("messages a second", values(ours, Sample::rate))
                .against(values(floor, Sample::rate), Compare::No),
            Figure::plain("calls between services per message", calls)
                .called("G1")
                .aims(Aim::Ours(1.0)),
        ],
        tally: tally(ours) + tally(floor),
        notes: vec![format!(
            "nine processes, one for each service, against one process on embedded storage (the floor); {} private chats, \
             {UNCONFIRMED} sends unconfirmed over all of them, {} messages a round; calls are counted by those who call, \
             in all processes, while the messages are sent and delivered",
            bench.run.sizes.chats, bench.run.sizes.apart
        )],
    }
}
