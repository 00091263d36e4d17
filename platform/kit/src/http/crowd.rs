//! How many connections one address may have at a listener.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::Arc,
};

use parking_lot::Mutex;

use super::{TrustedProxies, limited};

/// Those who are connected to one listener, by address.
pub(crate) struct Crowd {
    limit: u32,
    trusted: TrustedProxies,
    seats: Mutex<HashMap<IpAddr, u32>>,
}

/// The place of one connection; given up when dropped.
pub(crate) struct Seat {
    crowd: Arc<Crowd>,
    address: IpAddr,
}

impl Crowd {
    /// At most `limit` connections of an address, except of a proxy of ours, which brings many clients.
    pub(crate) fn new(limit: u32, trusted: TrustedProxies) -> Arc<Self> {
        Arc::new(Self {
            limit: limit.max(1),
            trusted,
            seats: Mutex::default(),
        })
    }

    /// Another crowd with the same rule.
    pub(crate) fn alike(&self) -> Arc<Self> {
        Self::new(self.limit, self.trusted.clone())
    }

    /// A seat for a connection of `address`, if there is one left.
    pub(crate) fn seat(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let is_free = self.trusted.contain(address);
        let address = limited(address);
        let mut seats = self.seats.lock();
        let taken = seats.entry(address).or_insert(0);
        if *taken >= self.limit && !is_free {
            return None;
        }
        *taken += 1;
        Some(Seat {
            crowd: self.clone(),
            address,
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Entry::Occupied(mut taken) = self.crowd.seats.lock().entry(self.address) {
            *taken.get_mut() -= 1;
            if *taken.get() == 0 {
                taken.remove();
            }
        }
    }
}
