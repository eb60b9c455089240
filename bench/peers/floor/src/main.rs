//! The least that a Socket.IO server of one thread costs: a bare epoll loop.
//!
//! The loop speaks WebSocket and long-polling. It tells packets apart by their first bytes and parses nothing. The output of a step leaves in one write for each connection.
//! `PORT` is the port on 127.0.0.1. `DROP=N` drops one of N deliveries, to try the instrument that counts losses.
//!
//! The program trusts its clients: it is an instrument of the benchmarks, and no server for others.

mod frame;
mod poll;
mod server;

use std::env;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddrV4};

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket, Type};

use crate::server::Server;

/// The token of the listener. Connections count from zero.
const LISTENER: Token = Token(usize::MAX - 1);

/// The events of one step.
const EVENTS: usize = 4_096;

/// The connections that wait to be accepted: the default is too short for thousands at once.
const BACKLOG: i32 = 65_535;

fn listen(port: u16) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, port).into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

fn main() -> Result<(), Box<dyn Error>> {
    rlimit::increase_nofile_limit(u64::MAX)?;
    let port = env::var("PORT").unwrap_or_else(|_| "3000".into()).parse()?;
    let drop_every = env::var("DROP").ok().map(|every| every.parse()).transpose()?;
    let mut listener = listen(port)?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(EVENTS);
    let mut server = Server::new(drop_every);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    server.accept(poll.registry(), stream)?;
                }
                continue;
            }
            server.step(event.token().0, event.is_readable() || event.is_read_closed(), event.is_writable());
        }
        server.flush_all();
    }
}
