//! Members of a group, each with a time of its own.

use std::collections::HashMap;

use bytes::Bytes;
use tokio::time::Instant;

use crate::MAX_MEMBERS;

/// What a member takes beside its name and value, about.
const OVERHEAD: usize = 128;

/// At most [`MAX_MEMBERS`] members.
#[derive(Default)]
pub(crate) struct Group(HashMap<String, Member>);

struct Member {
    value: Bytes,
    ends: Instant,
}

impl Group {
    /// Forgets those whose time is over.
    pub(crate) fn sweep(&mut self, now: Instant) {
        self.0.retain(|_, member| member.ends > now);
    }

    pub(crate) fn join(&mut self, member: &str, value: Bytes, ends: Instant) {
        self.0.remove(member);
        if self.0.len() >= MAX_MEMBERS {
            let first = self.0.iter().min_by_key(|(_, member)| member.ends);
            if let Some(first) = first.map(|(name, _)| name.clone()) {
                self.0.remove(&first);
            }
        }
        self.0.insert(member.to_owned(), Member { value, ends });
    }

    pub(crate) fn leave(&mut self, member: &str) {
        self.0.remove(member);
    }

    pub(crate) fn members(&self, now: Instant) -> Vec<(String, Bytes)> {
        let here = self.0.iter().filter(|(_, member)| member.ends > now);
        here.map(|(name, member)| (name.clone(), member.value.clone()))
            .collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// What the group takes in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        let sizes = self.0.iter();
        sizes
            .map(|(name, member)| name.len() + member.value.len() + OVERHEAD)
            .sum()
    }

    /// When the last of its members ends.
    pub(crate) fn ends(&self) -> Option<Instant> {
        self.0.values().map(|member| member.ends).max()
    }
}
