//! Shared by the Rust tests.

use std::path::{Path, PathBuf};

/// The path of `<name>.h5ad` among the real data sets: in the folder `SCVAE_TEST_DATA`, by default `../shared/data`
/// beside the repository. `None`, said on stderr, where it is absent: the test then has nothing to do.
///
/// # Panics
/// When it is absent and the environment says `CI=true`: there, nothing may be left out.
pub fn test_data(name: &str) -> Option<PathBuf> {
    let folder = match std::env::var_os("SCVAE_TEST_DATA") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
    };
    let file = folder.join(format!("{name}.h5ad"));
    if file.is_file() {
        return Some(file);
    }
    let ci = std::env::var("CI").is_ok_and(|v| v == "true");
    assert!(!ci, "{} is needed when CI=true", file.display());
    eprintln!("skipped: {} is not there", file.display());
    None
}
