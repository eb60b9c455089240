//! The checks of webhooks, with the place of a fault in the file.

use sociable_gateway::webhooks::SettingsFault;
use sociable_program::settings::{FileError, Tables as File};

use crate::tables::{NamespaceTable, Tables};

/// Checks the settings of all webhooks, and the files with secrets.
///
/// # Errors
///
/// A setting cannot be used.
pub(crate) fn check(file: &File<Tables>) -> Result<(), FileError> {
    let settings = &file.webhooks;
    let fault = |fault: SettingsFault| file.fault_of(&["webhooks", fault.key()], &fault);
    settings.check().map_err(fault)?;
    settings.read_secrets().map(drop).map_err(fault)
}

/// Checks the webhooks of a table of a namespace.
///
/// # Errors
///
/// A webhook cannot be used.
pub(crate) fn check_table(file: &File<Tables>, name: &str, table: &NamespaceTable) -> Result<(), FileError> {
    let each = table.each_hook();
    each.into_iter()
        .try_for_each(|(path, hook)| hook.check().map_err(|fault| file.fault_of(&[&["namespaces", name], &*path].concat(), fault)))
}
