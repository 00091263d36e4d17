//! F1 and F2: what one delivery in a room of 1000 connections costs. Ours stores each message first, the floor does not.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::{
    Bench, FIRST_ID,
    side::{Floor, Moment, OURS, Side, Watched, idle},
};
use crate::{
    event::{Commands, Line, TEXT_LENGTH, count_in_text},
    floor::fanout::Way,
    ledger::{Ledger, Tally},
    machine,
    report::{Aim, Compare, Figure, Outcome, median, number},
    server::{Folder, Server},
    swarm::Swarm,
    world,
};

/// The text of every message is checked on one connection of so many; `o` is checked on all.
const TEXT_CHECKED: usize = 50;

pub(super) fn measure(bench: &Bench, window: u64, messages: u64) -> Result<Outcome> {
    let folder = Folder::new(&bench.run.data, &format!("f{window}"))?;
    let server = Server::start(&bench.run.messenger, folder.path(), &bench.cores)?;
    let pairs = world::pairs(server.address(), 1)?;
    let ours = Side::ours(
        server.address(),
        Watched::one(server.process().id()),
        &pairs,
    );
    let our_length = message_length(bench, &ours)?;
    let way = if window == 1 {
        Way::OneByOne
    } else {
        Way::Coalesced
    };
    let bare = Floor::start(&bench.cores, folder.path(), way, TEXT_LENGTH)?;
    let same_length = Floor::start(&bench.cores, folder.path(), way, our_length)?;

    let sides = [ours, bare.side(), same_length.side()];
    let mut samples = [const { Vec::new() }; 3];
    for round in 0..bench.run.rounds {
        for turn in 0..sides.len() {
            let which = (round + turn) % sides.len();
            samples[which].push(Room::open(bench, &sides[which], window)?.measure(messages)?);
        }
    }
    server.stop()?;
    Ok(outcome(bench, window, messages, our_length, &samples))
}

/// Bytes of one message of ours as it arrives.
fn message_length(bench: &Bench, side: &Side) -> Result<usize> {
    let mut swarm = Swarm::new()?;
    let login = side.login(0);
    swarm.connect(side.address, world::source(0), login)?;
    swarm.queue(
        0,
        Commands::new(machine::unix_millis()).send(FIRST_ID, login.chat, 0),
    );
    swarm.flush(0)?;
    let (mut length, began) = (None, Instant::now());
    while length.is_none() && began.elapsed() < bench.run.sizes.stall {
        swarm.turn(Duration::from_millis(100), |_, line| {
            if matches!(Line::of(line)?, Line::Message { .. }) {
                length = Some(line.len());
            }
            Ok(())
        })?;
    }
    length.context("the first message did not come back to its sender")
}

struct Sample {
    server_nanos: f64,
    generator_nanos: f64,
    generator_share: f64,
    bytes: f64,
    messages_per_read: f64,
    tally: Tally,
}

/// All connections of one round.
struct Room<'a> {
    swarm: Swarm,
    books: Books,
    commands: Commands,
    chat: &'a str,
    watched: &'a Watched,
    window: u64,
    warm_up: u64,
    settle: Duration,
    stall: Duration,
}

/// What has come back.
struct Books {
    ledger: Ledger,
    /// For each message sent, how many have it.
    arrived: Vec<usize>,
    /// Messages that everybody has.
    whole: u64,
    /// How many that is.
    everybody: usize,
}

impl<'a> Room<'a> {
    fn open(bench: &Bench, side: &'a Side<'a>, window: u64) -> Result<Self> {
        let sizes = &bench.run.sizes;
        let mut swarm = Swarm::new()?;
        for connection in 0..sizes.connections {
            swarm.connect(
                side.address,
                world::source(connection),
                side.login(connection),
            )?;
        }
        let books = Books {
            ledger: Ledger::new(swarm.heads()),
            arrived: Vec::new(),
            whole: 0,
            everybody: swarm.len(),
        };
        Ok(Self {
            swarm,
            books,
            commands: Commands::new(machine::unix_millis()),
            chat: side.login(0).chat,
            watched: &side.watched,
            window,
            warm_up: sizes.warm_up,
            settle: sizes.settle,
            stall: sizes.stall,
        })
    }

    fn measure(mut self, messages: u64) -> Result<Sample> {
        self.send_until(self.warm_up)?;
        self.settle()?;
        let before = Moment::now(self.watched)?;
        let (reads, bytes) = self.swarm.received();
        self.send_until(self.warm_up + messages)?;
        let done = Moment::now(self.watched)?;
        let (reads_after, bytes_after) = self.swarm.received();
        self.settle()?;
        let settled = Moment::now(self.watched)?;

        let connections = self.swarm.len() as u64;
        let deliveries = (messages * connections) as f64;
        let driven = before.until(&done);
        Ok(Sample {
            server_nanos: before.until(&settled).groups[OURS] as f64 / deliveries,
            generator_nanos: driven.generator as f64 / deliveries,
            generator_share: driven.generator as f64 / driven.wall.as_nanos() as f64,
            bytes: (bytes_after - bytes) as f64 / deliveries,
            messages_per_read: deliveries / (reads_after - reads) as f64,
            tally: self
                .books
                .ledger
                .close((self.warm_up + messages) * connections),
        })
    }

