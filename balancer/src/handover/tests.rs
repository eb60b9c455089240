use std::net::SocketAddr;

use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;
use crate::testing::Folder;

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Sends each client its letter.
fn serve(listener: &TcpListener, letter: u8) -> JoinHandle<()> {
    let listener = tokio::net::TcpListener::from_std(listener.try_clone().unwrap()).unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(&[letter]).await.unwrap();
        }
    })
}

async fn greeting(address: SocketAddr) -> u8 {
    TcpStream::connect(address).await.unwrap().read_u8().await.unwrap()
}

/// Starts a process that serves with one socket, and stops after the handover.
fn process(path: &Path, listener: TcpListener, letter: u8) -> JoinHandle<Result<(), HandoverError>> {
    let server = HandoverServer::bind(path).unwrap();
    let serving = serve(&listener, letter);
    tokio::spawn(async move {
        let ended = server.wait(&[("public".to_owned(), listener)]).await;
        serving.abort();
        drop(serving.await);
        ended
    })
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), what).await.unwrap()
}

#[tokio::test]
async fn handover_refuses_no_connection() {
    let folder = Folder::new();
    let path = folder.path().join("handover");
    let (listener, address) = listen();
    let mut current = process(&path, listener, b'a');
    let clients = tokio::spawn(async move {
        let mut seen = Vec::new();
        while seen.last() != Some(&b'd') {
            seen.push(greeting(address).await);
        }
        seen
    });
    for letter in [b'b', b'c', b'd'] {
        let mut handover = within(take_over(&path)).await.unwrap().unwrap();
        let (name, listener) = handover.take_sockets().remove(0);
        assert_eq!((name.as_str(), listener.local_addr().unwrap()), ("public", address));
        let serving = serve(&listener, letter);
        within(handover.ready()).await.unwrap();
        within(current).await.unwrap().unwrap();
        serving.abort();
        drop(serving.await);
        // No process accepts at this moment, so a client waits for the next.
        let mut waiting = TcpStream::connect(address).await.unwrap();
        current = process(&path, listener, letter);
        assert_eq!(within(waiting.read_u8()).await.unwrap(), letter);
    }
    within(clients).await.unwrap();
    current.abort();
}

