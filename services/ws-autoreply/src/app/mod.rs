//! What the service does: [`tell`] brings what was said onto the owner's lane, [`people`] from there to the sockets here.

pub(crate) mod people;
pub(crate) mod tell;
