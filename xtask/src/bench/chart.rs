//! The chart of the recorded runs, as SVG: a panel for each scenario, a bar for each peer.
//!
//! The same record always gives the same text. Colours follow the reader's light or dark mode.

use std::fmt::Write;

use super::figures::{Measure, shown};
use super::record::{Record, Version};
use super::scenario::{ALL, Scenario, Set};

/// The panels: a scenario of servers, a figure, and the title.
const PANELS: [(&str, Measure, &str); 8] = [
    ("echo", Measure::Cpu, "Echo, µs of CPU a round trip"),
    ("echo16", Measure::Cpu, "Echo, 16 in flight, µs of CPU a round trip"),
    ("fanout", Measure::Cpu, "Broadcast to 1,000, as fast as it goes, µs a delivery"),
    ("fanout-rate", Measure::Cpu, "Broadcast to 1,000, 20 a second, µs a delivery"),
    ("rooms", Measure::Cpu, "Broadcasts to rooms of 10, µs a delivery"),
    ("polling", Measure::Cpu, "Echo by long-polling, µs a round trip"),
    ("idle", Measure::Cpu, "Connect, µs of CPU a WebSocket"),
    ("idle", Measure::Memory, "Memory of an idle WebSocket, bytes"),
];

const COLUMNS: usize = 2;
const WIDTH: usize = 880;
const MARGIN: usize = 16;
/// The space above the first panel, and below the last.
const HEAD: usize = 80;
const FOOT: usize = 48;
const PANEL_TITLE: usize = 26;
const BAR: usize = 14;
const BAR_STEP: usize = 20;
const PANEL_GAP: usize = 22;
/// The width of a panel, of the names in it, and of its longest bar.
const PANEL: usize = (WIDTH - 2 * MARGIN) / COLUMNS;
const NAMES: usize = 112;
const LONGEST: f64 = 220.0;

