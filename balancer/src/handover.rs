//! Handing the listening sockets over to the next process, so that a new version takes the place of the old one and no client is refused.
//!
//! The process that serves [waits](HandoverServer::wait) at a UNIX socket. The next one [takes over](take_over): it gets the listening sockets
//! themselves and starts to serve, so that both accept for a while; connections that nobody has accepted yet are in a queue that they share.
//! When the new one says that it is [ready](Handover::ready), and not before, the old one gives up the path and stops to accept. If the new one
//! dies first, or needs too long, nothing has happened.
//!
//! Both belong to the same user: each looks who the other is, and the socket is nobody else's to open.
//!
//! On the wire, all in one byte if nothing is said: the new one says its version. The old one answers with its own, the number of sockets and
//! the length of their names in two bytes; with the first byte come the sockets (`SCM_RIGHTS`), behind the last one the names, each after its
//! length. The new one says `R` when it is ready, the old one `G` when the path is given up.

mod descriptors;

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use self::descriptors::{MAX_SOCKETS, listener, receive, send};

const VERSION: u8 = 1;
const READY: u8 = b'R';
const GIVEN_UP: u8 = b'G';
/// How long a step may take that needs nothing but the other process to run.
const STEP: Duration = Duration::from_secs(5);
/// How long a new process may need to get ready. Then it is taken for stuck, and the next may try.
const GET_READY: Duration = Duration::from_secs(60);
/// The pause if nobody can be accepted, for want of descriptors say.
const PAUSE: Duration = Duration::from_secs(1);

/// Why sockets are not handed over.
#[derive(Debug, Error)]
pub enum HandoverError {
    /// A system call failed, or the other process went away.
    #[error("the sockets can't be handed over: {0}")]
    Io(#[from] io::Error),
    /// Another process waits at the path.
    #[error("another process waits at {0}: take over from it, or choose another path")]
    Taken(PathBuf),
    /// The other process belongs to somebody else.
    #[error(
        "the other process belongs to the user {theirs}, this one to {ours}: run both as the same user, and keep the path where nobody else may write"
    )]
    User {
        /// Whose the other is.
        theirs: u32,
        /// Whose this one is.
        ours: u32,
    },
    /// The other process does it in another way.
    #[error(
        "the other process hands over by version {0}, this one by version 1: stop the old one before the new one is started, this once"
    )]
    Version(u8),
    /// There are more sockets than can be handed over, or a name is too long.
    #[error("no more than 64 sockets can be handed over, with names of no more than 255 bytes: listen on fewer addresses")]
    TooMuch,
    /// What came is not what should come.
    #[error("the other process hands over something else than listening TCP sockets: is it a balancer of this kind?")]
    Malformed,
    /// This process needed so long that the other one did not wait for it.
    #[error("the process before did not wait until this one was ready, and goes on to serve: stop this one and try again")]
    TooLate,
    /// The other process does not answer.
    #[error("the other process does not answer in time: is it stopped?")]
    Silent,
}

/// The place where the next process finds this one. It goes when this is dropped.
#[derive(Debug)]
pub struct HandoverServer {
    listener: UnixListener,
    /// For its end, after that of the listener.
    _file: SocketFile,
}

impl HandoverServer {
    /// Begins to listen at the path, which nobody else may. A socket that nobody listens at any more is replaced.
    pub fn bind(path: &Path) -> Result<Self, HandoverError> {
        match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => return Err(HandoverError::Taken(path.to_owned())),
            Err(error) if is_free(&error) => {}
            Err(error) => return Err(error.into()),
        }
        // It gets its permissions before it gets its name.
        let mut hidden = path.as_os_str().to_owned();
        hidden.push(format!(".{}", std::process::id()));
        let hidden = PathBuf::from(hidden);
        remove(&hidden)?;
        let listener = UnixListener::bind(&hidden)?;
        let file = SocketFile::of(path, &hidden)?;
        fs::set_permissions(&hidden, fs::Permissions::from_mode(0o600))?;
        fs::rename(&hidden, path)?;
        Ok(Self { listener, _file: file })
    }

    /// Hands these sockets, with their names, to whoever comes. It ends when one has said that it is ready: then it is time to stop to
    /// accept, and to drop all copies of the sockets. What goes wrong before is logged, and the next may try.
    pub async fn wait<S: AsFd>(self, sockets: &[(String, S)]) -> Result<(), HandoverError> {
        let names = encode(sockets)?;
        let successor = loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(target: "sociable::balancer", %error, "a process that wants to take over can't be let in: trying again");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            match hand_over(stream, sockets, &names).await {
                Ok(stream) => break stream,
                Err(error) => {
                    tracing::warn!(target: "sociable::balancer", %error, "a process wanted to take over and did not: this one goes on");
                }
            }
        };
        tracing::info!(target: "sociable::balancer", "the next process is ready: it has the sockets");
        drop(self);
        let mut stream = successor;
        if let Err(error) = step(stream.write_all(&[GIVEN_UP])).await {
            // It sees that the path is free.
            tracing::warn!(target: "sociable::balancer", %error, "the next process could not be told that the path is free");
        }
        Ok(())
    }
}

