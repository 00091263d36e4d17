//! Our server under test: the one place that knows how it is configured, started and asked whether it is ready.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    http,
    machine::Cores,
    process::{Process, free_address, undisturbed},
    servers::Place,
};

/// What follows the program's name; `{config}` is the file that is written from [`SETTINGS`].
pub const ARGUMENTS: &[&str] = &["run", "--config", "{config}"];
/// Prepares a database, and the topics.
const MIGRATE: &[&str] = &["migrate", "--config", "{config}", "up"];
const TOPICS: &[&str] = &["topics", "--config", "{config}"];

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
    ("ws-gateway.sockets.connections_per_person", "1000"),
    ("ws-gateway.sockets.commands_per_10s", "1000000"),
    ("ws-gateway.sockets.command_burst", "1000000"),
];

/// Every service, in the order in which they are started; people come in by the first.
const SERVICES: [&str; 9] = [
    "ws-gateway",
    "auth",
    "user",
    "chat",
    "message",
    "ai",
    "notification",
    "ws-ai-advice",
    "ws-autoreply",
];

/// The route on the private listener that answers 200 when the server can work.
const READY: &str = "/readyz";

/// What a run on servers needs beside: what the processes of an installation know each other by.
const SECRETS: &str = "auth.secret = \"bench-0123456789-abcdefghijklmnopqrst\"\n";
const SPLIT_SECRETS: &str = "rpc.secret = \"bench-0123456789-abcdefghijklmnopqrst\"\nhttp.trusted_proxies = [\"127.0.0.1\"]\n";

/// A running process of the product.
#[derive(Debug)]
pub struct Server {
    process: Process,
    public: SocketAddr,
    private: SocketAddr,
    ready_after: Duration,
}

impl Server {
    /// Starts `program` with its data in `folder`, which may hold the data of an earlier start, and waits until it is ready.
    ///
    /// # Errors
    /// It ends, or is not ready in time; the end of its log is in the text.
    pub fn start(program: &Path, folder: &Path, cores: &Cores) -> Result<Self> {
        let cores = Some(cores);
        let site = Site {
            program,
            folder,
            cores,
        };
        site.start(None)
    }

    /// Where people connect.
    pub fn address(&self) -> SocketAddr {
        self.public
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The process, to be waited for.
    pub fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }

    /// From its start to the first time it said that it is ready.
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Lets it end in its own way.
    pub fn stop(self) -> Result<()> {
        self.process.stop()
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let private = self.private;
        let ready = || http::status(private, READY) == Some(200);
        self.ready_after = self.process.wait_until("it is ready", ready)?;
        Ok(())
    }
}

/// Which program runs where.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// Our program.
    pub program: &'a Path,
    /// Its folder.
    pub folder: &'a Path,
    /// Whose server's core is its core; without, it runs beside the caller.
    pub cores: Option<&'a Cores>,
}

