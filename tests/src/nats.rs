//! Real NATS servers, each a process of its own that ends with its handle.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::patience::patience;

/// A NATS server on this machine.
#[derive(Debug)]
pub struct Nats {
    process: Child,
    folder: PathBuf,
    port: u16,
    options: String,
}

/// Below the ports that connections are given: one of those could be connected to itself.
static NEXT_PORT: AtomicUsize = AtomicUsize::new(0);

/// Returns a free port.
fn free_port() -> u16 {
    loop {
        let at = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
        let port = 5000 + ((std::process::id() as usize * 37 + at) % 4500) as u16;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Nats {
    pub fn start() -> Self {
        Self::with("")
    }

    /// With these lines in its file of options.
    pub fn with(options: &str) -> Self {
        let port = free_port();
        let folder = std::env::temp_dir().join(format!("sociable-nats-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let process = Self::run(&folder, port, options);
        Self { process, folder, port, options: options.to_owned() }
    }

    /// Starts a server with JetStream.
    pub fn keeping() -> Self {
        Self::with("jetstream { store_dir: \"STORE\", max_file_store: 64GB }")
    }

    /// Three that are one.
    pub fn cluster() -> [Self; 3] {
        let routes: [u16; 3] = std::array::from_fn(|_| free_port());
        let all = routes.map(|port| format!("nats://127.0.0.1:{port}")).join(", ");
        routes.map(|port| Self::with(&format!("cluster {{ name: test, listen: \"127.0.0.1:{port}\", routes: [{all}] }}")))
    }

    fn run(folder: &std::path::Path, port: u16, options: &str) -> Child {
        let file = folder.join("nats.conf");
        fs::write(&file, format!("listen: \"127.0.0.1:{port}\"\n{}\n", options.replace("STORE", &folder.to_string_lossy()))).unwrap();
        let program = std::env::var_os("NATS_SERVER").unwrap_or_else(|| "nats-server".into());
        let log = fs::File::create(folder.join("log")).unwrap();
        let started = Command::new(&program).arg("--config").arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let mut process = started.unwrap_or_else(|error| {
            panic!(
                "failed to start the NATS server `{}`: {error}\n\
                 `cargo xtask test` downloads one and runs all tests. To run tests by themselves, install the package `nats-server`, \
                 or set NATS_SERVER to the path of the program.",
                program.display()
            );
        });
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = || fs::read_to_string(folder.join("log")).unwrap_or_default();
            assert!(process.try_wait().unwrap().is_none(), "nats-server has ended: {}", log());
            assert!(begun.elapsed() < patience(), "nats-server does not listen: {}", log());
            std::thread::yield_now();
        }
        process
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Restarts the server on its port, with other options.
    pub fn restart_with(&mut self, options: &str) {
        options.clone_into(&mut self.options);
        self.restart();
    }

    /// Restarts the server on its port.
    pub fn restart(&mut self) {
        self.process = Self::run(&self.folder, self.port, &self.options);
    }
}

/// Returns the block of permissions of a file of settings of NATS, from the folder of the project. Each password is `secret`.
pub fn deployed_permissions(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    let text = fs::read_to_string(path).unwrap();
    let block = &text[text.find("\nauthorization {").unwrap()..];
    let mut depth = 0;
    let end = block.char_indices().find_map(|(at, character)| {
        depth += match character {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        (character == '}' && depth == 0).then_some(at + 1)
    });
    let lines = block[..end.unwrap()].lines();
    let lines = lines.map(|line| line.find("password: $").map_or(line.to_owned(), |at| format!("{}password: secret", &line[..at])));
    lines.collect::<Vec<_>>().join("\n")
}

impl Drop for Nats {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
