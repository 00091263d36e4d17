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
    machine::{Cores, CpuTime},
    process::{Process, free_address},
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
            pid: self.process.id(),
            logins: vec![FLOOR_LOGIN],
        }
    }
}

/// Where connections go and what they say.
#[derive(Clone)]
pub(super) struct Side<'a> {
    pub(super) address: SocketAddr,
    pub(super) pid: u32,
    /// Connection n uses the login n modulo their number.
    pub(super) logins: Vec<Login<'a>>,
}

impl<'a> Side<'a> {
    /// Our server, with both members of every pair, one after the other.
    pub(super) fn ours(address: SocketAddr, pid: u32, pairs: &'a [Pair]) -> Self {
        Self {
            address,
            pid,
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

/// CPU time of server and generator, and the time of day, at one moment.
pub(super) struct Moment {
    server: CpuTime,
    generator: CpuTime,
    at: Instant,
}

/// What passed between two moments, in nanoseconds.
pub(super) struct Spent {
    pub(super) server: u64,
    pub(super) generator: u64,
    pub(super) wall: Duration,
}

impl Moment {
    pub(super) fn now(pid: u32) -> Result<Self> {
        let generator = CpuTime::of(std::process::id())?;
        Ok(Self {
            server: CpuTime::of(pid)?,
            generator,
            at: Instant::now(),
        })
    }

    pub(super) fn until(&self, later: &Self) -> Spent {
        Spent {
            server: later.server.since(&self.server),
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
