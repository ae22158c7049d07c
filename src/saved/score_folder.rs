//! Repeated fits that are done, a file each: several processes can add to one folder.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::container::{damaged, unwritable, Container};
use super::files;
use super::same_settings::check_same_settings;
use super::Fingerprint;
use crate::model::Settings;
use crate::results::{Evidence, ScoredFit};
use crate::{Error, Result};

/// Version of the form. The first two had all fits in one file, and of each no more than the connections.
const FORMAT: u32 = 3;
const CONNECTIONS: &str = "connections";
const PREFIX: &str = "scscore-";
const SUFFIX: &str = ".safetensors";

/// A folder of fits that were all made of the same counts and with the same settings.
#[derive(Debug, Clone)]
pub struct ScoreFolder {
    /// Where it is.
    pub path: PathBuf,
    /// What the fits are made with.
    pub origin: ScoreOrigin,
}

/// What repeated fits are made with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreOrigin {
    /// The settings; the seed is that from which the fits' own are drawn.
    pub settings: Settings,
    /// Tells the counts from others.
    pub fingerprint: Fingerprint,
    /// Null copies of genes that are trained beside the genes.
    pub n_copies: usize,
}

#[derive(Serialize, Deserialize)]
struct Header {
    score_checkpoint: u32,
    number: usize,
    #[serde(flatten)]
    origin: ScoreOrigin,
}

impl ScoreFolder {
    /// The file of a fit, numbered from 0.
    pub fn file(folder: &Path, number: usize) -> PathBuf {
        folder.join(format!("{PREFIX}{:04}{SUFFIX}", number + 1))
    }

    /// Writes a fit; at any moment its file is whole.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be written.
    pub fn write(&self, fit: &ScoredFit) -> Result<()> {
        let header = Header {
            score_checkpoint: FORMAT,
            number: fit.number,
            origin: self.origin.clone(),
        };
        let mut container = Container {
            header: serde_json::to_string(&header).map_err(unwritable)?,
            arrays: BTreeMap::new(),
        };
        let connections = (CONNECTIONS, &fit.connections[..]);
        for (name, values) in fit.evidence.columns().into_iter().chain([connections]) {
            container.put(name.into(), &[values.len()], values);
        }
        let bytes = container.to_bytes()?;
        files::write_whole(&Self::file(&self.path, fit.number), &bytes)
    }

    /// Reads a fit, `None` if it is not there.
    ///
    /// # Errors
    /// [`Error::Model`] when it is damaged or of another version, [`Error::Argument`] when it was made of other counts or
    /// with other settings.
    pub fn read(&self, number: usize) -> Result<Option<ScoredFit>> {
        let Some((header, container)) = opened(&Self::file(&self.path, number))? else {
            return Ok(None);
        };
        self.check(&header.origin)?;
        if header.number != number {
            let file = Self::file(&self.path, number);
            return Err(Error::Model(format!(
                "The checkpoint '{}' cannot be used: it is fit {} under another name\nRemove the file, and the fit is made \
                 again.",
                file.display(),
                header.number + 1
            )));
        }
        let n_genes: usize = container.array(CONNECTIONS)?.shape.iter().product();
        let column = |name: &str| {
            let values = container.array(name)?.numbers::<f64>()?;
            match values.len() == n_genes {
                true => Ok(values),
                false => Err(damaged("its columns are not equally long")),
            }
        };
        Ok(Some(ScoredFit {
            number,
            connections: column(CONNECTIONS)?,
            evidence: Evidence::from_columns(column)?,
        }))
    }

    /// The seed of the fits in a folder, `None` if there is none.
    ///
    /// # Errors
    /// As [`ScoreFolder::read`].
    pub fn seed(folder: &Path) -> Result<Option<u64>> {
        let names = folder.read_dir().into_iter().flatten().flatten();
        let fits = names.map(|entry| entry.path()).filter(|path| {
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or("");
            name.starts_with(PREFIX) && name.ends_with(SUFFIX)
        });
        let first = fits.min().map(|path| opened(&path)).transpose()?.flatten();
        Ok(first.map(|(header, _)| header.origin.settings.seed))
    }

    fn check(&self, known: &ScoreOrigin) -> Result<()> {
        known.fingerprint.check(&self.origin.fingerprint)?;
        check_same_settings(&known.settings, &self.origin.settings)?;
        if known.n_copies != self.origin.n_copies {
            return Err(Error::Argument(format!(
                "The checkpoint was made with {} null copies of genes, not {}.\nGive the same null, or another checkpoint \
                 folder.",
                known.n_copies, self.origin.n_copies
            )));
        }
        Ok(())
    }
}

/// What is in a file, `None` if there is none.
fn opened(path: &Path) -> Result<Option<(Header, Container)>> {
    let Some(bytes) = files::read(path)? else {
        return Ok(None);
    };
    let parts = parsed(&bytes).map_err(|e| match e {
        Error::Model(message) => Error::Model(format!(
            "The checkpoint '{}' cannot be used: {message}\nGive another checkpoint folder.",
            path.display()
        )),
        other => other,
    });
    parts.map(Some)
}

fn parsed(bytes: &[u8]) -> Result<(Header, Container)> {
    let container = Container::from_bytes(bytes)?;
    let value: Value = serde_json::from_str(&container.header).map_err(damaged)?;
    let format = value.get("score_checkpoint").and_then(Value::as_u64);
    if format != Some(u64::from(FORMAT)) {
        let format = format.map_or("no format".into(), |f| format!("format {f}"));
        return Err(Error::Model(format!(
            "it has {format}, this version reads {FORMAT}"
        )));
    }
    let header = serde_json::from_value(value).map_err(damaged)?;
    Ok((header, container))
}
