//! Messages as files: bodies to the byte, the chart, and a page to look at.

use std::path::{Path, PathBuf};

use super::Message;
use crate::cli::exit::Failure;
use crate::notify::render::escape::{Dialect, escape};
use crate::notify::render::page;

/// Writes `messages` into `folder`, a folder each, and names the files.
///
/// # Errors
/// Which file can't be written.
pub(super) fn write(
    folder: &Path,
    kind: &str,
    messages: &[Message],
) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for (n, message) in (1..).zip(messages) {
        let folder = folder.join(format!("message-{n}"));
        let mut put = |name: String, bytes: &[u8]| {
            let path = folder.join(name);
            put(&path, bytes)?;
            files.push(path);
            Ok::<(), Failure>(())
        };
        let ending = if kind == "email" { "eml" } else { "json" };
        for (part, body) in (1..).zip(&message.bodies) {
            put(format!("part-{part}.{ending}"), body.text.as_bytes())?;
        }
        if let Some(png) = &message.png {
            put(page::CHART.to_owned(), png)?;
        }
        put("preview.html".to_owned(), html(kind, message).as_bytes())?;
    }
    Ok(files)
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(path, bytes))
        .map_err(|error| Failure::usage(format!("`{}` can't be written: {error}", path.display())))
}

/// A page as the channel's reader sees the message, roughly; mail is shown as it is.
fn html(kind: &str, message: &Message) -> String {
    let parts: Vec<&str> = message
        .bodies
        .iter()
        .map(|body| body.page.as_str())
        .collect();
    if kind == "email" {
        return parts.concat();
    }
    let bubbles = parts.join("</section>\n<section>\n");
    let title = escape(Dialect::Html, &message.group);
    format!(
        "<!doctype html>\n<html><head><meta charset=\"utf-8\"><title>{title}</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <style>{STYLE}</style></head>\n<body class=\"{kind}\">\n<section>\n{bubbles}</section>\n</body></html>\n"
    )
}

const STYLE: &str = "body{margin:0;padding:16px;background:#eceff3;color:#1f2328;\
font:14px/1.5 -apple-system,'Segoe UI',Roboto,'Noto Sans','PingFang SC','Microsoft YaHei','WenQuanYi Micro Hei',sans-serif}\
section{max-width:640px;margin:0 0 12px;padding:12px 14px;background:#fff;border:1px solid #d8dee4;border-radius:8px;overflow-wrap:anywhere}\
h3,h4{margin:0 0 8px;font-size:16px}blockquote{margin:0;padding-left:8px;border-left:3px solid #d0d7de;color:#424a53}\
code{padding:1px 4px;background:#f1f3f5;border-radius:4px;font-size:13px}img{max-width:100%}small,.comment{color:#57606a}\
.warning{color:#b45309}.info{color:#1b6e3c}.mention{color:#0550ae;background:#ddf4ff}pre{margin:0;white-space:pre-wrap;font:inherit}";
