//! The cache of many processes: a Redis or Valkey server.

mod exchange;
mod line;
mod scripts;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use kit::Spawner;
use redis::{
    Client, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue, IntoConnectionInfo as _,
    ProtocolVersion, RedisResult, ScriptInvocation, aio::MultiplexedConnection, cmd,
};
use tokio::time::Instant;

use self::{exchange::Remote, line::Line, scripts::Scripts};
use crate::{
    Cache, Decision, Error, MAX_BYTES, MAX_MEMBER_BYTES, MAX_MEMBERS, MAX_TTL, Rule, Subscriber,
    check_size, gcra,
    metrics::{self, Calls},
};

/// What every key and channel of ours begins with.
const PREFIX: &str = "messenger:";

/// A cache on a server: Redis 6 or newer, or Valkey; one node, or whatever stands behind one address.
///
/// Addresses are `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]` and `valkey://...`; `rediss://` and `valkeys://` are the
/// same over TLS, with the certificate authorities of the system (or of the file that `SSL_CERT_FILE` names).
///
/// There are two connections, one for calls and one for the channels of all subscribers together. Each is kept up by a
/// task: it is asked once a second whether it answers, and one that does not is given up and made anew, with waits of at
/// most a second. Meanwhile calls fail at once. The subscribers of a connection end with it, because what they did not
/// hear in between cannot be had any more: who needs to know asks anew when it has made another one.
///
/// Every key begins with `messenger:` and has an end.
pub struct Redis {
    calls: Arc<Line>,
    channels: Arc<Line>,
    scripts: Scripts,
    meters: Meters,
}

struct Meters {
    take: Calls,
    publish: Calls,
    subscribe: Calls,
    put: Calls,
    get: Calls,
    delete: Calls,
    join: Calls,
    leave: Calls,
    members: Calls,
    check: Calls,
}

impl Meters {
    fn new() -> Self {
        Self {
            take: Calls::new("take"),
            publish: Calls::new("publish"),
            subscribe: Calls::new("subscribe"),
            put: Calls::new("put"),
            get: Calls::new("get"),
            delete: Calls::new("delete"),
            join: Calls::new("join"),
            leave: Calls::new("leave"),
            members: Calls::new("members"),
            check: Calls::new("check"),
        }
    }
}

impl Redis {
    /// The cache of `client`. The server need not be there yet: tasks of `spawner` connect in the background.
    pub(crate) fn new(client: Client, spawner: &Spawner) -> Self {
        metrics::describe();
        Self {
            calls: Line::open("calls", client.clone(), spawner),
            channels: Line::open("channels", client, spawner),
            scripts: Scripts::new(),
            meters: Meters::new(),
        }
    }

    async fn run<T: FromRedisValue + Send>(
        &self,
        calls: &Calls,
        command: &Cmd,
    ) -> Result<T, Error> {
        let started = Instant::now();
        let asked = self
            .calls
            .ask(|mut connection| async move { command.query_async(&mut connection).await });
        let answer = asked.await;
        calls.count(started.elapsed(), &answer);
        answer
    }

