//! The admin key: the configured one, or one that is made once and kept in `data_dir/admin.key`.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::StartError;
use crate::config::{Secret, Settings};

/// Random bytes of a key that is made here.
const KEY_BYTES: usize = 32;

/// The key, and the file it was written to unless it was configured.
pub fn settle(settings: &Settings) -> Result<(Secret, Option<PathBuf>), StartError> {
    if let Some(key) = &settings.admin_key {
        return Ok((key.clone(), None));
    }
    let path = settings.data_dir.join("admin.key");
    let wrong = |error: &dyn std::fmt::Display| StartError(format!("{}: {error}", path.display()));
    if let Some(key) = read(&path).map_err(|error| wrong(&error))? {
        return Ok((key, Some(path)));
    }
    let mut bytes = [0_u8; KEY_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| wrong(&error))?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| wrong(&error))?;
    writeln!(file, "{text}").and_then(|()| file.sync_all()).map_err(|error| wrong(&error))?;
    Ok((Secret::new(text), Some(path)))
}

/// The key of an earlier start, if there is one.
fn read(path: &Path) -> std::io::Result<Option<Secret>> {
    match fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => {
            Err(std::io::Error::other("the file is empty; delete it to have a new admin key made"))
        }
        Ok(text) => Ok(Some(Secret::new(text.trim()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
