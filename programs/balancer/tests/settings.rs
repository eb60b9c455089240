//! Errors of settings: they come before a start that would fail, and show no secret.
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A file that is removed with its test.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sociable-settings-{}-{name}", std::process::id()));
        fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

/// Runs the program with these arguments and this environment alone. Returns whether it succeeds, and its output.
fn run(args: &[&str], environment: &[(&str, &str)]) -> (bool, String) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_sociable-balancer"));
    let output = program.env_clear().envs(environment.iter().copied()).args(args).output().unwrap();
    (output.status.success(), format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

/// Checks settings in a file, with `nodes` among them.
fn check(name: &str, settings: &str) -> (bool, String) {
    let file = File::new(name, &format!("nodes = ['127.0.0.1:3000']\n{settings}"));
    run(&["--check", "--config", file.0.to_str().unwrap()], &[])
}

#[test]
fn check_finds_what_would_fail_the_start() {
    assert_eq!(check("good", "nats = 'nats://127.0.0.1:4222'\nworkers = 2\nadmin-addr = '127.0.0.1:8081'"), (true, String::new()));
    for (settings, told) in [
        ("workers = 0", "line 2, column 11: `workers`: number would be zero"),
        ("listen = []", "line 2, column 10: `listen`: expected an entry in the list"),
        ("listen = ['127.0.0.1:80']\nadmin-addr = '127.0.0.1:80'", "listen and admin-addr are both 127.0.0.1:80"),
        ("nats = ''", "no host"),
        ("nats = 'nats://h'\nnats-ca = '/nowhere/ca.pem'", "reading /nowhere/ca.pem failed"),
        ("nats = 'nats://h'\nnats-cert = '/nowhere/it.pem'\nnats-key = '/nowhere/key.pem'", "reading /nowhere/it.pem failed"),
        ("nats = 'nats://h'\nnats-credentials = '/nowhere/it.creds'", "/nowhere/it.creds failed"),
        ("nats = 'nats://h'\nnats-nkey = 'SUxyzzy'", "starts with SU"),
        ("nats-user = 'me'\nnats-password = 'xyzzy'\nnats-token = 'xyzzy'", "cannot be used with"),
    ] {
        let (good, said) = check("bad", settings);
        assert!(!good && said.contains(told) && !said.contains("xyzzy"), "{settings}: {said}");
    }
}

#[test]
fn flags_and_file_have_the_same_rules() {
    for flag in ["--workers=0", "--handover=", "--nats=", "--drain-time=-1"] {
        let (name, value) = flag.trim_start_matches('-').split_once('=').unwrap();
        let (by_flag, said) = run(&["--check", "--nodes=127.0.0.1:3000", flag], &[]);
        assert!(!by_flag && !said.is_empty(), "{flag}");
        let quoted = if name == "workers" || name == "drain-time" { value.to_owned() } else { format!("'{value}'") };
        assert!(!check("same", &format!("{name} = {quoted}")).0, "{name}");
    }
}

#[test]
fn settings_errors_show_no_secret() {
    for settings in ["nats-password = \"xyzzy", "nats-password = [98765]", "nats-token = xyzzy", "nats-nkey = ['xyzzy']"] {
        let (good, said) = check("secret", settings);
        assert!(!good && said.contains("line 2, column ") && !said.contains("xyzzy") && !said.contains("98765"), "{said}");
    }
    let mut environment = vec![("SOCIABLE_NATS", "nats://me:xyzzy@host"), ("SOCIABLE_BALANCER_BOUND", "1.75")];
    environment.extend(["SOCIABLE_NATS_PASSWORD", "SOCIABLE_NATS_TOKEN", "SOCIABLE_NATS_NKEY"].map(|name| (name, "xyzzy")));
    let (good, said) = run(&["--help"], &environment);
    assert!(good && said.contains("[env: SOCIABLE_NATS]") && said.contains("1.75") && !said.contains("xyzzy"), "{said}");
}

#[test]
fn empty_variable_counts_as_unset() {
    let file = File::new("empty", "nodes = ['127.0.0.1:3000']\nbound = 0.5");
    let help = run(&["--help"], &[]).1;
    let variables = help.split("[env: ").skip(1).filter_map(|rest| rest.split(['=', ']']).next());
    let environment: Vec<_> = variables.map(|name| (name, "")).collect();
    assert!(environment.len() > 40 && environment.contains(&("SOCIABLE_BALANCER_CONFIG", "")), "{help}");
    let (good, said) = run(&["--check", "--nodes=127.0.0.1:3000"], &environment);
    assert_eq!((good, &*said), (true, ""));
    // The file has the value then.
    let (good, said) = run(&["--check", "--config", file.0.to_str().unwrap()], &environment);
    assert!(!good && said.contains("bound: give at least 1"), "{said}");
    // No source names nodes.
    let (good, said) = run(&["--check"], &environment);
    assert!(!good && said.contains("no source of nodes configured"), "{said}");
}
