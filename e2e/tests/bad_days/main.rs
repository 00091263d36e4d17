//! Bad days: one thing after the other breaks while people talk, and a judge reads what they were told and saw.
//!
//! Here each happens once, for a short while, and to services apart. `BAD_DAYS_ROUNDS` makes as many full rounds, in one process
//! as well, and prints the table of `docs/bad-days.md`; `BAD_DAYS_ONLY` names a part of the rows. This is a program of its own,
//! so that no other test runs beside it.

#![expect(clippy::unwrap_used, reason = "a day that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "verdicts are worth reading")]
#![expect(
    clippy::disallowed_methods,
    reason = "who runs the tests says how much of it"
)]

#[path = "../it/child.rs"]
mod child;

use std::{fmt::Write as _, net::SocketAddr, time::Duration};

use contracts::events::Topics;
use e2e::{
    Assistant, At, Cast, Cluster, Engine, OwnServers, Person, Server, busy, checker::Verdict,
};
use tokio::{sync::Mutex, time::Instant};

/// One day after the other.
static DAY: Mutex<()> = Mutex::const_new(());

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
    /// Stopped, and started again after a while.
    Away(Server),
    /// Killed, and started again at once.
    Killed(Server),
    /// Stopped, and started again at once.
    Restarted(Server),
    Flushed,
    /// Of each service one process, one after the other.
    ProcessKilled,
    /// Of each service one process.
    ProcessPaused,
    /// Every process, one after the other.
    RollingRestart,
    MadeAgain(fn(&Topics) -> &str),
}

const FAULTS: [(&str, Fault); 13] = [
    (NOTHING, Fault::Nothing),
    ("Kafka away", Fault::Away(Server::Kafka)),
    ("Kafka killed", Fault::Killed(Server::Kafka)),
    (RESTARTED, Fault::Restarted(Server::Kafka)),
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

/// Rows that show nothing which the others do not.
const NOTHING: &str = "nothing";
const RESTARTED: &str = "Kafka restarted";

/// How much of it.
struct Extent {
    /// `None`: everything once and short, and with more time, for the machine may be any.
    rounds: Option<usize>,
    only: String,
}

impl Extent {
    fn read() -> Self {
        let variable = |name| std::env::var(name).ok();
        Self {
            rounds: variable("BAD_DAYS_ROUNDS").map(|rounds| rounds.parse().unwrap()),
            only: variable("BAD_DAYS_ONLY").unwrap_or_default(),
        }
    }

    fn includes(&self, name: &str) -> bool {
        let is_left_out = self.rounds.is_none() && [NOTHING, RESTARTED].contains(&name);
        !is_left_out && self.only.split(',').any(|part| name.contains(part))
    }

    const fn engines(&self) -> &'static [Engine] {
        if self.rounds.is_some() {
            &[Engine::Servers, Engine::Split]
        } else {
            &[Engine::Split]
        }
    }

    /// How long a server is away.
    const fn away(&self) -> Duration {
        Duration::from_secs(if self.rounds.is_some() { 20 } else { 7 })
    }

    /// How long anybody may take to catch up.
    const fn budget(&self) -> Duration {
        Duration::from_secs(if self.rounds.is_some() { 5 } else { 15 })
    }
}

/// A cluster on servers of its own.
struct Stage<'s> {
    extent: &'s Extent,
    servers: &'s OwnServers,
    cluster: Cluster,
}

