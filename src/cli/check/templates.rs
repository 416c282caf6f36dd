//! An operator's wording of messages, tried with everything it may have to word.

use std::path::Path;
use std::sync::Arc;

use super::finding::{Finding, Severity};
use crate::cli::exit::{Exit, Failure};
use crate::config::problem::{Problem, listed};
use crate::config::templates::{FOLDER, read};
use crate::notify::render::{Renderer, examine};

/// What is wrong with the templates.
pub(super) fn check(root: &Path) -> Vec<Finding> {
    let own = match read(root) {
        Ok(own) => own,
        Err(problems) => return problems.into_iter().map(Finding::error).collect(),
    };
    let folder = root.join(FOLDER);
    own.iter()
        .filter_map(|(name, source)| {
            let file = folder.join(name).display().to_string();
            match examine(name, source) {
                Err(error) => Some(Finding::error(Problem::of_file(&file, error.to_string()))),
                Ok(found) => {
                    // The first shows what is wrong; the others would repeat it.
                    let wrong = found.iter().find(|one| !one.fault.is_tolerable());
                    let severity = match wrong {
                        Some(_) => Severity::Error,
                        None => Severity::Warning,
                    };
                    let shown = wrong.or(found.first())?;
                    Some(Finding::of(severity, &file, shown.to_string()))
                }
            }
        })
        .collect()
}

/// The templates that messages are worded with.
///
/// # Errors
/// When one can't be used.
pub(in crate::cli) fn renderer(root: &Path) -> Result<Arc<Renderer>, Failure> {
    let own = read(root).map_err(|problems| Failure::new(Exit::Findings, listed(&problems)))?;
    Renderer::with(&own)
        .map(Arc::new)
        .map_err(|error| Failure::new(Exit::Findings, error.to_string()))
}
