//! K3: what a message costs all our processes through one partition, beside a loop that appends a record, reads it, and does
//! nothing else.

use std::thread;

use anyhow::Result;

use super::{
    Bench,
    load::{Chats, Sample},
    side::{KAFKA, OURS, POSTGRES, Side},
    store::{tally, values},
};
use crate::{
    event::{ENVELOPE, TEXT_LENGTH},
    floor::kafka::{self, Pipeline},
    machine::CpuTime,
    report::{Aim, Compare, Figure, Outcome},
    server::Folder,
    world,
};

/// Records under way at the same time, here and there.
const WINDOW: u64 = 512;

pub(super) fn measure(bench: &Bench) -> Result<Outcome> {
    let folder = Folder::new(&bench.run.data, "k3")?;
    let place = bench.servers()?.place("k3", 1)?;
    let split = bench.site(&folder).split(&place)?;
    let pairs = world::pairs(split.address(), bench.run.sizes.chats)?;
    let side = Side::ours(split.address(), bench.watched(split.pids()), &pairs);
    let topic = place.topic("floor.loop");
    kafka::make_topics(&place.brokers, &[&topic])?;
    let cores = &bench.cores;
    let bytes = TEXT_LENGTH + ENVELOPE;
    let mut pipeline =
        cores.run_on_server_core(|| Pipeline::open(&place.brokers, &topic, bytes))?;
    let (mut samples, mut floors): (Vec<Sample>, _) = (Vec::new(), Vec::new());
    for round in 0..bench.run.rounds {
        for turn in 0..2 {
            if (round + turn) % 2 == 0 {
                bench.checkpoint()?;
                samples.push(Chats::open(bench, &side)?.measure(bench.run.sizes.apart, WINDOW)?);
            } else {
                floors.push(floor(bench, &mut pipeline)?);
            }
        }
    }
    split.stop()?;
    let cost = |group| values(&samples, |sample| sample.micros(group));
    Ok(Outcome {
        figures: vec![
            Figure::plain("CPU of all our processes, us per message", cost(OURS))
                .against(floors, Compare::Ratio)
                .aims(Aim::Compared(2.5)),
            Figure::plain("beside it PostgreSQL, us", cost(POSTGRES)),
            Figure::plain("beside it Kafka, us", cost(KAFKA)),
            Figure::plain("messages a second", values(&samples, Sample::rate)),
        ],
        tally: tally(&samples),
        notes: vec![format!(
            "every service in a process of its own, one partition, {} chats, {WINDOW} sends unconfirmed, {} messages a \
             round; floor: one producer and one consumer in one process, {bytes} bytes, acks=all, linger 0, {WINDOW} \
             records under way, one hop where ours has two, a database and two sockets",
            bench.run.sizes.chats, bench.run.sizes.apart
        )],
    })
}

/// CPU time of the loop in microseconds for each record. It runs inside of the bench, which waits meanwhile.
fn floor(bench: &Bench, pipeline: &mut Pipeline) -> Result<f64> {
    let (sizes, me) = (&bench.run.sizes, std::process::id());
    let spent = bench.cores.run_on_server_core(|| {
        pipeline.run(sizes.warm_up, WINDOW)?;
        let before = CpuTime::of(me)?;
        pipeline.run(sizes.apart, WINDOW)?;
        thread::sleep(sizes.settle);
        Ok(CpuTime::of(me)?.since(&before))
    })?;
    Ok(spent as f64 / 1e3 / sizes.apart as f64)
}
