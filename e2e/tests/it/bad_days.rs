//! Bad days: one thing after the other breaks while people talk, and a judge reads what they were told and saw.
//!
//! Here each happens once, and for a short while. `BAD_DAYS_ROUNDS` makes as many full rounds and prints the table of
//! `docs/bad-days.md`; `BAD_DAYS_ONLY` names a part of the rows.

use std::{fmt::Write as _, net::SocketAddr, time::Duration};

use contracts::events::Topics;
use e2e::{Assistant, At, Cast, Cluster, Engine, OwnServers, Server, checker::Verdict};
use tokio::time::Instant;

use crate::checker::busy;

/// Chats with two people and three devices each.
const CHATS: usize = 4;
/// How often everybody says something.
const EVERY: Duration = Duration::from_millis(150);
/// A consumer that is paused for so long has lost its partitions.
const PAST_THE_SESSION: Duration = Duration::from_secs(8);
/// How long a process that was killed is away.
const AWAY: Duration = Duration::from_secs(1);
/// Whoever has not caught up by then never will.
const NEVER: Duration = Duration::from_mins(1);

/// What goes wrong.
#[derive(Clone, Copy)]
enum Fault {
    Nothing,
    Away(Server),
    Killed(Server),
    Restarted(Server),
    Flushed,
    /// Of each service one process, one after the other.
    ProcessKilled,
    ProcessPaused,
    /// Every process, one after the other.
    RollingRestart,
    MadeAgain(fn(&Topics) -> &str),
}

const FAULTS: [(&str, Fault); 13] = [
    ("nothing", Fault::Nothing),
    ("Kafka away", Fault::Away(Server::Kafka)),
    ("Kafka killed", Fault::Killed(Server::Kafka)),
    ("Kafka restarted", Fault::Restarted(Server::Kafka)),
    ("PostgreSQL away", Fault::Away(Server::Postgres)),
    ("PostgreSQL killed", Fault::Killed(Server::Postgres)),
    ("Redis flushed", Fault::Flushed),
    ("Redis away", Fault::Away(Server::Redis)),
    ("a process killed", Fault::ProcessKilled),
    ("a process paused past its session", Fault::ProcessPaused),
    ("rolling restart", Fault::RollingRestart),
    (
        "topic persist made again",
        Fault::MadeAgain(|topics| &topics.message_persist),
    ),
    (
        "topic forward made again",
        Fault::MadeAgain(|topics| &topics.forward_message),
    ),
];

/// How much of it.
struct Extent {
    rounds: usize,
    /// How long a server is away.
    away: Duration,
    /// How long anybody may take to catch up.
    budget: Duration,
    only: String,
}

impl Extent {
    fn read() -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        let rounds = variable("BAD_DAYS_ROUNDS").map(|rounds| rounds.parse().unwrap());
        Self {
            rounds: rounds.unwrap_or(1),
            away: Duration::from_secs(if rounds.is_some() { 20 } else { 8 }),
            // Other tests share the machine.
            budget: Duration::from_secs(if rounds.is_some() { 5 } else { 15 }),
            only: variable("BAD_DAYS_ONLY").unwrap_or_default(),
        }
    }
}

/// A cluster on servers of its own.
struct Stage<'s> {
    servers: &'s OwnServers,
    cluster: Cluster,
    away: Duration,
}

impl Stage<'_> {
    /// Lets something go wrong while everybody talks; gives the longest time it took to catch up.
    async fn suffer(&mut self, fault: Fault, people: &People) -> Duration {
        match fault {
            Fault::Nothing => people.caught_up(Instant::now()).await,
            Fault::Away(server) => {
                self.servers.down(server).await;
                tokio::time::sleep(self.away).await;
                people.caught_up(self.servers.up(server).await).await
            }
            Fault::Killed(server) => {
                self.servers.kill(server).await;
                people.caught_up(self.servers.up(server).await).await
            }
            Fault::Restarted(server) => {
                self.servers.down(server).await;
                people.caught_up(self.servers.up(server).await).await
            }
            Fault::Flushed => {
                self.servers.flush().await;
                people.caught_up(Instant::now()).await
            }
            Fault::ProcessKilled => {
                let mut longest = Duration::ZERO;
                for at in self.one_of_each() {
                    self.cluster.kill(vec![at]).await;
                    tokio::time::sleep(AWAY).await;
                    self.cluster.run(vec![at], None).await;
                    longest = longest.max(self.since(at, people).await);
                }
                longest
            }
            Fault::ProcessPaused => {
                let parts = self.one_of_each();
                for at in &parts {
                    self.cluster.pause(*at).await;
                }
                tokio::time::sleep(PAST_THE_SESSION).await;
                for at in parts {
                    self.cluster.wake(at).await;
                }
                people.caught_up(Instant::now()).await
            }
            Fault::RollingRestart => {
                let mut longest = Duration::ZERO;
                for at in self.cluster.all() {
                    let codes = self.cluster.stop(vec![at]).await;
                    assert_eq!(codes, [Some(0)], "{}", self.cluster.name(at));
                    self.cluster.run(vec![at], None).await;
                    longest = longest.max(self.since(at, people).await);
                }
                longest
            }
            Fault::MadeAgain(topic) => {
                let topic = topic(&self.cluster.config.topics);
                self.servers.delete_topic(topic).await;
                self.cluster.make_topics().await;
                people.caught_up(Instant::now()).await
            }
        }
    }

    async fn round(&mut self, fault: Fault) -> (Verdict, Duration) {
        let people = People::gather(&self.cluster.doors()).await;
        let (taken, _) = tokio::join!(self.suffer(fault, &people), people.assistant.ask());
        (people.verdict().await, taken)
    }

    async fn since(&self, at: At, people: &People) -> Duration {
        let taken = people.caught_up(Instant::now()).await;
        println!("  {} {taken:?}", self.cluster.name(at));
        taken
    }

    /// The first process of each service.
    fn one_of_each(&self) -> Vec<At> {
        let is_first = |at: &At| self.cluster.name(*at).ends_with("-0");
        self.cluster.all().into_iter().filter(is_first).collect()
    }
}

