//! The signing key: made once, sealed with a secret, read back by every process.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    digest,
    hkdf::{HKDF_SHA256, Salt},
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use contracts::auth::token::{Claims, TYPE};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use kit::config::{ExposeSecret as _, SecretString};

use crate::{
    domain::{Error, refresh::random_bytes},
    store::{Store, StoredKey},
};

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting cannot work; the text is for the person who runs the server.
    #[error("{0}")]
    Refused(String),
    /// The secret file cannot be used.
    #[error("the secret in {path}")]
    File {
        /// Where it is.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// The store does not answer.
    #[error("the signing key cannot be read")]
    Store(#[from] sql::Error),
    /// The cryptography failed.
    #[error("the signing key cannot be made")]
    Key,
}

/// Seals private keys, and what browsers keep for us, with a key derived from the secret.
pub(crate) struct Sealer(RandomizedNonceKey);

impl Sealer {
    /// The shortest secret, in bytes.
    const MIN_SECRET: usize = 32;

    /// Takes the configured secret, or the file's, which is made when it is not there.
    pub(crate) fn open(
        configured: Option<&SecretString>,
        file: Option<&Path>,
    ) -> Result<Self, StartError> {
        Self::check(configured, file.is_some()).map_err(StartError::Refused)?;
        if let Some(secret) = configured {
            return Self::derive(secret.expose_secret().as_bytes());
        }
        let path = file.ok_or(StartError::Key)?;
        let secret = secret_of(path).map_err(|source| StartError::File {
            path: path.display().to_string(),
            source,
        })?;
        Self::derive(&secret)
    }

    /// Refuses a configured secret that cannot work, or the lack of one where no file can stand in.
    pub(crate) fn check(configured: Option<&SecretString>, has_file: bool) -> Result<(), String> {
        match configured {
            Some(secret) if secret.expose_secret().len() < Self::MIN_SECRET => {
                Err("auth.secret must have at least 32 characters".to_owned())
            }
            None if !has_file => Err(
                "auth.secret is not set: choose 32 random characters, the same for every process"
                    .to_owned(),
            ),
            _ => Ok(()),
        }
    }

    fn derive(secret: &[u8]) -> Result<Self, StartError> {
        let mut key = [0; 32];
        Salt::new(HKDF_SHA256, b"messenger")
            .extract(secret)
            .expand(&[b"auth signing key v1"], HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut key))
            .and_then(|()| RandomizedNonceKey::new(&AES_256_GCM, &key))
            .map(Self)
            .map_err(|_| StartError::Key)
    }

    /// `nonce || ciphertext || tag`, bound to `name`.
    pub(crate) fn seal(&self, name: &str, private: &[u8]) -> Result<Vec<u8>, StartError> {
        let mut sealed = private.to_vec();
        let nonce = self
            .0
            .seal_in_place_append_tag(Aad::from(name.as_bytes()), &mut sealed)
            .map_err(|_| StartError::Key)?;
        Ok([nonce.as_ref().as_slice(), &sealed].concat())
    }

    /// What was sealed under `name`; `None` for anything else.
    pub(crate) fn unseal(&self, name: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = text.to_vec();
        let length = self
            .0
            .open_in_place(nonce, Aad::from(name.as_bytes()), &mut text)
            .ok()?
            .len();
        text.truncate(length);
        Some(text)
    }
}

/// The secret in a file that nobody else can read; made at the first start.
fn secret_of(path: &Path) -> io::Result<Vec<u8>> {
    if !path.try_exists()? {
        make_secret(path)?;
    }
    if fs::metadata(path)?.mode() & 0o077 != 0 {
        return Err(io::Error::other(
            "it can be read by others; run chmod 600 on it",
        ));
    }
    let text = fs::read(path)?.trim_ascii().to_vec();
    let is_whole = text.len() >= Sealer::MIN_SECRET;
    if is_whole {
        Ok(text)
    } else {
        Err(io::Error::other("it is shorter than 32 characters"))
    }
}

/// Writes a random secret beside `path` and gives it its name when it is on the disk, so that neither a crash nor a
/// power cut leaves half of one: without it the stored key could never be opened again.
fn make_secret(path: &Path) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    let secret = BASE64.encode(random_bytes().map_err(io::Error::other)?);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)?;
    file.write_all(format!("{secret}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Signs access tokens.
pub(crate) struct Signer {
    header: Header,
    key: EncodingKey,
}

impl Signer {
    /// Reads the newest key; makes one when there is none. Of processes that start at once, one makes it and all
    /// read the same.
    pub(crate) async fn load(
        store: &Store,
        sealer: &Sealer,
        now_ms: i64,
    ) -> Result<Self, StartError> {
        let mut stored = store.newest_key().await?;
        if stored.is_none() {
            store.insert_key_if_absent(new_key(sealer)?, now_ms).await?;
            stored = store.newest_key().await?;
        }
        let stored = stored.ok_or(StartError::Key)?;
        let private = sealer.unseal(&stored.kid, &stored.sealed_key).ok_or_else(|| {
            StartError::Refused("auth.secret does not open the stored signing key: it was sealed with another one".to_owned())
        })?;
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(stored.kid);
        Ok(Self {
            header,
            key: EncodingKey::from_ed_der(&private),
        })
    }

    /// The signed token.
    pub(crate) fn sign(&self, claims: &Claims) -> Result<String, Error> {
        jsonwebtoken::encode(&self.header, claims, &self.key).map_err(Error::internal)
    }
}

fn new_key(sealer: &Sealer) -> Result<StoredKey, StartError> {
    let private =
        Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| StartError::Key)?;
    let pair = Ed25519KeyPair::from_pkcs8(private.as_ref()).map_err(|_| StartError::Key)?;
    let public_key = pair.public_key().as_ref().to_vec();
    let name = digest::digest(&digest::SHA256, &public_key);
    let kid = BASE64.encode(&name.as_ref()[..12]);
    let sealed_key = sealer.seal(&kid, private.as_ref())?;
    Ok(StoredKey {
        kid,
        public_key,
        sealed_key,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_sealed_is_opened_by_the_same_secret_for_the_same_name() {
        let sealer = Sealer::derive(&[1; 32]).unwrap();
        let closed = sealer.seal("k1", b"private").unwrap();
        assert!(!closed.windows(7).any(|window| window == b"private"));
        assert_eq!(
            sealer.unseal("k1", &closed).as_deref(),
            Some(&b"private"[..])
        );
        assert_eq!(sealer.unseal("k2", &closed), None);
        assert_eq!(
            Sealer::derive(&[2; 32]).unwrap().unseal("k1", &closed),
            None
        );
        assert_eq!(sealer.unseal("k1", &closed[..8]), None);
        let mut changed = closed;
        changed[14] ^= 1;
        assert_eq!(sealer.unseal("k1", &changed), None);
    }

    /// threat:T13
    #[test]
    fn the_secret_file_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auth.secret");
        let first = secret_of(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(secret_of(&path).unwrap(), first);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(Sealer::open(None, Some(&path)).is_err());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "short\n").unwrap();
        assert!(Sealer::open(None, Some(&path)).is_err());
    }

    /// threat:T13
    #[test]
    fn a_secret_has_a_length_and_no_example_is_taken_for_one() {
        let refused = |secret: Option<&str>| {
            let secret = secret.map(SecretString::from);
            matches!(
                Sealer::open(secret.as_ref(), None),
                Err(StartError::Refused(_))
            )
        };
        assert!(refused(None) && refused(Some("")) && refused(Some("changeme")));
        assert!(!refused(Some("0123456789abcdef0123456789abcdef")));
    }
}