    async fn run_script<T: FromRedisValue + Send>(
        &self,
        calls: &Calls,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, Error> {
        let started = Instant::now();
        let asked = self
            .calls
            .ask(|mut connection| async move { script.invoke_async(&mut connection).await });
        let answer = asked.await;
        calls.count(started.elapsed(), &answer);
        answer
    }
}

/// A client for the server at `url`, which connects later.
///
/// # Errors
/// [`Error::Refused`] when the address is none; it is not repeated.
pub(crate) fn client(url: &str) -> Result<Client, Error> {
    address(url).ok_or_else(|| {
        Error::Refused(
            "the cache address must be redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], or rediss:// for TLS"
                .to_owned(),
        )
    })
}

fn address(url: &str) -> Option<Client> {
    let info: ConnectionInfo = url.into_connection_info().ok()?;
    let is_address = match info.addr() {
        ConnectionAddr::Tcp(..) => true,
        ConnectionAddr::TcpTls { insecure, .. } => !insecure,
        _ => false,
    };
    if !is_address || info.redis_settings().db() < 0 {
        return None;
    }
    // Messages come between the answers, which is the third version of the protocol.
    let settings = info
        .redis_settings()
        .clone()
        .set_protocol(ProtocolVersion::RESP3);
    let socket = info.tcp_settings().clone().set_nodelay(true);
    Client::open(info.set_redis_settings(settings).set_tcp_settings(socket)).ok()
}

/// Asks a connection whether it answers.
async fn ping(mut connection: MultiplexedConnection) -> RedisResult<()> {
    cmd("PING").query_async(&mut connection).await
}

fn value(key: &str) -> String {
    format!("{PREFIX}value:{key}")
}

fn group(key: &str) -> String {
    format!("{PREFIX}group:{key}")
}

/// A time to live as the server takes it, which knows no shorter one than a millisecond.
fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.min(MAX_TTL).as_millis())
        .unwrap_or(u64::MAX)
        .max(1)
}

#[async_trait]
impl Cache for Redis {
    async fn take(&self, key: &str, rule: Rule) -> Result<Decision, Error> {
        let (interval, capacity) = gcra::shape(rule);
        let mut script = self.scripts.take.key(format!("{PREFIX}limit:{key}"));
        script
            .arg(scripts::micros(interval))
            .arg(scripts::micros(capacity));
        let wait: u64 = self.run_script(&self.meters.take, &script).await?;
        Ok(match wait {
            0 => Decision::Allowed,
            wait => Decision::Denied {
                retry_after: Duration::from_micros(wait),
            },
        })
    }

    async fn publish(&self, channel: &str, payload: Bytes) -> Result<(), Error> {
        check_size(channel, &payload, MAX_BYTES)?;
        let mut publish = cmd("PUBLISH");
        publish
            .arg(format!("{PREFIX}{channel}"))
            .arg(payload.as_ref());
        self.run(&self.meters.publish, &publish).await
    }

    async fn subscriber(&self) -> Result<Box<dyn Subscriber>, Error> {
        let link = self.channels.link().await?;
        Ok(Box::new(Remote::new(link, self.meters.subscribe.clone())))
    }

    async fn put(&self, key: &str, bytes: Bytes, ttl: Duration) -> Result<(), Error> {
        check_size(key, &bytes, MAX_BYTES)?;
        let mut set = cmd("SET");
        set.arg(value(key))
            .arg(bytes.as_ref())
            .arg("PX")
            .arg(millis(ttl));
        self.run(&self.meters.put, &set).await
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, Error> {
        self.run(&self.meters.get, cmd("GET").arg(value(key))).await
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        self.run(&self.meters.delete, cmd("DEL").arg(value(key)))
            .await
    }

    async fn join(
        &self,
        key: &str,
        member: &str,
        value: Bytes,
        ttl: Duration,
    ) -> Result<usize, Error> {
        check_size(member, &value, MAX_MEMBER_BYTES)?;
        let mut script = self.scripts.join.key(group(key));
        script
            .arg(member)
            .arg(value.as_ref())
            .arg(millis(ttl))
            .arg(MAX_MEMBERS);
        self.run_script(&self.meters.join, &script).await
    }

    async fn leave(&self, key: &str, member: &str) -> Result<usize, Error> {
        let mut script = self.scripts.leave.key(group(key));
        script.arg(member);
        self.run_script(&self.meters.leave, &script).await
    }

    async fn members(&self, key: &str) -> Result<Vec<(String, Bytes)>, Error> {
        let script = self.scripts.members.key(group(key));
        self.run_script(&self.meters.members, &script).await
    }

    async fn check(&self) -> Result<(), Error> {
        self.run(&self.meters.check, &cmd("PING")).await
    }
}
