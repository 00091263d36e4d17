//! The load of T, and of whatever else stores messages: chats of two people, both of them connected; the first one sends, or
//! what the second one has said waits in the log.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{
    Bench, FIRST_ID,
    side::{Moment, Side, Spent, idle},
    waiting::Waiting,
};
use crate::{
    event::{Commands, Line, count_in_text},
    ledger::{Ledger, Tally},
    machine,
    swarm::Swarm,
    world,
};

/// Sends of T that are unconfirmed at the same time, over all chats.
pub(super) const UNCONFIRMED: u64 = 64;

/// What a round has shown.
pub(super) struct Sample {
    /// Until everything was settled.
    spent: Spent,
    /// Until the last message arrived.
    driven: Spent,
    messages: u64,
    pub(super) tally: Tally,
}

impl Sample {
    /// CPU time of a group of processes, in microseconds for each message.
    pub(super) fn micros(&self, group: usize) -> f64 {
        self.spent.groups[group] as f64 / 1e3 / self.messages as f64
    }

    /// Messages a second.
    pub(super) fn rate(&self) -> f64 {
        self.messages as f64 / self.driven.wall.as_secs_f64()
    }

    /// The part of its core that the generator used.
    pub(super) fn generator_share(&self) -> f64 {
        self.driven.generator as f64 / self.driven.wall.as_nanos() as f64
    }
}

/// Both members of every chat; the first one sends.
pub(super) struct Chats<'a> {
    swarm: Swarm,
    books: Books,
    commands: Commands,
    side: Side<'a>,
    warm_up: u64,
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
    /// Connects everybody.
    pub(super) fn open(bench: &Bench, side: &Side<'a>) -> Result<Self> {
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
            settle: sizes.settle,
            stall: sizes.stall,
            sent: 0,
        })
    }

    /// Sends `messages` after some to warm up, with `window` of them unconfirmed, and waits until everybody has them.
    pub(super) fn measure(self, messages: u64, window: u64) -> Result<Sample> {
        self.run(messages, |chats, total| chats.send_until(total, window))
    }

    /// As [`Chats::measure`], but what is sent is put into the log, all of it at once.
    pub(super) fn measure_waiting(self, messages: u64, waiting: &mut Waiting) -> Result<Sample> {
        self.run(messages, |chats, total| {
            waiting.add(total - chats.sent)?;
            (chats.sent, chats.books.confirmed) = (total, total);
            chats.receive(total)
        })
    }

    fn run(
        mut self,
        messages: u64,
        mut bring: impl FnMut(&mut Self, u64) -> Result<()>,
    ) -> Result<Sample> {
        let total = self.warm_up + messages;
        let warm_up = self.warm_up;
        bring(&mut self, warm_up)?;
        self.settle()?;
        let before = Moment::now(&self.side.watched)?;
        bring(&mut self, total)?;
        let done = Moment::now(&self.side.watched)?;
        self.settle()?;
        let settled = Moment::now(&self.side.watched)?;

        let mut tally = self.books.ledger.close(2 * total);
        tally.missing += total.saturating_sub(self.books.confirmed);
        Ok(Sample {
            spent: before.until(&settled),
            driven: before.until(&done),
            messages,
            tally,
        })
    }

    /// Message n goes to chat n modulo their number, until `total` are confirmed and have arrived at both members.
    fn send_until(&mut self, total: u64, window: u64) -> Result<()> {
        let chats = self.side.logins.len() as u64 / 2;
        let mut moved = Instant::now();
        while !self.has(total) && moved.elapsed() < self.stall {
            let until = total.min(self.books.confirmed + window);
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
            self.turn(&mut moved)?;
        }
        Ok(())
    }

    /// Waits until `total` have arrived at both members.
    fn receive(&mut self, total: u64) -> Result<()> {
        let mut moved = Instant::now();
        while !self.has(total) && moved.elapsed() < self.stall {
            self.turn(&mut moved)?;
        }
        Ok(())
    }

    fn has(&self, total: u64) -> bool {
        self.books.confirmed >= total && self.books.arrived >= 2 * total
    }

    fn turn(&mut self, moved: &mut Instant) -> Result<()> {
        let (before, books) = ((self.books.confirmed, self.books.arrived), &mut self.books);
        self.swarm
            .turn(Duration::from_millis(100), |connection, line| {
                books.take(connection, line)
            })?;
        if before != (self.books.confirmed, self.books.arrived) {
            *moved = Instant::now();
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
