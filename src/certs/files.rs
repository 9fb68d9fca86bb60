//! PEM files: chains, keys, authorities. They are small and read whole; nothing asks for a
//! passphrase.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use xxhash_rust::xxh3::Xxh3;

/// No certificate chain or key is longer; a bound for whatever else the path may name.
const MAX_PEM_BYTES: u64 = 1024 * 1024;

/// Why a file cannot be used. Each names the file and the fix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// The file cannot be read.
    #[error("cannot read {}: {reason}; give the path of a PEM file this process may read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The file is not PEM, or is damaged.
    #[error("{} is not a valid PEM file: {reason}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No certificate in the file.
    #[error("{} holds no certificate: it needs the chain as \"-----BEGIN CERTIFICATE-----\" blocks, the owner's own first", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// No authority in the file.
    #[error("{} holds no certificate: it must be a PEM file with at least one \"BEGIN CERTIFICATE\"", path.display())]
    NoAuthority {
        /// The file.
        path: PathBuf,
    },
    /// No private key in the file.
    #[error("{} holds no private key: it needs one \"-----BEGIN PRIVATE KEY-----\" block (PKCS#8, PKCS#1 or SEC1)", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The key is protected by a passphrase.
    #[error("{} holds an encrypted private key, and there is nobody to ask for its passphrase: write it decrypted with `openssl pkey -in {} -out key.pem`", path.display(), path.display())]
    EncryptedKey {
        /// The file.
        path: PathBuf,
    },
}

/// The certificate chain in the file at `path`, the owner's own first.
///
/// # Errors
/// [`FileError`].
pub fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let chain = certificates(path)?;
    if chain.is_empty() { Err(FileError::NoCertificate { path: path.into() }) } else { Ok(chain) }
}

/// The authorities in the file at `path`.
///
/// # Errors
/// [`FileError`].
pub fn authorities(path: &Path) -> Result<RootCertStore, FileError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| FileError::Pem { path: path.into(), reason: error.to_string() })?;
    }
    if roots.is_empty() { Err(FileError::NoAuthority { path: path.into() }) } else { Ok(roots) }
}

/// The private key in the file at `path`.
///
/// # Errors
/// [`FileError`].
pub fn key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    let text = read(path)?;
    // PKCS#8's own label, and the header of the older formats (RFC 7468 section 11, RFC 1421).
    let mut lines = text.split(|byte| *byte == b'\n');
    if lines.any(|line| {
        line.starts_with(b"-----BEGIN ENCRYPTED PRIVATE KEY") || line.starts_with(b"Proc-Type: 4,ENCRYPTED")
    }) {
        return Err(FileError::EncryptedKey { path: path.into() });
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound => FileError::NoKey { path: path.into() },
        error => damaged(path, &error),
    })
}

/// What some files were when they were last read, whatever came of it.
#[derive(Debug)]
pub struct Seen(AtomicU64);

impl Seen {
    /// Looks at these files.
    pub fn of<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Self {
        Self(AtomicU64::new(fingerprint(paths).0))
    }

    /// Has the files loaded where the content of any is another one than the last time, or whether it
    /// can be read: what came of it.
    ///
    /// What cannot be used is not tried again until it changes. Whether it could not be read, `unread`
    /// says: if all could be looked at just before, that was a matter of the moment (no descriptors
    /// left), and the next look tries again.
    pub fn if_changed<'a, E>(
        &self,
        paths: impl IntoIterator<Item = &'a Path>,
        load: impl FnOnce() -> Result<(), E>,
        unread: impl FnOnce(&E) -> bool,
    ) -> Option<Result<(), E>> {
        let (now, whole) = fingerprint(paths);
        if self.0.swap(now, Relaxed) == now {
            return None;
        }
        let loaded = load();
        if whole && loaded.as_ref().is_err_and(unread) {
            self.0.store(!now, Relaxed);
        }
        Some(loaded)
    }
}

/// A number that is another one when the content of any of these files is, or whether it can be
/// read; and whether all can.
fn fingerprint<'a>(paths: impl IntoIterator<Item = &'a Path>) -> (u64, bool) {
    let (mut hash, mut whole) = (Xxh3::new(), true);
    for path in paths {
        let read = read(path);
        whole &= read.is_ok();
        hash.update(&[u8::from(read.is_ok())]);
        hash.update(&read.unwrap_or_default());
    }
    (hash.digest(), whole)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let text = read(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    chain.map_err(|error| damaged(path, &error))
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let failed = |error: std::io::Error| FileError::Read { path: path.into(), reason: error.to_string() };
    let mut text = Vec::new();
    File::open(path).map_err(failed)?.take(MAX_PEM_BYTES + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_PEM_BYTES {
        return Err(FileError::Pem { path: path.into(), reason: "it is larger than 1 MiB".into() });
    }
    Ok(text)
}

fn damaged(path: &Path, error: &pem::Error) -> FileError {
    FileError::Pem { path: path.into(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_read_for_a_moment_is_tried_again_and_what_is_damaged_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cert.pem");
        std::fs::write(&path, "one").unwrap();
        let seen = Seen::of([path.as_path()]);
        let look = |result: Result<(), FileError>| {
            seen.if_changed([path.as_path()], || result, |error| matches!(error, FileError::Read { .. }))
        };
        let unread = FileError::Read { path: path.clone(), reason: "too many open files".into() };
        let damaged = FileError::Pem { path: path.clone(), reason: "cut".into() };
        assert_eq!(look(Ok(())), None);

        std::fs::write(&path, "two").unwrap();
        assert_eq!(look(Err(unread.clone())), Some(Err(unread.clone())));
        assert_eq!(look(Err(unread.clone())), Some(Err(unread.clone())));
        assert_eq!(look(Ok(())), Some(Ok(())));
        assert_eq!(look(Ok(())), None);

        std::fs::write(&path, "three").unwrap();
        assert_eq!(look(Err(damaged.clone())), Some(Err(damaged)));
        assert_eq!(look(Ok(())), None);

        // Gone, as the look itself has found: one line in the log, and not one every two seconds.
        std::fs::remove_file(&path).unwrap();
        assert_eq!(look(Err(unread.clone())), Some(Err(unread)));
        assert_eq!(look(Ok(())), None);
        std::fs::write(&path, "three").unwrap();
        assert_eq!(look(Ok(())), Some(Ok(())));
    }
}
