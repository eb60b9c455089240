//! TLS to clients: certificates from files, chosen by the requested name, read again when the files change.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use thiserror::Error;
use tokio::time::MissedTickBehavior;

/// The longest file that is read.
const MAX_FILE: u64 = 1 << 20;
const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];

/// The files of a certificate and its key, both as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The certificate, followed by its chain up to a root of the clients.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// An error of certificates.
#[derive(Debug, Error)]
pub enum TlsError {
    /// No pair was named.
    #[error("no certificate for TLS; name the files of at least one certificate and key")]
    Empty,
    /// A file can't be read.
    #[error("reading {path} failed: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
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
    /// The certificate or the key is unusable, or the two do not match.
    #[error("certificate {} and key {} unusable together: {source}", pair.certificate.display(), pair.key.display())]
    Pair {
        /// The files.
        pair: Pair,
        /// Why.
        source: rustls::Error,
    },
    /// TLS itself could not be set up.
    #[error("setting up TLS failed: {0}")]
    Setup(#[from] rustls::Error),
}

/// The certificates of a server.
#[derive(Debug)]
pub struct Tls {
    /// The pairs, with the state of their files at the last read. Held while they are read: one at a time does.
    pairs: Mutex<Vec<(Pair, Stamps)>>,
    chosen: Arc<Certificates>,
    config: Arc<ServerConfig>,
    provider: Arc<CryptoProvider>,
    loaded: AtomicU64,
    failed: AtomicU64,
}

/// The properties of a file that show a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    length: u64,
    device: u64,
    inode: u64,
}

type Stamps = [Option<Stamp>; 2];

/// The keys of all pairs, in their order.
type Keys = Vec<Arc<CertifiedKey>>;

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata: Metadata = fs::metadata(path).ok()?;
        Some(Self { modified: metadata.modified().ok()?, length: metadata.len(), device: metadata.dev(), inode: metadata.ino() })
    }
}

impl Tls {
    /// Reads the pairs. A client gets the first pair whose certificate is valid for the requested name, or else the
    /// first of all.
    ///
    /// Clients may use HTTP/2 or HTTP/1.1. Sessions resume by tickets, under secret keys that this process draws and
    /// changes every six hours.
    pub fn load(pairs: Vec<Pair>) -> Result<Self, TlsError> {
        if pairs.is_empty() {
            return Err(TlsError::Empty);
        }
        let provider = Arc::new(ring::default_provider());
        let (pairs, keys) = read_all(pairs, &provider)?;
        let chosen = Arc::new(Certificates(ArcSwap::from_pointee(keys)));
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&VERSIONS)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&chosen) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = ring::Ticketer::new()?;
        Ok(Self {
            pairs: Mutex::new(pairs),
            chosen,
            config: Arc::new(config),
            provider,
            loaded: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        })
    }

    /// Returns the configuration for handshakes. The configuration stays the same when certificates change: new
    /// handshakes use the new ones.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Replaces the pairs, or reads the same ones again. If one is unusable, nothing changes. This blocks on the disk.
    pub fn change(&self, pairs: Vec<Pair>) -> Result<(), TlsError> {
        let mut held = self.pairs.lock();
        let read = if pairs.is_empty() { Err(TlsError::Empty) } else { read_all(pairs, &self.provider) };
        let (pairs, keys) = read.inspect_err(|_| {
            self.failed.fetch_add(1, Relaxed);
        })?;
        self.loaded.fetch_add(pairs.len() as u64, Relaxed);
        *held = pairs;
        self.chosen.0.store(Arc::new(keys));
        Ok(())
    }

    /// Looks so often whether the files have changed, for ever. A file that is bad is logged once, not each time.
    pub async fn watch(self: Arc<Self>, every: Duration) {
        let mut look = tokio::time::interval(every);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let this = Arc::clone(&self);
            // The error was logged.
            drop(tokio::task::spawn_blocking(move || this.reload_changed()).await);
        }
    }

    /// Returns how often a pair was read again, and how often that failed.
    pub fn reloads(&self) -> (u64, u64) {
        (self.loaded.load(Relaxed), self.failed.load(Relaxed))
    }

    /// Reads the pairs again whose files have changed. An unusable one is logged and counted, and the former one stays.
    /// Returns the first error. This blocks on the disk.
    pub fn reload_changed(&self) -> Result<(), TlsError> {
        let mut pairs = self.pairs.lock();
        let mut keys = Vec::clone(&self.chosen.0.load());
        let mut first = Ok(());
        for ((pair, seen), key) in pairs.iter_mut().zip(&mut keys) {
            let now = stamps(pair);
            if *seen == now {
                continue;
            }
            *seen = now;
            match read(pair, &self.provider) {
                Ok(read) => {
                    *key = read;
                    self.loaded.fetch_add(1, Relaxed);
                    tracing::info!(target: "sociable::balancer", certificate = %pair.certificate.display(), "certificate reloaded");
                }
                Err(error) => {
                    self.failed.fetch_add(1, Relaxed);
                    tracing::error!(target: "sociable::balancer", certificate = %pair.certificate.display(), %error, "reloading a certificate failed; keeping the former one until its files change");
                    first = first.and(Err(error));
                }
            }
        }
        self.chosen.0.store(Arc::new(keys));
        first
    }
}

