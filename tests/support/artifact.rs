//! Releases for hosts: a version, and whether it is ever well.

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::Digest as _;

/// A `.tar.gz` of these files.
pub fn tar_gz(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(text.len() as u64);
        tar.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

/// Lower-case hex SHA-256.
pub fn sha256(bytes: &[u8]) -> String {
    backstop::domain::hex(&sha2::Sha256::digest(bytes))
}
