//! One of the two sides of a comparison: a server that runs, and how to log in at it.

use std::{
    net::SocketAddr,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    event::Line,
    floor::fanout::Way,
    handshake::Login,
    machine::{Cores, CpuTime, FamilyTime},
    process::{Process, free_address},
    servers::Servers,
    swarm::Swarm,
    world::Pair,
};

/// The room of the fan-out floor; it asks for no token.
const FLOOR_LOGIN: Login = Login {
    token: "-",
    chat: "00000000-0000-7000-8000-000000000000",
};

/// A fan-out floor that runs.
pub(super) struct Floor {
    process: Process,
    address: SocketAddr,
}

impl Floor {
    pub(super) fn start(cores: &Cores, folder: &Path, way: Way, bytes: usize) -> Result<Self> {
        let address = free_address()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args([
            "floor",
            "fanout",
            "--listen",
            &address.to_string(),
            "--bytes",
            &bytes.to_string(),
        ]);
        if way == Way::Coalesced {
            command.arg("--coalesce");
        }
        let mut process =
            Process::start(cores, command, &folder.join(format!("floor-{bytes}.log")))?;
        process.wait_for_accept(address)?;
        Ok(Self { process, address })
    }

    pub(super) fn side(&self) -> Side<'static> {
        Side {
            address: self.address,
            watched: Watched::one(self.process.id()),
            logins: vec![FLOOR_LOGIN],
        }
    }
}

/// Where connections go and what they say.
#[derive(Clone)]
pub(super) struct Side<'a> {
    pub(super) address: SocketAddr,
    pub(super) watched: Watched,
    /// Connection n uses the login n modulo their number.
    pub(super) logins: Vec<Login<'a>>,
}

impl<'a> Side<'a> {
    /// Our server, with both members of every pair, one after the other.
    pub(super) fn ours(address: SocketAddr, watched: Watched, pairs: &'a [Pair]) -> Self {
        Self {
            address,
            watched,
            logins: pairs.iter().flat_map(logins).collect(),
        }
    }

    pub(super) fn login(&self, connection: usize) -> Login<'a> {
        self.logins[connection % self.logins.len()]
    }
}

/// The two members of a pair.
pub(super) fn logins(pair: &Pair) -> [Login<'_>; 2] {
    [0, 1].map(|member| Login {
        token: &pair.members[member].token,
        chat: &pair.chat,
    })
}

/// Processes whose CPU time is counted, in groups.
#[derive(Clone)]
pub(super) struct Watched(Vec<Vec<u32>>);

/// The groups of [`Watched`]; what a scenario adds comes behind them.
pub(super) const OURS: usize = 0;
pub(super) const POSTGRES: usize = 1;
pub(super) const KAFKA: usize = 2;
pub(super) const REDIS: usize = 3;
pub(super) const ADDED: usize = 4;

impl Watched {
    /// One process of ours, and no servers.
    pub(super) fn one(pid: u32) -> Self {
        Self::with(vec![pid], None)
    }

    /// Processes of ours, and the servers behind them.
    pub(super) fn with(ours: Vec<u32>, servers: Option<&Servers>) -> Self {
        let group = |at: usize| {
            servers
                .map(|servers| servers.pids()[at])
                .into_iter()
                .collect()
        };
        Self(vec![ours, group(0), group(1), group(2)])
    }

    /// Another group.
    pub(super) fn add(&mut self, pids: Vec<u32>) {
        self.0.push(pids);
    }

    /// The first process of ours.
    pub(super) fn pid(&self) -> u32 {
        self.0[OURS][0]
    }
}

/// CPU time of the watched processes and of the generator, and the time of day, at one moment.
pub(super) struct Moment {
    watched: Vec<FamilyTime>,
    generator: CpuTime,
    at: Instant,
}

/// What passed between two moments, in nanoseconds.
pub(super) struct Spent {
    /// By group of [`Watched`].
    pub(super) groups: Vec<u64>,
    pub(super) generator: u64,
    pub(super) wall: Duration,
}

impl Moment {
    pub(super) fn now(watched: &Watched) -> Result<Self> {
        let generator = CpuTime::of(std::process::id())?;
        let groups = watched.0.iter().map(|pids| FamilyTime::of(pids));
        Ok(Self {
            watched: groups.collect::<Result<_>>()?,
            generator,
            at: Instant::now(),
        })
    }

    pub(super) fn until(&self, later: &Self) -> Spent {
        let groups = later.watched.iter().zip(&self.watched);
        Spent {
            groups: groups
                .map(|(later, earlier)| later.since(earlier))
                .collect(),
            generator: later.generator.since(&self.generator),
            wall: later.at - self.at,
        }
    }
}

/// Lets `swarm` live for `time`; what arrives goes to `each`.
pub(super) fn idle(
    swarm: &mut Swarm,
    time: Duration,
    mut each: impl FnMut(usize, &[u8]) -> Result<()>,
) -> Result<()> {
    let end = Instant::now() + time;
    while let Some(left) = end
        .checked_duration_since(Instant::now())
        .filter(|left| !left.is_zero())
    {
        swarm.turn(left, &mut each)?;
    }
    Ok(())
}

/// For sockets that expect no message: errors are errors, everything else is passed over.
pub(super) fn nothing_expected(_: usize, line: &[u8]) -> Result<()> {
    Line::of(line).map(drop)
}
