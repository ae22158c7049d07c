//! Writes the R functions that call the bridge to the file named, `R/extendr-wrappers.R` by default.

use std::error::Error;

const HEADER: &str = "\
# Generated from src/bridge by `make docs`: do not edit by hand.

#' @useDynLib scVAE, .registration = TRUE
#' @keywords internal
NULL

";

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "R/extendr-wrappers.R".to_owned());
    let functions = scvae::bridge::get_scvae_metadata().make_r_wrappers(true, "scVAE")?;
    std::fs::write(path, format!("{HEADER}{}\n", functions.trim_end()))?;
    Ok(())
}
