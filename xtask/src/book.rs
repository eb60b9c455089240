//! `cargo xtask book`: the pages of `docs/` as a book.

use std::process::Command;
use std::{env, fs};

use crate::report::Report;
use crate::{tools, workspace};

/// The release of Debian that has mdBook as a package.
const SUITE: &str = "trixie";

/// The program, and its libraries from the same release: an older release has older ones.
const PACKAGES: [&str; 3] = ["mdbook", "libc6", "libgcc-s1"];

/// Writes it to `target/book`.
pub(crate) fn build(report: &mut Report) {
    const NAME: &str = "book";
    match mdbook() {
        Ok(mut mdbook) => {
            report.check(NAME, mdbook.arg("build").current_dir(workspace::root()));
        }
        Err(why) => report.skip(NAME, &why),
    }
}

/// The mdBook of this machine, or that of Debian in a folder of its own.
fn mdbook() -> Result<Command, String> {
    if let Some(program) = tools::find("mdbook") {
        return Ok(Command::new(program));
    }
    let (loader, libraries) = match env::consts::ARCH {
        "x86_64" => ("usr/lib64/ld-linux-x86-64.so.2", "usr/lib/x86_64-linux-gnu"),
        "aarch64" => ("usr/lib/ld-linux-aarch64.so.1", "usr/lib/aarch64-linux-gnu"),
        other => return Err(format!("there is no mdbook, and none is known for {other}: cargo install mdbook")),
    };
    let folder = workspace::target().join("mdbook");
    let [program, loader, libraries] = ["usr/bin/mdbook", loader, libraries].map(|path| folder.join(PACKAGES[0]).join(path));
    if !program.is_file() || !loader.is_file() {
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        tools::unpack_packages(SUITE, &PACKAGES, &folder)?;
    }
    let mut command = Command::new(loader);
    command.arg("--library-path").arg(libraries).arg(program);
    Ok(command)
}
