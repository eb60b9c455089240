//! Checks of the certificates and keys for TLS to NATS servers.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

/// The longest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// A certificate or key that is unusable.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// A file can't be read.
    #[error("reading {path} failed: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{path} holds no PEM {expected}: {source}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// The expected content.
        expected: &'static str,
        /// The reason.
        source: pem::Error,
    },
    /// A root certificate can't vouch for a server.
    #[error("{path} holds an unusable root certificate: {source}")]
    Root {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: rustls::Error,
    },
    /// A certificate and a key do not match, or are unusable.
    #[error("certificate {certificate} and key {key} unusable together: {source}")]
    Pair {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// The reason.
        source: rustls::Error,
    },
}

/// Checks that a file holds root certificates.
pub(crate) fn check_roots(path: &Path) -> Result<(), CertificateError> {
    let mut roots = RootCertStore::empty();
    let add = |certificate| roots.add(certificate).map_err(|source| CertificateError::Root { path: path.to_owned(), source });
    certificates(path)?.into_iter().try_for_each(add)
}

/// Checks that a client certificate and its key can be used together.
pub(crate) fn check_pair(certificate: &Path, key: &Path) -> Result<(), CertificateError> {
    let chain = certificates(certificate)?;
    let parsed = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|source| not_pem(key, "private key", source))?;
    let joined = CertifiedKey::from_der(chain, parsed, &ring::default_provider());
    joined.map(drop).map_err(|source| CertificateError::Pair { certificate: certificate.to_owned(), key: key.to_owned(), source })
}

/// The certificates in a file: one at least.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    match parsed {
        Ok(found) if found.is_empty() => Err(not_pem(path, "certificate", pem::Error::NoItemsFound)),
        Ok(found) => Ok(found),
        Err(source) => Err(not_pem(path, "certificate", source)),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let too_long = || io::Error::new(io::ErrorKind::FileTooLarge, "longer than 1 MiB");
    let read = fs::metadata(path).and_then(|file| if file.len() > MAX_FILE { Err(too_long()) } else { fs::read(path) });
    read.map_err(|source| CertificateError::Read { path: path.to_owned(), source })
}

fn not_pem(path: &Path, expected: &'static str, source: pem::Error) -> CertificateError {
    CertificateError::Pem { path: path.to_owned(), expected, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    struct Files {
        folder: Folder,
        certificate: PathBuf,
        key: PathBuf,
        other_key: PathBuf,
        missing: PathBuf,
    }

    fn files() -> Files {
        let folder = Folder::new();
        let [ours, other] = [(); 2].map(|()| rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap());
        Files {
            certificate: folder.file("certificate.pem", &ours.cert.pem()),
            key: folder.file("key.pem", &ours.signing_key.serialize_pem()),
            other_key: folder.file("other.pem", &other.signing_key.serialize_pem()),
            missing: folder.path().join("missing.pem"),
            folder,
        }
    }

    #[test]
    fn check_accepts_usable_certificates() {
        let Files { certificate, key, .. } = &files();
        check_roots(certificate).unwrap();
        check_pair(certificate, key).unwrap();
    }

    #[test]
    fn check_refuses_unusable_certificates() {
        let files = files();
        let Files { certificate, key, other_key, missing, .. } = &files;
        let torn = files.folder.file("torn.pem", "-----BEGIN CERTIFICATE-----\nnonsense");
        let no_der = files.folder.file("no-der.pem", "-----BEGIN CERTIFICATE-----\nbm9uc2Vuc2U=\n-----END CERTIFICATE-----\n");
        let long = files.folder.file("long.pem", &"x".repeat(2 << 20));
        for (checked, expected) in [
            (check_roots(missing), "missing.pem failed"),
            (check_roots(key), "key.pem holds no PEM certificate"),
            (check_roots(&torn), "torn.pem holds no PEM certificate"),
            (check_roots(&no_der), "no-der.pem holds an unusable root certificate"),
            (check_roots(&long), "longer than 1 MiB"),
            (check_pair(certificate, missing), "missing.pem failed"),
            (check_pair(certificate, certificate), "certificate.pem holds no PEM private key"),
            (check_pair(key, key), "key.pem holds no PEM certificate"),
            (check_pair(certificate, other_key), "unusable together"),
            (check_pair(&no_der, key), "unusable together"),
        ] {
            let error = checked.unwrap_err().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }

    #[test]
    fn errors_show_nothing_of_a_private_key() {
        let files = files();
        let key = fs::read_to_string(&files.key).unwrap();
        let secret = key.lines().nth(1).unwrap();
        let torn = files.folder.file("torn-key.pem", &key[..key.len() / 2]);
        for checked in [check_roots(&files.key), check_pair(&files.certificate, &torn), check_pair(&files.key, &files.key)] {
            let error = checked.unwrap_err();
            assert!(!error.to_string().contains(secret) && !format!("{error:?}").contains(secret), "{error}");
        }
    }
}
