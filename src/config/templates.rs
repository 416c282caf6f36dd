//! `templates/notify/*.tera` beside the main file: an operator's wording of messages, as text.

use std::path::Path;

use super::load::read_ending;
use super::problem::Problem;

/// The folder below the configuration's.
pub const FOLDER: &str = "templates/notify";

/// File name and text of each template, by name.
///
/// # Errors
/// When the folder or a file is there and can't be read.
pub fn read(root: &Path) -> Result<Vec<(String, String)>, Vec<Problem>> {
    let files = read_ending(&root.join(FOLDER), &["tera"])?;
    let named = |(path, text): (String, String)| {
        let name = Path::new(&path).file_name()?;
        Some((name.to_string_lossy().into_owned(), text))
    };
    Ok(files.into_iter().filter_map(named).collect())
}
