//! Ended logins close their sockets.

use std::sync::Arc;

use kit::{Node, OnFailure};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use uuid::Uuid;

use crate::{Close, Hub};

impl Hub {
    /// Starts `task`: closes the connections of logins that end, for as long as the node runs. A login has ended, as
    /// `is_ended` says, before `news` come of it.
    pub fn close_ended<T: Clone + Send + 'static>(
        self: &Arc<Self>,
        task: &'static str,
        news: Receiver<T>,
        is_ended: impl Fn(Uuid) -> bool + Send + Sync + 'static,
        node: &Node,
    ) {
        let (hub, is_ended, stop) = (self.clone(), Arc::new(is_ended), node.token());
        node.task(task, OnFailure::Restart, move || {
            let (hub, is_ended, stop) = (hub.clone(), is_ended.clone(), stop.clone());
            let mut news = news.resubscribe();
            async move {
                loop {
                    hub.close_where(
                        |socket| socket.login().is_some_and(&*is_ended),
                        Close::LOGIN_ENDED,
                    );
                    match stop.run_until_cancelled(news.recv()).await {
                        None | Some(Err(RecvError::Closed)) => return Ok(()),
                        // One look serves all the news that wait, and those that were lost in a crowd.
                        Some(_) => news = news.resubscribe(),
                    }
                }
            }
        });
    }
}
