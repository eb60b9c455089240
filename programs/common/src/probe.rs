//! The health probe of a program: `--probe` asks the process that runs with the same settings.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long the process may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Returns true if the process that serves `GET /healthz` at an address answers 200. It blocks its thread.
///
/// # Errors
///
/// Nobody answers there within three seconds.
pub fn is_well(address: impl ToSocketAddrs) -> io::Result<bool> {
    const WELL: &[u8] = b"HTTP/1.1 200";
    let address = address.to_socket_addrs()?.next().ok_or_else(|| io::Error::other("there is no such address"))?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut status = [0; WELL.len()];
    stream.read_exact(&mut status)?;
    Ok(status == WELL)
}
