//! Repeated fits that are not all done.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::container::{damaged, unwritable, Container};
use super::files;
use super::upgrade::with_first_criterion;
use super::Fingerprint;
use crate::model::Settings;
use crate::{Error, Result};

/// Version of the form. In the first there was one criterion.
const FORMAT: u32 = 2;
const FILE: &str = "scscore.safetensors";
const CONNECTIONS: &str = "connections";

/// Connections of the genes after the fits that are done, and what these were made with.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreCheckpoint {
    /// The fits' settings; the seed is that from which the fits' own are drawn.
    pub settings: Settings,
    /// Tells the counts from others.
    pub fingerprint: Fingerprint,
    /// One value per gene for each fit that is done.
    pub connections: Vec<Vec<f64>>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    score_checkpoint: u32,
    settings: Settings,
    fingerprint: Fingerprint,
}

impl ScoreCheckpoint {
    /// Where it lies in a folder.
    pub fn path(folder: &Path) -> PathBuf {
        folder.join(FILE)
    }

    /// Writes it into a folder; at any moment the file there is whole.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let header = Header {
            score_checkpoint: FORMAT,
            settings: self.settings.clone(),
            fingerprint: self.fingerprint.clone(),
        };
        let mut container = Container {
            header: serde_json::to_string(&header).map_err(unwritable)?,
            arrays: BTreeMap::new(),
        };
        let n_genes = self.connections.first().map_or(0, Vec::len);
        let shape = [self.connections.len(), n_genes];
        container.put(CONNECTIONS.into(), &shape, &self.connections.concat());
        files::write_whole(&Self::path(folder), &container.to_bytes()?)
    }

    /// Reads it from a folder, `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Model`] when it is damaged or of a newer version.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let Some(bytes) = files::read(&Self::path(folder))? else {
            return Ok(None);
        };
        let path = Self::path(folder);
        let known = Self::from_bytes(&bytes).map_err(|e| match e {
            Error::Model(message) => Error::Model(format!(
                "The checkpoint '{}' cannot be used: {message}\nGive another checkpoint folder.",
                path.display()
            )),
            other => other,
        });
        known.map(Some)
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let container = Container::from_bytes(bytes)?;
        let mut value: Value = serde_json::from_str(&container.header).map_err(damaged)?;
        let format = value.get("score_checkpoint").and_then(Value::as_u64);
        match (format, value.as_object_mut()) {
            (Some(1), Some(fields)) => with_first_criterion(fields),
            (Some(format), _) if format == u64::from(FORMAT) => {}
            _ => {
                let format = format.map_or("no format".into(), |f| format!("format {f}"));
                return Err(Error::Model(format!(
                    "it has {format}, this version reads 1 to {FORMAT}"
                )));
            }
        }
        let header: Header = serde_json::from_value(value).map_err(damaged)?;
        let array = container.array(CONNECTIONS)?;
        let values = array.numbers::<f64>()?;
        let n_genes = array.shape.get(1).copied().unwrap_or(0).max(1);
        Ok(ScoreCheckpoint {
            settings: header.settings,
            fingerprint: header.fingerprint,
            connections: values.chunks_exact(n_genes).map(<[f64]>::to_vec).collect(),
        })
    }

    /// Whether its fits are of these counts and made with these settings; threads and device do not matter.
    ///
    /// # Errors
    /// [`Error::Argument`] saying what differs.
    pub fn check(&self, settings: &Settings, fingerprint: &Fingerprint) -> Result<()> {
        self.fingerprint.check(fingerprint)?;
        let fields = |s: &Settings| serde_json::to_value(s).map_err(unwritable);
        let (mine, theirs) = (fields(&self.settings)?, fields(settings)?);
        let names = mine.as_object().into_iter().flatten();
        let mut differ = names.filter(|(name, value)| {
            *name != "device" && *name != "threads" && theirs.get(name) != Some(*value)
        });
        match differ.next() {
            None => Ok(()),
            Some((name, value)) => Err(Error::Argument(format!(
                "The checkpoint was made with {name} = {}, not {}.\nGive the same settings, or another checkpoint folder.",
                as_in_r(Some(value)),
                as_in_r(theirs.get(name))
            ))),
        }
    }
}

/// A setting as R writes it.
fn as_in_r(value: Option<&serde_json::Value>) -> String {
    match value {
        None | Some(serde_json::Value::Null) => "NULL".into(),
        Some(serde_json::Value::Bool(value)) => value.to_string().to_uppercase(),
        Some(value) => value.to_string(),
    }
}
