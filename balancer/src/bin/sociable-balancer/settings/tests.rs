//! Settings by flags, environment and file.

use super::*;

fn flags(args: &[&str]) -> Settings {
    Flags::try_parse_from([&["sociable-balancer"], args].concat()).unwrap().settings
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
fn file_sets_what_flags_set() {
    let file = r#"
        listen = ["0.0.0.0:80", "[::]:80"]
        nodes = ["a:3000", "dns://b:3000"]
        affinity = "cookie:user"
        bound = 1.5
        drain-time = 5
        access-log = true
        trusted = ["10.0.0.0/8"]
    "#;
    let args = [
        "--listen=0.0.0.0:80,[::]:80",
        "--nodes=a:3000,dns://b:3000",
        "--affinity=cookie:user",
        "--bound=1.5",
        "--drain-time=5",
        "--access-log",
        "--trusted=10.0.0.0/8",
    ];
    assert_eq!(toml::from_str::<Settings>(file).unwrap(), flags(&args));
    let merged = flags(&["--bound=2", "--no-such"].map(|arg| if arg == "--no-such" { "--access-log=false" } else { arg }));
    let merged = merged.or(toml::from_str(file).unwrap());
    assert_eq!((merged.bound, merged.access_log, merged.drain_time), (Some(2.0), Some(false), Some(5)));
}

#[test]
fn settings_are_checked_together_from_every_source() {
    let merged = |args: &[&str], file: &str| flags(args).or(toml::from_str(file).unwrap()).check().map_err(|error| error.to_string());
    let tls = "tls-cert = ['cert.pem']\ntls-key = ['key.pem']";
    assert_eq!(merged(&["--tls-listen=127.0.0.1:443"], tls), Ok(()));
    assert_eq!(merged(&["--nats-user=ada"], "nats-password = 'secret'"), Ok(()));
    assert_eq!(merged(&["--proxy-protocol"], "trusted = ['10.0.0.0/8']"), Ok(()));
    for (args, file, told) in [
        ("--tls-listen=127.0.0.1:443", "", "tls-listen without tls-cert"),
        ("--bound=2", tls, "tls-cert without tls-listen"),
        ("--nats-user=ada", "", "nats-user without nats-password"),
        ("--nats-key=key.pem", "", "nats-key without nats-cert"),
        ("--proxy-protocol", "", "proxy-protocol without trusted"),
        ("--tls-listen=127.0.0.1:443", "tls-cert = ['a', 'b']\ntls-key = ['a']", "2 files and tls-key 1"),
        ("--tls-listen=127.0.0.1:443", "tls-cert = []\ntls-key = []", "tls-listen without tls-cert"),
        ("--nats-token=secret", "nats-user = 'ada'\nnats-password = 'secret'", "nats-user and nats-token are alternatives"),
        ("--nats-nkey=SU", "nats-credentials = 'file'", "nats-nkey and nats-credentials are alternatives"),
        ("--bound=2", "listen = []", "nobody would be served"),
        ("--bound=2", "handover = ''", "handover is empty"),
        ("--listen=127.0.0.1:80", "admin-addr = '127.0.0.1:80'", "listen and admin-addr are both to be 127.0.0.1:80"),
        ("--bound=2", "admin-addr = '127.0.0.1:8080'", "listen and admin-addr are both to be 127.0.0.1:8080"),
        ("--listen=0.0.0.0:80", "admin-addr = '127.0.0.1:80'", "listen and admin-addr are both to be 127.0.0.1:80"),
        ("--listen=[::1]:80,[::1]:80", "", "listen and listen are both to be [::1]:80"),
    ] {
        let error = merged(&[args], file).unwrap_err();
        assert!(error.contains(told) && !error.contains("secret"), "{args} {file}: {error}");
    }
    assert_eq!(merged(&["--listen=127.0.0.1:80,[::]:80,127.0.0.2:80"], "admin-addr = '127.0.0.1:81'"), Ok(()));
    assert_eq!(merged(&["--listen=127.0.0.1:0,127.0.0.1:0"], "admin-addr = '127.0.0.1:0'"), Ok(()));
    assert_eq!(merged(&["--tls-listen=127.0.0.1:443"], &format!("listen = []\n{tls}")), Ok(()));
}

#[test]
fn reload_names_settings_that_need_a_restart() {
    let (before, after) = (flags(&["--workers=1", "--bound=2"]), flags(&["--workers=2", "--listen=127.0.0.1:1"]));
    assert_eq!(before.settled(&after), ["listen", "workers"]);
}
