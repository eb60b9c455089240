//! Processes that are measured, and NATS servers that end with their handles.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a measurement that fails is none")]

use std::ffi::OsString;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// CPU time of a process: of all its threads that live.
pub fn cpu(process: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let time = |task: fs::DirEntry| -> Option<u64> {
        let stat = fs::read_to_string(task.path().join("schedstat")).ok()?;
        stat.split(' ').next()?.parse().ok()
    };
    Duration::from_nanos(tasks.flatten().filter_map(time).sum())
}

/// The value in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A port that nobody listens on now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A process that ends with its handle.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts it and waits until it listens on this port.
    pub fn listening(command: &mut Command, port: u16) -> Self {
        let process = Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(10), "{command:?} does not listen");
            thread::sleep(Duration::from_millis(10));
        }
        process
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The NATS server that is measured with: NATS_SERVER names it, or it is found like any program.
#[derive(Debug)]
pub struct Nats {
    /// The process.
    pub process: Process,
    port: u16,
    folder: PathBuf,
}

impl Drop for Nats {
    fn drop(&mut self) {
        // Files that it still writes stay in the temporary folder.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Nats {
    fn program() -> OsString {
        env::var_os("NATS_SERVER").unwrap_or_else(|| "nats-server".into())
    }

    /// As it names itself.
    pub fn version() -> String {
        let said = Command::new(Self::program()).arg("--version").output().unwrap();
        String::from_utf8_lossy(&said.stdout).trim().to_owned()
    }

    /// Starts one, on these cores if given.
    pub fn start(cores: Option<&str>) -> Self {
        let port = free_port();
        let mut command = pinned(Self::program(), cores);
        let folder = env::temp_dir().join(format!("sociable-bench-{port}"));
        let process = Process::listening(command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"]).arg(&folder), port);
        Self { process, port, folder }
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}

/// A command that runs on these cores alone, if given.
pub fn pinned(program: OsString, cores: Option<&str>) -> Command {
    let Some(cores) = cores else { return Command::new(program) };
    let mut command = Command::new("taskset");
    // The shell becomes the program, so the process id stays.
    command.args(["--cpu-list", cores]).arg(program);
    command
}
