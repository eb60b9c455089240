//! `cargo xtask reference`: the settings of the programs, from their `--help`. The command writes
//! `docs/configuration.md`, and a file of settings for each program, in which every setting is a comment. It writes
//! `docs/openapi.json` too, which describes the API. Tests compare these files with the programs. Tables of a file have no flags: an example of them lies beside the program.

mod sample;
mod tables;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use crate::report::Report;
use crate::rust;
use crate::tally::Tally;
use crate::workspace;

const PAGE: &str = "docs/configuration.md";
const OPENAPI: &str = "docs/openapi.json";

const HEAD: &str = "# Configuration

This page lists all settings of the programs, as `--help` prints them. Each setting is a flag, an environment variable, and a key of the file (TOML) that
`--config` names. A flag overrides the environment, and the environment overrides the file. `--check` prints the first fault and exits. `--probe` exits with 0 if the
running process is healthy. Sample files have each setting as a comment: [sociable-node.toml](sociable-node.toml), [sociable-balancer.toml](sociable-balancer.toml).

`cargo xtask reference` writes this page.
";

/// A setting, from `--help`.
#[derive(Debug, PartialEq, Eq)]
struct Setting {
    name: String,
    /// The name of its value; a switch has none.
    value: Option<String>,
    help: String,
    variable: Option<String>,
    default: Option<String>,
}

/// A program with settings.
struct Program {
    name: &'static str,
    path: PathBuf,
    /// True if the program reads a file of settings.
    file: bool,
    /// The example of the tables of that file.
    tables: Option<&'static str>,
}

fn programs() -> [Program; 3] {
    [
        Program { name: "sociable-node", path: workspace::node_binary(), file: true, tables: Some("programs/node/tables.toml") },
        Program { name: "sociable-balancer", path: workspace::balancer_binary(), file: true, tables: None },
        Program { name: "sociable-ctl", path: workspace::ctl_binary(), file: false, tables: None },
    ]
}

impl Program {
    /// Returns the example of the tables; empty without tables.
    fn tables(&self) -> io::Result<String> {
        self.tables.map_or(Ok(String::new()), |path| fs::read_to_string(workspace::root().join(path)))
    }
}

/// Writes the files.
pub(crate) fn write(report: &mut Report) {
    if rust::build_programs(report) {
        report.step("references", || {
            let files = files()?;
            for (path, text) in &files {
                fs::write(workspace::root().join(path), text)?;
            }
            Ok(Tally { passed: files.len() as u64, failed: 0 })
        });
    }
}

/// Checks that the files match the programs, and that the programs accept the examples in the files of settings.
pub(crate) fn check(report: &mut Report) {
    report.step("references", || {
        let mut tally = Tally::default();
        for (path, text) in files()? {
            let same = fs::read_to_string(workspace::root().join(&path)).is_ok_and(|there| there == text);
            if !same {
                println!("{path} differs from the programs; run `cargo xtask reference`");
            }
            tally.add(Tally { passed: same.into(), failed: (!same).into() });
        }
        for program in programs().iter().filter(|program| program.file) {
            tally.add(sample::check(program, &read(&help(&program.path)?))?);
        }
        Ok(tally)
    });
}

/// Returns all files with their contents.
fn files() -> io::Result<Vec<(String, String)>> {
    let (mut page, mut files) = (HEAD.to_owned(), vec![]);
    for program in programs() {
        let Program { name, path, file, .. } = &program;
        let settings = read(&help(path)?);
        if settings.is_empty() {
            return Err(io::Error::other(format!("{name} --help lists no settings")));
        }
        let tables = program.tables()?;
        page += &table(name, &settings);
        page += &tables::section(name, &tables);
        if *file {
            files.push((format!("docs/{name}.toml"), sample::text(name, &settings) + &tables::commented(&tables)));
        }
    }
    files.push((PAGE.to_owned(), page));
    files.push((OPENAPI.to_owned(), openapi()?));
    Ok(files)
}