/// Sends the sockets, and waits until the other one is ready.
async fn hand_over<S: AsFd>(mut stream: UnixStream, sockets: &[(String, S)], names: &[u8]) -> Result<UnixStream, HandoverError> {
    check_user(&stream)?;
    let version = step(stream.read_u8()).await?;
    let [high, low] = u16::try_from(names.len()).map_err(|_| HandoverError::TooMuch)?.to_be_bytes();
    let head = [VERSION, u8::try_from(sockets.len()).map_err(|_| HandoverError::TooMuch)?, high, low];
    if version != VERSION {
        // It learns why.
        step(stream.write_all(&[VERSION, 0, 0, 0])).await?;
        return Err(HandoverError::Version(version));
    }
    let descriptors: Vec<_> = sockets.iter().map(|(_, socket)| socket.as_fd()).collect();
    let sent = step(stream.async_io(Interest::WRITABLE, || send(&stream, &head, &descriptors))).await?;
    step(stream.write_all(&head[sent..])).await?;
    step(stream.write_all(names)).await?;
    match timeout(GET_READY, stream.read_u8()).await.map_err(|_| HandoverError::Silent)?? {
        READY => Ok(stream),
        _ => Err(HandoverError::Malformed),
    }
}

/// Asks the process that serves for its sockets. None if nobody waits at the path; a socket that was left there is removed.
pub async fn take_over(path: &Path) -> Result<Option<Handover>, HandoverError> {
    let left = identity(path);
    let mut stream = match step(UnixStream::connect(path)).await {
        Ok(stream) => stream,
        Err(HandoverError::Io(error)) if is_free(&error) => {
            if let Ok(left) = left {
                remove_this(path, left)?;
            }
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    check_user(&stream)?;
    step(stream.write_all(&[VERSION])).await?;
    let mut head = [0; 4];
    let mut descriptors = Vec::new();
    let read = step(stream.async_io(Interest::READABLE, || receive(&stream, &mut head, &mut descriptors))).await?;
    if read == 0 {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    step(stream.read_exact(&mut head[read..])).await?;
    let [version, count, high, low] = head;
    if version != VERSION {
        return Err(HandoverError::Version(version));
    }
    let mut names = vec![0; usize::from(u16::from_be_bytes([high, low]))];
    step(stream.read_exact(&mut names)).await?;
    let names = decode(&names).filter(|names| names.len() == usize::from(count) && names.len() == descriptors.len());
    let listeners = descriptors.into_iter().map(listener).collect::<io::Result<Option<Vec<_>>>>()?.ok_or(HandoverError::Malformed)?;
    let sockets = names.ok_or(HandoverError::Malformed)?.into_iter().zip(listeners).collect();
    Ok(Some(Handover { sockets, stream, path: path.to_owned() }))
}

/// Sockets that were handed over, while the process that had them serves on. It does so for good if this is dropped.
#[derive(Debug)]
pub struct Handover {
    sockets: Vec<(String, TcpListener)>,
    stream: UnixStream,
    path: PathBuf,
}

impl Handover {
    /// The sockets, with the names that the process before has given them, in its order; they don't block. Those that are not wanted are
    /// dropped: they go when the process before drops them too.
    pub fn take_sockets(&mut self) -> Vec<(String, TcpListener)> {
        std::mem::take(&mut self.sockets)
    }

    /// Says that this process serves now, and waits until the one before has given up the path: then it can be [bound](HandoverServer::bind).
    /// An error does not say that this process can't serve, but that the one before may go on to.
    pub async fn ready(mut self) -> Result<(), HandoverError> {
        let given_up = async {
            step(self.stream.write_all(&[READY])).await?;
            step(self.stream.read_u8()).await
        };
        match given_up.await {
            Ok(GIVEN_UP) => Ok(()),
            Ok(_) => Err(HandoverError::Malformed),
            // It has gone altogether, or did not want to wait any longer.
            Err(HandoverError::Io(error)) => {
                if step(UnixStream::connect(&self.path)).await.is_ok() {
                    return Err(HandoverError::TooLate);
                }
                tracing::info!(target: "sociable::balancer", %error, "the process before went without a word");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

/// The file of a socket, which goes with it, unless another one has taken its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    /// One that is at `now`, and will be at `path`.
    fn of(path: &Path, now: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(now)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        drop(remove_this(&self.path, self.identity));
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// True if nobody listens at a path, going by why no connection came about.
fn is_free(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// Removes a file, unless another one is there by now.
fn remove_this(path: &Path, this: (u64, u64)) -> io::Result<()> {
    if identity(path).is_ok_and(|identity| identity == this) { remove(path) } else { Ok(()) }
}

/// Removes a file that need not be there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn check_user(stream: &UnixStream) -> Result<(), HandoverError> {
    let (theirs, ours) = (stream.peer_cred()?.uid(), rustix::process::geteuid().as_raw());
    if theirs == ours { Ok(()) } else { Err(HandoverError::User { theirs, ours }) }
}

async fn step<T>(what: impl Future<Output = io::Result<T>>) -> Result<T, HandoverError> {
    Ok(timeout(STEP, what).await.map_err(|_| HandoverError::Silent)??)
}

/// The names, each after its length.
fn encode<S>(sockets: &[(String, S)]) -> Result<Vec<u8>, HandoverError> {
    if sockets.len() > MAX_SOCKETS {
        return Err(HandoverError::TooMuch);
    }
    let mut names = Vec::new();
    for (name, _) in sockets {
        names.push(u8::try_from(name.len()).map_err(|_| HandoverError::TooMuch)?);
        names.extend_from_slice(name.as_bytes());
    }
    Ok(names)
}

fn decode(mut bytes: &[u8]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    while let Some((length, rest)) = bytes.split_first() {
        let (name, rest) = rest.split_at_checked(usize::from(*length))?;
        names.push(String::from_utf8(name.to_vec()).ok()?);
        bytes = rest;
    }
    Some(names)
}

#[cfg(test)]
mod tests;
