//! What a caller makes of a status.

use std::error::Error;

use kit::{Code, Fault};
use tonic::{ConnectError, Status};

/// Where a status of ours has the fault's word.
const WORD: &str = "fault-code";
/// The word of a server that does not believe that the caller is one of us.
pub(crate) const STRANGER: &str = "service_credential";

/// What is not there is an answer, not a fault.
pub fn optional<T>(answer: Result<T, Fault>) -> Result<Option<T>, Fault> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(fault) if fault.is(Code::NotFound) => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// What the caller of a remote contract is told.
pub(crate) fn fault(status: Status) -> Fault {
    match (status.code(), word(&status)) {
        // Our settings are wrong, which is no fault of the person who asked.
        (_, Some(STRANGER)) => Fault::internal(status),
        (_, Some(_)) => status.into(),
        // Without our word nobody of us answered: the connection broke, or the other side is not up.
        (tonic::Code::Unknown | tonic::Code::Internal | tonic::Code::Unavailable, None) => {
            Fault::unavailable(status)
        }
        _ if is_unsent(&status) => Fault::unavailable(status),
        _ => status.into(),
    }
}

fn word(status: &Status) -> Option<&str> {
    status.metadata().get(WORD)?.to_str().ok()
}

/// Whether the request certainly did not reach anybody: even what must not happen twice may be sent again.
pub(crate) fn is_unsent(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        // The connection ended while the request stood in line for it.
        if error
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_canceled)
        {
            return true;
        }
        cause = error.source();
    }
    false
}
