//! D1: how fast messages that were waiting are stored, by `message` alone, beside binary COPY into the same tables. Nobody is
//! connected, so what asks PostgreSQL, ours or the floor, has the generator's core; the servers have theirs.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use postgres::Client;

use super::{
    Bench,
    load::{Chats, UNCONFIRMED},
    side::{KAFKA, Moment, OURS, POSTGRES, Side, Spent},
    waiting::Waiting,
};
use crate::{
    event::TEXT_LENGTH,
    floor::copy::Copier,
    ledger::Tally,
    process::Process,
    report::{Aim, Compare, Figure, Outcome},
    server::Folder,
    servers::Place,
    world::{self, Pair},
};

/// The pause between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(20);

/// Messages a second, and what they cost.
struct Sample {
    rate: f64,
    spent: Spent,
}

pub(super) fn measure(bench: &Bench) -> Result<Outcome> {
    let folder = Folder::new(&bench.run.data, "d1")?;
    let place = bench.place("d1")?.context("no servers")?;
    let pairs = chats(bench, &folder, &place)?;
    let mut copier = Copier::open(&place, pairs.len())?;
    let mut waiting = Waiting::open(&place, &pairs)?;
    let count = bench.run.sizes.waiting;
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for round in 0..bench.run.rounds {
        for turn in 0..2 {
            bench.checkpoint()?;
            if (round + turn) % 2 == 0 {
                ours.push(stored(bench, &folder, &place, &mut waiting)?);
            } else {
                floor.push(copied(bench, &mut copier, count)?);
            }
        }
    }
    let tally = waiting.tally()?;
    Ok(outcome(bench, &ours, &floor, tally))
}

/// Chats with some messages in them, made by the whole product.
fn chats(bench: &Bench, folder: &Folder, place: &Place) -> Result<Vec<Pair>> {
    let server = bench.site(folder).start(Some(place))?;
    let pairs = world::pairs(server.address(), bench.run.sizes.chats)?;
    let watched = bench.watched(vec![server.process().id()]);
    let side = Side::ours(server.address(), watched, &pairs);
    let first = Chats::open(bench, &side)?.measure(pairs.len() as u64, UNCONFIRMED)?;
    if !first.tally.is_clean() {
        bail!("not everything arrived: {}", first.tally);
    }
    server.stop()?;
    Ok(pairs)
}

/// Stores messages that were waiting before `message` was started. The rate is that of what it stores after its
/// first batch; the cost includes its start.
fn stored(bench: &Bench, folder: &Folder, place: &Place, waiting: &mut Waiting) -> Result<Sample> {
    let count = bench.run.sizes.waiting;
    let mut database = place.connect()?;
    let before = position(&mut database)?;
    waiting.add(count)?;
    let end = before + i64::try_from(count)?;
    let mut server = bench.site(folder).start_persisting(place)?;
    let watched = bench.watched(vec![server.process().id()]);
    let began = Moment::now(&watched)?;
    let mut at = before;
    let mut moved = |process: &mut Process, what: &str, until: i64| {
        process.wait_until(what, || {
            thread::sleep(LOOK);
            at = position(&mut database).unwrap_or(at);
            at >= until
        })?;
        anyhow::Ok((at, Instant::now()))
    };
    let (first, began_at) = moved(server.process_mut(), "it stores something", before + 1)?;
    let (last, ended_at) = moved(server.process_mut(), "it has stored everything", end)?;
    thread::sleep(bench.run.sizes.settle);
    let spent = began.until(&Moment::now(&watched)?);
    server.stop()?;
    let seconds = (ended_at - began_at).as_secs_f64();
    Ok(Sample {
        rate: (last - first) as f64 / seconds,
        spent,
    })
}

/// How many records are applied, over all partitions.
fn position(database: &mut Client) -> Result<i64> {
    let sum = "SELECT CAST(COALESCE(SUM(next_offset), 0) AS BIGINT) FROM message.position WHERE topic_id <> $1";
    Ok(database.query_one(sum, &[&Copier::topic()])?.get(0))
}

fn copied(bench: &Bench, copier: &mut Copier, count: u64) -> Result<Sample> {
    let watched = bench.watched(Vec::new());
    let began = Moment::now(&watched)?;
    let taken = copier.run(count)?;
    thread::sleep(bench.run.sizes.settle);
    Ok(Sample {
        rate: count as f64 / taken.as_secs_f64(),
        spent: began.until(&Moment::now(&watched)?),
    })
}

fn outcome(bench: &Bench, ours: &[Sample], floor: &[Sample], tally: Tally) -> Outcome {
    let count = bench.run.sizes.waiting;
    let rate = |samples: &[Sample]| samples.iter().map(|sample| sample.rate).collect();
    let cost = |samples: &[Sample], group: usize| {
        let nanos = samples.iter().map(|sample| sample.spent.groups[group]);
        nanos
            .map(|nanos| nanos as f64 / 1e3 / count as f64)
            .collect()
    };
    Outcome {
        figures: vec![
            Figure::plain("rows a second", rate(ours))
                .against(rate(floor), Compare::Ratio)
                .aims(Aim::AtLeast(0.8)),
            Figure::plain("CPU of PostgreSQL, us per row", cost(ours, POSTGRES))
                .against(cost(floor, POSTGRES), Compare::Ratio),
            Figure::plain("CPU of `message`, us per row", cost(ours, OURS)),
            Figure::plain("CPU of Kafka, us per row", cost(ours, KAFKA)),
        ],
        tally,
        notes: vec![format!(
            "{count} sends wait in the log before `message` is started, in {} private chats, text of {TEXT_LENGTH} bytes; ours \
             checks, numbers, stores and publishes them; floor: binary COPY of as many rows into event and outbox, 1000 in a \
             transaction that moves the heads of the chats and the position as well; nothing is removed from its outbox",
            bench.run.sizes.chats
        )],
    }
}
