//! Ended logins close their sockets.

use contracts::{SessionId, auth::Verifier};
use kit::{BoxError, CancellationToken};
use realtime::{Close, Hub};
use tokio::sync::broadcast::{Receiver, error::RecvError};

/// Closes the sockets of every login that `verifier` hears of, until the node stops.
pub(crate) async fn close_ended(
    hub: &Hub,
    verifier: &Verifier,
    mut ended: Receiver<SessionId>,
    stop: CancellationToken,
) -> Result<(), BoxError> {
    loop {
        let news = tokio::select! {
            news = ended.recv() => news,
            () = stop.cancelled() => return Ok(()),
        };
        match news {
            Ok(session) => hub.close_where(
                |socket| socket.login() == Some(session.0),
                Close::LOGIN_ENDED,
            ),
            Err(RecvError::Lagged(_)) => {
                let is_ended = |login| verifier.is_revoked(SessionId(login));
                hub.close_where(
                    |socket| socket.login().is_some_and(is_ended),
                    Close::LOGIN_ENDED,
                )
            }
            Err(RecvError::Closed) => return Ok(()),
        };
    }
}
