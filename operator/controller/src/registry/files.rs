//! Files of the configuration that may be replaced while the operator runs: certificates, keys, docker configurations.
//!
//! Mounted Secrets are replaced by a new link, so a file is read again when its size, its inode or its time has changed.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;

/// No file of a configuration is larger; a bundle of all public authorities has 220 KiB.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Why a file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{path}: {words}")]
    Read {
        /// Which one.
        path: String,
        /// The system's words.
        words: String,
    },
    /// It is too large to be what it should be.
    #[error("{path}: more than {MAX_FILE_BYTES} bytes")]
    TooLarge {
        /// Which one.
        path: String,
    },
    /// It was read, and is not what it should be.
    #[error("{path}: expected {expected}, observed {words}")]
    Content {
        /// Which one.
        path: String,
        /// What it should be.
        expected: &'static str,
        /// What is wrong with it; never its content.
        words: String,
    },
}

/// What tells whether a file is still the same.
type Stamp = Vec<(u64, u64, i64, i64)>;

type Made<T> = Option<(Stamp, Result<Arc<T>, FileError>)>;

/// Something made from files, made again when they change.
pub(super) struct FromFiles<T> {
    paths: Vec<PathBuf>,
    made: Mutex<Made<T>>,
}

impl<T> FromFiles<T> {
    pub(super) fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths, made: Mutex::default() }
    }

    /// The newest; `make` gets the files' contents in order.
    pub(super) fn get(
        &self,
        make: impl FnOnce(&[Vec<u8>]) -> Result<T, FileError>,
    ) -> Result<Arc<T>, FileError> {
        let stamp = self.paths.iter().map(stamp).collect::<Result<Stamp, FileError>>()?;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, result)) = made.as_ref()
            && *known == stamp
        {
            return result.clone();
        }
        let contents = self.paths.iter().map(read).collect::<Result<Vec<_>, FileError>>()?;
        let result = make(&contents).map(Arc::new);
        *made = Some((stamp, result.clone()));
        result
    }
}

fn fault(path: &Path) -> impl Fn(std::io::Error) -> FileError {
    let path = path.display().to_string();
    move |error| FileError::Read { path: path.clone(), words: error.to_string() }
}

fn stamp(path: &PathBuf) -> Result<(u64, u64, i64, i64), FileError> {
    let found = std::fs::metadata(path).map_err(fault(path))?;
    if MAX_FILE_BYTES < found.len() {
        return Err(FileError::TooLarge { path: path.display().to_string() });
    }
    Ok((found.len(), found.ino(), found.mtime(), found.mtime_nsec()))
}

fn read(path: &PathBuf) -> Result<Vec<u8>, FileError> {
    std::fs::read(path).map_err(fault(path))
}
