//! All connections of one door: how many there may be, their one timer wheel, their end.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use dashmap::DashMap;
use kit::{Clock, Code, Fault, Ids, Node, OnFailure, Spawner};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior};
use uuid::Uuid;

use crate::{Close, Config, Frame, Identity, Socket, metrics::Metrics};

/// The connections of one door of this process.
pub struct Hub {
    config: Config,
    clock: Arc<dyn Clock>,
    instance: Uuid,
    spawner: Spawner,
    metrics: Metrics,
    heartbeat: Frame,
    started: Instant,
    now: AtomicU64,
    wheel: Box<[Mutex<Vec<Entry>>]>,
    sockets: DashMap<u64, Arc<Socket>>,
    last_id: AtomicU64,
    addresses: Mutex<HashMap<IpAddr, u32>>,
    people: Mutex<HashMap<Uuid, u32>>,
    is_draining: AtomicBool,
}

/// A connection that wants to be looked after at a time.
#[derive(Clone, Copy, Debug)]
struct Entry {
    socket: u64,
    at: u64,
}

/// How exact times are, in milliseconds.
const TICK_MS: u64 = 100;
/// What is farther away than one turn of the wheel is looked at once a turn.
const SLOTS: usize = 512;
/// The longest that open connections are waited for when the node stops.
const DRAIN: Duration = Duration::from_secs(15);

impl Hub {
    /// A hub whose wheel turns as long as the node runs; when the node stops, its connections are told
    /// to come back later and closed with 4001. `door` labels its metrics.
    ///
    /// # Errors
    /// The value of the configuration that cannot work.
    pub fn start(
        door: &'static str,
        config: Config,
        clock: Arc<dyn Clock>,
        ids: &dyn Ids,
        node: &Node,
    ) -> Result<Arc<Self>, String> {
        config.check()?;
        let hub = Arc::new(Self {
            config,
            clock,
            instance: ids.next(),
            spawner: node.spawner().doors(),
            metrics: Metrics::new(door),
            heartbeat: Frame::text(b"{}"),
            started: Instant::now(),
            now: AtomicU64::new(1),
            wheel: (0..SLOTS).map(|_| Mutex::default()).collect(),
            sockets: DashMap::new(),
            last_id: AtomicU64::new(0),
            addresses: Mutex::default(),
            people: Mutex::default(),
            is_draining: AtomicBool::new(false),
        });
        let this = hub.clone();
        hub.spawner.task("sockets", OnFailure::Restart, move || {
            let hub = this.clone();
            async move {
                hub.turn_wheel().await;
                Ok(())
            }
        });
        Ok(hub)
    }

    /// The limits and times.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How this hub is called among those of all processes, before and after it.
    pub fn name(&self) -> String {
        self.instance.as_simple().to_string()
    }

    /// The [`Socket::name`] of the connection with the [`Socket::id`] `socket`.
    pub fn name_of(&self, socket: u64) -> String {
        format!("{}-{socket}", self.instance.as_simple())
    }

    /// Wall-clock time.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Open connections.
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Whether there is no connection.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// Closes every connection for which `concerns` holds; returns how many.
    pub fn close_where(&self, concerns: impl Fn(&Socket) -> bool, close: Close) -> usize {
        let sockets: Vec<_> = self
            .sockets
            .iter()
            .filter(|socket| concerns(socket))
            .map(|socket| socket.clone())
            .collect();
        for socket in &sockets {
            socket.close(close);
        }
        sockets.len()
    }

    /// Tells every client to come back with resume, at a time of its own, and closes with 4001.
    pub fn restart_all(&self, why: &str) {
        let spread = (self.sockets.len() as u64 * 2).clamp(2_000, 30_000);
        let content = json!({ "why": why, "retry_ms": [500, 500 + spread], "resume": true });
        let bye = crate::command::ephemeral("bye", &content);
        let sockets: Vec<_> = self.sockets.iter().map(|socket| socket.clone()).collect();
        for socket in sockets {
            socket.send(&bye);
            socket.close(Close::RESTART);
        }
    }

    /// The frame `welcome` for a connection that has said hello.
    pub fn welcome(&self, socket: &Socket, streams: &impl serde::Serialize) -> Frame {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let config = &self.config;
        let now = jiff::Timestamp::from_millisecond(self.clock.now_ms()).unwrap_or_default();
        let content = json!({
            "conn": socket.name(),
            "user": socket.user(),
            "now": now.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
            "hb": { "every_ms": ms(config.heartbeat), "timeout_ms": ms(config.heartbeat_timeout) },
            "limits": {
                "frame": config.message_bytes,
                "cmds_per_10s": config.commands_per_10s,
                "subs": config.subscriptions,
            },
            "streams": streams,
        });
        crate::command::ephemeral("welcome", &content)
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(crate) fn heartbeat(&self) -> &Frame {
        &self.heartbeat
    }

    pub(crate) fn spawner(&self) -> &Spawner {
        &self.spawner
    }
}

/// Places.
impl Hub {
    /// Whether one more connection of `address` may say hello.
    pub(crate) fn seat_address(self: &Arc<Self>, address: IpAddr) -> Result<AddressSeat, Fault> {
        if self.is_draining.load(Relaxed) || self.sockets.len() >= self.config.connections {
            self.metrics.refused("full");
            let fault = Fault::new(
                Code::Unavailable,
                "no further connections are taken here; try again",
            );
            return Err(fault.retry_in(Duration::from_secs(5)));
        }
        let address = kit::http::limited(address);
        if take_place(
            &self.addresses,
            address,
            self.config.unauthenticated_per_address,
        ) {
            return Ok(AddressSeat {
                hub: self.clone(),
                address,
            });
        }
        self.metrics.refused("address_limit");
        let fault = Fault::new(
            Code::Exhausted,
            "too many connections that have not said hello",
        );
        Err(fault.retry_in(self.config.hello_timeout))
    }

