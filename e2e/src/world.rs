//! A running messenger in this process.

use std::net::SocketAddr;

use kit::CancellationToken;
use messenger::{Config, Process};
use tempfile::TempDir;

use crate::{
    settings::{Engine, settings},
    split::configs,
};

/// A messenger in this process.
pub struct World {
    pub config: Config,
    pub public: SocketAddr,
    pub private: SocketAddr,
    pub engine: Engine,
    parts: Vec<Part>,
    folder: Option<TempDir>,
}

/// One node of it.
struct Part {
    name: &'static str,
    public: SocketAddr,
    rpc: SocketAddr,
    private: SocketAddr,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<Result<(), String>>,
}

impl World {
    /// A fresh installation.
    pub async fn start(engine: Engine) -> Self {
        Self::with(engine, |_| {}).await
    }

    /// A fresh installation with other settings.
    pub async fn with(engine: Engine, change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = settings(folder.path(), engine.servers().as_ref()).await;
        change(&mut config);
        Self::run(engine, config, Some(folder)).await
    }

    async fn run(engine: Engine, config: Config, folder: Option<TempDir>) -> Self {
        let building =
            configs(engine.parts(), &config)
                .into_iter()
                .map(|(topology, config)| async move {
                    let process = Process::build(&config, &topology).await;
                    process.map(|process| (process, config.rpc.listen))
                });
        let processes = futures_util::future::try_join_all(building).await.unwrap();
        let addresses = processes[0].0.addresses().unwrap();
        let parts = processes.into_iter().zip(engine.parts());
        let parts = parts.map(|((process, rpc), (name, _))| {
            let (public, private) = process.addresses().unwrap();
            let stop = CancellationToken::new();
            let served = tokio::spawn(process.serve(stop.clone().cancelled_owned()));
            Part {
                name,
                public,
                rpc,
                private,
                stop,
                served,
            }
        });
        let world = Self {
            config,
            public: addresses.0,
            private: addresses.1,
            engine,
            parts: parts.collect(),
            folder,
        };
        crate::eventually("ready", async || world.is_ready().await).await;
        world
    }

    pub async fn is_ready(&self) -> bool {
        for part in &self.parts {
            let url = format!("http://{}/readyz", part.private);
            let answer = reqwest::get(url).await;
            if !answer.is_ok_and(|answer| answer.status().is_success()) {
                return false;
            }
        }
        true
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.public)
    }

    /// The value of a metric, summed over its labels that contain `labels`. All worlds of one test program count in it.
    pub async fn metric(&self, name: &str, labels: &str) -> f64 {
        crate::metric(self.private, name, labels).await
    }

    /// Stops gracefully and starts again on the same data.
    pub async fn restart(mut self) -> Self {
        self.stop_parts().await;
        Self::run(self.engine, self.config.clone(), self.folder.take()).await
    }

    /// Stops gracefully.
    pub async fn stop(mut self) {
        self.stop_parts().await;
    }

    /// The services that run apart, with their replicas.
    pub fn services(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        self.parts.iter().map(|part| (part.name, part.public))
    }

    fn replica(&self, service: &str, n: usize) -> usize {
        let parts = self.parts.iter().enumerate();
        let mut replicas = parts.filter(|(_, part)| part.name == service);
        replicas.nth(n).unwrap().0
    }

    /// The public address of one replica of a service.
    pub fn http(&self, service: &str, n: usize) -> SocketAddr {
        self.parts[self.replica(service, n)].public
    }

    /// The gRPC address of one replica of a service.
    pub fn rpc(&self, service: &str, n: usize) -> SocketAddr {
        self.parts[self.replica(service, n)].rpc
    }

    /// Stops one replica of a service gracefully.
    pub async fn stop_one(&mut self, service: &str, n: usize) {
        let part = self.parts.remove(self.replica(service, n));
        part.stop.cancel();
        part.served.await.unwrap().unwrap();
    }

    async fn stop_parts(&mut self) {
        for part in &self.parts {
            part.stop.cancel();
        }
        for part in self.parts.drain(..) {
            part.served.await.unwrap().unwrap();
        }
    }
}
