//! The project's chores as one program: `cargo xtask --help` lists them.
//!
//! Layout, in reading order:
//! - `test`: the parts and their order
//! - `rust`, `js`, `clients`, `backends`, `suites`: the parts
//! - `k8s`: the manifests for Kubernetes
//! - `k8s_cluster`: a real Kubernetes, and the manifests on it
//! - `starters`: the projects in `examples/`
//! - `ci`: the checks, and the tests beside them
//! - `features`: each feature of a package alone
//! - `deny`: the rules for dependencies
//! - `tidy`: rules that no compiler checks
//! - `tree`: the packages that the library pulls
//! - `reference`: the page and the files of settings, from `--help`, and the description of the API
//! - `book`: the documentation as a book
//! - `fuzz`: generated inputs for the decoders
//! - `bench`: servers measured side by side, the tables and the chart
//! - `package`: the packages, and a project that is built on them
//! - `release`: checks, then publication
//! - `compose`: the images and the cluster of docker-compose.yml
//! - `report`: runs commands as steps, counts their tests, prints the summary
//! - `tools`: finds or installs Node, browsers, Python and NATS servers
//! - `python`: packages and programs of PyPI
//! - `workspace`: paths
//! - `packages`: the packages of the workspace

mod backends;
mod bench;
mod book;
mod ci;
mod clients;
mod compose;
mod deny;
mod features;
mod fuzz;
mod js;
mod k8s;
mod k8s_cluster;
mod package;
mod packages;
mod python;
mod reference;
mod release;
mod report;
mod rust;
mod starters;
mod suites;
mod tally;
mod test;
mod tidy;
mod tools;
mod tree;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::report::Report;
use crate::test::Part;

/// Chores of the project.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Install what is missing and run all tests.
    Test {
        /// Run this part alone; may be given more than once.
        #[arg(long, value_enum)]
        only: Vec<Part>,
    },
    /// All checks and all tests: what must pass before a change is taken.
    Ci,
    /// Formatting, lints, documentation, tidiness, licences and packages: all checks that need no test.
    Check,
    /// Check the project's rules that no compiler checks.
    Tidy,
    /// Write the references: docs/configuration.md and a file of settings for each program from `--help`, and
    /// docs/openapi.json.
    Reference,
    /// Measure Sociable and its peers side by side, and print the tables of bench/RESULTS.md.
    Bench(bench::Options),
    /// Write the tables of bench/RESULTS.md and the chart docs/speed.svg from the recorded runs.
    Chart,
    /// Write docs/ as a book to target/book, by mdBook.
    Book,
    /// Lint every feature of every package alone.
    Features,
    /// Check licences, versions and sources of dependencies by deny.toml.
    Deny,
    /// Pack every crate as the registry would get it, and run the README's quick start on the packages alone.
    PackageTest,
    /// Check versions, changelog, address and packages, then publish the packages in their order.
    Release {
        /// Check only. The address, the date and open changes are reported.
        #[arg(long)]
        dry_run: bool,
    },
    /// Render and check the manifests for Kubernetes, and stop real processes by them.
    K8sTest,
    /// A real Kubernetes of three nodes on this machine, with the overlays of `k8s/` on it. Needs root.
    K8sCluster {
        #[command(subcommand)]
        action: k8s_cluster::Action,
    },
    /// Cut the connections of real clients repeatedly, and check that each gets every message once.
    Jitter {
        /// Minutes of each of two runs: one with all nodes, one in which a node is killed.
        #[arg(long, default_value_t = 10)]
        minutes: u32,
        /// Repeats the cuts of an earlier run, which printed it.
        #[arg(long)]
        seed: Option<u32>,
    },
    /// Generate inputs for every decoder, and check its properties. Needs a nightly compiler and cargo-fuzz.
    Fuzz {
        /// Seconds of each target's run.
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
    /// Build the images, start docker-compose.yml by docker-compose 1.29 and by Compose v2, and kill its parts under
    /// real clients; then the starters of `examples/`. Needs a Docker engine, or root to install and start one. Images stay, all else is removed.
    ComposeTest {
        /// Use sociable-node, sociable-balancer and starter from this folder, instead of compiling them in the images.
        #[arg(long)]
        programs: Option<PathBuf>,
        /// Run this part alone.
        #[arg(long, value_enum)]
        only: Vec<compose::Part>,
    },
}

fn main() -> ExitCode {
    let mut report = Report::default();
    match Cli::parse().chore {
        Chore::Test { only } => test::run(&mut report, &only),
        Chore::Ci => ci::run(&mut report),
        Chore::Check => ci::check(&mut report),
        Chore::Tidy => tidy::run(&mut report),
        Chore::Reference => reference::write(&mut report),
        Chore::Bench(options) => bench::run(&mut report, &options),
        Chore::Chart => bench::write_pages(&mut report),
        Chore::Book => book::build(&mut report),
        Chore::Features => features::run(&mut report),
        Chore::Deny => deny::run(&mut report),
        Chore::PackageTest => package::run(&mut report),
        Chore::Release { dry_run } => release::run(&mut report, dry_run),
        Chore::K8sTest => k8s::run(&mut report),
        Chore::K8sCluster { action } => k8s_cluster::run(&mut report, &action),
        Chore::Jitter { minutes, seed } => test::jitter(&mut report, minutes, seed),
        Chore::Fuzz { seconds } => fuzz::run(&mut report, seconds),
        Chore::ComposeTest { programs, only } => compose::run(&mut report, programs.as_deref(), &only),
    }
    report.print();
    if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
