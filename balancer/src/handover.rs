//! The handover of listening sockets to the next process. A new version replaces the old one, and no client is refused.
//!
//! The serving process [waits](HandoverServer::wait) at a UNIX socket. The next one [takes over](take_over): it gets
//! the listening sockets and starts to serve. For a while both accept, and share the queue of unaccepted connections.
//!
//! When the new process is [ready](Handover::ready), the old one gives up the path and stops accepting. If the new one
//! dies first, or is too slow, the old one continues.
//!
//! Both processes must have the same user. Each checks the other's user, and the socket's permissions exclude all other
//! users.
//!
//! The protocol, in single bytes unless noted: the new process sends its version. The old one answers with its version,
//! the number of sockets, and the length of their names in two bytes. The sockets come with the first byte
//! (`SCM_RIGHTS`). The names follow, each after its length. The new process sends `R` when it is ready. The old one
//! sends `G` when it has given up the path.

use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::cmsg_space;
use rustix::net::{AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer};
use rustix::net::{SendAncillaryMessage, SendFlags, recvmsg, sendmsg, sockopt};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

const VERSION: u8 = 1;
const READY: u8 = b'R';
const GIVEN_UP: u8 = b'G';
/// The most sockets, of which each takes a descriptor.
const MAX_SOCKETS: usize = 64;
/// The time for a step that only needs the other process to run.
const STEP: Duration = Duration::from_secs(5);
/// The time until a new process must be ready. After it the new process counts as stuck, and the next may try.
const GET_READY: Duration = Duration::from_secs(60);
/// The pause after a failed accept, for example without free descriptors.
const PAUSE: Duration = Duration::from_secs(1);

/// An error of a handover.
#[derive(Debug, Error)]
pub enum HandoverError {
    /// A system call failed, or the other process went away.
    #[error("handover of sockets failed: {0}")]
    Io(#[from] io::Error),
    /// Another process waits at the path.
    #[error("path of the handover in use: {0}; take over from that process, or choose another path")]
    Taken(PathBuf),
    /// The other process has another user.
    #[error(
        "handover refused: the other process has user {theirs}, this one {ours}; run both as one user, and keep other users from writing at the path"
    )]
    User {
        /// The user of the other process.
        theirs: u32,
        /// The user of this process.
        ours: u32,
    },
    /// The other process uses another version.
    #[error("handover refused: the other process has version {0}, this one version 1; stop the old process, then start the new one")]
    Version(u8),
    /// The sockets are too many, or a name is too long.
    #[error("handover exceeds 64 sockets, or names of 255 bytes; listen on fewer addresses")]
    TooMuch,
    /// The received data is malformed.
    #[error("handover malformed: no listening TCP sockets; check that the other process is a balancer")]
    Malformed,
    /// The other process did not wait long enough for this one.
    #[error("handover too late: the former process continues to serve; stop this one and try again")]
    TooLate,
    /// The other process does not answer.
    #[error("handover timed out; check that the other process runs")]
    Silent,
}

/// The place where the next process finds this one. Dropping it removes the path.
#[derive(Debug)]
pub struct HandoverServer {
    listener: UnixListener,
    /// Removes the file after the listener's end.
    _file: SocketFile,
}

impl HandoverServer {
    /// Listens at the path, exclusively. A socket without a listener is replaced.
    pub fn bind(path: &Path) -> Result<Self, HandoverError> {
        match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => return Err(HandoverError::Taken(path.to_owned())),
            Err(error) if is_free(&error) => {}
            Err(error) => return Err(error.into()),
        }
        // The socket gets its permissions before its name.
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

