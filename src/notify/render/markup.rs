//! A line of a chat dialect taken apart into what may and what may not be cut.
//!
//! Knows only the markup our templates write. A mark without its partner on the same line is
//! plain text.

use super::escape::Dialect;

/// A piece of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    pub(super) text: &'a str,
    pub(super) kind: Kind,
}

/// What a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One character, or an entity that stands for one.
    Char,
    /// A link, image or mention: whole or not at all.
    Whole,
    /// Opens a span that `close` ends. A cut inside closes it and opens it again.
    Open { close: &'static str },
    /// Ends the innermost span.
    Close,
}

/// The pieces of `line`, which has no line break in it. Joined they are `line` again.
pub(super) fn pieces(dialect: Dialect, line: &str) -> Vec<Piece<'_>> {
    let mut out = Vec::with_capacity(line.len());
    let mut open: Vec<&'static str> = Vec::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let (length, kind) = if rest.len() == line.len() && rest.starts_with("> ") {
            (2, Kind::Open { close: "" })
        } else {
            next(dialect, rest, &open).unwrap_or((first.len_utf8(), Kind::Char))
        };
        let (text, after) = rest.split_at(length);
        match kind {
            Kind::Open { close } => open.push(close),
            Kind::Close => drop(open.pop()),
            Kind::Char | Kind::Whole => {}
        }
        out.push(Piece { text, kind });
        rest = after;
    }
    out
}

/// The markup `rest` begins with, in bytes; None for a plain character.
fn next(dialect: Dialect, rest: &str, open: &[&'static str]) -> Option<(usize, Kind)> {
    let innermost = open.last().copied().unwrap_or("");
    if !innermost.is_empty() && rest.starts_with(innermost) {
        return Some((innermost.len(), Kind::Close));
    }
    if dialect == Dialect::Slack
        && let Some(length) = entity(rest)
    {
        return Some((length, Kind::Char));
    }
    if innermost == "`" {
        return None;
    }
    let bold = if dialect == Dialect::Slack { "*" } else { "**" };
    for mark in [bold, "`"] {
        if let Some(after) = rest.strip_prefix(mark)
            && !open.contains(&mark)
            && after.contains(mark)
        {
            return Some((mark.len(), Kind::Open { close: mark }));
        }
    }
    match dialect {
        Dialect::Slack => tag(rest).map(|length| (length, Kind::Whole)),
        Dialect::WeCom => font(rest)
            .or_else(|| mention(rest).map(|length| (length, Kind::Whole)))
            .or_else(|| link(rest).map(|length| (length, Kind::Whole))),
        Dialect::DingTalk => link(rest).map(|length| (length, Kind::Whole)),
        Dialect::Html | Dialect::Plain => None,
    }
}

fn entity(rest: &str) -> Option<usize> {
    ["&amp;", "&lt;", "&gt;"]
        .iter()
        .find(|entity| rest.starts_with(**entity))
        .map(|entity| entity.len())
}

/// `<…>`: Slack's links and mentions.
fn tag(rest: &str) -> Option<usize> {
    let inner = rest.strip_prefix('<')?;
    Some(inner.find('>')? + 2)
}

/// `<font color="…">` with its end on the same line.
fn font(rest: &str) -> Option<(usize, Kind)> {
    const CLOSE: &str = "</font>";
    let inner = rest.strip_prefix("<font ")?;
    let length = "<font ".len() + inner.find('>')? + 1;
    rest.contains(CLOSE)
        .then_some((length, Kind::Open { close: CLOSE }))
}

/// `<@userid>`.
fn mention(rest: &str) -> Option<usize> {
    let inner = rest.strip_prefix("<@")?;
    Some("<@".len() + inner.find('>')? + 1)
}

/// `[words](address)` or `![words](address)`.
fn link(rest: &str) -> Option<usize> {
    let inner = rest.strip_prefix('!').unwrap_or(rest).strip_prefix('[')?;
    let (words, address) = inner.split_once("](")?;
    if words.contains('[') || words.contains(']') {
        return None;
    }
    let address = address.find(')')?;
    Some(rest.len() - inner.len() + words.len() + "](".len() + address + 1)
}

/// `text` without its links' addresses, images and tags: what is sent when a vendor refuses the
/// marked-up form.
pub fn stripped(dialect: Dialect, text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (n, line) in text.split('\n').enumerate() {
        if n > 0 {
            out.push('\n');
        }
        for piece in pieces(dialect, line) {
            match piece.kind {
                Kind::Char => out.push_str(piece.text),
                Kind::Whole => out.push_str(words(piece.text)),
                Kind::Open { .. } | Kind::Close => {}
            }
        }
    }
    out
}

/// The words of a link; nothing for an image or a mention.
fn words(whole: &str) -> &str {
    if let Some(inner) = whole.strip_prefix('[') {
        return inner.split_once("](").map_or("", |(words, _)| words);
    }
    whole
        .strip_prefix('<')
        .and_then(|inner| inner.split_once('|'))
        .map_or("", |(_, words)| words.trim_end_matches('>'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(dialect: Dialect, line: &str) -> Vec<(String, Kind)> {
        let pieces = pieces(dialect, line);
        let joined: String = pieces.iter().map(|piece| piece.text).collect();
        assert_eq!(joined, line);
        pieces
            .into_iter()
            .filter(|piece| piece.kind != Kind::Char)
            .map(|piece| (piece.text.to_owned(), piece.kind))
            .collect()
    }

    #[test]
    fn markup_is_told_from_text() {
        assert_eq!(
            kinds(
                Dialect::WeCom,
                "> <font color=\"info\">a</font> [x](http://y) <@me> **b**"
            ),
            [
                ("> ".into(), Kind::Open { close: "" }),
                (
                    "<font color=\"info\">".into(),
                    Kind::Open { close: "</font>" }
                ),
                ("</font>".into(), Kind::Close),
                ("[x](http://y)".into(), Kind::Whole),
                ("<@me>".into(), Kind::Whole),
                ("**".into(), Kind::Open { close: "**" }),
                ("**".into(), Kind::Close),
            ]
        );
        assert_eq!(
            kinds(Dialect::Slack, "*a* `b*c` <http://x|y> &lt;"),
            [
                ("*".into(), Kind::Open { close: "*" }),
                ("*".into(), Kind::Close),
                ("`".into(), Kind::Open { close: "`" }),
                ("`".into(), Kind::Close),
                ("<http://x|y>".into(), Kind::Whole),
            ]
        );
        assert_eq!(kinds(Dialect::DingTalk, "![](http://x/y.png)").len(), 1);
    }

    #[test]
    fn a_mark_without_a_partner_is_text() {
        assert!(kinds(Dialect::Slack, "a * b ` < c").is_empty());
        assert!(kinds(Dialect::WeCom, "<font color=\"info\">a [b] ]( **").is_empty());
    }

    #[test]
    fn the_stripped_form_keeps_the_words() {
        assert_eq!(
            stripped(
                Dialect::DingTalk,
                "**Release** [x](http://y) `c`\n![](http://z)"
            ),
            "Release x c\n"
        );
    }
}
