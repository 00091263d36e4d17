//! A measured process: started on the server's core, watched while it should live, stopped at the end.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::machine::Cores;

/// How long a process may take to be ready, and to stop.
const PATIENCE: Duration = Duration::from_mins(1);
/// The pause between two looks at a process that starts: its start is known to this precision.
const LOOK: Duration = Duration::from_micros(200);

/// A child that is killed when it is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
    started: Instant,
}

impl Process {
    /// Starts `command` on the server's core; what it prints goes to `log`. It inherits `PATH` and `HOME` only, so that no
    /// variable of the caller configures it.
    pub fn start(cores: &Cores, command: Command, log: &Path) -> Result<Self> {
        cores.on_server_core(|| Self::start_beside(command, log))?
    }

    /// As [`Process::start`], on the core of the caller.
    pub fn start_beside(mut command: Command, log: &Path) -> Result<Self> {
        let output =
            File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let name = command.get_program().to_string_lossy().into_owned();
        undisturbed(&mut command)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let started = Instant::now();
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            child,
            name,
            log: log.to_owned(),
            started,
        })
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Just before it was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Looks again and again until `ready` holds; answers how long that took since the start.
    ///
    /// # Errors
    /// The process ended, or was not ready within 60 s; the end of its log is in the text.
    pub fn wait_until(&mut self, what: &str, mut ready: impl FnMut() -> bool) -> Result<Duration> {
        while !ready() {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "{} ended with {status} before {what}\n{}",
                    self.name,
                    self.log_tail()
                );
            }
            if self.started.elapsed() > PATIENCE {
                bail!(
                    "{} was not there after 60 s: {what}\n{}",
                    self.name,
                    self.log_tail()
                );
            }
            thread::sleep(LOOK);
        }
        Ok(self.started.elapsed())
    }

    /// Waits until it accepts connections at `address`.
    pub fn wait_for_accept(&mut self, address: SocketAddr) -> Result<Duration> {
        self.wait_until("it accepts connections", || {
            TcpStream::connect(address).is_ok()
        })
    }

    /// Asks it to stop and waits; kills it if it does not.
    pub fn stop(mut self) -> Result<()> {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .context("odd process id")?;
        kill_process(pid, Signal::TERM)?;
        let asked = Instant::now();
        while self.child.try_wait()?.is_none() {
            if asked.elapsed() > PATIENCE {
                bail!(
                    "{} did not stop within 60 s\n{}",
                    self.name,
                    self.log_tail()
                );
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// The last lines that it printed.
    pub fn log_tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(15)..];
        format!(
            "the end of what it printed ({}):\n  {}",
            self.log.display(),
            tail.join("\n  ")
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill, and waiting only collects it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Leaves a command `PATH` and `HOME` only.
pub fn undisturbed(command: &mut Command) -> &mut Command {
    let kept = std::env::vars_os().filter(|(name, _)| name == "PATH" || name == "HOME");
    command.env_clear().envs(kept)
}

/// A loopback port that was free a moment ago. The system gives none of these to connections, so it stays free until it is
/// listened on.
pub fn free_address() -> Result<SocketAddr> {
    const FIRST: u16 = 30_000;
    const COUNT: u16 = 2_700;
    static TURN: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(u64::from(std::process::id()) * 97 % u64::from(COUNT))?;
    for _ in 0..COUNT {
        let turn = TURN.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (start + turn) % COUNT;
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return Ok(listener.local_addr()?);
        }
    }
    bail!("no port from {FIRST} to {} is free", FIRST + COUNT)
}
