//! Files that are whole or not there.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::{Error, Result};

/// Writes a file beside its place and then puts it there: at any moment the old file or the new one is whole.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    // Other processes may write the same file.
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    });
    written.map_err(|e| {
        // What could not be finished is of no use; that it cannot be removed either changes nothing.
        let _ = fs::remove_file(&beside);
        Error::File(format!("'{}' cannot be written: {e}", path.display()))
    })
}

/// Reads a file, `None` if there is none.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::File(format!(
            "'{}' cannot be read: {e}",
            path.display()
        ))),
    }
}
