use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use clap::builder::BoolishValueParser;
use clap::{Parser, ValueEnum};

use super::*;

/// A program with a setting of each kind.
#[derive(Clone, Debug, PartialEq, Parser)]
#[command(name = "program", version)]
struct Flags {
    #[arg(long, env = "SOCIABLE_SETTINGS_TEST_CONFIG")]
    config: Option<PathBuf>,
    #[arg(long)]
    check: bool,
    #[arg(long, default_value_t = 3000)]
    port: u16,
    #[arg(long, value_delimiter = ',')]
    nodes: Vec<String>,
    #[arg(long, requires = "nodes", value_parser = BoolishValueParser::new())]
    cluster: bool,
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    access: Option<bool>,
    #[arg(long)]
    bound: Option<f64>,
    #[arg(long, value_enum)]
    format: Option<Format>,
    #[arg(long)]
    password: Option<String>,
    /// Cargo sets it for each test.
    #[arg(long, env = "CARGO_PKG_NAME")]
    package: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// The settings by these arguments and a file with this text.
fn settings(text: &str, args: &[&str]) -> Result<Flags, String> {
    static FILES: AtomicU32 = AtomicU32::new(0);
    let path = std::env::temp_dir().join(format!("sociable-file-{}-{}", std::process::id(), FILES.fetch_add(1, Relaxed)));
    std::fs::write(&path, text).unwrap();
    let args = [&["program", "--config", path.to_str().unwrap()], args].concat();
    let parsed = parse::<Flags>(args.into_iter().map(OsString::from).collect());
    std::fs::remove_file(&path).unwrap();
    let settings = parsed.map_err(|error| error.to_string().replace(&format!("{}, ", path.display()), ""))?;
    Ok(Flags { config: None, ..settings })
}

fn fault(text: &str) -> String {
    settings(text, &[]).unwrap_err()
}

#[test]
fn file_sets_what_flags_set() {
    let text = r#"
        port = 0xfa0
        nodes = ["a:1", "b:2"]
        cluster = true
        access = true
        bound = 1.5
        format = "json"
        password = "a, b"
    "#;
    let args = ["--port=4000", "--nodes=a:1,b:2", "--cluster", "--access", "--bound=1.5", "--format=json", "--password=a, b"];
    assert_eq!(settings(text, &[]).unwrap(), settings("", &args).unwrap());
    assert_eq!(settings("nodes = 'a:1,b:2'", &[]).unwrap(), settings("", &["--nodes=a:1,b:2"]).unwrap());
    assert_eq!(settings("cluster = false\naccess = false", &[]).unwrap(), settings("", &["--access=false"]).unwrap());
    assert_eq!(settings("port = '4000'\nbound = 2", &[]).unwrap(), settings("", &["--port=4000", "--bound=2"]).unwrap());
}

#[test]
fn flags_and_environment_win_over_the_file() {
    let text = "port = 1\naccess = true\npackage = 'of the file'";
    let settings = settings(text, &["--port", "2", "--access=false"]).unwrap();
    assert_eq!((settings.port, settings.access), (2, Some(false)));
    assert_eq!(settings.package.as_deref(), Some(env!("CARGO_PKG_NAME")));
}

#[test]
fn file_error_names_the_place_and_a_remedy() {
    assert_eq!(fault("bound = 2\nprot = 1"), "line 2, column 1: `prot` is no setting");
    assert_eq!(fault("[prot]\nbound = 2"), "line 1, column 2: `prot` is no setting");
    assert_eq!(fault("check = true"), "line 1, column 1: `check` is no setting");
    assert_eq!(fault("config = 'other'"), "line 1, column 1: `config` is no setting");
    assert_eq!(fault("bound = 'x'"), "line 1, column 9: `bound`: invalid float literal");
    assert_eq!(fault("port = 70000"), "line 1, column 8: `port`: 70000 is not in 0..=65535");
    assert_eq!(fault("port = [1]"), "line 1, column 8: `port`: expected a text or a number");
    assert_eq!(fault("nodes = ['é', [7]]"), "line 1, column 15: `nodes`: expected a text without a comma");
    assert_eq!(fault("nodes = ['a,b']"), "line 1, column 10: `nodes`: expected a text without a comma");
    assert_eq!(fault("nodes = []"), "line 1, column 9: `nodes`: expected an entry in the list");
    assert_eq!(fault("cluster = 1"), "line 1, column 11: `cluster`: expected true or false");
    assert_eq!(fault("access = 'yes'"), "line 1, column 10: `access`: expected true or false");
    assert_eq!(fault("format = 'loud'"), "line 1, column 10: `format`: expected `text` or `json`");
    assert_eq!(fault("bound = 2\nbound = 3"), "line 2, column 1: duplicate key");
    assert!(fault("port =").starts_with("line 1, column "));
}

#[test]
fn help_names_the_variable_when_it_is_unset() {
    let Err(SettingsError::Arguments(help)) = parse::<Flags>(vec!["program".into(), "--help".into()]) else { panic!("no help") };
    let help = help.to_string();
    assert!(help.contains("[env: SOCIABLE_SETTINGS_TEST_CONFIG"), "{help}");
}

#[test]
fn file_and_flags_are_checked_together() {
    assert!(settings("cluster = true", &["--nodes=a:1"]).unwrap().cluster);
    assert!(settings("nodes = ['a:1']", &["--cluster"]).unwrap().cluster);
    let missing = fault("cluster = true");
    assert_eq!(missing, "the following required arguments were not provided: --nodes <NODES>");
}

#[test]
fn missing_file_is_named() {
    let args = ["program", "--config=/nowhere/at.toml"].map(OsString::from).to_vec();
    assert!(parse::<Flags>(args).unwrap_err().to_string().starts_with("/nowhere/at.toml: "));
}

#[test]
fn file_error_shows_no_secret() {
    for (value, shown) in [
        ("[12345]", "expected "),
        ("{ a = 12345 }", "expected "),
        ("1234-05-01", "expected "),
        ("\"s12345", "column "),
        ("'s12345", "column "),
        ("\"\"\"s12345", "column "),
        ("s12345", "column "),
        ("\"s\\12345\"", "column "),
        ("\"s\" s12345", "column "),
        ("0x12345z", "column "),
        ("\n12345", "column "),
        ("'s'\npassword.12345 = 12345", "column "),
    ] {
        let fault = fault(&format!("bound = 2\npassword = {value}\n"));
        assert!(fault.contains(shown) && !fault.contains("1234"), "{value}: {fault}");
    }
}
