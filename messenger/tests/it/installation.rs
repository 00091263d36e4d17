//! An installation in a folder of its own, and the program run in it with an environment of its own.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc::{self, Receiver},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// The settings cannot work.
pub(crate) const BAD_CONFIG: i32 = 78;
/// A part that is needed is not to be had.
pub(crate) const CANNOT_START: i32 = 69;
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A folder with nothing in it yet.
pub(crate) struct Installation {
    folder: TempDir,
}

impl Installation {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// A file or folder of the installation.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program with `arguments`. It sees no variables but ours; ports are of the system's choice.
    pub(crate) fn messenger(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_messenger"));
        command
            .args(arguments)
            .env_clear()
            .current_dir(self.folder.path());
        command
            .env("MESSENGER_HTTP__PUBLIC", "127.0.0.1:0")
            .env("MESSENGER_HTTP__PRIVATE", "127.0.0.1:0");
        command
    }

    /// What `arguments` print; they have to succeed.
    pub(crate) fn prints(&self, arguments: &[&str]) -> String {
        printed(self.messenger(arguments).output().unwrap())
    }

    /// Starts `messenger run` and waits until it is ready.
    pub(crate) fn run(&self) -> Running {
        self.run_with(&[])
    }

    /// The same with more variables.
    pub(crate) fn run_with(&self, variables: &[(&str, &str)]) -> Running {
        let mut command = self.messenger(&["run"]);
        command.envs(variables.iter().copied());
        Running::start(command).ready()
    }
}

pub(crate) fn printed(output: Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}: {errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// The program refuses with `code` and one line that holds each of `words`; gives that line.
pub(crate) fn refuses(command: Command, code: i32, words: &[&str]) -> String {
    let mut lines = troubles(command, code);
    let line = lines.pop().unwrap();
    assert!(lines.is_empty(), "one line: {lines:?} {line}");
    for word in words {
        assert!(line.contains(word), "`{word}` is missing: {line}");
    }
    line
}

/// The program refuses with `code`; gives its lines, one for each trouble.
pub(crate) fn troubles(mut command: Command, code: i32) -> Vec<String> {
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.ends_with('\n'), "{text:?}");
    let line = |line: &str| line.strip_prefix("messenger: ").unwrap().to_owned();
    text.lines().map(line).collect()
}

/// What a request was answered with, head and all.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Answer {
    /// The body.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(self.text.split_once("\r\n\r\n").unwrap().1).unwrap()
    }
}

