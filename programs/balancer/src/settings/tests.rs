//! Settings by flags, environment and file.

use std::ffi::OsString;
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use clap::CommandFactory;

use super::*;

fn flags(args: &[&str]) -> Settings {
    Flags::try_parse_from([&["sociable-balancer"], args].concat()).unwrap().settings
}

/// Parses and checks these arguments with a file of this text.
fn checked(args: &[&str], text: &str) -> Result<(), String> {
    static FILES: AtomicU32 = AtomicU32::new(0);
    let path = std::env::temp_dir().join(format!("sociable-balancer-{}-{}", std::process::id(), FILES.fetch_add(1, Relaxed)));
    fs::write(&path, text).unwrap();
    let args = [&["sociable-balancer", "--config", path.to_str().unwrap()], args].concat();
    let parsed = sociable_program::settings::parse::<Flags>(args.into_iter().map(OsString::from).collect());
    fs::remove_file(path).unwrap();
    parsed.map_err(|error| error.to_string())?.settings.check().map_err(|error| error.to_string())
}

#[test]
fn flags_are_consistent() {
    Flags::command().debug_assert();
}

#[test]
fn every_setting_has_an_environment_variable() {
    for flag in Flags::command().get_arguments().filter(|flag| !["check", "probe"].contains(&flag.get_id().as_str())) {
        let name = flag.get_id().as_str().to_uppercase();
        let shared = ["NATS", "CLUSTER"].iter().any(|shared| name.starts_with(shared));
        let variable = if shared { format!("SOCIABLE_{name}") } else { format!("SOCIABLE_BALANCER_{name}") };
        assert_eq!(flag.get_env().and_then(|env| env.to_str()), Some(&*variable));
    }
}

#[test]
fn settings_are_checked_together_from_every_source() {
    let tls = "tls-cert = ['cert.pem']\ntls-key = ['key.pem']";
    assert_eq!(checked(&["--tls-listen=127.0.0.1:443"], tls), Ok(()));
    assert_eq!(checked(&["--nats-user=ada"], "nats-password = 'secret'"), Ok(()));
    assert_eq!(checked(&["--proxy-protocol"], "trusted = ['10.0.0.0/8']"), Ok(()));
    for (args, file, cause) in [
        ("--tls-listen=127.0.0.1:443", "", "tls-listen without tls-cert"),
        ("--bound=2", tls, "tls-cert without tls-listen"),
        ("--nats-user=ada", "", "required arguments were not provided: --nats-password"),
        ("--nats-key=key.pem", "", "required arguments were not provided: --nats-cert"),
        ("--proxy-protocol", "", "proxy-protocol without trusted"),
        ("--tls-listen=127.0.0.1:443", "tls-cert = ['a', 'b']\ntls-key = ['a']", "2 files and tls-key 1"),
        ("--tls-listen=127.0.0.1:443", "tls-cert = []\ntls-key = []", "`tls-cert`: expected an entry in the list"),
        ("--nats-token=secret", "nats-user = 'ada'\nnats-password = 'secret'", "cannot be used with"),
        ("--nats-nkey=SU", "nats-credentials = 'file'", "cannot be used with"),
        ("--listen=127.0.0.1:80", "admin-addr = '127.0.0.1:80'", "listen and admin-addr are both 127.0.0.1:80"),
        ("--bound=2", "admin-addr = '127.0.0.1:8080'", "listen and admin-addr are both 127.0.0.1:8080"),
        ("--listen=0.0.0.0:80", "admin-addr = '127.0.0.1:80'", "listen and admin-addr are both 127.0.0.1:80"),
        ("--listen=[::1]:80,[::1]:80", "", "listen and listen are both [::1]:80"),
    ] {
        let error = checked(&[args], file).unwrap_err();
        assert!(error.contains(cause) && !error.contains("secret"), "{args} {file}: {error}");
    }
    assert_eq!(checked(&["--listen=127.0.0.1:80,[::]:80,127.0.0.2:80"], "admin-addr = '127.0.0.1:81'"), Ok(()));
    assert_eq!(checked(&["--listen=127.0.0.1:0,127.0.0.1:0"], "admin-addr = '127.0.0.1:0'"), Ok(()));
}

#[test]
fn reload_names_settings_that_need_a_restart() {
    let (before, after) = (flags(&["--workers=1", "--bound=2"]), flags(&["--workers=2", "--listen=127.0.0.1:1"]));
    assert_eq!(before.settled(&after), ["listen", "workers"]);
}
