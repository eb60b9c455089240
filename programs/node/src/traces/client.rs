//! The HTTP client of the exporter. The exporter reads no variable for certificates where it speaks HTTP, so they are read here.

use std::path::PathBuf;
use std::{fs, io, thread};

use reqwest::blocking::Client;
use reqwest::{Certificate, Identity};
use thiserror::Error;

use super::variables::Variables;

/// Why there is no client.
#[derive(Debug, Error)]
pub(crate) enum ClientError {
    #[error("cannot read {}: {error}. {name} names a file with PEM certificates or a key", .path.display())]
    Unreadable { name: &'static str, path: PathBuf, error: io::Error },
    #[error("malformed certificate in {}: {error}. {name} names a file with PEM certificates or a key", .path.display())]
    Malformed { name: &'static str, path: PathBuf, error: reqwest::Error },
    #[error("no certificate in {}. {name} names a file with PEM certificates", .path.display())]
    Empty { name: &'static str, path: PathBuf },
    #[error("{0} is set without {1}. Set both, or neither")]
    Half(&'static str, &'static str),
    #[error("cannot speak TLS: {0}. Install the package `ca-certificates`, or name roots with OTEL_EXPORTER_OTLP_CERTIFICATE")]
    Tls(reqwest::Error),
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// A file that a variable names.
struct Pem {
    name: &'static str,
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Pem {
    fn read((name, path): (&'static str, String)) -> Result<Self, ClientError> {
        let path = PathBuf::from(path);
        match fs::read(&path) {
            Ok(bytes) => Ok(Self { name, path, bytes }),
            Err(error) => Err(ClientError::Unreadable { name, path, error }),
        }
    }

    fn certificates(&self) -> Result<Vec<Certificate>, ClientError> {
        let certificates = Certificate::from_pem_bundle(&self.bytes).map_err(|error| self.malformed(error))?;
        if certificates.is_empty() { Err(ClientError::Empty { name: self.name, path: self.path.clone() }) } else { Ok(certificates) }
    }

    fn malformed(&self, error: reqwest::Error) -> ClientError {
        ClientError::Malformed { name: self.name, path: self.path.clone(), error }
    }
}

/// Returns a client for a collector. For `https` it trusts the given roots, or those of the system.
pub(super) fn client(endpoint: &str, variables: &Variables<'_>) -> Result<Client, ClientError> {
    // Another part of the program may have chosen a provider. Any will do.
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut builder = Client::builder().timeout(variables.timeout());
    if endpoint.starts_with("https:") {
        if let Some(roots) = variables.of_exporter("CERTIFICATE").map(Pem::read).transpose()? {
            builder = builder.tls_certs_only(roots.certificates()?);
        }
        if let Some(identity) = identity(variables)? {
            builder = builder.identity(identity);
        }
    } else {
        // The roots of the system are not read, as there may be none.
        builder = builder.tls_certs_only([]);
    }
    // A client that blocks is not built on a thread of a runtime.
    let build = thread::Builder::new().spawn(|| builder.build()).map_err(ClientError::Thread)?;
    match build.join() {
        Ok(client) => client.map_err(ClientError::Tls),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Reads the certificate and the key by which the node shows who it is.
fn identity(variables: &Variables<'_>) -> Result<Option<Identity>, ClientError> {
    let (certificate, key) = match (variables.of_exporter("CLIENT_CERTIFICATE"), variables.of_exporter("CLIENT_KEY")) {
        (None, None) => return Ok(None),
        (Some((name, _)), None) => return Err(ClientError::Half(name, "OTEL_EXPORTER_OTLP_CLIENT_KEY")),
        (None, Some((name, _))) => return Err(ClientError::Half(name, "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE")),
        (Some(certificate), Some(key)) => (Pem::read(certificate)?, Pem::read(key)?),
    };
    let both = [&certificate.bytes[..], b"\n", &key.bytes].concat();
    Identity::from_pem(&both).map(Some).map_err(|error| certificate.malformed(error))
}
