//! What the service does: [`deliver`] brings advice onto the owner's lane, [`people`] from there to the sockets here.

pub(crate) mod deliver;
pub(crate) mod people;
