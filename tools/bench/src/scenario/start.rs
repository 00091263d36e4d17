//! B1: from the start of the program to ready and to the first acknowledged message, on an empty folder and on a used one.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use super::{
    Bench, FIRST_ID,
    side::{idle, logins, nothing_expected},
};
use crate::{
    event::{Commands, Line},
    floor::accept,
    machine,
    report::{Aim, Compare, Figure, Outcome},
    server::{Folder, Server},
    swarm::Swarm,
    world::{self, Pair},
};

const MB: f64 = 1e6;

/// One start.
struct Start {
    ready: f64,
    first_message: f64,
    resident: f64,
}

pub(super) fn measure(bench: &Bench) -> Result<Outcome> {
    let (mut bare, mut cold, mut warm) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..bench.run.rounds {
        let folder = Folder::new(&bench.run.data, &format!("b1-{round}"))?;
        bare.push(millis(accept::measure(&bench.cores, folder.path())?));
        let server = Server::start(&bench.run.messenger, folder.path(), &bench.cores)?;
        let pairs = world::pairs(server.address(), 1)?;
        cold.push(first_message(bench, server, &pairs[0])?);
        let server = Server::start(&bench.run.messenger, folder.path(), &bench.cores)?;
        warm.push(first_message(bench, server, &pairs[0])?);
    }
    let size = fs::metadata(&bench.run.messenger)?.len() as f64 / MB;
    Ok(outcome(&bare, &cold, &warm, size))
}

fn first_message(bench: &Bench, server: Server, pair: &Pair) -> Result<Start> {
    let mut swarm = Swarm::new()?;
    for (member, login) in logins(pair).into_iter().enumerate() {
        swarm.connect(server.address(), world::source(member), login)?;
    }
    swarm.queue(
        0,
        Commands::new(machine::unix_millis()).send(FIRST_ID, &pair.chat, 0),
    );
    swarm.flush(0)?;
    let asked = Instant::now();
    let mut acknowledged = None;
    while acknowledged.is_none() {
        if asked.elapsed() > bench.run.sizes.stall {
            bail!("the first message was not acknowledged");
        }
        swarm.turn(Duration::from_millis(100), |_, line| {
            if matches!(Line::of(line)?, Line::Done { id: FIRST_ID }) {
                acknowledged = Some(server.process().started().elapsed());
            }
            Ok(())
        })?;
    }
    idle(&mut swarm, bench.run.sizes.settle, nothing_expected)?;
    let resident = machine::resident_bytes(server.process().id())? as f64 / MB;
    let ready = millis(server.ready_after());
    server.stop()?;
    Ok(Start {
        ready,
        first_message: acknowledged.map_or(f64::NAN, millis),
        resident,
    })
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn outcome(bare: &[f64], cold: &[Start], warm: &[Start], size: f64) -> Outcome {
    let values =
        |from: &[Start], value: fn(&Start) -> f64| from.iter().map(value).collect::<Vec<_>>();
    let ready = |from| values(from, |start| start.ready);
    let first = |from| values(from, |start| start.first_message);
    let resident = |from| values(from, |start| start.resident);
    let floor = || bare.to_vec();
    Outcome {
        figures: vec![
            Figure::plain("empty folder: ready, ms", ready(cold)).against(floor(), Compare::No).aims(Aim::Ours(60.0)),
            Figure::plain("empty folder: first message, ms", first(cold)),
            Figure::plain("empty folder: resident, MB", resident(cold)).aims(Aim::Ours(25.0)),
            Figure::plain("used folder: ready, ms", ready(warm)).against(floor(), Compare::No).aims(Aim::Ours(60.0)),
            Figure::plain("used folder: first message, ms", first(warm)).aims(Aim::Ours(60.0)),
            Figure::plain("used folder: resident, MB", resident(warm)).aims(Aim::Ours(25.0)),
            Figure::plain("program on disk, MB", vec![size]).aims(Aim::Ours(30.0)),
        ],
        notes: vec![
            "floor: a bare process from its start to its first accept".to_owned(),
            "on an empty folder the first message needs two registrations, which hash two passwords; memory is read after \
             the first message and some quiet"
                .to_owned(),
        ],
        ..Outcome::default()
    }
}
