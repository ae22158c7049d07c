//! Whether what was kept was made with the settings of now.

use serde_json::Value;

use super::container::unwritable;
use crate::model::Settings;
use crate::{Error, Result};

/// Threads and device do not matter.
///
/// # Errors
/// [`Error::Argument`] saying which setting differs first.
pub(super) fn check_same_settings(known: &Settings, own: &Settings) -> Result<()> {
    let fields = |s: &Settings| serde_json::to_value(s).map_err(unwritable);
    let (known, own) = (fields(known)?, fields(own)?);
    let fields = [&known, &own].map(|settings| settings.as_object().into_iter().flatten());
    let mut names = fields.into_iter().flatten().map(|(name, _)| name);
    let differs = |name: &&String| {
        *name != "device" && *name != "threads" && known.get(name) != own.get(name)
    };
    match names.find(differs) {
        None => Ok(()),
        Some(name) => Err(Error::Argument(format!(
            "The checkpoint was made with {name} = {}, not {}.\nGive the same settings, or another checkpoint folder.",
            as_in_r(known.get(name)),
            as_in_r(own.get(name))
        ))),
    }
}

/// A setting as R writes it.
fn as_in_r(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "NULL".into(),
        Some(Value::Bool(value)) => value.to_string().to_uppercase(),
        Some(value) => value.to_string(),
    }
}
