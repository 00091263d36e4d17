//! Usernames for the model, remembered for a minute.

use std::{collections::HashMap, time::Duration};

use contracts::{UserId, user::UserClient};
use kit::Call;
use moka::future::Cache;

/// Who has no name that we can find is called this.
const UNKNOWN: &str = "member";

/// Looks names up.
#[derive(Clone)]
pub(crate) struct Names {
    user: UserClient,
    known: Cache<UserId, String>,
}

impl Names {
    pub(crate) fn new(user: UserClient) -> Self {
        let known = Cache::builder()
            .max_capacity(10_000)
            .time_to_live(Duration::from_mins(1))
            .build();
        Self { user, known }
    }

    /// The names of `people`. A part of the server that is away costs names, not the answer.
    pub(crate) async fn of(&self, call: &Call, people: Vec<UserId>) -> HashMap<UserId, String> {
        let mut names = HashMap::new();
        let mut unknown = Vec::new();
        for person in people {
            match self.known.get(&person).await {
                Some(name) => {
                    names.insert(person, name);
                }
                None if !unknown.contains(&person) => unknown.push(person),
                None => {}
            }
        }
        if !unknown.is_empty() {
            match self.user.by_ids(call, unknown.clone()).await {
                Ok(found) => {
                    for person in found {
                        self.known.insert(person.id, person.username.clone()).await;
                        names.insert(person.id, person.username);
                    }
                }
                Err(error) => tracing::warn!(?error, "names for the model could not be looked up"),
            }
        }
        for person in unknown {
            names.entry(person).or_insert_with(|| UNKNOWN.to_owned());
        }
        names
    }
}
