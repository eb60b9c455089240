//! The admission of connections: counted, or refused with 503.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::connections::Connections;
use crate::counters::Count;
use crate::state::EngineState;
use crate::transport::stream::MovableTcp;

/// The answer to a connection beyond the limit.
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
/// The limit of refused connections that linger, so that their clients can read the answer.
const MAX_LINGERING: usize = 24;
/// The time for which a refused connection lingers.
const LINGER: Duration = Duration::from_secs(1);

/// Admits a connection, or refuses it. Only a `plain` one, without TLS, gets an answer.
pub(super) async fn admit(engine: Arc<EngineState>, stream: TcpStream, plain: bool) -> Result<MovableTcp, ()> {
    if let Some(held) = engine.connections.try_hold() {
        return Ok(MovableTcp::new(stream, held));
    }
    engine.count(Count::ConnectionsShed);
    if plain {
        refuse(&engine.connections, stream).await;
    }
    Err(())
}

/// Answers by 503. Closing a stream with an unread request would destroy the answer, so some streams linger.
async fn refuse(connections: &Connections, mut stream: TcpStream) {
    // A client that does not take the answer at once gets none.
    let _ = socket2::SockRef::from(&stream).send(REFUSAL);
    let lingers = |lingering: usize| (lingering < MAX_LINGERING).then_some(lingering + 1);
    if connections.lingering.fetch_update(Relaxed, Relaxed, lingers).is_err() {
        return;
    }
    let end = async {
        let mut rest = [0; 512];
        while stream.read(&mut rest).await.is_ok_and(|length| length > 0) {}
    };
    let _ = tokio::time::timeout(LINGER, end).await;
    connections.lingering.fetch_sub(1, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_send_small_messages_without_delay() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let accepted = listener.accept().await.unwrap().0.into_std().unwrap();
        let same = accepted.try_clone().unwrap();
        let held = Arc::new(Connections::default()).try_hold().unwrap();
        let _stream = MovableTcp::new(TcpStream::from_std(accepted).unwrap(), held);
        assert!(same.nodelay().unwrap());
    }
}
