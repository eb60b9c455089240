//! `cargo xtask test`: the parts and their order.

use clap::ValueEnum;

use crate::report::Report;
use crate::{backends, bench, clients, js, k8s, reference, rust, starters, suites, tools};

/// A part of the tests that can be run alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Unit, property, integration and doc tests.
    Rust,
    /// The starters in `examples/`.
    Starters,
    /// Each scenario of the benchmarks for two seconds.
    Bench,
    /// The real JavaScript client against our server.
    Js,
    /// The Python client against our server.
    Python,
    /// Backends in Python, PHP, Node.js and shell, with webhooks and the API, and the Python starter.
    Backends,
    /// The API of a node, compared with its OpenAPI document.
    Openapi,
    /// The client of the crate `rust_socketio` against our server.
    RustSocketio,
    /// Metrics, alerts and the dashboard in a real Prometheus.
    Monitoring,
    /// Nodes and NATS servers that are killed, links that are cut.
    Faults,
    /// Clients on bad networks.
    Jitter,
    /// Attacks that take long. They run only if they are asked for.
    Hostile,
    /// The node's page and the official client in Chromium, Firefox and WebKit.
    Browser,
    /// The reference of the settings, compared with the programs.
    Reference,
    /// The manifests for Kubernetes: rendered and checked, without starting anything.
    Kubernetes,
    /// The acceptance cases that lie beside the repository.
    Acceptance,
    /// The suites of the Socket.IO repository.
    Official,
}

/// Runs these parts; none means all.
pub(crate) fn run(report: &mut Report, only: &[Part]) {
    let wanted = |part| only.is_empty() || only.contains(&part);

    if wanted(Part::Rust) {
        rust::test(report);
    }
    if wanted(Part::Starters) {
        starters::test(report);
    }
    if wanted(Part::Kubernetes) {
        k8s::manifests(report);
    }
    if !Part::value_variants().iter().any(|&part| ![Part::Rust, Part::Starters, Part::Kubernetes].contains(&part) && wanted(part)) {
        return;
    }

    // The following parts run our programs.
    if !rust::build_programs(report) {
        report.skip("clients and suites", "the programs under test do not compile");
        return;
    }
    if wanted(Part::Reference) {
        reference::check(report);
    }
    if wanted(Part::Bench) {
        bench::smoke(report);
    }
    if wanted(Part::Python) {
        clients::python(report);
    }
    if wanted(Part::Openapi) {
        clients::openapi(report);
    }
    if wanted(Part::RustSocketio) {
        clients::rust_socketio(report);
    }
    let in_javascript = [
        Part::Js,
        Part::Backends,
        Part::Monitoring,
        Part::Faults,
        Part::Jitter,
        Part::Hostile,
        Part::Browser,
        Part::Acceptance,
        Part::Official,
    ];
    if !in_javascript.into_iter().any(wanted) {
        return;
    }
    if let Err(why) = tools::ensure_node() {
        report.skip("all JavaScript suites", &why);
        return;
    }
    if [Part::Js, Part::Backends, Part::Monitoring, Part::Faults, Part::Jitter, Part::Hostile, Part::Browser].into_iter().any(wanted)
        && js::install(report)
    {
        if wanted(Part::Js) {
            js::differential(report);
            js::interop(report);
            js::emitters(report);
            js::traces(report);
            js::balancer(report);
            js::proxies(report);
        }
        if wanted(Part::Backends) {
            backends::test(report);
        }
        if wanted(Part::Monitoring) {
            js::monitoring(report);
        }
        if wanted(Part::Faults) {
            js::faults(report);
        }
        if wanted(Part::Jitter) {
            js::jitter(report, None, None);
        }
        if only.contains(&Part::Hostile) {
            js::hostile(report);
        }
        if wanted(Part::Browser) {
            js::browsers(report);
            js::admin_ui(report);
        }
    }
    if wanted(Part::Official) {
        js::engine_client(report);
    }
    if wanted(Part::Acceptance) || wanted(Part::Official) {
        suites::run(report, wanted(Part::Acceptance), wanted(Part::Official));
    }
}

/// Puts clients on bad networks for so many minutes, twice: with all nodes, and with one that is killed.
pub(crate) fn jitter(report: &mut Report, minutes: u32, seed: Option<u32>) {
    if !rust::build_programs(report) {
        return report.skip("clients on bad networks", "the programs under test do not compile");
    }
    match tools::ensure_node() {
        Ok(_) if js::install(report) => js::jitter(report, Some(minutes), seed),
        Ok(_) => {}
        Err(why) => report.skip("clients on bad networks", &why),
    }
}
