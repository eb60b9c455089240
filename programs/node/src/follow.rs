//! Files that the node reads again when they change.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// The time between two looks at a file.
const LOOK: Duration = Duration::from_secs(1);

/// Calls `changed` whenever a file has another text, or can't be read any more. The text at the first look is known already.
pub(crate) async fn follow<E>(
    path: PathBuf,
    read: impl Fn(&Path) -> Result<String, E> + Clone + Send + 'static,
    mut changed: impl FnMut(&Path, Result<String, String>),
) where
    E: ToString + Send + 'static,
{
    let mut last = None;
    loop {
        let (file, read) = (path.clone(), read.clone());
        // A disk that hangs stops this task alone.
        let text = tokio::task::spawn_blocking(move || read(&file).map_err(|error| error.to_string())).await;
        let text = text.unwrap_or_else(|error| Err(error.to_string()));
        if last.as_ref().is_some_and(|last| *last != text) {
            changed(&path, text.clone());
        }
        last = Some(text);
        tokio::time::sleep(LOOK).await;
    }
}
