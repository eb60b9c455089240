use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use clap::Parser;

use super::*;
use crate::settings::parse_with_tables;

#[derive(Debug, Parser)]
#[command(name = "program")]
struct Flags {
    #[arg(long)]
    config: Option<PathBuf>,
    #[arg(long, default_value_t = 3000)]
    port: u16,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Sections {
    none: Empty,
    webhooks: Webhooks,
    namespaces: BTreeMap<Spanned<String>, Namespace>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Webhooks {
    secrets: Vec<String>,
    timeout_ms: Option<u64>,
    mode: Mode,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    #[default]
    Wait,
    Tell,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Namespace {
    connect: String,
}

/// The settings by a file with this text.
fn settings(text: &str) -> Result<(Flags, Tables<Sections>), String> {
    static FILES: AtomicU32 = AtomicU32::new(0);
    let path = std::env::temp_dir().join(format!("sociable-tables-{}-{}", std::process::id(), FILES.fetch_add(1, Relaxed)));
    std::fs::write(&path, text).unwrap();
    let parsed = parse_with_tables(["program", "--config", path.to_str().unwrap()].map(OsString::from).to_vec());
    std::fs::remove_file(&path).unwrap();
    parsed.map_err(|error| error.to_string().replace(&format!("{}, ", path.display()), ""))
}

#[test]
fn file_has_flags_and_tables() {
    let text = "port = 4000\n[webhooks]\nsecrets = ['a']\ntimeout-ms = 5\nmode = 'tell'\n[namespaces.'/chat']\nconnect = 'http://b'\n";
    let (flags, tables) = settings(text).unwrap();
    assert_eq!((flags.port, tables.webhooks.timeout_ms, &tables.webhooks.secrets[..]), (4000, Some(5), &["a".to_owned()][..]));
    assert!(matches!(tables.webhooks.mode, Mode::Tell));
    let (name, namespace) = tables.namespaces.first_key_value().unwrap();
    assert_eq!((&**name.get_ref(), &*namespace.connect), ("/chat", "http://b"));
    let fault = tables.fault(&name.span(), "two of them");
    assert!(fault.to_string().ends_with(", line 6, column 13: two of them"), "{fault}");
    assert!(!format!("{tables:?}").contains("port"));
    for (keys, place) in [
        (&["webhooks", "mode"][..], "line 5, column 1"),
        (&["namespaces", "/chat", "connect"], "line 7, column 1"),
        (&["namespaces", "/chat", "other"], "line 6, column 13"),
        (&["other"], "line 1, column 1"),
    ] {
        let fault = tables.fault_of(keys, "wrong").to_string();
        assert!(fault.ends_with(&format!(", {place}: wrong")), "{fault}");
    }
}

#[test]
fn tables_are_empty_without_a_file() {
    let (_, tables) = parse_with_tables::<Flags, Sections>(vec!["program".into()]).unwrap();
    assert!(tables.namespaces.is_empty());
}

#[test]
fn table_error_names_the_place_and_a_remedy() {
    for (text, fault) in [
        ("[webhook]", "line 1, column 2: `webhook` is no setting"),
        ("\nprot = 1", "line 2, column 1: `prot` is no setting"),
        ("webhooks = 1", "line 1, column 12: `webhooks`: expected a table"),
        (
            "[webhooks]\ntimeout = 1",
            "line 2, column 1: `webhooks`: `timeout` is no setting; expected one of `secrets`, `timeout-ms`, `mode`",
        ),
        ("[none]\na = 1", "line 2, column 1: `none`: `a` is no setting; the table has none"),
        ("[webhooks]\ntimeout-ms = 'x'", "line 2, column 14: `webhooks.timeout-ms`: expected a whole number in its range"),
        ("[webhooks]\ntimeout-ms = -1", "line 2, column 14: `webhooks.timeout-ms`: expected a whole number in its range"),
        ("[webhooks]\nmode = 'often'", "line 2, column 8: `webhooks.mode`: expected `wait` or `tell`"),
        ("[webhooks]\nsecrets = 'x'", "line 2, column 11: `webhooks.secrets`: expected a list"),
        ("[namespaces.'/chat']", "line 1, column 1: `namespaces.\"/chat\"`: missing field `connect`"),
        ("[namespaces.'/a.b'.connect]", "line 1, column 1: `namespaces.\"/a.b\".connect`: expected a text"),
        ("[webhooks]\nport = 4000", "line 2, column 1: `webhooks`: `port` stands in a table: write it above the first one"),
        ("[webhooks]\nmode = 'wait'\nmode = 'wait'", "line 3, column 1: duplicate key"),
    ] {
        assert_eq!(settings(text).unwrap_err(), fault, "{text}");
    }
}

#[test]
fn table_error_shows_no_secret() {
    for value in ["'s12345'", "['a', 12345]", "12345", "{ a = 's12345' }", "'s12345, expected'", "\"s12345"] {
        let fault = settings(&format!("[webhooks]\nsecrets = {value}")).unwrap_err();
        assert!(fault.contains("line 2, column ") && !fault.contains("1234"), "{value}: {fault}");
    }
    for value in ["'s12345'", "12345.5", "'s12345, expected x'"] {
        for key in ["timeout-ms", "mode"] {
            let fault = settings(&format!("[webhooks]\n{key} = {value}")).unwrap_err();
            assert!(fault.contains("line 2, column ") && !fault.contains("1234"), "{value}: {fault}");
        }
    }
}

#[test]
fn keys_are_those_that_a_struct_reads() {
    assert_eq!(keys::<Sections>(), ["none", "webhooks", "namespaces"]);
    assert_eq!(keys::<Webhooks>(), ["secrets", "timeout-ms", "mode"]);
    assert!(keys::<u64>().is_empty());
}