/// The pairs in use. The list is never empty.
#[derive(Debug)]
struct Certificates(ArcSwap<Keys>);

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let keys = self.0.load();
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let is_for = |key: &&Arc<CertifiedKey>, name: &ServerName<'_>| {
            let parsed = key.end_entity_cert().and_then(ParsedCertificate::try_from);
            parsed.is_ok_and(|certificate| verify_server_name(&certificate, name).is_ok())
        };
        // A certificate is parsed in microseconds, and a handshake takes hundreds of them.
        let asked_for = name.filter(|_| keys.len() > 1).and_then(|name| keys.iter().find(|key| is_for(key, &name)));
        asked_for.or(keys.first()).cloned()
    }
}

/// Reads pairs, with the state of their files from before. A change meanwhile leads to another read.
fn read_all(pairs: Vec<Pair>, provider: &CryptoProvider) -> Result<(Vec<(Pair, Stamps)>, Keys), TlsError> {
    let pairs: Vec<_> = pairs.into_iter().map(|pair| (pair.clone(), stamps(&pair))).collect();
    let keys = pairs.iter().map(|(pair, _)| read(pair, provider)).collect::<Result<Vec<_>, _>>()?;
    Ok((pairs, keys))
}

fn stamps(pair: &Pair) -> Stamps {
    [&pair.certificate, &pair.key].map(|path| Stamp::of(path))
}

fn read(pair: &Pair, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = certificates(&pair.certificate)?;
    let no_key = |source| TlsError::Pem { path: pair.key.clone(), expected: "private key", source };
    let key = PrivateKeyDer::from_pem_slice(&read_file(&pair.key)?).map_err(no_key)?;
    let unusable = |source| TlsError::Pair { pair: pair.clone(), source };
    let certified = CertifiedKey::from_der(chain, key, provider).map_err(unusable)?;
    certified.end_entity_cert().and_then(ParsedCertificate::try_from).map_err(unusable)?;
    Ok(Arc::new(certified))
}

/// The certificates in a file: one at least.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read_file(path)?;
    let all = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let all = all.and_then(|all| if all.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(all) });
    all.map_err(|source| TlsError::Pem { path: path.to_owned(), expected: "certificate", source })
}

