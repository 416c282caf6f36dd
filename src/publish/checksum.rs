//! SHA-256 of files of any size.

use std::path::Path;

use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt as _;

use crate::domain::hex;

/// Bytes held at once.
const PIECE: usize = 256 * 1024;

/// The lower-case hex SHA-256 of a file, read piece by piece.
///
/// # Errors
/// When the file can't be read.
pub async fn sha256_of(path: &Path) -> std::io::Result<String> {
    let mut file = tokio::fs::File::open(path).await?;
    let mut digest = Sha256::new();
    let mut piece = vec![0; PIECE];
    loop {
        let read = file.read(&mut piece).await?;
        match piece.get(..read) {
            Some(bytes) if !bytes.is_empty() => digest.update(bytes),
            _ => return Ok(hex(&digest.finalize())),
        }
    }
}