    /// Keeps `window` messages on their way until everybody has `total`, or nothing moves any more.
    fn send_until(&mut self, total: u64) -> Result<()> {
        let mut moved = Instant::now();
        while self.books.whole < total {
            let sent = self.books.arrived.len() as u64;
            let until = total.min(self.books.whole + self.window);
            for count in sent..until {
                self.swarm
                    .queue(0, self.commands.send(FIRST_ID + count, self.chat, count));
                self.books.arrived.push(0);
            }
            if until > sent {
                self.swarm.flush(0)?;
            }
            if self.turn(Duration::from_millis(100))? {
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
            books.take(connection, line).map(drop)
        })
    }

    /// Whether a message arrived.
    fn turn(&mut self, wait: Duration) -> Result<bool> {
        let (books, mut moved) = (&mut self.books, false);
        self.swarm.turn(wait, |connection, line| {
            moved |= books.take(connection, line)?;
            Ok(())
        })?;
        Ok(moved)
    }
}

impl Books {
    /// Books one line; whether it was a message.
    fn take(&mut self, connection: usize, line: &[u8]) -> Result<bool> {
        let Line::Message { o } = Line::of(line)? else {
            return Ok(false);
        };
        let Some(number) = self.ledger.arrived(connection, o) else {
            return Ok(true);
        };
        let sent = self.arrived.len();
        let Some(count) = usize::try_from(number)
            .ok()
            .and_then(|at| self.arrived.get_mut(at))
        else {
            bail!("`o` {o} arrived, but only {sent} messages were sent");
        };
        *count += 1;
        self.whole += u64::from(*count == self.everybody);
        if connection.is_multiple_of(TEXT_CHECKED) && count_in_text(line) != Some(number) {
            self.ledger.out_of_turn();
        }
        Ok(true)
    }
}

fn outcome(
    bench: &Bench,
    window: u64,
    messages: u64,
    our_length: usize,
    samples: &[Vec<Sample>; 3],
) -> Outcome {
    let cost = |which: usize| {
        samples[which]
            .iter()
            .map(|sample| sample.server_nanos)
            .collect::<Vec<_>>()
    };
    let middle = |which: usize, value: fn(&Sample) -> f64| {
        number(median(&samples[which].iter().map(value).collect::<Vec<_>>()).unwrap_or(f64::NAN))
    };
    let limit = if window == 1 { 1.35 } else { 2.0 };
    let what = "server CPU, ns per delivery";
    let mut outcome = Outcome {
        figures: vec![
            Figure::plain(what, cost(0))
                .against(cost(1), Compare::Ratio)
                .aims(Aim::Compared(limit)),
            Figure::plain(
                format!("{what}, floor with frames as long as ours"),
                cost(0),
            )
            .against(cost(2), Compare::Ratio),
        ],
        tally: samples
            .iter()
            .flatten()
            .fold(Tally::default(), |tally, sample| tally + sample.tally),
        notes: vec![format!(
            "one private chat, {} connections of its two members, {window} in flight, {messages} messages a round after {} \
             to warm up, text of {TEXT_LENGTH} bytes; ours stores every message before it delivers it",
            bench.run.sizes.connections, bench.run.sizes.warm_up
        )],
    };
    for (which, name) in ["ours", "floor", "floor with long frames"]
        .iter()
        .enumerate()
    {
        outcome.notes.push(format!(
            "{name}: {} bytes and {} ns of the generator per delivery, {} messages per read, generator busy {}",
            middle(which, |sample| sample.bytes),
            middle(which, |sample| sample.generator_nanos),
            middle(which, |sample| sample.messages_per_read),
            middle(which, |sample| sample.generator_share),
        ));
    }
    outcome
        .notes
        .push(format!("one message of ours is {our_length} bytes of JSON"));
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The books of one reader to whom two messages were sent.
    fn books() -> Books {
        Books {
            ledger: Ledger::new([0]),
            arrived: vec![0; 2],
            whole: 0,
            everybody: 1,
        }
    }

    fn booked(lines: &[&str]) -> (u64, Tally) {
        let mut books = books();
        for line in lines {
            books.take(0, line.as_bytes()).unwrap();
        }
        (books.whole, books.ledger.close(2))
    }

    #[test]
    fn a_message_counts_when_everybody_has_it() {
        let first = r#"{"t":"msg.new","s":"c:x","o":1,"d":{"text":"0000000000x"}}"#;
        let second = r#"{"t":"msg.new","s":"c:x","o":2,"d":{"text":"0000000001x"}}"#;
        let (whole, tally) = booked(&[first, second]);
        assert!(whole == 2 && tally.is_clean());
        assert_eq!(booked(&[first, first]).1.duplicate, 1);
        assert_eq!(booked(&[first]).1.missing, 1);
    }

    #[test]
    fn a_text_that_is_not_the_senders_next_one_is_misordered() {
        let swapped = r#"{"t":"msg.new","s":"c:x","o":1,"d":{"text":"0000000001x"}}"#;
        assert_eq!(booked(&[swapped]).1.misordered, 1);
    }

    #[test]
    fn a_message_that_nobody_sent_is_an_error() {
        let line = br#"{"t":"msg.new","s":"c:x","o":9,"d":{}}"#;
        assert!(books().take(0, line).is_err());
    }
}
