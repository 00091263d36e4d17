//! What the kernel says about processes and about the machine: CPU time, memory, load, cores, limits, the date.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

/// The core of the servers and the core of the generator.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    /// Every measured server runs here and nowhere else.
    pub server: usize,
    /// The generator runs here.
    pub generator: usize,
}

impl Cores {
    /// The first two cores that this process may use.
    ///
    /// # Errors
    /// There are fewer than two: nothing can be measured side by side.
    pub fn find() -> Result<Self> {
        let allowed = sched_getaffinity(None).context("cannot read the allowed cores")?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let (Some(server), Some(generator)) = (cores.next(), cores.next()) else {
            bail!("the bench needs two cores: one for the server, one for the generator");
        };
        Ok(Self { server, generator })
    }

    /// Runs `start` on the server's core, so that what it starts stays there; the calling thread goes to the generator's.
    pub fn on_server_core<T>(&self, start: impl FnOnce() -> T) -> Result<T> {
        pin(self.server)?;
        let started = start();
        pin(self.generator)?;
        Ok(started)
    }

    /// Runs `work` to its end in a thread on the server's core, where the threads that it starts stay as well.
    ///
    /// # Errors
    /// Those of `work`; it panicked.
    pub fn run_on_server_core<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T> + Send,
    ) -> Result<T> {
        thread::scope(|scope| {
            let running = self.on_server_core(|| scope.spawn(work))?;
            let panicked = |_| anyhow!("a thread of the bench panicked");
            running.join().map_err(panicked)?
        })
    }
}

fn pin(core: usize) -> Result<()> {
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only).with_context(|| format!("cannot pin to core {core}"))
}

/// CPU time that a process has used since it started.
#[derive(Clone, Debug)]
pub struct CpuTime {
    /// On-CPU nanoseconds by thread, from schedstat.
    threads: BTreeMap<u32, u64>,
    /// User and system time of living and ended threads, in ticks of 10 ms.
    ticks: u64,
}

const NANOS_PER_TICK: u64 = 10_000_000;

impl CpuTime {
    /// Of process `pid`, now.
    pub fn of(pid: u32) -> Result<Self> {
        let mut threads = BTreeMap::new();
        let tasks = format!("/proc/{pid}/task");
        for task in fs::read_dir(&tasks)
            .with_context(|| format!("cannot read {tasks}: has the process ended?"))?
        {
            let task = task?;
            // A thread may end between the listing and the reading.
            let Ok(schedstat) = fs::read_to_string(task.path().join("schedstat")) else {
                continue;
            };
            let nanos = schedstat
                .split_whitespace()
                .next()
                .and_then(|first| first.parse().ok());
            let thread = task.file_name().to_str().and_then(|name| name.parse().ok());
            let (Some(nanos), Some(thread)) = (nanos, thread) else {
                bail!("odd schedstat `{schedstat}`")
            };
            threads.insert(thread, nanos);
        }
        let ticks = stat_ticks(pid, TICKS_AT)?;
        Ok(Self { threads, ticks })
    }

    /// Nanoseconds that its living threads have used in all.
    fn whole(&self) -> u64 {
        self.threads.values().sum()
    }

    /// Nanoseconds used since `earlier`. Exact unless a thread ended in between: then from the ticks, to 10 ms.
    pub fn since(&self, earlier: &Self) -> u64 {
        if earlier
            .threads
            .keys()
            .any(|thread| !self.threads.contains_key(thread))
        {
            return (self.ticks - earlier.ticks) * NANOS_PER_TICK;
        }
        let before = |thread| earlier.threads.get(thread).copied().unwrap_or(0);
        self.threads
            .iter()
            .map(|(thread, nanos)| nanos.saturating_sub(before(thread)))
            .sum()
    }
}

/// The 12th and 13th field behind the name: user and system time of a process. The two that follow are those of its
/// children that have ended.
const TICKS_AT: usize = 11;
const CHILDREN_TICKS_AT: usize = 13;

/// The sum of two neighbouring fields of `stat`.
fn stat_ticks(pid: u32, at: usize) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in brackets may contain anything.
    let (_, fields) = stat.rsplit_once(')').context("odd stat")?;
    let fields = fields.split_whitespace().skip(at).take(2);
    Ok(fields.map(str::parse::<u64>).sum::<Result<_, _>>()?)
}

/// CPU time of processes together with their children, those included that have ended and were waited for.
#[derive(Clone, Debug)]
pub struct FamilyTime {
    processes: BTreeMap<u32, CpuTime>,
    /// User and system time of children that have ended, over their whole lives, in ticks of 10 ms.
    ended: u64,
}

