//! T1 and T100: CPU for each stored message, in one chat of two people and in a hundred. On servers PostgreSQL's time is part of
//! it, as `SQLite`'s is part of ours; Kafka's and Redis's are shown beside.

use anyhow::Result;

use super::{
    Bench,
    load::{Chats, Sample, UNCONFIRMED},
    side::{KAFKA, OURS, POSTGRES, REDIS, Side},
};
use crate::{
    ledger::Tally,
    report::{Aim, Figure, Outcome, median, number},
    server::Folder,
    world,
};

pub(super) fn measure(bench: &Bench, chats: usize) -> Result<Outcome> {
    let name = format!("t{chats}");
    let folder = Folder::new(&bench.run.data, &name)?;
    let place = bench.place(&name)?;
    let server = bench.site(&folder).start(place.as_ref())?;
    let pairs = world::pairs(server.address(), chats)?;
    let side = Side::ours(
        server.address(),
        bench.watched(vec![server.process().id()]),
        &pairs,
    );
    let mut samples = Vec::new();
    for _ in 0..bench.run.rounds {
        bench.checkpoint()?;
        samples.push(Chats::open(bench, &side)?.measure(bench.run.sizes.stored, UNCONFIRMED)?);
    }
    server.stop()?;
    let share = median(&values(&samples, Sample::generator_share)).unwrap_or(f64::NAN);
    let aim = if chats == 1 && place.is_none() {
        Aim::None
    } else {
        Aim::Ours(150.0)
    };
    let mut figures = if place.is_some() {
        on_servers(&samples, aim)
    } else {
        let cost = values(&samples, |sample| sample.micros(OURS));
        vec![Figure::plain("server CPU, us per stored message", cost).aims(aim)]
    };
    figures.push(Figure::plain(
        "stored messages a second",
        values(&samples, Sample::rate),
    ));
    Ok(Outcome {
        figures,
        tally: tally(&samples),
        notes: vec![format!(
            "{chats} private chats, {UNCONFIRMED} sends unconfirmed over all of them, {} messages a round, both members \
             connected, order checked on both; generator busy {}",
            bench.run.sizes.stored,
            number(share)
        )],
    })
}

fn on_servers(samples: &[Sample], aim: Aim) -> Vec<Figure> {
    let cost = |group| values(samples, |sample| sample.micros(group));
    let both = values(samples, |sample| {
        sample.micros(OURS) + sample.micros(POSTGRES)
    });
    vec![
        Figure::plain("CPU of ours and PostgreSQL, us per stored message", both).aims(aim),
        Figure::plain("ours alone, us", cost(OURS)),
        Figure::plain("PostgreSQL alone, us", cost(POSTGRES)),
        Figure::plain("beside it Kafka, us", cost(KAFKA)),
        Figure::plain("beside it Redis, us", cost(REDIS)),
    ]
}

/// One value of each round.
pub(super) fn values(samples: &[Sample], value: impl Fn(&Sample) -> f64) -> Vec<f64> {
    samples.iter().map(value).collect()
}

/// What arrived in all rounds.
pub(super) fn tally(samples: &[Sample]) -> Tally {
    samples
        .iter()
        .fold(Tally::default(), |tally, sample| tally + sample.tally)
}