/// A running server.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    /// What it wrote to standard output until it served.
    log: Vec<String>,
    public: String,
    private: String,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let (sender, lines) = mpsc::channel();
        let mut this = Self {
            child: command.spawn().unwrap(),
            lines,
            log: Vec::new(),
            public: String::new(),
            private: String::new(),
        };
        let output = BufReader::new(this.child.stdout.take().unwrap());
        std::thread::spawn(move || {
            output
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        while this.private.is_empty() {
            let line = this.lines.recv_timeout(PATIENCE).expect("it serves");
            let record: Value = serde_json::from_str(&line).unwrap_or_default();
            if let (Some(public), Some(private)) =
                (record["public"].as_str(), record["private"].as_str())
            {
                (this.public, this.private) = (public.to_owned(), private.to_owned());
            }
            this.log.push(line);
        }
        this
    }

    pub(crate) fn public(&self) -> &str {
        &self.public
    }

    /// Waits until it takes traffic.
    pub(crate) fn ready(self) -> Self {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (status, report) = self.private_get("/readyz");
            if status == 200 {
                return self;
            }
            assert!(Instant::now() < deadline, "not ready: {report}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Status and body of `path` on the private listener.
    pub(crate) fn private_get(&self, path: &str) -> (u16, String) {
        get(&self.private, path)
    }

    /// Sends a JSON body to the public listener, in the name of whom `token` belongs to.
    pub(crate) fn post(&self, path: &str, body: &Value, token: Option<&str>) -> Answer {
        let bearer = token.map(|token| format!("Authorization: Bearer {token}"));
        self.post_with(path, body, bearer.as_deref())
    }

    /// Sends a JSON body to the public listener, with one more line in the head.
    pub(crate) fn post_with(&self, path: &str, body: &Value, line: Option<&str>) -> Answer {
        let line = line.map_or_else(String::new, |line| format!("\r\n{line}"));
        self.send("POST", path, body, &line)
    }

    /// The same with the method PUT.
    pub(crate) fn put(&self, path: &str, body: &Value, lines: &str) -> Answer {
        self.send("PUT", path, body, lines)
    }

    fn send(&self, method: &str, path: &str, body: &Value, lines: &str) -> Answer {
        let body = body.to_string();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {}{lines}",
            body.len()
        );
        let (status, text) = exchange(&self.public, &head, &body);
        Answer { status, text }
    }

    /// Sends a request with a JSON body and does not read what is answered.
    pub(crate) fn begin_post(&self, path: &str, body: &Value) -> TcpStream {
        let body = body.to_string();
        let mut stream = TcpStream::connect(&self.public).unwrap();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.public,
            body.len()
        )
        .unwrap();
        stream
    }

    /// Asks the public listener for `path` with more lines in the head; gives what was answered, head and all.
    pub(crate) fn ask(&self, method: &str, path: &str, lines: &str) -> Answer {
        let head = format!("{method} {path} HTTP/1.1\r\nContent-Length: 0{lines}");
        let (status, text) = exchange(&self.public, &head, "");
        Answer { status, text }
    }

    /// Waits until it ends by itself; gives its status and every line of its log.
    pub(crate) fn ended(mut self, within: Duration) -> (ExitStatus, Vec<String>) {
        let deadline = Instant::now() + within;
        while let Ok(line) = self
            .lines
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            self.log.push(line);
        }
        assert!(Instant::now() < deadline, "it goes on: {:?}", self.log);
        (self.child.wait().unwrap(), std::mem::take(&mut self.log))
    }

    /// Stops it as an operator does; gives its status, how long it took, and every line of its log.
    pub(crate) fn stop(mut self) -> (ExitStatus, Duration, Vec<String>) {
        let started = Instant::now();
        let told = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(told.success());
        // The pipe ends when the process does.
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.log.push(line);
        }
        let status = self.child.wait().unwrap();
        (status, started.elapsed(), std::mem::take(&mut self.log))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn get(address: &str, path: &str) -> (u16, String) {
    exchange(address, &format!("GET {path} HTTP/1.1"), "")
}

fn exchange(address: &str, head: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "{head}\r\nHost: {address}\r\nConnection: close\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap();
    (status, answer)
}

/// A database of its own on the server of `DATABASE_URL`; it goes with this value.
pub(crate) struct Database {
    server: String,
    name: String,
    /// Its address.
    pub(crate) url: String,
}

impl Database {
    pub(crate) fn new(name: &str) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "tests learn of the running server from here"
        )]
        let server = std::env::var("DATABASE_URL")
            .expect("DATABASE_URL names the PostgreSQL server for tests: run scripts/test");
        let name = format!("messenger_{name}_{}", std::process::id());
        let url = format!("{}/{name}", server.rsplit_once('/').unwrap().0);
        let database = Self { server, name, url };
        tell(
            &database.server,
            &format!("CREATE DATABASE {}", database.name),
        );
        database
    }

    /// Runs a statement in it.
    pub(crate) fn run(&self, statement: &str) {
        tell(&self.url, statement);
    }
}

fn tell(url: &str, statement: &str) {
    let told = Command::new("psql").args([url, "-qc", statement]).status();
    let told = told.expect("psql comes with PostgreSQL");
    assert!(told.success(), "{statement}");
}

impl Drop for Database {
    fn drop(&mut self) {
        // Whoever has just ended may still count as connected.
        tell(
            &self.server,
            &format!("DROP DATABASE {} WITH (FORCE)", self.name),
        );
    }
}

/// Every file below `folder` with its text.
pub(crate) fn files(folder: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .map(|path| {
            (
                path.file_name().unwrap().to_str().unwrap().to_owned(),
                fs::read_to_string(&path).unwrap(),
            )
        })
        .collect()
}
