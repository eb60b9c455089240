//! Records as tables in Markdown.

use std::fmt::Write;

use super::figures::{Figure, Measure, shown};
use super::record::{Record, Version};
use super::scenario::{ALL, Row, Scenario, Set};

/// Returns the tables of a record, with the facts above and below them. Only what can be written to a string is in them, so no write fails.
pub(super) fn of(set: Set, record: &Record) -> String {
    let session = &record.session;
    let mut text = String::new();
    let cores = if session.is_pinned {
        format!("the {} on core 0, the load generator on core 1", set.subject())
    } else {
        "no program bound to a core".into()
    };
    let machine = &session.machine;
    let _ = writeln!(
        text,
        "Commit {}, {} UTC. {} cores ({}), {}, loopback; {cores}. Rounds: {}, all peers in turns. A run measures {} s after {} s of warm-up.",
        session.commit, session.date, machine.cores, machine.processor, machine.system, session.rounds, session.seconds, session.warmup
    );
    if let Some(others) = record.other_cores() {
        let _ = writeln!(text, "Other programs used {:.2} cores in the median run, at most {:.2}.", others.median, others.highest);
    }
    if let Some(note) = &session.note {
        let _ = writeln!(text, "{note}");
    }
    let _ = writeln!(text, "\n{}", head(record));
    for scenario in of_set(set) {
        for line in scenario.rows {
            row(&mut text, record, scenario, line);
        }
    }
    if set == Set::Clusters {
        for scenario in of_set(set) {
            broker_row(&mut text, record, scenario);
        }
    }
    let _ = write!(text, "\n{}", faults(record));
    text
}

fn of_set(set: Set) -> impl Iterator<Item = &'static Scenario> {
    ALL.iter().filter(move |scenario| scenario.set == set)
}

fn head(record: &Record) -> String {
    let titles: Vec<_> = record.session.peers.iter().map(Version::full_title).collect();
    format!("| | {} |\n|{}", titles.join(" | "), "---|".repeat(titles.len() + 1))
}

impl Version {
    /// Returns the title with the version.
    pub(super) fn full_title(&self) -> String {
        format!("{} {}", self.title, self.version).trim_end().to_owned()
    }
}

/// Writes a row, unless no peer has a figure of it.
fn row(text: &mut String, record: &Record, scenario: &Scenario, row: &Row) {
    let cell = |peer: &Version| match row.measures {
        &[measure] => single(record, scenario, peer, measure),
        measures => {
            let figures: Vec<_> = measures.iter().map(|&measure| Some((measure, record.figure(scenario, &peer.name, measure)?))).collect();
            let shown = |figure: &Option<(Measure, Figure)>| figure.map_or("–".into(), |(measure, figure)| measure.shown(figure.median));
            figures.iter().any(Option::is_some).then(|| figures.iter().map(shown).collect::<Vec<_>>().join(" / "))
        }
    };
    cells(text, &row.title(scenario), record.session.peers.iter().map(cell).collect());
}

/// Returns a figure with its range, and the multiple of the base.
fn single(record: &Record, scenario: &Scenario, peer: &Version, measure: Measure) -> Option<String> {
    let figure = record.figure(scenario, &peer.name, measure)?;
    let range = format!("{} ({}–{})", measure.shown(figure.median), measure.shown(figure.lowest), measure.shown(figure.highest));
    // A floor that takes no memory makes no ratio.
    let ratio = record.ratio(scenario.set, scenario, &peer.name, measure).filter(|_| measure == Measure::Cpu);
    Some(ratio.map_or(range.clone(), |ratio| format!("{range} **{ratio:.2}**")))
}

fn broker_row(text: &mut String, record: &Record, scenario: &Scenario) {
    let cell = |peer: &Version| {
        let figure = record.figure_of(scenario, &peer.name, Measure::Cpu, "broker")?;
        Some(format!("{} ({}–{})", shown(figure.median), shown(figure.lowest), shown(figure.highest)))
    };
    cells(text, &format!("the broker: {}, µs a {}", scenario.title, scenario.per), record.session.peers.iter().map(cell).collect());
}

