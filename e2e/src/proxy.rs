//! The network between the program and a server that it needs: it can be cut, or go silent.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    Open,
    /// Connections end at once, old ones and new ones.
    Cut,
    /// Connections live and nothing comes through, until they end with the silence.
    Silent,
}

pub struct Proxy {
    pub address: SocketAddr,
    line: Arc<watch::Sender<Line>>,
}

impl Proxy {
    /// Stands in front of `target`, which is `host:port`.
    pub async fn start(target: String) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (line, seen) = watch::channel(Line::Open);
        #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (target, seen) = (target.clone(), seen.clone());
                tokio::spawn(async move { carry(stream, &target, seen).await });
            }
        });
        Self {
            address,
            line: Arc::new(line),
        }
    }

    pub fn set(&self, line: Line) {
        self.line.send_replace(line);
    }
}

/// Carries one connection until it ends, is cut, or was silent: what was under way then is lost.
async fn carry(mut stream: TcpStream, target: &str, mut seen: watch::Receiver<Line>) -> Option<()> {
    if *seen.borrow() == Line::Open {
        let mut server = TcpStream::connect(target).await.ok()?;
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut stream, &mut server) => return None,
            changed = seen.wait_for(|line| *line != Line::Open) => drop(changed.ok()?),
        }
    }
    seen.wait_for(|line| *line != Line::Silent).await.ok()?;
    None
}
