//! Programs that go on when this one has ended, and their ends.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The time of a program to end by itself.
const GRACE: Duration = Duration::from_secs(20);

/// The programs in the background.
#[derive(Debug)]
pub(super) struct Processes {
    /// The folder with a file for each program, which has its process id.
    pub(super) ids: PathBuf,
    /// The folder with the logs. They stay when the programs have ended.
    pub(super) logs: PathBuf,
}

/// A process, and the time of its start. Another process may get the number later, but not with that time.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Process {
    id: u32,
    started: String,
}

impl Processes {
    /// Starts a program with a log, and returns its process id. It leads a group of its own, so that no signal of a terminal reaches it.
    pub(super) fn start(&self, name: &str, command: &mut Command) -> Result<u32, String> {
        let failed = |error: std::io::Error| format!("{name} can't be started: {error}");
        fs::create_dir_all(&self.ids).map_err(failed)?;
        fs::create_dir_all(&self.logs).map_err(failed)?;
        let output = File::create(self.log(name)).map_err(failed)?;
        let errors = output.try_clone().map_err(failed)?;
        let child = command.process_group(0).stdin(Stdio::null()).stdout(output).stderr(errors).spawn().map_err(failed)?;
        let id = child.id();
        let started = Process::start_of(id).ok_or_else(|| format!("{name} ended at once: see {}", self.log(name).display()))?;
        fs::write(self.ids.join(name), format!("{id} {started}")).map_err(failed)?;
        Ok(id)
    }

    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    /// Returns true while a started program runs.
    pub(super) fn is_alive(&self, name: &str) -> bool {
        self.process(name).is_some_and(|process| process.is_alive())
    }

    /// Kills a program.
    pub(super) fn kill(&self, name: &str) {
        if let Some(process) = self.process(name).filter(Process::is_alive) {
            process.signal("KILL");
        }
    }

    /// Asks all programs to end, and kills those that do not. Fails if one survives that.
    pub(super) fn end_all(&self) -> std::io::Result<()> {
        let names = fs::read_dir(&self.ids).into_iter().flatten().flatten().map(|entry| entry.file_name());
        let mut living: Vec<_> = names.filter_map(|name| self.process(name.to_str()?)).filter(Process::is_alive).collect();
        living.iter().for_each(|process| process.signal("TERM"));
        await_ends(&mut living);
        living.iter().for_each(|process| process.signal("KILL"));
        await_ends(&mut living);
        let survivors: Vec<_> = living.iter().map(|process| process.id.to_string()).collect();
        if survivors.is_empty() { Ok(()) } else { Err(std::io::Error::other(format!("processes do not end: {}", survivors.join(" ")))) }
    }

    fn process(&self, name: &str) -> Option<Process> {
        let text = fs::read_to_string(self.ids.join(name)).ok()?;
        let (id, started) = text.split_once(' ')?;
        Some(Process { id: id.parse().ok()?, started: started.to_owned() })
    }
}

/// Waits for the ends of processes, and keeps those that have not ended in time.
fn await_ends(living: &mut Vec<Process>) {
    let deadline = Instant::now() + GRACE;
    while !living.is_empty() && Instant::now() < deadline {
        sleep(Duration::from_millis(100));
        living.retain(Process::is_alive);
    }
}

impl Process {
    /// Returns false for a process that has ended, even if nobody has asked for its status.
    fn is_alive(&self) -> bool {
        Self::start_of(self.id).is_some_and(|started| started == self.started)
    }

    /// Signals the group of the process.
    fn signal(&self, signal: &str) {
        let _ = Command::new("sh").args(["-c", &format!("kill -s {signal} -- -{}", self.id)]).stderr(Stdio::null()).status();
    }

    /// Returns the start of a running process, in ticks since the start of the machine.
    fn start_of(id: u32) -> Option<String> {
        start_in(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
    }
}

/// Reads the start in a line of `/proc/PID/stat`. An ended process has none.
fn start_in(stat: &str) -> Option<String> {
    // The name before the bracket may have anything in it.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<_> = fields.split_whitespace().collect();
    match fields.first()? {
        &"Z" | &"X" => None,
        _ => fields.get(19).map(|&started| started.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: &str = "1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0";

    #[test]
    fn start_is_found_behind_a_strange_name() {
        assert_eq!(start_in(&format!("7 (a) b) S {REST}")).as_deref(), Some("4711"));
    }

    #[test]
    fn zombie_has_no_start() {
        assert_eq!(start_in(&format!("7 (a) Z {REST}")), None);
    }
}
