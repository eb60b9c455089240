//! Programs that are started, pinned to cores, and ended with their handles.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::{tools, workspace};

/// The time that a server has until it listens.
const STARTING: Duration = Duration::from_secs(15);

/// The time that a server has between SIGTERM and SIGKILL.
const ENDING: Duration = Duration::from_secs(3);

/// The same of a server that is replaced while clients are connected to it.
const DRAINING: Duration = Duration::from_secs(30);

const PAUSE: Duration = Duration::from_millis(20);

/// The ports of servers. They lie below those that the kernel gives to clients.
const PORTS: std::ops::Range<u16> = 21_000..29_000;

static NEXT_PORT: AtomicU16 = AtomicU16::new(PORTS.start);

/// A command that starts a program.
#[derive(Clone, Debug, Default)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
}

impl Program {
    pub(super) fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), ..Self::default() }
    }

    pub(super) fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub(super) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }
}

/// A running program. Its drop ends it.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    /// The way to start a successor.
    launch: Launch,
}

/// A program with its place.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    /// The name of the log.
    pub(super) name: String,
    pub(super) program: Program,
    /// The core that it is bound to.
    pub(super) core: Option<usize>,
    /// The port that it listens on.
    pub(super) port: u16,
}

impl Process {
    /// Starts a program, and waits until it listens on its port.
    pub(super) fn start(launch: Launch) -> io::Result<Self> {
        let Launch { name, program, core, port } = &launch;
        let folder = workspace::target().join("bench/logs");
        fs::create_dir_all(&folder)?;
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log)?;
        let mut command = pinned(&program.path, *core);
        command.args(&program.args).envs(program.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let mut child = command.spawn()?;
        let begun = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).is_err() {
            let ended = child.try_wait()?;
            if ended.is_some() || begun.elapsed() > STARTING {
                end(&mut child, ENDING);
                let cause = ended.map_or_else(|| "it does not listen".into(), |status| status.to_string());
                return Err(io::Error::other(format!("cannot start {name}: {cause}; see {}", log.display())));
            }
            thread::sleep(PAUSE);
        }
        Ok(Self { child, launch })
    }

    /// Ends the program by a signal, such as `KILL`, and starts its successor at once.
    pub(super) fn replace(&mut self, signal: &str) -> io::Result<()> {
        signalled(&self.child, signal);
        if !has_ended(&mut self.child, DRAINING) {
            return Err(io::Error::other(format!("{} does not end by SIG{signal}", self.launch.name)));
        }
        *self = Self::start(self.launch.clone())?;
        Ok(())
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the id of the process that works for this one: its child, if it has one.
    pub(super) fn worker_id(&self) -> u32 {
        let id = self.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        children.split_whitespace().next().and_then(|child| child.parse().ok()).unwrap_or(id)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        end(&mut self.child, ENDING);
    }
}

/// Ends a program. One that starts others ends them on SIGTERM.
fn end(child: &mut Child, patience: Duration) {
    signalled(child, "TERM");
    if !has_ended(child, patience) {
        // The program may have ended at this moment.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Sends a signal. A program that has ended needs none.
fn signalled(child: &Child, signal: &str) {
    let _ = Command::new("kill").args(["-s", signal, &child.id().to_string()]).stderr(Stdio::null()).status();
}

/// Waits for the end of a program. Returns whether it ended in time.
fn has_ended(child: &mut Child, patience: Duration) -> bool {
    let begun = Instant::now();
    while matches!(child.try_wait(), Ok(None)) {
        if begun.elapsed() > patience {
            return false;
        }
        thread::sleep(PAUSE);
    }
    true
}

/// Returns a command that runs on one core alone, if given.
fn pinned(program: &Path, core: Option<usize>) -> Command {
    let Some(core) = core else { return Command::new(program) };
    // `taskset` becomes the program, and keeps its id.
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &core.to_string()]).arg(program);
    command
}

/// Returns a port that nobody listens on.
pub(super) fn free_port() -> io::Result<u16> {
    for _ in PORTS {
        let port = PORTS.start + NEXT_PORT.fetch_add(1, Ordering::Relaxed) % (PORTS.end - PORTS.start);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::other("no port is free"))
}

/// Returns the path of a program, also where a user's shell does not look.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    tools::find(name).or_else(|| Some(Path::new("/usr/sbin").join(name)).filter(|path| path.is_file()))
}
