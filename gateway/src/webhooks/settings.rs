//! The settings of webhooks, with their defaults and checks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use serde::{Deserialize, Deserializer};
use thiserror::Error;

use super::secret::{Secret, SecretFault};
use super::target::Target;

/// The most secrets that are valid at the same time.
const MAX_SECRETS: usize = 2;
/// The longest file with a secret, in bytes.
const MAX_SECRET_FILE: u64 = 4096;
/// The key of the events that have no own target.
pub(super) const EVERY_OTHER: &str = "*";
/// The longest time of a setting.
const MAX_TIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The settings of all webhooks. In TOML, keys are in kebab case, and times are milliseconds with the suffix `-ms`.
///
/// ```
/// use std::time::Duration;
/// use sociable_gateway::webhooks::Settings;
///
/// let settings: Settings = serde_json::from_str(r#"{"timeout-ms":2000}"#)?;
/// assert_eq!(settings.timeout, Duration::from_secs(2));
/// settings.check()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Settings {
    /// The secrets, at most two with those of the files. Each webhook has a signature by each. Without secrets, webhooks are not signed.
    pub secrets: Vec<Secret>,
    /// Files with one secret each.
    pub secret_files: Vec<PathBuf>,
    /// The time for one attempt: 5 s by default.
    #[serde(rename = "timeout-ms", deserialize_with = "millis")]
    pub timeout: Duration,
    /// The time for all attempts of a webhook that a client waits for: 10 s by default.
    #[serde(rename = "deadline-ms", deserialize_with = "millis")]
    pub deadline: Duration,
    /// The time for all attempts of a webhook that no client waits for: 60 s by default.
    #[serde(rename = "told-deadline-ms", deserialize_with = "millis")]
    pub told_deadline: Duration,
    /// The most attempts after the first: 10 by default.
    pub retries: u32,
    /// The pause before the second attempt: 100 ms by default. Each further pause is twice as long. A random half of it is left out.
    #[serde(rename = "backoff-ms", deserialize_with = "millis")]
    pub backoff: Duration,
    /// The longest pause between two attempts: 5 s by default.
    #[serde(rename = "max-backoff-ms", deserialize_with = "millis")]
    pub max_backoff: Duration,
    /// The most requests to one URL at the same time: 256 by default.
    pub concurrency: usize,
    /// The most bytes that wait for one URL: 16 MiB by default.
    pub queue_bytes: usize,
    /// The most bytes that wait for all URLs: 64 MiB by default.
    pub total_queue_bytes: usize,
    /// The most bytes that wait for one URL by one socket: 1 MiB by default.
    pub socket_queue_bytes: usize,
    /// The longest answer of a backend, in bytes: 1 MiB by default.
    pub answer_bytes: usize,
    /// The failed attempts in sequence that open the circuit breaker of a URL: 5 by default.
    pub breaker_failures: u32,
    /// The longest time between two tries of an open circuit breaker: 5 s by default.
    ///
    /// The first try comes after `backoff`. Each further time is twice as long. A random half of it is left out.
    #[serde(rename = "breaker-open-ms", deserialize_with = "millis")]
    pub breaker_open: Duration,
    /// The most events of a batch: 100 by default.
    pub batch_events: usize,
    /// The most bytes of a batch: 256 KiB by default. One longer event is a batch of its own.
    pub batch_bytes: usize,
    /// The time for which a batch is collected: 100 ms by default.
    #[serde(rename = "batch-ms", deserialize_with = "millis")]
    pub batch_time: Duration,
    /// The headers of the client's request that `connect` carries, in lower case: none by default.
    pub headers: Vec<String>,
    /// The time for which a stopping node delivers what waits: 5 s by default.
    #[serde(rename = "stop-ms", deserialize_with = "millis")]
    pub stop: Duration,
    /// The threads that deliver webhooks: 1 by default.
    pub threads: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            secrets: vec![],
            secret_files: vec![],
            timeout: Duration::from_secs(5),
            deadline: Duration::from_secs(10),
            told_deadline: Duration::from_secs(60),
            retries: 10,
            backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            concurrency: 256,
            queue_bytes: 16 << 20,
            total_queue_bytes: 64 << 20,
            socket_queue_bytes: 1 << 20,
            answer_bytes: 1 << 20,
            breaker_failures: 5,
            breaker_open: Duration::from_secs(5),
            batch_events: 100,
            batch_bytes: 256 << 10,
            batch_time: Duration::from_millis(100),
            headers: vec![],
            stop: Duration::from_secs(5),
            threads: 1,
        }
    }
}

/// The webhooks of a namespace, or of all namespaces of a pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NamespaceHooks {
    /// Asked before a socket is let in.
    pub connect: Option<Target>,
    /// Told when a socket was let in.
    pub connected: Option<Target>,
    /// Told when a socket has left.
    pub disconnected: Option<Target>,
    /// The targets of events, by the name of the event. `*` stands for every other event.
    pub events: BTreeMap<String, Target>,
}

