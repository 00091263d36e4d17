//! The adapters against the common suite, and what happens while the cache is away.

#![expect(clippy::unwrap_used, reason = "what fails in a test is a failure")]

mod channels;
mod following;
mod keys;
mod limits;
mod outage;
mod secrets;
mod server;

mod memory {
    use std::{
        future::{Ready, ready},
        sync::Arc,
    };

    use cache::{Cache, Memory};

    fn make() -> Ready<Arc<dyn Cache>> {
        ready(Arc::new(Memory::new()))
    }

    cache::suite!(make());
}

mod redis {
    use std::{
        future::{Ready, ready},
        sync::Arc,
    };

    use cache::Cache;

    use crate::server::{open, shared};

    fn make() -> Ready<Arc<dyn Cache>> {
        ready(open(&shared()))
    }

    cache::suite!(make());
}
