//! Descriptors on the way between two processes: the system calls of the handover, and what differs between systems.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer};
use rustix::net::{SendAncillaryMessage, SendFlags, recvmsg, sendmsg};
use tokio::net::UnixStream;

/// The most sockets of a handover, of which each takes a descriptor.
pub(super) const MAX_SOCKETS: usize = 64;

/// A broken stream is an error, not a signal. On macOS the standard library ignores the signal instead.
#[cfg(not(target_vendor = "apple"))]
const SEND: SendFlags = SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
const SEND: SendFlags = SendFlags::empty();

/// No child process inherits a descriptor. macOS sets this only after the descriptors have arrived: see [`close_on_exec`].
#[cfg(not(target_vendor = "apple"))]
const RECEIVE: RecvFlags = RecvFlags::CMSG_CLOEXEC;
#[cfg(target_vendor = "apple")]
const RECEIVE: RecvFlags = RecvFlags::empty();

/// Sends the descriptors with the first byte of `head`. Returns how many bytes of `head` were sent.
pub(super) fn send(stream: &UnixStream, head: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_SOCKETS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(sendmsg(stream, &[IoSlice::new(head)], &mut control, SEND)?)
}

/// Appends the descriptors that arrive with `head`. Returns how many bytes of `head` arrived.
pub(super) fn receive(stream: &UnixStream, head: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_SOCKETS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(stream, &mut [IoSliceMut::new(head)], &mut control, RECEIVE)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(sockets) = message {
            for socket in sockets {
                close_on_exec(&socket)?;
                descriptors.push(socket);
            }
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        // Some sockets did not fit, or no descriptors were left.
        return Err(io::Error::other("receiving all sockets failed; raise the limit on open files"));
    }
    Ok(received.bytes)
}

#[cfg(not(target_vendor = "apple"))]
fn close_on_exec(_: &OwnedFd) -> io::Result<()> {
    Ok(())
}

#[cfg(target_vendor = "apple")]
fn close_on_exec(socket: &OwnedFd) -> io::Result<()> {
    Ok(rustix::io::fcntl_setfd(socket, rustix::io::FdFlags::CLOEXEC)?)
}

/// Returns the TCP listener that a descriptor is, or none for anything else.
pub(super) fn listener(descriptor: OwnedFd) -> io::Result<Option<TcpListener>> {
    if !is_tcp_listener(&descriptor) {
        return Ok(None);
    }
    let listener = TcpListener::from(descriptor);
    listener.set_nonblocking(true)?;
    Ok(Some(listener))
}

#[cfg(not(target_vendor = "apple"))]
fn is_tcp_listener(descriptor: &OwnedFd) -> bool {
    use rustix::net::{AddressFamily, sockopt};
    let is_tcp = |family| matches!(family, AddressFamily::INET | AddressFamily::INET6);
    sockopt::socket_acceptconn(descriptor).is_ok_and(|listens| listens) && sockopt::socket_domain(descriptor).is_ok_and(is_tcp)
}

/// macOS does not report that a socket listens. A TCP socket with an address and without a peer is taken for a listener.
#[cfg(target_vendor = "apple")]
fn is_tcp_listener(descriptor: &OwnedFd) -> bool {
    let socket = socket2::SockRef::from(descriptor);
    let is_stream = socket.r#type().is_ok_and(|kind| kind == socket2::Type::STREAM);
    is_stream && socket.local_addr().is_ok_and(|address| address.is_ipv4() || address.is_ipv6()) && socket.peer_addr().is_err()
}
