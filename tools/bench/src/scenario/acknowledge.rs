//! D2: how long a durable acknowledgement takes at 50 messages a second, beside one flush of the same disk in the same minute.
//!
//! The plan is fixed: a message that is sent late counts from when it should have been sent.

use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

use super::{
    Bench, FIRST_ID,
    side::{Side, Watched, idle, nothing_expected},
};
use crate::{
    event::{Commands, Line, count_in_text},
    floor::fsync,
    ledger::{Ledger, Tally},
    machine,
    report::{Aim, Compare, Figure, Outcome},
    server::{Folder, Server},
    swarm::Swarm,
    world,
};

const PACE: Duration = Duration::from_millis(20);
/// The last moment before a planned one is spent polling: a timer would add its own delay.
const POLLED: Duration = Duration::from_micros(300);
const SENDER: usize = 0;
const READER: usize = 1;

/// What became of messages that were sent at a fixed pace; nanoseconds from their planned time.
pub(super) struct Paced {
    /// Until the sender knew that they are stored.
    pub(super) acknowledged: Histogram<u64>,
    /// Until the other member had them.
    pub(super) delivered: Histogram<u64>,
    pub(super) tally: Tally,
}

struct Sample {
    flush: Histogram<u64>,
    paced: Paced,
}

pub(super) fn measure(bench: &Bench) -> Result<Outcome> {
    let folder = Folder::new(&bench.run.data, "d2")?;
    let server = Server::start(&bench.run.messenger, folder.path(), &bench.cores)?;
    let pairs = world::pairs(server.address(), 1)?;
    let side = Side::ours(
        server.address(),
        Watched::one(server.process().id()),
        &pairs,
    );
    let mut samples = Vec::new();
    for _ in 0..bench.run.rounds {
        // The disk of a shared machine changes its mind within a round: half of the floor before it, half behind it.
        let mut flush = fsync::measure(folder.path(), bench.run.sizes.fsync)?;
        let paced = paced(bench, &side, bench.run.sizes.paced, PACE)?;
        flush.add(fsync::measure(folder.path(), bench.run.sizes.fsync)?)?;
        samples.push(Sample { flush, paced });
    }
    server.stop()?;
    Ok(outcome(bench, &samples))
}

/// Sends `total` messages into the first chat of `side`, one each `pace`, to the other member.
pub(super) fn paced(bench: &Bench, side: &Side, total: u64, pace: Duration) -> Result<Paced> {
    let mut swarm = Swarm::new()?;
    for member in [SENDER, READER] {
        swarm.connect(side.address, world::source(member), side.login(member))?;
    }
    idle(&mut swarm, bench.run.sizes.settle, nothing_expected)?;
    let chat = side.login(SENDER).chat;
    let mut ledger = Ledger::new(swarm.heads());
    let mut commands = Commands::new(machine::unix_millis());
    let (mut acknowledged, mut delivered) = (Histogram::new(3)?, Histogram::new(3)?);

    let began = Instant::now() + pace;
    let planned = |count: u64| began + pace * u32::try_from(count).unwrap_or(u32::MAX);
    let late = |count: u64| u64::try_from(planned(count).elapsed().as_nanos()).unwrap_or(u64::MAX);
    let (mut sent, mut arrived) = (0, 0);
    while acknowledged.len() < total || arrived < 2 * total {
        let now = Instant::now();
        while sent < total && planned(sent) <= now {
            swarm.queue(SENDER, commands.send(FIRST_ID + sent, chat, sent));
            swarm.flush(SENDER)?;
            sent += 1;
        }
        if now > planned(total) + bench.run.sizes.stall {
            break;
        }
        let next = if sent < total {
            planned(sent)
        } else {
            now + pace
        };
        let wait = next
            .saturating_duration_since(Instant::now())
            .saturating_sub(POLLED);
        swarm.turn(wait, |connection, line| {
            match Line::of(line)? {
                Line::Done { id } if connection == SENDER && id >= FIRST_ID => {
                    acknowledged.record(late(id - FIRST_ID))?;
                }
                Line::Message { o } => {
                    arrived += 1;
                    let number = ledger.arrived(connection, o);
                    let Some(count) = number.filter(|number| *number < total) else {
                        return Ok(());
                    };
                    if count_in_text(line) != Some(count) {
                        ledger.out_of_turn();
                    }
                    if connection == READER {
                        delivered.record(late(count))?;
                    }
                }
                _ => {}
            }
            Ok(())
        })?;
    }
    let mut tally = ledger.close(2 * total);
    tally.missing += total.saturating_sub(acknowledged.len());
    Ok(Paced {
        acknowledged,
        delivered,
        tally,
    })
}

fn outcome(bench: &Bench, samples: &[Sample]) -> Outcome {
    let values = |of: fn(&Sample) -> &Histogram<u64>, quantile: f64| {
        samples
            .iter()
            .map(|sample| of(sample).value_at_quantile(quantile) as f64 / 1e6)
            .collect::<Vec<_>>()
    };
    let flush = |quantile| values(|sample| &sample.flush, quantile);
    let acknowledged = |quantile| values(|sample| &sample.paced.acknowledged, quantile);
    let delivered = |quantile| values(|sample| &sample.paced.delivered, quantile);
    Outcome {
        figures: vec![
            Figure::plain("acknowledged p50, ms", acknowledged(0.5))
                .against(flush(0.5), Compare::Difference)
                .aims(Aim::Compared(2.0)),
            Figure::plain("acknowledged p99, ms", acknowledged(0.99))
                .against(flush(0.99), Compare::Difference),
            Figure::plain("delivered p50, ms", delivered(0.5)),
            Figure::plain("delivered p99, ms", delivered(0.99)),
        ],
        tally: samples
            .iter()
            .fold(Tally::default(), |tally, sample| tally + sample.paced.tally),
        notes: vec![format!(
            "{} messages a round at 50 a second, open loop, from the planned time; floor: 8 KiB fdatasync on the same disk \
             just before and after each round; a p99 rests on {} samples a round",
            bench.run.sizes.paced, bench.run.sizes.paced
        )],
    }
}