impl Site<'_> {
    /// Starts all services in one process, on embedded storage or at a place on servers.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start(&self, place: Option<&Place>) -> Result<Server> {
        let settings = match place {
            Some(place) => {
                self.migrate(place)?;
                place.settings() + SECRETS
            }
            None => String::new(),
        };
        let (text, mut server) = self.launch("server", None, free_address()?, &settings)?;
        let ready = server.wait_until_ready();
        ready.with_context(|| format!("started with {}:\n{text}", ARGUMENTS.join(" ")))?;
        Ok(server)
    }

    /// Starts every service in a process of its own.
    ///
    /// # Errors
    /// One of them ends, or is not ready in time.
    pub fn split(&self, place: &Place) -> Result<Split> {
        self.migrate(place)?;
        let mut settings = place.settings() + SECRETS + SPLIT_SECRETS;
        let mut listeners = Vec::new();
        for service in SERVICES {
            let (http, rpc) = (free_address()?, free_address()?);
            // Nobody asks for the private address of another process.
            settings += &format!(
                "services.{service} = {{ http = \"{http}\", private = \"{http}\", rpc = \"{rpc}\" }}\n"
            );
            listeners.push((http, rpc));
        }
        let mut parts = Vec::new();
        for (service, (http, rpc)) in SERVICES.iter().zip(listeners) {
            let own = format!("{settings}rpc.listen = \"{rpc}\"\n");
            parts.push(self.launch(service, Some(service), http, &own)?.1);
        }
        for part in &mut parts {
            part.wait_until_ready()?;
        }
        Ok(Split { settings, parts })
    }

    /// Starts `message` alone, beside the caller, and does not wait: without `auth` it is never ready, but it stores.
    pub fn start_persisting(&self, place: &Place) -> Result<Server> {
        let rpc = free_address()?;
        let settings = place.settings() + SECRETS + SPLIT_SECRETS;
        let settings = format!("{settings}rpc.listen = \"{rpc}\"\n");
        let site = Self {
            cores: None,
            ..*self
        };
        Ok(site
            .launch("message", Some("message"), free_address()?, &settings)?
            .1)
    }

    /// Starts `services`, or all of them, and gives the settings that were written; `name` is that of its files.
    fn launch(
        &self,
        name: &str,
        services: Option<&str>,
        public: SocketAddr,
        more: &str,
    ) -> Result<(String, Server)> {
        let data = self.folder.join("data");
        fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
        let private = free_address()?;
        let text = settings(&data, public, private) + more;
        let config = self.folder.join(format!("{name}.toml"));
        fs::write(&config, &text)?;
        let mut command = self.command(ARGUMENTS, &config);
        if let Some(services) = services {
            command.args(["--services", services]);
        }
        let log = self.folder.join(format!("{name}.log"));
        let process = match self.cores {
            Some(cores) => Process::start(cores, command, &log),
            None => Process::start_beside(command, &log),
        };
        let server = Server {
            process: process?,
            public,
            private,
            ready_after: Duration::ZERO,
        };
        Ok((text, server))
    }

    /// Brings the database of `place` to the program's version, and makes the topics.
    fn migrate(&self, place: &Place) -> Result<()> {
        let config = self.folder.join("migrate.toml");
        fs::write(&config, place.settings() + SECRETS)?;
        for arguments in [MIGRATE, TOPICS] {
            let output = self.command(arguments, &config).output()?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                bail!("{} failed: {said}", arguments.join(" "));
            }
        }
        Ok(())
    }

    fn command(&self, arguments: &[&str], config: &Path) -> Command {
        let config = config.to_string_lossy();
        let arguments = arguments.iter();
        let mut command = Command::new(self.program);
        undisturbed(&mut command)
            .current_dir(self.folder)
            .args(arguments.map(|argument| argument.replace("{config}", &config)));
        command
    }
}

/// An installation in which every service is a process of its own.
#[derive(Debug)]
pub struct Split {
    /// What the processes have in common.
    settings: String,
    /// In the order of [`SERVICES`].
    parts: Vec<Server>,
}

impl Split {
    /// The gateway that people connect to; every other route is handed on by it.
    pub fn address(&self) -> SocketAddr {
        self.parts[0].address()
    }

    /// The processes.
    pub fn pids(&self) -> Vec<u32> {
        self.parts.iter().map(|part| part.process.id()).collect()
    }

    /// The sum of a metric over all processes.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let parts = self.parts.iter();
        parts.map(|part| http::metric(part.private, name)).sum()
    }

    /// Starts gateway number `number`, which nobody is told of, and waits until it is ready.
    pub fn gateway(&self, site: Site, number: usize) -> Result<Server> {
        let rpc = free_address()?;
        let own = format!(
            "{}rpc.listen = \"{rpc}\"\nreplica = \"{number}\"\n",
            self.settings
        );
        let name = format!("{}-{number}", SERVICES[0]);
        let mut server = site
            .launch(&name, Some(SERVICES[0]), free_address()?, &own)?
            .1;
        server.wait_until_ready()?;
        Ok(server)
    }

    /// Lets all processes end in their own way.
    pub fn stop(self) -> Result<()> {
        self.parts.into_iter().try_for_each(Server::stop)
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
