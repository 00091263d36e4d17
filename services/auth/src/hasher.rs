//! Argon2id in a bounded pool (threat:T2, threat:T3): so many at once, so many waiting, the next one is told to come back.

use std::{sync::Arc, time::Instant};

use argon2::{
    Algorithm, Argon2, Block, Params, PasswordHash, Version,
    password_hash::phc::{Output, ParamsString, Salt},
};
use aws_lc_rs::{constant_time, rand};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    domain::{Error, password::Password},
    metrics,
};

/// 19 MiB, two passes, one lane: the least that OWASP asks for.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const OUTPUT_BYTES: usize = 32;
/// The most memory that a stored hash may ask for.
const MAX_BLOCKS: usize = 64 * 1024;
/// What an unknown user's password is hashed with.
const NOBODYS_SALT: [u8; 16] = [0; 16];

/// Hashes and checks passwords.
pub(crate) struct Hasher {
    /// One for each that works or waits.
    places: Arc<Semaphore>,
    /// One for each that works.
    workers: Arc<Semaphore>,
    /// Memory of those that work, kept for the next ones; as many as there are workers.
    arenas: Arc<Mutex<Vec<Vec<Block>>>>,
}

impl Hasher {
    /// A pool of `workers` with room for `queue` more.
    pub(crate) fn new(workers: usize, queue: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(workers + queue)),
            workers: Arc::new(Semaphore::new(workers)),
            arenas: Arc::default(),
        }
    }

    /// The PHC string of a new password.
    pub(crate) async fn hash(&self, password: Password) -> Result<String, Error> {
        self.run(move |arena| {
            let mut salt = [0; 16];
            rand::fill(&mut salt).map_err(|_| Error::internal("the random source failed"))?;
            let params = own_params()?;
            let text = ParamsString::try_from(&params).map_err(Error::internal)?;
            let output = work(&password, &salt, Version::V0x13, params, arena)?;
            let hash = PasswordHash {
                algorithm: Algorithm::Argon2id.ident(),
                version: Some(Version::V0x13.into()),
                params: text,
                salt: Some(Salt::new(&salt).map_err(Error::internal)?),
                hash: Some(Output::new(&output).map_err(Error::internal)?),
            };
            Ok(hash.to_string())
        })
        .await
    }

    /// Whether `password` belongs to `stored`. Without a stored hash the answer is no, after the same work.
    pub(crate) async fn verify(
        &self,
        password: Password,
        stored: Option<String>,
    ) -> Result<bool, Error> {
        self.run(move |arena| match stored {
            Some(stored) => check(&password, &stored, arena),
            None => work(
                &password,
                &NOBODYS_SALT,
                Version::V0x13,
                own_params()?,
                arena,
            )
            .map(|_| false),
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Vec<Block>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let came = Instant::now();
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            metrics::hash_refused();
            return Err(Error::Busy);
        };
        let worker = self
            .workers
            .clone()
            .acquire_owned()
            .await
            .map_err(Error::internal)?;
        metrics::hash_begins(came);
        let arenas = self.arenas.clone();
        // Work that has begun goes on when its caller is gone; it keeps its place until then.
        let held: [OwnedSemaphorePermit; 2] = [worker, place];
        let running = tokio::task::spawn_blocking(move || {
            let started = Instant::now();
            let mut arena = arenas.lock().pop().unwrap_or_default();
            let result = work(&mut arena);
            arenas.lock().push(arena);
            metrics::hashed(started);
            drop(held);
            result
        });
        running.await.map_err(Error::internal)?
    }
}

fn own_params() -> Result<Params, Error> {
    Params::new(MEMORY_KIB, PASSES, LANES, Some(OUTPUT_BYTES)).map_err(Error::internal)
}

fn check(password: &Password, stored: &str, arena: &mut Vec<Block>) -> Result<bool, Error> {
    let stored = PasswordHash::new(stored).map_err(Error::internal)?;
    let params = Params::try_from(&stored).map_err(Error::internal)?;
    let version = stored
        .version
        .map_or(Ok(Version::V0x13), Version::try_from)
        .map_err(Error::internal)?;
    let is_known =
        stored.algorithm == Algorithm::Argon2id.ident() && params.block_count() <= MAX_BLOCKS;
    let (Some(salt), Some(expected), true) = (stored.salt, stored.hash, is_known) else {
        return Err(Error::internal("a stored hash is not one of ours"));
    };
    let output = work(password, salt.as_ref(), version, params, arena)?;
    Ok(constant_time::verify_slices_are_equal(&output, expected.as_bytes()).is_ok())
}

fn work(
    password: &Password,
    salt: &[u8],
    version: Version,
    params: Params,
    arena: &mut Vec<Block>,
) -> Result<Vec<u8>, Error> {
    let blocks = params.block_count();
    if arena.len() < blocks {
        arena.resize(blocks, Block::new());
    }
    let mut output = vec![0; params.output_len().unwrap_or(OUTPUT_BYTES)];
    Argon2::new(Algorithm::Argon2id, version, params)
        .hash_password_into_with_memory(
            password.as_bytes(),
            salt,
            &mut output,
            &mut arena[..blocks],
        )
        .map_err(Error::internal)?;
    Ok(output)
}

#[cfg(test)]
mod tests {
    use argon2::PasswordVerifier as _;

    use super::*;

    fn password(text: &str) -> Password {
        Password::typed(text)
    }

    /// threat:T3, row:A01: the parameters, the salt, and that another implementation's reading agrees.
    #[tokio::test]
    async fn a_hash_is_argon2id_with_a_salt_of_its_own() {
        let hasher = Hasher::new(1, 4);
        let first = hasher.hash(password("correct horse")).await.unwrap();
        let second = hasher.hash(password("correct horse")).await.unwrap();
        assert!(
            first.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{first}"
        );
        assert_ne!(first, second);
        let parsed = PasswordHash::new(&first).unwrap();
        assert!(
            Argon2::default()
                .verify_password(b"correct horse", &parsed)
                .is_ok()
        );
        assert!(
            hasher
                .verify(password("correct horse"), Some(second))
                .await
                .unwrap()
        );
        assert!(
            !hasher
                .verify(password("Correct horse"), Some(first))
                .await
                .unwrap()
        );
        assert!(
            !hasher
                .verify(password("correct horse"), None)
                .await
                .unwrap()
        );
    }

    #[tokio::test]
    async fn a_stored_text_that_is_no_hash_of_ours_is_a_defect_and_no_wrong_password() {
        let hasher = Hasher::new(1, 4);
        for stored in [
            "",
            "plain",
            "$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=4294967,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
        ] {
            let result = hasher.verify(password("x"), Some(stored.to_owned())).await;
            assert!(matches!(result, Err(Error::Internal(_))), "{stored}");
        }
    }

    /// threat:T2, row:A09: no more work at once than there are workers, no more memory than that, and a full
    /// queue says so.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_queue_has_an_end() {
        let hasher = Arc::new(Hasher::new(2, 6));
        // Nobody gets to work before everybody has come.
        let busy = hasher.workers.clone().acquire_many_owned(2).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..40 {
            let hasher = hasher.clone();
            tasks.spawn(async move { hasher.verify(password("x"), None).await });
        }
        for n in 0..32 {
            let refused = tasks.join_next().await.unwrap().unwrap();
            assert!(matches!(refused, Err(Error::Busy)), "{n} {refused:?}");
        }
        drop(busy);
        let done = tasks.join_all().await;
        assert_eq!(done.len(), 8);
        assert!(done.iter().all(|result| matches!(result, Ok(false))));
        assert!((1..=2).contains(&hasher.arenas.lock().len()));
    }
}