/// Returns the description of the API.
fn openapi() -> io::Result<String> {
    let output = Command::new(workspace::example("openapi")).output()?;
    String::from_utf8(output.stdout).map_err(io::Error::other)
}

fn help(program: &Path) -> io::Result<String> {
    // The help must not depend on this environment.
    let output = Command::new(program).arg("--help").env_clear().output()?;
    String::from_utf8(output.stdout).map_err(io::Error::other)
}

/// Reads the options of a help text.
fn read(help: &str) -> Vec<Setting> {
    let mut options: Vec<(String, String)> = vec![];
    for line in help.lines().skip_while(|line| *line != "Options:").skip(1) {
        let text = line.trim();
        if let Some(at) = text.find("--").filter(|at| *at == 0 || text.starts_with('-')) {
            let (flag, rest) = text[at..].split_once("  ").unwrap_or((&text[at..], ""));
            options.push((flag.to_owned(), rest.trim().to_owned()));
        } else if let Some((_, rest)) = options.last_mut() {
            if !rest.is_empty() && !text.is_empty() {
                rest.push(' ');
            }
            rest.push_str(text);
        }
    }
    options.into_iter().map(|(flag, rest)| setting(&flag, &rest)).collect()
}

fn setting(flag: &str, rest: &str) -> Setting {
    let (name, value) = flag.split_once(' ').map_or((flag, None), |(name, value)| (name, Some(value)));
    // A value that may be left out is that of a switch.
    let value = value.filter(|value| !value.starts_with('[')).map(|value| value.trim_matches(['<', '>', '.']).to_owned());
    let mut help = rest.to_owned();
    let mut take = |what: &str| {
        let at = help.find(&format!(" [{what}: "))?;
        let end = at + help[at..].find(']')?;
        let inner = help[at + what.len() + 4..end].to_owned();
        help.replace_range(at..=end, "");
        Some(inner)
    };
    let variable = take("env").map(|text| text.trim_end_matches('=').to_owned());
    let default = take("default");
    take("possible values").into_iter().for_each(|values| write!(help, ": {values}").unwrap_or_default());
    Setting { name: name.trim_start_matches('-').to_owned(), value, help: help.trim().to_owned(), variable, default }
}

fn table(program: &str, settings: &[Setting]) -> String {
    let mut table = format!("\n## {program}\n\n| flag | variable | default | |\n|---|---|---|---|\n");
    for Setting { name, value, help, variable, default } in settings {
        let value = value.as_ref().map_or_else(String::new, |value| format!(" {value}"));
        let code = |text: &Option<String>| text.as_ref().map_or_else(String::new, |text| format!("`{text}`"));
        writeln!(table, "| `--{name}{value}` | {} | {} | {} |", code(variable), code(default), help.replace('|', "\\|"))
            .unwrap_or_default();
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_text_is_read_in_both_forms() {
        let help = "Usage: x\n\nOptions:\n      --port <PORT>  The port | really [env: X_PORT=] [default: 3000]\n      --log <L>      How [possible values: text, json]\n  -h, --help         Print help\n";
        let settings = read(help);
        let port = Setting {
            name: "port".into(),
            value: Some("PORT".into()),
            help: "The port | really".into(),
            variable: Some("X_PORT".into()),
            default: Some("3000".into()),
        };
        assert_eq!((&settings[0], &*settings[1].help, &*settings[2].name), (&port, "How: text, json", "help"));
        let help = "Options:\n      --nodes <NODES>\n          Nodes, with commas [env: X_NODES=]\n\n      --secret <S>\n          Hidden [env: X_SECRET]\n      --fast [<FAST>]\n          Quick\n";
        let settings = read(help);
        assert_eq!((&*settings[0].help, settings[0].variable.as_deref()), ("Nodes, with commas", Some("X_NODES")));
        assert_eq!((settings[1].variable.as_deref(), &settings[2].value), (Some("X_SECRET"), &None));
        assert!(table("x", &read("Options:\n  --a  b | c\n")).contains("| b \\| c |"));
    }
}