fn cells(text: &mut String, title: &str, cells: Vec<Option<String>>) {
    if cells.iter().any(Option::is_some) {
        let cells: Vec<_> = cells.into_iter().map(|cell| cell.unwrap_or_else(|| "–".into())).collect();
        let _ = writeln!(text, "| {title} | {} |", cells.join(" | "));
    }
}

/// Returns a sentence for each kind of fault.
fn faults(record: &Record) -> String {
    let mut text = String::new();
    for peer in &record.session.peers {
        let runs = || record.runs.iter().filter(|run| run.peer == peer.name);
        let (faults, disorder): (u64, u64) = (runs().map(|run| run.figures.faults()).sum(), runs().map(|run| run.figures.disorder).sum());
        if faults > 0 {
            let _ = writeln!(text, "{} lost, doubled or changed {} messages.", peer.title, shown(faults as f64));
        }
        if disorder > 0 {
            let _ = writeln!(text, "{} delivered {} messages out of order.", peer.title, shown(disorder as f64));
        }
    }
    if record.runs.iter().all(|run| run.figures.faults() == 0) {
        let _ = writeln!(text, "No message was lost, doubled or changed.");
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bench::machine::Machine;
    use crate::bench::record::{Figures, Run, Session};

    /// A record of two rounds: the first peer takes 1 µs and 3 µs, the floor 1 µs.
    pub(in crate::bench) fn record() -> Record {
        let peer = |name: &str, version: &str| Version { name: name.into(), title: name.to_uppercase(), version: version.into() };
        let run = |round, scenario: &str, peer: &str, cpu: f64, bytes: Option<f64>| {
            let cpu_us = [("server".to_owned(), cpu)].into();
            let bytes = bytes.into_iter().map(|bytes| ("server".to_owned(), bytes)).collect();
            let figures = Figures { cpu_us, bytes, other_cores: 0.5, ..Figures::default() };
            Run { round, scenario: scenario.into(), peer: peer.into(), figures }
        };
        let mut runs = vec![
            run(1, "echo", "sociable", 1.0, None),
            run(1, "echo", "floor", 1.0, None),
            run(2, "echo", "sociable", 3.0, None),
            run(2, "echo", "floor", 1.0, None),
            run(1, "polling", "sociable", 20.0, None),
            run(1, "idle", "sociable", 50.0, Some(2_211.0)),
            run(1, "idle", "floor", 20.0, Some(30.0)),
        ];
        runs[0].figures.disorder = 1_500;
        let machine = Machine { processor: "A processor".into(), cores: 2, system: "Linux 6".into() };
        let session = Session {
            date: "2026-01-02 03:04".into(),
            commit: "abc1234".into(),
            machine,
            is_pinned: true,
            rounds: 2,
            seconds: 2.0,
            warmup: 1.0,
            peers: vec![peer("sociable", "0.1.0"), peer("floor", "")],
            note: Some("The machine was shared.".into()),
        };
        Record { session, runs }
    }

    #[test]
    fn tables_have_medians_ranges_and_ratios() {
        let text = of(Set::Servers, &record());
        for line in [
            "| | SOCIABLE 0.1.0 | FLOOR |",
            "|---|---|---|",
            "| echo, µs a round trip | 2.00 (1.00–3.00) **2.00** | 1.00 (1.00–1.00) |",
            "| echo by long-polling, µs a round trip | 20.0 (20.0–20.0) | – |",
            "| connect, µs a connection | 50.0 (50.0–50.0) **2.50** | 20.0 (20.0–20.0) |",
            "| memory of an idle WebSocket, bytes | 2,211 (2,211–2,211) | 30 (30–30) |",
            "SOCIABLE delivered 1,500 messages out of order.",
            "No message was lost, doubled or changed.",
            "The machine was shared.",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}\n{text}");
        }
        assert!(!text.contains("rooms"), "a scenario that was not run has no row");
    }
}