/// Everybody whom a bad day hits.
struct People {
    cast: Cast,
    assistant: Assistant,
}

impl People {
    /// Nobody of them has seen a bad day before.
    async fn gather(doors: &[SocketAddr]) -> Self {
        let (mut cast, assistant) =
            tokio::join!(Cast::gather(doors, CHATS), Assistant::engage(doors));
        cast.chatter(EVERY);
        e2e::eventually("everybody talks", async || cast.confirmed() > 4 * CHATS).await;
        Self { cast, assistant }
    }

    /// How long it takes from `since` until a fresh message of everybody is confirmed and heard, all before it are settled, and
    /// the AI has answered a fresh question.
    async fn caught_up(&self, since: Instant) -> Duration {
        let mark = self.cast.mark();
        let talking = async {
            while !self.cast.has_caught_up(&mark) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            println!("  people {:?}", since.elapsed());
        };
        let answering = async {
            self.assistant.answers().await;
            println!("  AI {:?}", since.elapsed());
        };
        let all = tokio::time::timeout(NEVER, async { tokio::join!(talking, answering) });
        // Who is late has a time that is too long.
        let _ = all.await;
        since.elapsed()
    }

    async fn verdict(self) -> Verdict {
        self.cast.end();
        let is_settled = self.cast.settled(NEVER).await;
        let mut verdict = self.cast.verdict().await;
        if !is_settled {
            verdict.wrong.push("not everything was settled".to_owned());
        }
        if self.assistant.has_repeated_itself().await {
            verdict.wrong.push("the AI has answered twice".to_owned());
        }
        verdict
    }
}

/// One row of the table.
#[derive(Default)]
struct Row {
    rounds: usize,
    verdict: Verdict,
    longest: Duration,
}

/// All that can go wrong with one kind of cluster; gives what was not as it should be.
async fn endure(engine: Engine, servers: &OwnServers, extent: &Extent) -> Vec<String> {
    let mut cluster = Cluster::prepare_on(&servers.servers, engine, busy).await;
    cluster.run(cluster.all(), None).await;
    let mut stage = Stage {
        servers,
        cluster,
        away: extent.away,
    };
    let (mut table, mut complaints) = (String::new(), Vec::new());
    for (name, fault) in FAULTS
        .iter()
        .filter(|(name, _)| extent.only.split(',').any(|part| name.contains(part)))
    {
        let mut row = Row::default();
        for _ in 0..extent.rounds {
            let (verdict, taken) = stage.round(*fault).await;
            println!("{engine:?}: {name}: {taken:?} {verdict:?}");
            if !verdict.is_clean() || taken > extent.budget {
                complaints.push(format!("{engine:?}: {name}: {taken:?} {verdict:#?}"));
            }
            row.add(&verdict, taken);
        }
        row.print(name, &mut table);
    }
    println!("\n{engine:?}\n\n{HEAD}{table}");
    complaints
}

const HEAD: &str = "\
| fault | rounds | confirmed | lost | duplicated | misordered | leaked | time to catch up |
|---|---|---|---|---|---|---|---|
";

impl Row {
    fn add(&mut self, verdict: &Verdict, taken: Duration) {
        self.rounds += 1;
        self.longest = self.longest.max(taken);
        self.verdict.confirmed += verdict.confirmed;
        self.verdict.lost += verdict.lost;
        self.verdict.duplicated += verdict.duplicated;
        self.verdict.misordered += verdict.misordered;
        self.verdict.leaked += verdict.leaked;
    }

    fn print(&self, name: &str, table: &mut String) {
        let Verdict {
            confirmed,
            lost,
            duplicated,
            misordered,
            leaked,
            ..
        } = &self.verdict;
        let (rounds, longest) = (self.rounds, self.longest.as_secs_f64());
        writeln!(
            table,
            "| {name} | {rounds} | {confirmed} | {lost} | {duplicated} | {misordered} | {leaked} | {longest:.1} s |"
        )
        .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and the machine for itself"]
async fn nobody_is_lied_to_on_a_bad_day() {
    let extent = Extent::read();
    let servers = OwnServers::start().await;
    let mut complaints = Vec::new();
    for engine in [Engine::Servers, Engine::Split] {
        complaints.extend(endure(engine, &servers, &extent).await);
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
