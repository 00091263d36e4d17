//! M1: resident memory for each idle connection that is authenticated and subscribed.

use anyhow::{Result, bail};

use super::{
    Bench,
    side::{Floor, Side, Watched, idle, nothing_expected},
};
use crate::{
    floor::fanout::Way,
    machine,
    report::{Aim, Compare, Figure, Outcome},
    server::{Folder, Server},
    swarm::Swarm,
    world,
};

/// As many as the product allows a person.
const PER_PERSON: usize = 20;
/// Descriptors of a process that are no measured connection.
const SPARE: u64 = 500;

/// Growth for each connection, in KB (1000 bytes).
struct Growth {
    resident: f64,
    slab: f64,
}

pub(super) fn measure(bench: &Bench) -> Result<Outcome> {
    let wanted = bench.run.sizes.idle;
    let room = usize::try_from(bench.descriptors.saturating_sub(SPARE))?;
    let connections = wanted.min(room);
    if connections == 0 {
        bail!("{} descriptors are too few", bench.descriptors);
    }
    let folder = Folder::new(&bench.run.data, "m1")?;
    // People are registered in a start of their own: hashing passwords leaves memory behind that is not a connection's.
    let server = Server::start(&bench.run.messenger, folder.path(), &bench.cores)?;
    let pairs = world::pairs(server.address(), connections.div_ceil(2 * PER_PERSON))?;
    server.stop()?;

    let (mut ours, mut floors) = (Vec::new(), Vec::new());
    for round in 0..bench.run.rounds {
        for turn in 0..2 {
            if (round + turn) % 2 == 0 {
                let server = Server::start(&bench.run.messenger, folder.path(), &bench.cores)?;
                let side = Side::ours(
                    server.address(),
                    Watched::one(server.process().id()),
                    &pairs,
                );
                ours.push(grow(bench, &side, connections)?);
                server.stop()?;
            } else {
                let floor = Floor::start(&bench.cores, folder.path(), Way::OneByOne, 200)?;
                floors.push(grow(bench, &floor.side(), connections)?);
            }
        }
    }
    let values =
        |from: &[Growth], value: fn(&Growth) -> f64| from.iter().map(value).collect::<Vec<_>>();
    let resident = |from: &[Growth]| values(from, |growth| growth.resident);
    let slab = |from: &[Growth]| values(from, |growth| growth.slab);
    Ok(Outcome {
        figures: vec![
            Figure::plain("resident memory, KB per connection", resident(&ours))
                .against(resident(&floors), Compare::No)
                .aims(Aim::Ours(4.0)),
            Figure::plain("kernel memory (slab), KB per socket end", slab(&ours))
                .against(slab(&floors), Compare::No),
        ],
        notes: vec![format!(
            "{connections} connections ({wanted} wanted, {} descriptors allowed), {} people with at most {PER_PERSON} \
             each, from several loopback addresses, read {} s after the last one",
            bench.descriptors,
            2 * pairs.len(),
            bench.run.sizes.idle_time.as_secs_f64()
        )],
        ..Outcome::default()
    })
}

fn grow(bench: &Bench, side: &Side, connections: usize) -> Result<Growth> {
    let mut swarm = Swarm::new()?;
    idle(&mut swarm, bench.run.sizes.settle, nothing_expected)?;
    let (resident, slab) = (
        machine::resident_bytes(side.watched.pid())?,
        machine::slab_bytes()?,
    );
    for connection in 0..connections {
        swarm.connect(
            side.address,
            world::source(connection),
            side.login(connection),
        )?;
    }
    idle(&mut swarm, bench.run.sizes.idle_time, nothing_expected)?;
    let each = |now: u64, before: u64| (now as f64 - before as f64) / 1000.0 / connections as f64;
    Ok(Growth {
        resident: each(machine::resident_bytes(side.watched.pid())?, resident),
        // Both ends of a connection are on this machine.
        slab: each(machine::slab_bytes()?, slab) / 2.0,
    })
}