fn read_file(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::Read { path: path.to_owned(), source };
    let length = fs::metadata(path).map_err(failed)?.len();
    if length > MAX_FILE {
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, "longer than 1 MiB")));
    }
    fs::read(path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use rustls::{ClientConfig, RootCertStore};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;
    use crate::testing::Folder;

    type Der = CertificateDer<'static>;

    /// Puts a file in the place of another, as a renewal does.
    fn put(path: &Path, contents: impl AsRef<[u8]>) {
        let new = path.with_extension("new");
        fs::write(&new, contents).unwrap();
        fs::rename(&new, path).unwrap();
    }

    /// Writes a certificate for these names, and its key.
    fn write(pair: &Pair, names: &[&str]) -> Der {
        let made = rcgen::generate_simple_self_signed(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        put(&pair.key, made.signing_key.serialize_pem());
        put(&pair.certificate, made.cert.pem());
        made.cert.der().clone()
    }

    fn pair(folder: &Folder, name: &str) -> Pair {
        let file = |kind: &str| folder.path().join(format!("{name}.{kind}.pem"));
        Pair { certificate: file("certificate"), key: file("key") }
    }

    /// Returns the certificate and the protocol that a client with these roots gets for this name.
    async fn handshake(tls: &Tls, trusted: &[&Der], name: &str, alpn: &[&str]) -> io::Result<(Der, Option<Vec<u8>>)> {
        let mut roots = RootCertStore::empty();
        trusted.iter().for_each(|certificate| roots.add((*certificate).clone()).unwrap());
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let (ours, theirs) = tokio::io::duplex(16 << 10);
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connect = TlsConnector::from(Arc::new(config)).connect(name, theirs);
        let (_, connected) = tokio::join!(TlsAcceptor::from(tls.config()).accept(ours), connect);
        let connected = connected?;
        let session = connected.get_ref().1;
        Ok((session.peer_certificates().unwrap()[0].clone(), session.alpn_protocol().map(<[u8]>::to_vec)))
    }

    #[tokio::test]
    async fn tls_negotiates_http_2_or_1() {
        let folder = Folder::new();
        let files = pair(&folder, "one");
        let one = write(&files, &["localhost"]);
        let tls = Tls::load(vec![files]).unwrap();
        for (offered, spoken) in
            [(&["h2", "http/1.1"][..], Some("h2")), (&["http/1.1"], Some("http/1.1")), (&["http/1.1", "h2"], Some("h2")), (&[], None)]
        {
            let (certificate, protocol) = handshake(&tls, &[&one], "localhost", offered).await.unwrap();
            assert_eq!((certificate, protocol.as_deref()), (one.clone(), spoken.map(str::as_bytes)));
        }
        assert!(handshake(&tls, &[&one], "localhost", &["spdy/1"]).await.is_err());
    }

    #[tokio::test]
    async fn tls_serves_the_certificate_of_the_name() {
        let folder = Folder::new();
        let files = ["one", "two", "three"].map(|name| pair(&folder, name));
        let one = write(&files[0], &["one.example"]);
        let two = write(&files[1], &["two.example", "*.two.example"]);
        let three = write(&files[2], &["three.two.example", "three.example"]);
        let all = [&one, &two, &three];
        let tls = Tls::load(files.to_vec()).unwrap();
        for (name, expected) in [
            ("one.example", &one),
            ("two.example", &two),
            ("TWO.example", &two),
            ("a.two.example", &two),
            ("three.example", &three),
            // The first that fits.
            ("three.two.example", &two),
        ] {
            assert_eq!(&handshake(&tls, &all, name, &[]).await.unwrap().0, expected, "{name}");
        }
        // The first certificate answers an unknown name, and the client rejects it.
        let error = handshake(&tls, &all, "other.example", &[]).await.unwrap_err().to_string();
        assert!(error.contains("one.example"), "{error}");
    }

    #[tokio::test]
    async fn certificate_is_reloaded_when_its_file_changes() {
        let folder = Folder::new();
        let files = pair(&folder, "one");
        let before = write(&files, &["localhost"]);
        let tls = Tls::load(vec![files.clone()]).unwrap();
        assert_eq!(handshake(&tls, &[&before], "localhost", &[]).await.unwrap().0, before);
        tls.reload_changed().unwrap();
        assert_eq!(tls.reloads(), (0, 0));
        let after = write(&files, &["localhost"]);
        tls.reload_changed().unwrap();
        assert_eq!(handshake(&tls, &[&before, &after], "localhost", &[]).await.unwrap().0, after);
        tls.change(vec![files]).unwrap();
        assert_eq!(tls.reloads(), (2, 0));
    }

    #[tokio::test]
    async fn new_pairs_replace_all_or_none() {
        let folder = Folder::new();
        let files = ["one", "two"].map(|name| pair(&folder, name));
        let (one, two) = (write(&files[0], &["localhost"]), write(&files[1], &["localhost"]));
        let served = async |tls: &Tls| handshake(tls, &[&one, &two], "localhost", &[]).await.unwrap().0;
        let tls = Tls::load(vec![files[0].clone()]).unwrap();
        tls.change(vec![files[1].clone()]).unwrap();
        assert_eq!(served(&tls).await, two);
        let torn = Pair { certificate: files[0].certificate.clone(), key: files[1].key.clone() };
        assert!(tls.change(vec![files[0].clone(), torn]).is_err());
        assert!(tls.change(vec![]).is_err());
        assert_eq!(served(&tls).await, two);
        assert_eq!(tls.reloads(), (1, 2));
    }

    #[tokio::test]
    async fn certificate_stays_when_its_file_is_bad() {
        let folder = Folder::new();
        let files = ["one", "two"].map(|name| pair(&folder, name));
        let (one, two) = (write(&files[0], &["one.example"]), write(&files[1], &["two.example"]));
        let tls = Tls::load(files.to_vec()).unwrap();
        let good = [&files[0].certificate, &files[0].key].map(|path| fs::read(path).unwrap());
        let other = fs::read(&files[1].key).unwrap();
        let breaks: [(&dyn Fn(), &str); 5] = [
            (&|| put(&files[0].certificate, "nonsense"), "holds no PEM certificate"),
            (&|| put(&files[0].key, ""), "holds no PEM private key"),
            (&|| put(&files[0].key, &other), "unusable together"),
            (&|| put(&files[0].key, vec![b'x'; 2 << 20]), "longer than 1 MiB"),
            (&|| fs::remove_file(&files[0].certificate).unwrap(), " failed: "),
        ];
        for (count, (break_it, says)) in (1..).zip(breaks) {
            break_it();
            let error = tls.reload_changed().unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
            // The file is not read again until it changes.
            tls.reload_changed().unwrap();
            assert_eq!(tls.reloads().1, count);
            assert_eq!(handshake(&tls, &[&one], "one.example", &[]).await.unwrap().0, one);
            put(&files[0].certificate, &good[0]);
            put(&files[0].key, &good[1]);
            tls.reload_changed().unwrap();
        }
        // The other pair is still reloaded.
        put(&files[0].key, "");
        let newer = write(&files[1], &["two.example"]);
        assert!(tls.reload_changed().is_err());
        assert_eq!(handshake(&tls, &[&two, &newer], "two.example", &[]).await.unwrap().0, newer);
    }

    #[tokio::test]
    async fn watch_notices_changed_files() {
        let folder = Folder::new();
        let files = pair(&folder, "one");
        write(&files, &["localhost"]);
        let tls = Arc::new(Tls::load(vec![files.clone()]).unwrap());
        let watch = tokio::spawn(Arc::clone(&tls).watch(Duration::from_millis(5)));
        let after = write(&files, &["localhost"]);
        let noticed = async {
            while !handshake(&tls, &[&after], "localhost", &[]).await.is_ok_and(|(certificate, _)| certificate == after) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), noticed).await.unwrap();
        watch.abort();
    }

    #[test]
    fn start_without_certificates_names_what_is_missing() {
        assert!(matches!(Tls::load(Vec::new()), Err(TlsError::Empty)));
        let folder = Folder::new();
        let error = Tls::load(vec![pair(&folder, "none")]).unwrap_err().to_string();
        assert!(error.contains("none.certificate.pem failed"), "{error}");
    }
}
