//! A sample file of settings, in which every setting is a comment with an example. The program must accept every
//! uncommented example.

use std::fmt::Write;
use std::process::Command;
use std::{fs, io};

use super::{Program, Setting};
use crate::tally::Tally;
use crate::workspace;

/// The flags without a setting in the file.
const FLAGS_ONLY: [&str; 5] = ["config", "check", "probe", "help", "version"];
/// Values of these names are numbers.
const NUMBERS: [&str; 7] = ["S", "MS", "BYTES", "N", "FACTOR", "WORKERS", "PORT"];
/// Values of these names are lists.
const LISTS: [&str; 7] = ["ADDRESSES", "FILES", "NAMES", "NODES", "PATHS", "NETWORKS", "ORIGIN"];
/// Values of these names are on the disk.
const ON_DISK: [&str; 3] = ["FILE", "FILES", "FOLDER"];
/// These need files, or are alternatives to a name and a password: they can't be with all others.
const APART: [&str; 4] = ["api-addr", "tls-listen", "nats-token", "nats-nkey"];

/// Examples of values by their placeholders, where the help has none. Other placeholders are examples themselves, such
/// as PASSWORD.
const EXAMPLES: [(&str, &str); 12] = [
    ("ADDRESS", "127.0.0.1:3000"),
    ("ADDRESSES", "127.0.0.1:8080"),
    ("FACTOR", "0.01"),
    ("FILTER", "info"),
    ("FORMAT", "text"),
    ("KEY", "address"),
    ("N", "3"),
    ("NAME", "sociable"),
    ("NODES", "127.0.0.1:3000"),
    ("S", "30"),
    ("URLS", "nats://127.0.0.1:4222"),
    ("WORKERS", "4"),
];

/// The file.
pub(super) fn text(program: &str, settings: &[Setting]) -> String {
    let mut text = format!(
        "# Settings of {program}. Each is a comment: remove the # to set it. Flags and the environment override this file.\n# `{program} --config FILE --check` prints the first fault. `cargo xtask reference` writes this file.\n"
    );
    for setting in settings.iter().filter(|setting| !FLAGS_ONLY.contains(&&*setting.name)) {
        write!(text, "\n# {}\n#{} = {}\n", setting.help, setting.name, value(setting)).unwrap_or_default();
    }
    text
}

/// An example of a value: the default if there is one.
fn value(Setting { name, value, help, default, .. }: &Setting) -> String {
    let Some(kind) = value.as_deref() else { return "true".into() };
    let is_number = NUMBERS.contains(&kind);
    let fits = |text: &&str| !is_number || text.parse::<f64>().is_ok();
    let told = default.as_deref().or(by_default(help).filter(fits)).or(such_as(help).filter(fits));
    let known = || EXAMPLES.iter().find(|(known, _)| *known == kind).map(|(_, example)| *example);
    let example = match told.or_else(known) {
        Some(example) => example.to_owned(),
        None if kind == "PATH" => format!("/run/sociable/{name}"),
        None if ON_DISK.contains(&kind) => format!("/etc/sociable/{name}"),
        None => kind.to_owned(),
    };
    match is_number {
        true => example,
        false if LISTS.contains(&kind) => format!("[\"{example}\"]"),
        false => format!("\"{example}\""),
    }
}

/// The word before "by default".
fn by_default(help: &str) -> Option<&str> {
    let (before, _) = help.split_once(" by default")?;
    before.rsplit(' ').next().map(|word| word.trim_matches('`'))
}

/// The word behind "such as".
fn such_as(help: &str) -> Option<&str> {
    let (_, behind) = help.split_once("such as ")?;
    behind.split([' ', ',', ';']).next().map(|word| word.trim_matches('`'))
}

/// Checks the uncommented sample with the program. The program accepts settings that need no others, and the keys and
/// types of the rest.
pub(super) fn check(program: &Program, settings: &[Setting]) -> io::Result<Tally> {
    let (text, tables) = (text(program.name, settings), program.tables()?);
    let stands_alone = |name: &str| {
        let on_disk = |setting: &Setting| setting.value.as_deref().is_some_and(|kind| ON_DISK.contains(&kind));
        !APART.contains(&name) && !settings.iter().any(|setting| setting.name == name && on_disk(setting))
    };
    let mut tally = Tally::default();
    for (file, about_all) in [(without_comments(&text, stands_alone), true), (without_comments(&text, |_| true), false)] {
        let path = workspace::target().join(format!("{}-check.toml", program.name));
        // Tables come behind all other keys. Their example is whole.
        fs::write(&path, file + &tables)?;
        let output = Command::new(&program.path).arg("--check").arg("--config").arg(&path).env_clear().output()?;
        fs::remove_file(&path)?;
        let said = String::from_utf8_lossy(&output.stderr);
        // A complaint about one key or value names the file, or is the one that a flag gets.
        let taken = output.status.success() || !about_all && !said.contains(&*path.to_string_lossy()) && !said.contains("invalid value");
        if !taken {
            println!("{} rejects docs/{}.toml: {said}", program.name, program.name);
        }
        tally.add(Tally { passed: taken.into(), failed: (!taken).into() });
    }
    Ok(tally)
}

/// The file, with the settings of these names out of their comments.
fn without_comments(text: &str, wanted: impl Fn(&str) -> bool) -> String {
    let line = |line: &str| {
        let setting = line.strip_prefix('#').filter(|rest| rest.split_once(" = ").is_some_and(|(name, _)| wanted(name)));
        format!("{}\n", setting.unwrap_or(line))
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(name: &str, kind: Option<&str>, help: &str, default: Option<&str>) -> Setting {
        let own = |text: &str| text.to_owned();
        Setting { name: name.into(), value: kind.map(own), help: help.into(), variable: None, default: default.map(own) }
    }

    #[test]
    fn examples_come_from_the_help_or_the_value_name() {
        let shown = |name: &str, kind, help: &str, default| value(&setting(name, kind, help, default));
        assert_eq!(shown("port", Some("PORT"), "The port", Some("3000")), "3000");
        assert_eq!(shown("bound", Some("FACTOR"), "The most: 1.25 by default", None), "1.25");
        assert_eq!(shown("cluster", Some("NAME"), "The name: `shop` by default", None), "\"shop\"");
        assert_eq!(shown("workers", Some("WORKERS"), "As many as there are cores by default", None), "4");
        assert_eq!(shown("trusted", Some("NETWORKS"), "Networks, such as 10.0.0.0/8, with commas", None), "[\"10.0.0.0/8\"]");
        assert_eq!(shown("otlp", Some("URL"), "One, such as `http://h:1`; none if not given", None), "\"http://h:1\"");
        assert_eq!(shown("nats-ca", Some("FILE"), "A file", None), "\"/etc/sociable/nats-ca\"");
        assert_eq!(shown("nats-token", Some("TOKEN"), "A token", None), "\"TOKEN\"");
        assert_eq!(shown("fast", None, "Quick", None), "true");
    }

    #[test]
    fn commented_settings_can_be_uncommented() {
        let text = text("x", &[setting("check", None, "No setting", None), setting("fast", None, "Quick = not slow", None)]);
        assert!(text.ends_with("\n\n# Quick = not slow\n#fast = true\n") && !text.contains("No setting"), "{text}");
        assert_eq!(without_comments(&text, |_| false), text);
        assert_eq!(without_comments(&text, |name| name == "fast"), text.replace("#fast", "fast"));
    }
}