impl Stage<'_> {
    /// Lets something go wrong while people talk who have not seen a bad day before; gives what became of everything, and the
    /// longest time it took to catch up.
    async fn round(&mut self, fault: Fault) -> (Verdict, Duration) {
        let people = People::gather(&self.cluster.doors()).await;
        let (taken, _) = tokio::join!(self.suffer(fault, &people), people.assistant.ask());
        (people.verdict().await, taken)
    }

    async fn suffer(&mut self, fault: Fault, people: &People) -> Duration {
        match fault {
            Fault::Nothing => {}
            Fault::Away(server) => {
                self.servers.down(server).await;
                let before = self.without(server, people).await;
                self.servers.up(server).await;
                return before.max(people.caught_up().await);
            }
            Fault::Killed(server) => {
                self.servers.kill(server).await;
                self.servers.up(server).await;
            }
            Fault::Restarted(server) => {
                self.servers.down(server).await;
                self.servers.up(server).await;
            }
            Fault::Flushed => self.servers.flush().await,
            Fault::ProcessKilled => return self.kill_each(people).await,
            Fault::ProcessPaused => return self.pause_each(people).await,
            Fault::RollingRestart => return self.restart_each(people).await,
            Fault::MadeAgain(topic) => {
                let topic = topic(&self.cluster.config.topics);
                self.servers.delete_topic(topic).await;
                self.cluster.make_topics().await;
            }
        }
        people.caught_up().await
    }

    /// A while without one of the servers. Nobody needs Redis: all go on at once.
    async fn without(&self, server: Server, people: &People) -> Duration {
        let until = Instant::now() + self.extent.away();
        let mut taken = Duration::ZERO;
        if server == Server::Redis {
            taken = people.caught_up().await;
        }
        tokio::time::sleep_until(until).await;
        if server == Server::Postgres {
            people.are_told_of_an_outage().await;
        }
        taken
    }

    async fn kill_each(&mut self, people: &People) -> Duration {
        let mut longest = Duration::ZERO;
        for at in self.one_of_each() {
            self.cluster.kill(vec![at]).await;
            tokio::time::sleep(AWAY).await;
            self.cluster.run(vec![at], None).await;
            longest = longest.max(people.talk_again().await);
        }
        longest.max(people.caught_up().await)
    }

    async fn pause_each(&mut self, people: &People) -> Duration {
        let each = self.one_of_each();
        let together = if self.extent.rounds.is_some() {
            1
        } else {
            each.len()
        };
        let mut longest = Duration::ZERO;
        for some in each.chunks(together) {
            for at in some {
                self.cluster.pause(*at).await;
            }
            tokio::time::sleep(PAST_THE_SESSION).await;
            for at in some {
                self.cluster.wake(*at).await;
            }
            longest = longest.max(people.caught_up().await);
        }
        longest
    }

    async fn restart_each(&mut self, people: &People) -> Duration {
        let mut longest = Duration::ZERO;
        for at in self.cluster.all() {
            let codes = self.cluster.stop(vec![at]).await;
            assert_eq!(codes, [Some(0)], "{}", self.cluster.name(at));
            self.cluster.run(vec![at], None).await;
            longest = longest.max(people.talk_again().await);
        }
        longest.max(people.caught_up().await)
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

    /// How long it takes from now until a fresh message of everybody is confirmed and heard, and all before it are settled.
    async fn talk_again(&self) -> Duration {
        let (since, mark) = (Instant::now(), self.cast.mark());
        // Whoever never does has taken too long.
        while !self.cast.has_caught_up(&mark) && since.elapsed() < NEVER {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        since.elapsed()
    }

    /// The same, and until the AI has answered a fresh question.
    async fn caught_up(&self) -> Duration {
        let since = Instant::now();
        let answering = tokio::time::timeout(NEVER, self.assistant.answers());
        let answered = async {
            let _ = answering.await;
            since.elapsed()
        };
        let (talked, answered) = tokio::join!(self.talk_again(), answered);
        println!("people after {talked:?}, the AI after {answered:?}");
        talked.max(answered)
    }

    /// Whoever comes to the door while the database is away hears that it is, and not that the password is wrong.
    async fn are_told_of_an_outage(&self) {
        let refused = self.assistant.login().await;
        let is_told = matches!(
            (refused.status, refused.code()),
            (503, "unavailable") | (504, "timeout")
        );
        assert!(is_told, "{} {}", refused.status, refused.body);
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
        extent,
        servers,
        cluster,
    };
    assert!(
        FAULTS.iter().any(|(name, _)| extent.includes(name)),
        "BAD_DAYS_ONLY names no row"
    );
    let (mut table, mut complaints) = (String::new(), Vec::new());
    for (name, fault) in FAULTS.iter().filter(|(name, _)| extent.includes(name)) {
        let mut row = Row::default();
        for _ in 0..extent.rounds.unwrap_or(1) {
            let (verdict, taken) = stage.round(*fault).await;
            println!("{engine:?}: {name}: {taken:?} {verdict:?}");
            if !verdict.is_clean() || taken > extent.budget() {
                complaints.push(format!("{engine:?}: {name}: {taken:?} {verdict:#?}"));
            }
            row.add(&verdict, taken);
        }
        row.print(name, &mut table);
    }
    println!("\n{engine:?}\n\n{HEAD}{table}");
    if !complaints.is_empty() {
        stage.cluster.keep();
    }
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

/// row:C17, row:C18, row:D09, row:D12, row:A10, row:G12, guarantee:G1, guarantee:G2, guarantee:G3, guarantee:G4, guarantee:G5,
/// guarantee:G6, guarantee:G7, guarantee:G8, guarantee:G11, guarantee:G14, guarantee:G16, fault:P1, fault:P3, fault:P6, fault:P7,
/// fault:P8, fault:P11, fault:K1, fault:K2, fault:K7, fault:D1, fault:D2, fault:R1, fault:R2: whatever goes away, dies, stands
/// still or forgets, a send is confirmed and kept or refused, everybody hears everything once and in order, and all catch up by
/// themselves.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_lied_to_on_a_bad_day() {
    let _day = DAY.lock().await;
    let extent = Extent::read();
    let servers = OwnServers::start().await;
    let mut complaints = Vec::new();
    for engine in extent.engines() {
        complaints.extend(endure(*engine, &servers, &extent).await);
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// row:G07, row:D08: every service has two processes; one of each dies and is not replaced, and people and the AI go on with the
/// others.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_each_may_die() {
    let _day = DAY.lock().await;
    let mut cluster = Cluster::start(Engine::Doubled, busy).await;
    let people = People::gather(&cluster.doors()).await;
    let first = cluster.all().into_iter().step_by(2).collect();
    cluster.kill(first).await;
    let taken = people.caught_up().await;
    println!("caught up in {taken:?}");
    let door = cluster.doors()[1];
    let (ann, bob) = (
        Person::register_at(door, "ann").await,
        Person::register_at(door, "bob").await,
    );
    ann.say(&ann.chat_with(&bob).await, "still here").await;
    let verdict = people.verdict().await;
    assert!(verdict.is_clean(), "{verdict:#?}");
    assert!(
        taken < PAST_THE_SESSION + Duration::from_secs(15),
        "{taken:?}"
    );
}
