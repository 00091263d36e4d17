//! A broker that one test has for itself.

use std::{
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
};

/// It may be stopped and killed, with `scripts/kafka`.
pub(super) struct Own {
    port: u16,
}

impl Own {
    pub(super) fn start() -> Self {
        // The controller listens on the port 4000 above.
        let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        let mut ports = (8000..9999).filter(|port| is_free(*port) && is_free(port + 4000));
        let own = Self {
            port: ports.next().expect("a free port"),
        };
        own.script("up");
        own
    }

    pub(super) fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(super) fn script(&self, command: &str) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/kafka");
        let status = Command::new(script)
            .arg(command)
            .env("MESSENGER_TEST_KAFKA_PORT", self.port.to_string())
            .env("MESSENGER_TEST_KAFKA_SESSION", "2000")
            .env_remove("KAFKA_BROKERS")
            .stdout(Stdio::null())
            .status();
        assert!(status.unwrap().success(), "scripts/kafka {command}");
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.script("remove");
    }
}
