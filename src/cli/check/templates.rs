//! `templates/notify/*.tera` beside the main file: an operator's wording of messages.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::cli::exit::{Exit, Failure};
use crate::config::problem::Problem;
use crate::notify::render::{RenderError, Renderer};

/// The folder below the configuration's.
const FOLDER: &str = "templates/notify";

/// What is wrong with the templates.
pub(super) fn check(root: &Path) -> Vec<Problem> {
    let own = match read(root) {
        Ok(own) => own,
        Err(problem) => return vec![problem],
    };
    let folder = root.join(FOLDER);
    let problem = |name: &str, error: &RenderError| {
        let file = folder.join(name).display().to_string();
        Problem::of_file(&file, error.to_string())
    };
    // One by one, so that each mistake is told.
    own.into_iter()
        .filter_map(|one| {
            let name = one.0.clone();
            Renderer::with(&[one])
                .err()
                .map(|error| problem(&name, &error))
        })
        .collect()
}

/// The templates that messages are worded with.
///
/// # Errors
/// When one can't be used.
pub(in crate::cli) fn renderer(root: &Path) -> Result<Arc<Renderer>, Failure> {
    let own = read(root).map_err(|problem| Failure::new(Exit::Findings, problem.to_string()))?;
    Renderer::with(&own)
        .map(Arc::new)
        .map_err(|error| Failure::new(Exit::Findings, error.to_string()))
}

fn read(root: &Path) -> Result<Vec<(String, String)>, Problem> {
    let folder = root.join(FOLDER);
    let problem = |path: &Path, error: &std::io::Error| {
        Problem::of_file(
            &path.display().to_string(),
            format!("can't be read: {error}"),
        )
    };
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(problem(&folder, &error)),
    };
    let mut own = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| problem(&folder, &error))?.path();
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        // ConfigMaps mount hidden folders (`..data`) beside the files.
        let is_template = path
            .extension()
            .is_some_and(|extension| extension == "tera");
        let Some(name) = name.filter(|name| is_template && !name.starts_with('.')) else {
            continue;
        };
        let text = fs::read_to_string(&path).map_err(|error| problem(&path, &error))?;
        own.push((name, text));
    }
    own.sort();
    Ok(own)
}