impl FamilyTime {
    /// Of the processes `pids` and their children, now.
    ///
    /// # Errors
    /// One of `pids` has ended.
    pub fn of(pids: &[u32]) -> Result<Self> {
        let (mut processes, mut ended) = (BTreeMap::new(), 0);
        for pid in pids {
            for child in children(*pid)? {
                // It may have ended since: then its time is with its parent.
                if let Ok(time) = CpuTime::of(child) {
                    processes.insert(child, time);
                }
            }
            processes.insert(*pid, CpuTime::of(*pid)?);
            ended += stat_ticks(*pid, CHILDREN_TICKS_AT)?;
        }
        Ok(Self { processes, ended })
    }

    /// Nanoseconds used since `earlier`; what children used that ended in between is known to 10 ms.
    pub fn since(&self, earlier: &Self) -> u64 {
        let living = self.processes.iter().map(|(pid, time)| {
            let before = earlier.processes.get(pid);
            before.map_or_else(|| time.whole(), |before| time.since(before))
        });
        let gone = earlier.processes.iter();
        let gone = gone.filter(|(pid, _)| !self.processes.contains_key(pid));
        let ended = (self.ended - earlier.ended) * NANOS_PER_TICK;
        living.sum::<u64>() + ended.saturating_sub(gone.map(|(_, time)| time.whole()).sum())
    }
}

fn children(pid: u32) -> Result<Vec<u32>> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let list = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    list.split_whitespace()
        .map(|child| child.parse().with_context(|| format!("odd {path}")))
        .collect()
}

/// Resident memory of a process in bytes.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    field_kib(&path, "Rss:").map(|kib| kib * 1024)
}

/// The kernel's own structures in bytes: sockets of both ends and everything else.
pub fn slab_bytes() -> Result<u64> {
    field_kib("/proc/meminfo", "Slab:").map(|kib| kib * 1024)
}

fn field_kib(path: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .with_context(|| format!("no {name} in {path}"))
}

/// Load averages of 1, 5 and 15 minutes.
pub fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace()
        .take(3)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Lets this process and its children open as many descriptors as it is allowed to; answers how many.
pub fn raise_descriptor_limit() -> Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    )?;
    Ok(limit.maximum.unwrap_or(1 << 20))
}

/// Whether `folder` is in memory, where a flush costs nothing and proves nothing.
pub fn is_in_memory(folder: &Path) -> bool {
    const TMPFS: u64 = 0x0102_1994;
    rustix::fs::statfs(folder).is_ok_and(|stat| u64::try_from(stat.f_type) == Ok(TMPFS))
}

/// Milliseconds since 1970.
pub fn unix_millis() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Now as `2026-11-21 14:05 UTC`.
pub fn date() -> String {
    date_of(unix_millis() / 1000)
}

fn date_of(seconds: u64) -> String {
    // Days to a civil date, counted in eras of 400 years that begin on a 1st of March.
    let days = seconds / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02} UTC",
        seconds / 3600 % 24,
        seconds / 60 % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_written_as_people_do() {
        assert_eq!(date_of(0), "1970-01-01 00:00 UTC");
        assert_eq!(date_of(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(date_of(1_795_269_900), "2026-11-21 14:05 UTC");
    }

    #[test]
    fn work_shows_in_the_cpu_time_of_the_process() {
        let pid = std::process::id();
        let before = CpuTime::of(pid).unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while CpuTime::of(pid).unwrap().since(&before) < 20_000_000 {
            assert!(
                std::time::Instant::now() < deadline,
                "no CPU time was counted"
            );
        }
    }

    #[test]
    fn when_a_thread_has_ended_its_time_comes_from_the_ticks() {
        let earlier = CpuTime {
            threads: BTreeMap::from([(1, 100), (2, 100)]),
            ticks: 5,
        };
        let later = CpuTime {
            threads: BTreeMap::from([(1, 150)]),
            ticks: 7,
        };
        assert_eq!(later.since(&earlier), 20_000_000);
        let later = CpuTime {
            threads: BTreeMap::from([(1, 150), (2, 101), (3, 9)]),
            ticks: 7,
        };
        assert_eq!(later.since(&earlier), 60);
    }

    #[test]
    fn the_time_of_children_counts_while_they_live_and_when_they_have_ended() {
        let time = |nanos: &[(u32, u64)], ended| FamilyTime {
            processes: nanos
                .iter()
                .map(|(pid, nanos)| {
                    let threads = BTreeMap::from([(*pid, *nanos)]);
                    (*pid, CpuTime { threads, ticks: 0 })
                })
                .collect(),
            ended,
        };
        let earlier = time(&[(1, 100), (2, 5_000_000)], 3);
        assert_eq!(
            time(&[(1, 150), (2, 5_000_007), (3, 9)], 3).since(&earlier),
            66
        );
        // The second one ended after 20 ms, of which it had used 5 before.
        assert_eq!(time(&[(1, 150)], 5).since(&earlier), 15_000_050);
        let me = std::process::id();
        assert!(FamilyTime::of(&[me]).unwrap().processes.contains_key(&me));
    }

    #[test]
    fn memory_is_read() {
        assert!(resident_bytes(std::process::id()).unwrap() > 100_000);
        assert!(slab_bytes().unwrap() > 0);
    }
}