    /// Hands these sockets and their names to a new process. Returns when the new process is ready: then this one must
    /// stop accepting, and drop all copies of the sockets. Earlier failures are logged, and the next process may try.
    pub async fn wait<S: AsFd>(self, sockets: &[(String, S)]) -> Result<(), HandoverError> {
        let names = encode(sockets)?;
        let successor = loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(target: "sociable::balancer", %error, "accepting a takeover failed; retrying");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            match hand_over(stream, sockets, &names).await {
                Ok(stream) => break stream,
                Err(error) => {
                    tracing::warn!(target: "sociable::balancer", %error, "takeover failed; this process continues");
                }
            }
        };
        tracing::info!(target: "sociable::balancer", "sockets handed over; the next process is ready");
        drop(self);
        let mut stream = successor;
        if let Err(error) = step(stream.write_all(&[GIVEN_UP])).await {
            // The new process sees that the path is free.
            tracing::warn!(target: "sociable::balancer", %error, "notifying the next process failed; the path is free");
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
        // The other process sees the version.
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

/// Asks the serving process for its sockets. Returns `None` if no process waits at the path; a stale socket is removed.
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
    let listeners = descriptors.into_iter().map(listener).collect::<Result<Vec<_>, _>>()?;
    let sockets = names.ok_or(HandoverError::Malformed)?.into_iter().zip(listeners).collect();
    Ok(Some(Handover { sockets, stream, path: path.to_owned() }))
}

/// Sockets that were handed over, while the former process still serves. If this is dropped, the former process
/// continues.
#[derive(Debug)]
pub struct Handover {
    sockets: Vec<(String, TcpListener)>,
    stream: UnixStream,
    path: PathBuf,
}

impl Handover {
    /// Returns the sockets with their names, in the order of the former process. They do not block. Dropped sockets
    /// close when the former process drops them too.
    pub fn take_sockets(&mut self) -> Vec<(String, TcpListener)> {
        std::mem::take(&mut self.sockets)
    }

    /// Reports that this process serves, and waits until the former one has given up the path. The path can then be
    /// [bound](HandoverServer::bind).
    ///
    /// # Errors
    ///
    /// The former process may still serve. This process serves in any case.
    pub async fn ready(mut self) -> Result<(), HandoverError> {
        let given_up = async {
            step(self.stream.write_all(&[READY])).await?;
            step(self.stream.read_u8()).await
        };
        match given_up.await {
            Ok(GIVEN_UP) => Ok(()),
            Ok(_) => Err(HandoverError::Malformed),
            // The former process has ended, or stopped waiting.
            Err(HandoverError::Io(error)) => {
                if step(UnixStream::connect(&self.path)).await.is_ok() {
                    return Err(HandoverError::TooLate);
                }
                tracing::info!(target: "sociable::balancer", %error, "former process ended without an answer");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

/// The file of a socket. Dropping it removes the file, unless another has its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    /// Returns the file of a socket at `now` that will be at `path`.
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

/// Returns true if the connection error means that no process listens at the path.
fn is_free(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// Removes a file, unless another has its place.
fn remove_this(path: &Path, this: (u64, u64)) -> io::Result<()> {
    if identity(path).is_ok_and(|identity| identity == this) { remove(path) } else { Ok(()) }
}

/// Removes a file if it exists.
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

/// Encodes the names, each after its length.
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

fn send(stream: &UnixStream, head: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_SOCKETS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(sendmsg(stream, &[IoSlice::new(head)], &mut control, SendFlags::NOSIGNAL)?)
}

fn receive(stream: &UnixStream, head: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_SOCKETS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(stream, &mut [IoSliceMut::new(head)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(sockets) = message {
            descriptors.extend(sockets);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        // Some sockets did not fit, or no descriptors were left.
        return Err(io::Error::other("receiving all sockets failed; raise the limit on open files"));
    }
    Ok(received.bytes)
}

/// Checks that a descriptor is a listening TCP socket.
fn listener(descriptor: OwnedFd) -> Result<TcpListener, HandoverError> {
    let is_tcp = |family| matches!(family, AddressFamily::INET | AddressFamily::INET6);
    let listens = sockopt::socket_acceptconn(&descriptor).is_ok_and(|listens| listens);
    if !listens || !sockopt::socket_domain(&descriptor).is_ok_and(is_tcp) {
        return Err(HandoverError::Malformed);
    }
    let listener = TcpListener::from(descriptor);
    listener.set_nonblocking(true)?;
    Ok(listener)
}

#[cfg(test)]
mod tests;
