//! What a reader of a channel sees, roughly, as HTML: for previews. Nothing in it is sent.

use super::escape::{Dialect, escape};
use super::markup::{Kind, pieces};

/// The file name by which a page shows the chart.
pub const CHART: &str = "chart.png";

/// `text` of a dialect as a fragment of HTML.
pub fn fragment(dialect: Dialect, text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for row in text.lines() {
        let row = row.trim_end();
        out.push_str(&line(dialect, row));
        out.push('\n');
    }
    out
}

/// Text without markup.
pub fn plain(text: &str) -> String {
    format!("<pre>{}</pre>\n", escape(Dialect::Html, text))
}

/// The chart where a client shows it.
pub fn chart(alt: &str) -> String {
    let alt = escape(Dialect::Html, alt);
    format!("<p><img src=\"{CHART}\" alt=\"{alt}\"></p>\n")
}

fn line(dialect: Dialect, row: &str) -> String {
    if row.is_empty() {
        return "<br>".to_owned();
    }
    let heading = row.strip_prefix("#### ");
    let mut ends: Vec<&str> = Vec::new();
    let mut out = String::new();
    for piece in pieces(dialect, heading.unwrap_or(row)) {
        match piece.kind {
            Kind::Open { close } => {
                let (begin, end) = span(piece.text, close);
                out.push_str(&begin);
                ends.push(end);
            }
            Kind::Close => out.push_str(ends.pop().unwrap_or_default()),
            Kind::Whole => out.push_str(&whole(dialect, piece.text)),
            // Slack's entities are HTML's.
            Kind::Char if dialect == Dialect::Slack => out.push_str(piece.text),
            Kind::Char => out.push_str(&escape(Dialect::Html, piece.text)),
        }
    }
    ends.iter().rev().for_each(|end| out.push_str(end));
    let tag = if heading.is_some() { "h4" } else { "div" };
    format!("<{tag}>{out}</{tag}>")
}

fn span(open: &str, close: &str) -> (String, &'static str) {
    match close {
        "" => ("<blockquote>".to_owned(), "</blockquote>"),
        "`" => ("<code>".to_owned(), "</code>"),
        "</font>" => {
            let colour = open.split('"').nth(1).unwrap_or_default();
            (format!("<span class=\"{colour}\">"), "</span>")
        }
        _ => ("<b>".to_owned(), "</b>"),
    }
}

/// A link, an image or a mention. Its characters are escaped by whoever wrote the markup.
fn whole(dialect: Dialect, text: &str) -> String {
    let html = |text: &str| match dialect {
        Dialect::Slack => text.replace('"', "&quot;"),
        _ => escape(Dialect::Html, text),
    };
    if text.starts_with("![") {
        return chart("");
    }
    let inner = |open: char, close: char| text.strip_prefix(open)?.strip_suffix(close);
    let parts = match dialect {
        Dialect::Slack => inner('<', '>').and_then(|inner| inner.split_once('|')),
        _ => inner('[', ')')
            .and_then(|inner| inner.split_once("]("))
            .map(|(words, address)| (address, words)),
    };
    match parts {
        Some((address, words)) if !address.starts_with('!') => {
            format!("<a href=\"{}\">{}</a>", html(address), html(words))
        }
        _ => format!(
            "<span class=\"mention\">{}</span>",
            escape(Dialect::Html, text.trim_matches(['<', '>']))
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dialect_reads_as_its_client_shows_it() {
        let slack = "*Release:* `a&lt;b`\n> said\n<https://e.com/?a=1&amp;b=2|go> <!here>";
        assert_eq!(
            fragment(Dialect::Slack, slack),
            "<div><b>Release:</b> <code>a&lt;b</code></div>\n\
             <div><blockquote>said</blockquote></div>\n\
             <div><a href=\"https://e.com/?a=1&amp;b=2\">go</a> <span class=\"mention\">!here</span></div>\n"
        );
        let wecom = "**<font color=\"warning\">FIRING</font>** x\n\n[go](https://e.com/) <@zhang>";
        assert_eq!(
            fragment(Dialect::WeCom, wecom),
            "<div><b><span class=\"warning\">FIRING</span></b> x</div>\n<br>\n\
             <div><a href=\"https://e.com/\">go</a> <span class=\"mention\">@zhang</span></div>\n"
        );
        assert_eq!(
            fragment(
                Dialect::DingTalk,
                "#### FIRING: x  \n![](https://e.com/c.png)"
            ),
            "<h4>FIRING: x</h4>\n<div><p><img src=\"chart.png\" alt=\"\"></p>\n</div>\n"
        );
    }

    #[test]
    fn nothing_foreign_becomes_html() {
        for payload in super::super::specimen::PAYLOADS {
            for dialect in [Dialect::Slack, Dialect::WeCom, Dialect::DingTalk] {
                let text = escape(dialect, &super::super::value::line(payload));
                let page = fragment(dialect, &text);
                assert!(
                    !page.contains("<script") && !page.contains("<img"),
                    "{page}"
                );
            }
        }
    }
}