const STYLE: &str = "\
  text { font: 12px system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif; fill: #1f2328; }
  .page { fill: #fff; }
  .title { font-size: 17px; font-weight: 600; }
  .panel { font-size: 12.5px; font-weight: 600; }
  .name { text-anchor: end; }
  .small { fill: #59636e; }
  .ours { fill: #0969da; }
  .other { fill: #848d97; }
  .base { fill: #c4cbd3; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .page { fill: #0d1117; }
    .small { fill: #9198a1; }
    .ours { fill: #4493f8; }
    .other { fill: #7d8590; }
    .base { fill: #484f58; }
  }
";

/// Returns the chart. Only what can be written to a string is in it, so no write fails.
pub(super) fn draw(record: &Record) -> String {
    let peers = in_order(record);
    let panel_height = PANEL_TITLE + BAR_STEP * peers.len() + PANEL_GAP;
    let rows = PANELS.len().div_ceil(COLUMNS);
    let height = HEAD + rows * panel_height + FOOT;
    let session = &record.session;
    let mut svg = String::new();
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-labelledby=\"title description\">"
    );
    let _ = writeln!(svg, "<title id=\"title\">CPU time and memory of Socket.IO servers</title>");
    let _ = writeln!(svg, "<desc id=\"description\">{}</desc>", escaped(&description(record, &peers)));
    let _ = writeln!(svg, "<style>\n{STYLE}</style>");
    let _ = writeln!(svg, "<rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\" rx=\"8\"/>");
    text(&mut svg, MARGIN, 28, "title", "Server CPU and memory: shorter is better");
    let place = if session.is_pinned { " on one core" } else { "" };
    let middle = format!("Medians; rounds: {}, all servers in turns{place}.", session.rounds);
    text(&mut svg, MARGIN, 48, "small", &middle);
    text(&mut svg, MARGIN, 64, "small", session.note.as_deref().unwrap_or_default());
    for (at, &(scenario, measure, title)) in PANELS.iter().enumerate() {
        let (x, y) = (MARGIN + at % COLUMNS * PANEL, HEAD + at / COLUMNS * panel_height);
        if let Some(scenario) = ALL.iter().find(|it| it.set == Set::Servers && it.name == scenario) {
            panel(&mut svg, record, &peers, scenario, measure, (x, y, title));
        }
    }
    let machine = &session.machine;
    let versions: Vec<_> = peers.iter().filter(|peer| !peer.version.is_empty()).map(|peer| peer.full_title()).collect();
    text(&mut svg, MARGIN, height - 28, "small", &versions.join(" · "));
    let facts =
        format!("Commit {}, {} UTC; {} cores, {}, {}.", session.commit, session.date, machine.cores, machine.processor, machine.system);
    text(&mut svg, MARGIN, height - 10, "small", &facts);
    svg.push_str("</svg>\n");
    svg
}

/// Returns the peers of the chart: those of the record, the base last.
fn in_order(record: &Record) -> Vec<&Version> {
    let (bases, mut peers): (Vec<_>, Vec<_>) = record.session.peers.iter().partition(|peer| peer.name == Set::Servers.base());
    peers.extend(bases);
    peers
}

fn panel(
    svg: &mut String,
    record: &Record,
    peers: &[&Version],
    scenario: &Scenario,
    measure: Measure,
    (x, y, title): (usize, usize, &str),
) {
    text(svg, x, y + 14, "panel", title);
    let figure = |peer: &Version| record.figure(scenario, &peer.name, measure).map(|figure| figure.median);
    let most = peers.iter().filter_map(|peer| figure(peer)).fold(0.0, f64::max);
    for (at, peer) in peers.iter().enumerate() {
        let top = y + PANEL_TITLE + at * BAR_STEP;
        let (left, base_line) = (x + NAMES + 8, top + BAR - 3);
        text(svg, x + NAMES, base_line, "name", &peer.title);
        let Some(value) = figure(peer) else {
            text(svg, left, base_line, "small", "–");
            continue;
        };
        // A bar of nothing would not be seen.
        let length = if most > 0.0 { (value / most * LONGEST).max(1.0) } else { 1.0 };
        let class = match peer.name.as_str() {
            "sociable" => "ours",
            name if name == Set::Servers.base() => "base",
            _ => "other",
        };
        let _ = writeln!(svg, "<rect class=\"{class}\" x=\"{left}\" y=\"{top}\" width=\"{length:.1}\" height=\"{BAR}\" rx=\"2\"/>");
        text(svg, left + length.ceil() as usize + 6, base_line, "value", &measure.shown(value));
    }
}

fn text(svg: &mut String, x: usize, y: usize, class: &str, text: &str) {
    let _ = writeln!(svg, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{}</text>", escaped(text));
}

/// Returns the figures of the first panel as a sentence, for those who cannot see the chart.
fn description(record: &Record, peers: &[&Version]) -> String {
    let (name, measure, title) = PANELS[0];
    let scenario = ALL.iter().find(|scenario| scenario.name == name);
    let figure = |peer: &&Version| {
        let figure = record.figure(scenario?, &peer.name, measure)?;
        Some(format!("{} {}", peer.title, shown(figure.median)))
    };
    format!("{title}: {}.", peers.iter().filter_map(figure).collect::<Vec<_>>().join(", "))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::tables::tests::record;

    #[test]
    fn chart_has_a_bar_for_each_figure() {
        let svg = draw(&record());
        // Echo, polling, connect and memory; the loop has no polling.
        assert_eq!(svg.matches("<rect").count(), 1 + 7, "the background and the bars");
        assert!(svg.contains(">2.00<") && svg.contains(">2,211<"), "{svg}");
        assert!(svg.contains(&format!("width=\"{LONGEST:.1}\"")), "the highest figure has the longest bar");
        assert_eq!(svg, draw(&record()), "the same record gives the same chart");
    }

    #[test]
    fn bars_follow_the_record() {
        let mut other = record();
        other.runs[0].figures.cpu_us.insert("server".into(), 100.0);
        assert_ne!(draw(&other), draw(&record()));
    }

    #[test]
    fn names_cannot_break_the_chart() {
        let mut record = record();
        record.session.peers[0].title = "<&>".into();
        let svg = draw(&record);
        assert!(svg.contains("&lt;&amp;&gt;") && !svg.contains("<&>"));
    }
}
