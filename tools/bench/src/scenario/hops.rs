//! K1 and K2: delivery and durable acknowledgement with every service apart, 100 messages a second, beside a chain of what
//! a stored message cannot avoid: a hop over Kafka, one row in PostgreSQL, another hop.

use std::time::Duration;

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;

use super::{
    Bench,
    acknowledge::{Paced, paced},
    side::Side,
};
use crate::{
    event::{ENVELOPE, TEXT_LENGTH},
    floor::hops::{Chain, Taken},
    ledger::Tally,
    report::{Aim, Compare, Figure, Outcome, median, number},
    server::Folder,
    world,
};

const PACE: Duration = Duration::from_millis(10);

struct Sample {
    floor: Taken,
    paced: Paced,
}

pub(super) fn measure(bench: &Bench) -> Result<Outcome> {
    let folder = Folder::new(&bench.run.data, "k1")?;
    let place = bench.place("k1")?.context("no servers")?;
    let split = bench.site(&folder).split(&place)?;
    let pairs = world::pairs(split.address(), 1)?;
    let side = Side::ours(split.address(), bench.watched(split.pids()), &pairs);
    // Where our processes run, the floor runs as well.
    let cores = &bench.cores;
    let mut chain = cores.run_on_server_core(|| Chain::open(&place, TEXT_LENGTH + ENVELOPE))?;
    let messages = bench.run.sizes.hops;
    let half = u32::try_from(messages / 2)?;
    let mut samples = Vec::new();
    // A broker that was just started is slow, and whoever asks it for the first time as well: one round more, not shown.
    for round in 0..=bench.run.rounds {
        bench.checkpoint()?;
        let mut floor = Taken::new()?;
        // Half of the floor before it, half behind it.
        cores.run_on_server_core(|| chain.run(half, PACE, &mut floor))?;
        let paced = paced(bench, &side, messages, PACE)?;
        cores.run_on_server_core(|| chain.run(half, PACE, &mut floor))?;
        if round > 0 {
            samples.push(Sample { floor, paced });
        }
    }
    split.stop()?;
    Ok(outcome(messages, &samples))
}

fn outcome(messages: u64, samples: &[Sample]) -> Outcome {
    let values = |of: fn(&Sample) -> &Histogram<u64>, quantile: f64| {
        let samples = samples.iter();
        samples
            .map(|sample| of(sample).value_at_quantile(quantile) as f64 / 1e6)
            .collect::<Vec<_>>()
    };
    let figure = |id, what: &str, of: fn(&Sample) -> &Histogram<u64>, quantile, aim| {
        let floor = values(|sample| &sample.floor.whole, quantile);
        let figure = Figure::plain(what, values(of, quantile)).called(id);
        figure.against(floor, Compare::Ratio).aims(aim)
    };
    let middle = |of| number(median(&values(of, 0.5)).unwrap_or(f64::NAN));
    let (hop, commit) = (
        middle(|sample| &sample.floor.hop),
        middle(|sample| &sample.floor.commit),
    );
    let aim = Aim::Compared(1.6);
    Outcome {
        figures: vec![
            figure(
                "K1",
                "delivered p50, ms",
                |sample| &sample.paced.delivered,
                0.5,
                aim,
            ),
            figure(
                "K1",
                "delivered p99, ms",
                |sample| &sample.paced.delivered,
                0.99,
                Aim::None,
            ),
            figure(
                "K2",
                "acknowledged p50, ms",
                |sample| &sample.paced.acknowledged,
                0.5,
                aim,
            ),
            figure(
                "K2",
                "acknowledged p99, ms",
                |sample| &sample.paced.acknowledged,
                0.99,
                Aim::None,
            ),
        ],
        tally: samples
            .iter()
            .fold(Tally::default(), |tally, sample| tally + sample.paced.tally),
        notes: vec![format!(
            "every service in a process of its own; {messages} messages a round at 100 a second, open loop, from the planned \
             time, and as many times the floor, half before and half after them: a hop (p50 {hop} ms), a row and its commit \
             (p50 {commit} ms), a hop; a p99 rests on {messages} samples a round"
        )],
    }
}
