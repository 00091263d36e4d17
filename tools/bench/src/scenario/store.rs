//! T1 and T100: server CPU for each stored message, in one chat of two people and in a hundred, with 64 sends unconfirmed.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{
    Bench, FIRST_ID,
    side::{Moment, Side, idle},
};
use crate::{
    event::{Commands, Line, count_in_text},
    ledger::{Ledger, Tally},
    machine,
    report::{Aim, Figure, Outcome, median, number},
    server::{Folder, Server},
    swarm::Swarm,
    world,
};

const UNCONFIRMED: u64 = 64;

struct Sample {
    micros: f64,
    rate: f64,
    generator_share: f64,
    tally: Tally,
}

pub(super) fn measure(bench: &Bench, chats: usize) -> Result<Outcome> {
    let folder = Folder::new(&bench.run.data, &format!("t{chats}"))?;
    let server = Server::start(&bench.run.messenger, folder.path(), &bench.cores)?;
    let pairs = world::pairs(server.address(), chats)?;
    let side = Side::ours(server.address(), server.process().id(), &pairs);
    let mut samples = Vec::new();
    for _ in 0..bench.run.rounds {
        samples.push(Chats::open(bench, &side)?.measure()?);
    }
    server.stop()?;
    let values = |value: fn(&Sample) -> f64| samples.iter().map(value).collect::<Vec<_>>();
    let share = median(&values(|sample| sample.generator_share)).unwrap_or(f64::NAN);
    let aim = if chats == 1 {
        Aim::None
    } else {
        Aim::Ours(150.0)
    };
    Ok(Outcome {
        figures: vec![
            Figure::plain(
                "server CPU, us per stored message",
                values(|sample| sample.micros),
            )
            .aims(aim),
            Figure::plain("stored messages a second", values(|sample| sample.rate)),
        ],
        tally: samples
            .iter()
            .fold(Tally::default(), |tally, sample| tally + sample.tally),
        notes: vec![format!(
            "{chats} private chats, {UNCONFIRMED} sends unconfirmed over all of them, {} messages a round, both members \
             connected, order checked on both; generator busy {}",
            bench.run.sizes.stored,
            number(share)
        )],
    })
}

/// Both members of every chat; the first one sends.
struct Chats<'a> {
    swarm: Swarm,
    books: Books,
    commands: Commands,
    side: Side<'a>,
    warm_up: u64,
    messages: u64,
    settle: Duration,
    stall: Duration,
    sent: u64,
}

/// What has come back.
struct Books {
    ledger: Ledger,
    confirmed: u64,
    arrived: u64,
}

impl Books {
    fn take(&mut self, connection: usize, line: &[u8]) -> Result<()> {
        match Line::of(line)? {
            Line::Done { id } if id >= FIRST_ID => self.confirmed += 1,
            Line::Message { o } => {
                self.arrived += 1;
                let number = self.ledger.arrived(connection, o);
                if number.is_some() && number != count_in_text(line) {
                    self.ledger.out_of_turn();
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Chats<'a> {
    fn open(bench: &Bench, side: &Side<'a>) -> Result<Self> {
        let mut swarm = Swarm::new()?;
        for connection in 0..side.logins.len() {
            swarm.connect(
                side.address,
                world::source(connection),
                side.login(connection),
            )?;
        }
        let books = Books {
            ledger: Ledger::new(swarm.heads()),
            confirmed: 0,
            arrived: 0,
        };
        let sizes = &bench.run.sizes;
        Ok(Self {
            swarm,
            books,
            commands: Commands::new(machine::unix_millis()),
            side: side.clone(),
            warm_up: sizes.warm_up,
            messages: sizes.stored,
            settle: sizes.settle,
            stall: sizes.stall,
            sent: 0,
        })
    }

    fn measure(mut self) -> Result<Sample> {
        let total = self.warm_up + self.messages;
        self.send_until(self.warm_up)?;
        self.settle()?;
        let before = Moment::now(self.side.pid)?;
        self.send_until(total)?;
        let done = Moment::now(self.side.pid)?;
        self.settle()?;
        let settled = Moment::now(self.side.pid)?;

        let driven = before.until(&done);
        let mut tally = self.books.ledger.close(2 * total);
        tally.missing += total.saturating_sub(self.books.confirmed);
        Ok(Sample {
            micros: before.until(&settled).server as f64 / 1e3 / self.messages as f64,
            rate: self.messages as f64 / driven.wall.as_secs_f64(),
            generator_share: driven.generator as f64 / driven.wall.as_nanos() as f64,
            tally,
        })
    }

    /// Message n goes to chat n modulo their number, until `total` are confirmed and have arrived at both members.
    fn send_until(&mut self, total: u64) -> Result<()> {
        let chats = self.side.logins.len() as u64 / 2;
        let mut moved = Instant::now();
        while self.books.confirmed < total || self.books.arrived < 2 * total {
            let until = total.min(self.books.confirmed + UNCONFIRMED);
            let first = self.sent;
            while self.sent < until {
                let sender = usize::try_from(2 * (self.sent % chats))?;
                let chat = self.side.login(sender).chat;
                self.swarm.queue(
                    sender,
                    self.commands
                        .send(FIRST_ID + self.sent, chat, self.sent / chats),
                );
                self.sent += 1;
            }
            for chat in (first..until)
                .map(|number| number % chats)
                .take(usize::try_from(chats)?)
            {
                self.swarm.flush(usize::try_from(2 * chat)?)?;
            }
            let (before, books) = ((self.books.confirmed, self.books.arrived), &mut self.books);
            self.swarm
                .turn(Duration::from_millis(100), |connection, line| {
                    books.take(connection, line)
                })?;
            if before != (self.books.confirmed, self.books.arrived) {
                moved = Instant::now();
            } else if moved.elapsed() > self.stall {
                break;
            }
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        let books = &mut self.books;
        idle(&mut self.swarm, self.settle, |connection, line| {
            books.take(connection, line)
        })
    }
}