/// The reason why settings of webhooks cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SettingsFault {
    /// Too many secrets.
    #[error("`secrets` and `secret-files` have {0} secrets: keep the new one and the one before it")]
    Secrets(usize),
    /// A file with a secret cannot be read.
    #[error("cannot read the secret in {}: {error}. `secret-files` names files with one secret each", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// A file has no secret.
    #[error("{}: {fault}", .path.display())]
    Secret {
        /// The file.
        path: PathBuf,
        /// The cause.
        fault: SecretFault,
    },
    /// A number is zero, or too large.
    #[error("`{key}` is {found}: use {range}")]
    Range {
        /// The key.
        key: &'static str,
        /// The value in the settings.
        found: String,
        /// The range of values, in words.
        range: &'static str,
    },
    /// A header has no valid name.
    #[error("`headers` has `{0}`: use the name of an HTTP header in lower case")]
    Header(String),
    /// A target has options that exclude each other, or that do nothing.
    #[error("`{key}` has `{option}`: {remedy}")]
    Target {
        /// The key of the target.
        key: String,
        /// The option.
        option: &'static str,
        /// The remedy.
        remedy: &'static str,
    },
    /// The name of an event is reserved by the protocol.
    #[error("`events` has `{0}`, which no client sends: use `connected` or `disconnected` for the life of a socket")]
    Reserved(String),
}

impl SettingsFault {
    /// Returns the key of the setting at fault: of [`Settings`], or of a target of [`NamespaceHooks`].
    pub fn key(&self) -> &str {
        match self {
            Self::Secrets(_) => "secrets",
            Self::Unreadable { .. } | Self::Secret { .. } => "secret-files",
            Self::Range { key, .. } => key,
            Self::Header(_) => "headers",
            Self::Target { key, .. } | Self::Reserved(key) => key,
        }
    }
}

impl Settings {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// The first setting that cannot be used.
    pub fn check(&self) -> Result<(), SettingsFault> {
        let secrets = self.secrets.len() + self.secret_files.len();
        if secrets > MAX_SECRETS {
            return Err(SettingsFault::Secrets(secrets));
        }
        for (key, time) in [
            ("timeout-ms", self.timeout),
            ("deadline-ms", self.deadline),
            ("told-deadline-ms", self.told_deadline),
            ("backoff-ms", self.backoff),
            ("max-backoff-ms", self.max_backoff),
            ("breaker-open-ms", self.breaker_open),
            ("batch-ms", self.batch_time),
        ] {
            if time.is_zero() || time > MAX_TIME {
                return Err(SettingsFault::Range { key, found: time.as_millis().to_string(), range: "1 to 86400000" });
            }
        }
        if self.stop > MAX_TIME {
            return Err(SettingsFault::Range { key: "stop-ms", found: self.stop.as_millis().to_string(), range: "0 to 86400000" });
        }
        for (key, number) in [
            ("concurrency", self.concurrency),
            ("queue-bytes", self.queue_bytes),
            ("total-queue-bytes", self.total_queue_bytes),
            ("socket-queue-bytes", self.socket_queue_bytes),
            ("answer-bytes", self.answer_bytes),
            ("breaker-failures", self.breaker_failures as usize),
            ("batch-events", self.batch_events),
            ("batch-bytes", self.batch_bytes),
        ] {
            if number == 0 || number > u32::MAX as usize {
                return Err(SettingsFault::Range { key, found: number.to_string(), range: "1 to 4294967295" });
            }
        }
        if !(1..=64).contains(&self.threads) {
            return Err(SettingsFault::Range { key: "threads", found: self.threads.to_string(), range: "1 to 64" });
        }
        let is_name = |name: &&String| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        match self.headers.iter().find(|name| !is_name(name)) {
            Some(name) => Err(SettingsFault::Header(name.clone())),
            None => Ok(()),
        }
    }

    /// Returns the secrets, with those of the files. The first call at the start of a process reads the files.
    ///
    /// # Errors
    ///
    /// There are too many secrets, a file cannot be read, or a file has no secret.
    pub fn read_secrets(&self) -> Result<Vec<Secret>, SettingsFault> {
        let mut secrets = self.secrets.clone();
        for path in &self.secret_files {
            secrets.push(read_secret(path)?);
        }
        if secrets.len() > MAX_SECRETS { Err(SettingsFault::Secrets(secrets.len())) } else { Ok(secrets) }
    }
}

fn read_secret(path: &Path) -> Result<Secret, SettingsFault> {
    let unreadable = |error| SettingsFault::Unreadable { path: path.to_owned(), error };
    if fs::metadata(path).map_err(unreadable)?.len() > MAX_SECRET_FILE {
        return Err(SettingsFault::Secret { path: path.to_owned(), fault: SecretFault::Form });
    }
    let text = fs::read_to_string(path).map_err(unreadable)?;
    text.parse().map_err(|fault| SettingsFault::Secret { path: path.to_owned(), fault })
}