#[tokio::test]
async fn handover_is_void_when_successor_dies_before_ready() {
    let folder = Folder::new();
    let path = folder.path().join("handover");
    let (listener, address) = listen();
    let old = process(&path, listener, b'a');
    for _ in 0..3 {
        drop(within(take_over(&path)).await.unwrap().unwrap());
        // Or one that connects and goes, or talks nonsense.
        drop(UnixStream::connect(&path).await.unwrap());
        let mut nonsense = UnixStream::connect(&path).await.unwrap();
        nonsense.write_all(&[VERSION, b'?']).await.unwrap();
        within(nonsense.read_to_end(&mut Vec::new())).await.unwrap();
        assert!(path.exists());
        assert_eq!(within(greeting(address)).await, b'a');
    }
    let handover = within(take_over(&path)).await.unwrap().unwrap();
    assert!(!old.is_finished());
    within(handover.ready()).await.unwrap();
    within(old).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn successor_is_dropped_when_it_is_not_ready() {
    let folder = Folder::new();
    let path = folder.path().join("handover");
    let old = process(&path, listen().0, b'a');
    let stuck = take_over(&path).await.unwrap().unwrap();
    tokio::time::sleep(GET_READY + STEP).await;
    drop(take_over(&path).await.unwrap().unwrap());
    assert!(!old.is_finished());
    assert!(matches!(stuck.ready().await, Err(HandoverError::TooLate)));
    assert!(matches!(HandoverServer::bind(&path), Err(HandoverError::Taken(_))));
    old.abort();
}

#[tokio::test]
async fn successor_serves_alone_when_predecessor_dies() {
    let folder = Folder::new();
    let path = folder.path().join("handover");
    let old = process(&path, listen().0, b'a');
    let handover = within(take_over(&path)).await.unwrap().unwrap();
    old.abort();
    drop(old.await);
    within(handover.ready()).await.unwrap();
    HandoverServer::bind(&path).unwrap();
}

#[tokio::test]
async fn handover_keeps_names_and_order_of_sockets() {
    let folder = Folder::new();
    let path = folder.path().join("handover");
    let sockets: Vec<_> = (0..MAX_SOCKETS).map(|n| (format!("{n}").repeat(n), listen().0)).collect();
    let expected: Vec<_> = sockets.iter().map(|(name, socket)| (name.clone(), socket.local_addr().unwrap())).collect();
    let server = HandoverServer::bind(&path).unwrap();
    let old = tokio::spawn(async move { server.wait(&sockets).await });
    let mut handover = within(take_over(&path)).await.unwrap().unwrap();
    let taken: Vec<_> = handover.take_sockets().into_iter().map(|(name, socket)| (name, socket.local_addr().unwrap())).collect();
    assert_eq!(taken, expected);
    old.abort();
}

#[tokio::test]
async fn handover_is_refused_when_it_exceeds_its_limits() {
    let folder = Folder::new();
    let listener = listen().0;
    for (at, sockets) in [vec![("x".repeat(256), &listener)], vec![(String::new(), &listener); MAX_SOCKETS + 1]].iter().enumerate() {
        let server = HandoverServer::bind(&folder.path().join(at.to_string())).unwrap();
        assert!(matches!(within(server.wait(sockets)).await, Err(HandoverError::TooMuch)));
    }
}

#[tokio::test]
async fn handover_refuses_sockets_that_do_not_listen() {
    let folder = Folder::new();
    let path = folder.path().join("handover");
    let server = HandoverServer::bind(&path).unwrap();
    let file = fs::File::open("/dev/null").unwrap();
    let old = tokio::spawn(async move { server.wait(&[("file".to_owned(), file)]).await });
    assert!(matches!(within(take_over(&path)).await, Err(HandoverError::Malformed)));
    assert!(!old.is_finished());
    old.abort();
}

#[tokio::test]
async fn handover_refuses_another_version() {
    let folder = Folder::new();
    let path = folder.path().join("handover");
    let old = process(&path, listen().0, b'a');
    let mut newer = UnixStream::connect(&path).await.unwrap();
    newer.write_all(&[VERSION + 1]).await.unwrap();
    let mut answer = Vec::new();
    within(newer.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer, [VERSION, 0, 0, 0]);
    assert!(!old.is_finished());
    old.abort();

    let path = folder.path().join("newer");
    let listener = UnixListener::bind(&path).unwrap();
    let newer = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&[VERSION + 1, 0, 0, 0]).await.unwrap();
        stream.read_u8().await.unwrap();
    });
    assert!(matches!(within(take_over(&path)).await, Err(HandoverError::Version(2))));
    within(newer).await.unwrap();
}

#[tokio::test]
async fn path_is_free_when_nobody_listens() {
    let folder = Folder::new();
    let path = folder.path().join("handover");
    assert!(within(take_over(&path)).await.unwrap().is_none());
    // As a process leaves it that was killed.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    assert!(within(take_over(&path)).await.unwrap().is_none());
    assert!(!path.exists());
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let server = HandoverServer::bind(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(HandoverServer::bind(&path), Err(HandoverError::Taken(_))));
    drop(server);
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
}

#[tokio::test]
async fn newer_socket_stays_when_older_server_ends() {
    let folder = Folder::new();
    let path = folder.path().join("handover");
    let first = HandoverServer::bind(&path).unwrap();
    fs::rename(&path, folder.path().join("elsewhere")).unwrap();
    let _second = HandoverServer::bind(&path).unwrap();
    drop(first);
    assert!(path.exists());
}

#[test]
fn names_are_refused_when_they_are_cut_off() {
    let names = encode(&[("a".to_owned(), ()), ("äöü".to_owned(), ())]).unwrap();
    assert_eq!(decode(&names).unwrap(), ["a", "äöü"]);
    assert_eq!(decode(&names[..names.len() - 1]), None);
    assert_eq!(decode(&[1, 0xff]), None);
    assert_eq!(decode(&[]), Some(Vec::new()));
}
