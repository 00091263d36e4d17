//! Our server under test: the one place that knows how it is configured, started and asked whether it is ready.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{
    http,
    machine::{Cores, CpuTime},
    process::{Process, free_address},
};

/// What follows the program's name; `{config}` is the file that is written from [`SETTINGS`].
pub const ARGUMENTS: &[&str] = &["run", "--config", "{config}"];

/// Every setting of a run, as lines of TOML. `{data}`, `{public}` and `{private}` are filled in at the start. Whatever is not
/// here keeps its default: embedded log, `SQLite` with full synchronisation, all nine services.
pub const SETTINGS: &[(&str, &str)] = &[
    ("data", "\"{data}\""),
    ("http.public", "\"{public}\""),
    ("http.private", "\"{private}\""),
    // Limits raised for the run, because a handful of people makes all the load.
    (
        "auth.register_limit",
        "{ per = \"1m\", count = 1000000, burst = 1000000 }",
    ),
    ("auth.access_ttl", "\"2h\""),
    ("ws-gateway.connections_per_person", "1000"),
    ("ws-gateway.commands_per_10s", "1000000"),
    ("ws-gateway.command_burst", "1000000"),
];

/// The route on the private listener that answers 200 when the server can work.
const READY: &str = "/readyz";

/// A running server.
#[derive(Debug)]
pub struct Server {
    process: Process,
    public: SocketAddr,
    ready_after: Duration,
}

impl Server {
    /// Starts `program` with its data in `folder`, which may hold the data of an earlier start, and waits until it is ready.
    ///
    /// # Errors
    /// It ends, or is not ready in time; the end of its log is in the text.
    pub fn start(program: &Path, folder: &Path, cores: &Cores) -> Result<Self> {
        let data = folder.join("data");
        fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
        let (public, private) = (free_address()?, free_address()?);
        let config = folder.join("messenger.toml");
        fs::write(&config, settings(&data, public, private))?;
        let mut command = Command::new(program);
        command.current_dir(folder);
        for argument in ARGUMENTS {
            command.arg(argument.replace("{config}", &config.to_string_lossy()));
        }
        let mut process = Process::start(cores, command, &folder.join("server.log"))?;
        let ready = || http::status(private, READY) == Some(200);
        let ready_after = process.wait_until("it is ready", ready).with_context(|| {
            format!(
                "started with {}:\n{}",
                ARGUMENTS.join(" "),
                settings(&data, public, private)
            )
        })?;
        Ok(Self {
            process,
            public,
            ready_after,
        })
    }

    /// Where people connect.
    pub fn address(&self) -> SocketAddr {
        self.public
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// From its start to the first time it said that it is ready.
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// CPU time until now.
    pub fn cpu(&self) -> Result<CpuTime> {
        CpuTime::of(self.process.id())
    }

    /// Lets it end in its own way.
    pub fn stop(self) -> Result<()> {
        self.process.stop()
    }
}

fn settings(data: &Path, public: SocketAddr, private: SocketAddr) -> String {
    let mut text = String::new();
    for (key, value) in SETTINGS {
        let value = value
            .replace("{data}", &data.to_string_lossy())
            .replace("{public}", &public.to_string())
            .replace("{private}", &private.to_string());
        text.push_str(key);
        text.push_str(" = ");
        text.push_str(&value);
        text.push('\n');
    }
    text
}

/// The settings in one line, for the report.
pub fn settings_line() -> String {
    SETTINGS
        .iter()
        .map(|(key, value)| format!("`{key} = {value}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// A folder for one server, which goes away with the value.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// A new one below `parent`.
    pub fn new(parent: &Path, name: &str) -> Result<Self> {
        let path = parent.join(format!("bench-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A leftover in a temporary folder is not worth a failed run.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_are_lines_of_key_and_value_with_nothing_left_to_fill_in() {
        let address = "127.0.0.1:8080".parse().unwrap();
        let text = settings(Path::new("/tmp/x"), address, address);
        assert_eq!(text.lines().count(), SETTINGS.len());
        assert!(text.contains("data = \"/tmp/x\"\n"));
        for name in ["{data}", "{public}", "{private}"] {
            assert!(!text.contains(name), "{name}");
        }
    }
}