impl NamespaceHooks {
    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }

    /// Checks the targets.
    ///
    /// # Errors
    ///
    /// The first target that cannot be used.
    pub fn check(&self) -> Result<(), SettingsFault> {
        let fault = |key: &str, option, remedy| Err(SettingsFault::Target { key: key.to_owned(), option, remedy });
        if let Some(Target { wait, parallel, batch, .. }) = &self.connect {
            let options = [("wait", wait.is_some()), ("parallel", *parallel), ("batch", *batch)];
            if let Some((option, _)) = options.into_iter().find(|(_, set)| *set) {
                return fault("connect", option, "remove it, because each client waits for its own answer");
            }
        }
        for (key, target) in [("connected", &self.connected), ("disconnected", &self.disconnected)] {
            let options = target.as_ref().map(|target| [("wait", target.wait.is_some()), ("parallel", target.parallel)]);
            if let Some((option, _)) = options.into_iter().flatten().find(|(_, set)| *set) {
                return fault(key, option, "remove it, because no client waits for an answer");
            }
        }
        for (event, target) in &self.events {
            if sociable::protocol::packet::RESERVED_EVENTS.contains(&&**event) {
                return Err(SettingsFault::Reserved(event.clone()));
            }
            if target.batch && target.wait == Some(true) {
                return fault(event, "wait", "remove it or `batch`, because a batch has no answer for one event");
            }
            if target.batch && target.parallel {
                return fault(event, "parallel", "remove it or `batch`, because a batch keeps the order");
            }
        }
        Ok(())
    }
}

fn millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(json: &str) -> Settings {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn settings_have_kebab_case_keys_and_milliseconds() {
        let read = settings(
            r#"{"secrets":["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],"timeout-ms":1,"told-deadline-ms":2,"max-backoff-ms":3,"queue-bytes":4}"#,
        );
        assert_eq!((read.timeout.as_millis(), read.told_deadline.as_millis(), read.max_backoff.as_millis()), (1, 2, 3));
        assert_eq!((read.secrets.len(), read.queue_bytes, read.retries), (1, 4, Settings::default().retries));
        assert!(Settings::default().check().is_ok());
        let error = serde_json::from_str::<Settings>(r#"{"timeout":1}"#).unwrap_err().to_string();
        assert!(error.starts_with("unknown field `timeout`, expected one of"), "{error}");
    }

    #[test]
    fn settings_are_refused_with_a_remedy() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        for (json, error) in [
            (&*format!(r#"{{"secrets":["{secret}","{secret}"],"secret-files":["a"]}}"#), "`secrets` and `secret-files` have 3 secrets"),
            (r#"{"timeout-ms":0}"#, "`timeout-ms` is 0: use 1 to 86400000"),
            (r#"{"stop-ms":86400001}"#, "`stop-ms` is 86400001: use 0 to 86400000"),
            (r#"{"concurrency":0}"#, "`concurrency` is 0: use 1 to 4294967295"),
            (r#"{"threads":65}"#, "`threads` is 65: use 1 to 64"),
            (r#"{"headers":["Cookie"]}"#, "`headers` has `Cookie`: use the name of an HTTP header in lower case"),
        ] {
            let fault = settings(json).check().unwrap_err().to_string();
            assert!(fault.starts_with(error), "{fault}");
        }
    }

    #[test]
    fn hooks_are_refused_with_a_remedy() {
        let url = r#""url":"http://a/""#;
        for (json, error) in [
            (format!(r#"{{"connect":{{{url},"batch":true}}}}"#), "`connect` has `batch`: remove it, because each client waits"),
            (format!(r#"{{"connected":{{{url},"wait":true}}}}"#), "`connected` has `wait`: remove it, because no client waits"),
            (format!(r#"{{"events":{{"a":{{{url},"wait":true,"batch":true}}}}}}"#), "`a` has `wait`: remove it or `batch`"),
            (format!(r#"{{"events":{{"a":{{{url},"parallel":true,"batch":true}}}}}}"#), "`a` has `parallel`: remove it or `batch`"),
            (r#"{"events":{"disconnect":"http://a/"}}"#.to_owned(), "`events` has `disconnect`, which no client sends"),
        ] {
            let fault = serde_json::from_str::<NamespaceHooks>(&json).unwrap().check().unwrap_err().to_string();
            assert!(fault.starts_with(error), "{fault}");
        }
        let batched = format!(r#"{{"disconnected":{{{url},"batch":true}},"events":{{"*":{{{url},"batch":true}}}}}}"#);
        assert!(serde_json::from_str::<NamespaceHooks>(&batched).unwrap().check().is_ok());
    }

    #[test]
    fn secret_is_read_from_a_file() {
        let path = std::env::temp_dir().join(format!("sociable-secret-{}", std::process::id()));
        let read = || Settings { secret_files: vec![path.clone()], ..Settings::default() }.read_secrets();
        assert!(matches!(read(), Err(SettingsFault::Unreadable { .. })));
        fs::write(&path, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        assert_eq!(read().unwrap().len(), 1);
        fs::write(&path, "hello").unwrap();
        assert!(matches!(read(), Err(SettingsFault::Secret { .. })));
        fs::remove_file(&path).unwrap();
    }
}