    /// Whether one more connection of `user` may stay.
    pub(crate) fn seat_person(self: &Arc<Self>, user: Uuid) -> Option<PersonSeat> {
        take_place(&self.people, user, self.config.connections_per_person).then(|| PersonSeat {
            hub: self.clone(),
            user,
        })
    }

    pub(crate) fn connect(self: &Arc<Self>, address: IpAddr) -> Connected {
        let id = self.last_id.fetch_add(1, Relaxed) + 1;
        let socket = Socket::new(id, self.clone(), address);
        self.sockets.insert(id, socket.clone());
        self.metrics.connections.increment(1);
        if self.is_draining.load(Relaxed) {
            socket.close(Close::RESTART);
        }
        Connected(socket)
    }
}

/// A connection in the books of its hub; leaves them when dropped.
pub(crate) struct Connected(pub(crate) Arc<Socket>);

impl Drop for Connected {
    fn drop(&mut self) {
        let hub = self.0.hub();
        hub.sockets.remove(&self.0.id());
        hub.metrics.connections.decrement(1);
        self.0.detach();
        // Whoever still holds the handle sends into nothing.
        self.0.close_echo(1001);
    }
}

/// One of the places of an address.
pub(crate) struct AddressSeat {
    hub: Arc<Hub>,
    address: IpAddr,
}

impl Drop for AddressSeat {
    fn drop(&mut self) {
        give_place_up(&self.hub.addresses, self.address);
    }
}

/// One of the places of a person.
pub(crate) struct PersonSeat {
    hub: Arc<Hub>,
    user: Uuid,
}

impl Drop for PersonSeat {
    fn drop(&mut self) {
        give_place_up(&self.hub.people, self.user);
    }
}

fn take_place<K: Eq + Hash>(places: &Mutex<HashMap<K, u32>>, key: K, limit: u32) -> bool {
    let mut places = places.lock();
    let taken = places.entry(key).or_insert(0);
    let is_free = *taken < limit;
    *taken += u32::from(is_free);
    is_free
}

fn give_place_up<K: Eq + Hash>(places: &Mutex<HashMap<K, u32>>, key: K) {
    if let std::collections::hash_map::Entry::Occupied(mut taken) = places.lock().entry(key) {
        *taken.get_mut() -= 1;
        if *taken.get() == 0 {
            taken.remove();
        }
    }
}

/// The wheel.
impl Hub {
    /// Milliseconds since the start, as exact as the wheel's tick; never 0.
    pub(crate) fn now(&self) -> u64 {
        self.now.load(Relaxed)
    }

    /// The first tick that is not before `at`.
    pub(crate) fn tick_after(at: u64) -> u64 {
        at.div_ceil(TICK_MS).saturating_mul(TICK_MS)
    }

    pub(crate) fn enter(&self, socket: u64, at: u64) {
        let mut tick = at;
        loop {
            self.slot(tick).lock().push(Entry { socket, at });
            let now = self.now();
            if now < tick {
                return;
            }
            // The wheel may have passed this slot just before. A second entry does no harm.
            tick = Self::tick_after(now + 1);
        }
    }

    fn slot(&self, at: u64) -> &Mutex<Vec<Entry>> {
        let slot = usize::try_from(at / TICK_MS % SLOTS as u64).unwrap_or_default();
        &self.wheel[slot]
    }

    async fn turn_wheel(&self) {
        let mut ticks = tokio::time::interval(Duration::from_millis(TICK_MS));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stop = self.spawner.token().clone();
        let mut done = self.now() / TICK_MS * TICK_MS;
        let mut drained_by: Option<Instant> = None;
        loop {
            ticks.tick().await;
            let now = u64::try_from(self.started.elapsed().as_millis())
                .unwrap_or(u64::MAX)
                .max(1);
            self.now.store(now, Relaxed);
            while done + TICK_MS <= now {
                done += TICK_MS;
                self.fire(done, now);
            }
            match drained_by {
                None if stop.is_cancelled() => {
                    self.is_draining.store(true, Relaxed);
                    self.restart_all("drain");
                    drained_by = Some(Instant::now() + DRAIN);
                }
                Some(limit) if self.sockets.is_empty() || Instant::now() >= limit => return,
                _ => {}
            }
        }
    }

    fn fire(&self, tick: u64, now: u64) {
        let slot = self.slot(tick);
        let entries = std::mem::take(&mut *slot.lock());
        let (due, later): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.at <= now);
        if !later.is_empty() {
            slot.lock().extend(later);
        }
        for entry in due {
            let socket = self.sockets.get(&entry.socket).map(|socket| socket.clone());
            if let Some(socket) = socket {
                socket.fire(entry.at, now);
            }
        }
    }
}

/// What a hello is checked against besides its token.
impl Hub {
    pub(crate) fn remaining(&self, identity: &Identity) -> i64 {
        identity.expires_ms - self.clock.now_ms()
    }
}
