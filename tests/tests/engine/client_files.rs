//! The files of the official client, beside the clients' requests: from a folder of our own making.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use sociable::Server;
use sociable_tests::{Node, get, request};

const SCRIPT: &str = "/*!\n * Socket.IO v9.8.7\n */\nconst io = 'io, io, io, io, io, io, io, io, io, io, io, io, io, io, io';\n";

/// A folder that goes when this does.
struct Folder(PathBuf);

impl Folder {
    fn with(name: &str, files: &[(&str, &[u8])]) -> Self {
        let path = std::env::temp_dir().join(format!("sociable-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        for (name, content) in files {
            fs::write(path.join(name), content).unwrap();
        }
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

#[tokio::test]
async fn client_files_are_served_both_ways() {
    let folder = Folder::with("both", &[("socket.io.js", SCRIPT.as_bytes()), ("secret.js", b"secret"), ("socket.io.js.map", b"{}")]);
    for (_, node) in Node::both(|| Server::builder().serve_client(&folder.0).build().unwrap()) {
        let script = get(node.addr, "/socket.io/socket.io.js").await;
        assert_eq!(script.brief(), (200, SCRIPT));
        assert_eq!(script.header("etag"), Some("\"9.8.7\""));
        assert_eq!(script.header("content-type"), Some("application/javascript; charset=utf-8"));
        let map = get(node.addr, "/socket.io/socket.io.js.map").await;
        assert_eq!((map.brief(), map.header("etag")), ((200, "{}"), Some("\"9.8.7\"")));
        let head = request(node.addr, "HEAD", "/socket.io/socket.io.js", &[], "").await;
        assert_eq!(head.header("content-length"), Some(&*SCRIPT.len().to_string()));
        let packed = request(node.addr, "GET", "/socket.io/socket.io.js", &[("Accept-Encoding", "gzip")], "").await;
        assert_eq!(packed.header("content-encoding"), Some("gzip"));
        assert_eq!(packed.body[..2], [0x1f, 0x8b]);
        for other in ["secret.js", "socket.io.min.js", "socket.io.js/", "%2e%2e/secret.js"] {
            assert_eq!(get(node.addr, &format!("/socket.io/{other}")).await.status, 400, "{other}");
        }
    }
}

#[test]
fn bad_folder_of_client_files_fails_the_build() {
    let none = Folder::with("none", &[("index.html", b"")]);
    let wrong = Server::builder().serve_client(&none.0).ping_timeout(Duration::ZERO).build().unwrap_err().to_string();
    assert!(wrong.contains("no file of socket.io-client found") && wrong.contains("ping_timeout"), "{wrong}");

    let long = Folder::with("long", &[("socket.io.js", &vec![b' '; 5 << 20])]);
    let wrong = Server::builder().serve_client(&long.0).build().unwrap_err().to_string();
    assert!(wrong.contains("longer than"), "{wrong}");
}
