//! The adapters against the common suite, and rate limits while the cache is away.

mod limits;

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
