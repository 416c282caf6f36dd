//! Foreign text in GitHub's Markdown: shown, never obeyed.
//!
//! Names and expressions go into code spans, where nothing is markup. Sentences keep their shape:
//! every character that could begin markup gets a backslash. GitHub looks for mentions and issue
//! numbers after rendering, where a backslash is gone, so those are parted by a word joiner.

/// Parts what GitHub would join, without being seen.
const JOINER: char = '\u{2060}';

/// A sentence, on one line.
pub(super) fn prose(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let line = one_line(text);
    let mut before: Option<char> = None;
    for (i, c) in line.char_indices() {
        let rest = line.get(i + c.len_utf8()..).unwrap_or_default();
        match treatment(c, before, &out, rest) {
            Treatment::Plain => out.push(c),
            Treatment::Escaped => out.extend(['\\', c]),
            Treatment::Parted => out.extend([c, JOINER]),
            Treatment::EscapedAndParted => out.extend(['\\', c, JOINER]),
        }
        before = Some(c);
    }
    out
}

enum Treatment {
    Plain,
    Escaped,
    Parted,
    EscapedAndParted,
}

/// How a character is written after `out` and before `rest`.
fn treatment(c: char, before: Option<char>, out: &str, rest: &str) -> Treatment {
    let next = rest.chars().next();
    let in_a_word = before.is_some_and(char::is_alphanumeric);
    match c {
        '@' if in_a_word && !is_domain(rest) => Treatment::Plain,
        '@' | '#' if next.is_some_and(char::is_alphanumeric) => Treatment::EscapedAndParted,
        '-' if ends_with(out, "gh") && next.is_some_and(|c| c.is_ascii_digit()) => {
            Treatment::Parted
        }
        ':' if is_emoji(rest) => Treatment::Parted,
        ':' if next != Some('/') && before.is_some() => Treatment::Plain,
        // `1.` and `1)` begin a list, `www.` an address.
        '.' | ')'
            if out.chars().all(|c| c.is_ascii_digit())
                && !next.is_some_and(char::is_alphanumeric) =>
        {
            Treatment::Escaped
        }
        '.' if ends_with(out, "www") => Treatment::Escaped,
        // Brackets are always escaped, so parentheses can't be an address; the rest is markup at
        // the start of a line only.
        '.' | '(' | ')' | '-' | '+' | '=' | ',' | ';' | '/' | '\'' | '"' | '%' | '?'
            if before.is_some() =>
        {
            Treatment::Plain
        }
        c if c.is_ascii_punctuation() => Treatment::Escaped,
        _ => Treatment::Plain,
    }
}

fn ends_with(out: &str, word: &str) -> bool {
    out.to_ascii_lowercase().ends_with(word)
}

/// Whether what follows an `@` could be a mail domain; a version has no letters after a dot.
fn is_domain(rest: &str) -> bool {
    let word = rest.split_whitespace().next().unwrap_or_default();
    let mut parts = word.split('.').skip(1);
    parts.any(|part| part.starts_with(|c: char| c.is_ascii_alphabetic()))
}

/// Whether what follows a colon is an emoji's name and a second colon, as in `:fire:`.
fn is_emoji(rest: &str) -> bool {
    let Some((name, _)) = rest.split_once(':') else {
        return false;
    };
    let part = |c: char| c.is_ascii_alphanumeric() || "_+-".contains(c);
    name.chars().all(part) && name.contains(|c: char| c.is_ascii_alphabetic())
}

/// A name or expression, on one line, literally. In a table a bar ends the cell even here.
pub(super) fn code(text: &str) -> String {
    let text = one_line(text).replace('|', "\\|");
    if text.is_empty() {
        return String::new();
    }
    let fence = "`".repeat(longest_run(&text) + 1);
    // A space inside is taken off again by the reader's Markdown; only there may backticks touch.
    let pad = if text.starts_with('`') || text.ends_with('`') {
        " "
    } else {
        ""
    };
    format!("{fence}{pad}{text}{pad}{fence}")
}

/// Several lines, literally.
pub(super) fn block(text: &str) -> String {
    let fence = "`".repeat(longest_run(text).max(2) + 1);
    format!("{fence}\n{}\n{fence}\n", text.trim_end())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn longest_run(text: &str) -> usize {
    let mut longest = 0;
    let mut run = 0;
    for c in text.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest
}

/// An address for between `(` and `)`; it was parsed as a URL before.
pub(super) fn address(url: &str) -> String {
    let mut out = String::with_capacity(url.len());
    for c in url.chars() {
        match c {
            '(' => out.push_str("%28"),
            ')' => out.push_str("%29"),
            '<' => out.push_str("%3C"),
            '>' => out.push_str("%3E"),
            '\\' => out.push_str("%5C"),
            '|' => out.push_str("%7C"),
            '`' => out.push_str("%60"),
            c if c.is_whitespace() || c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sentences_stay_sentences() {
        for (text, want) in [
            (
                "# Fixed\n\n[x](http://e.com)",
                "\\# Fixed \\[x\\](http\\://e.com)",
            ),
            ("1. item", "1\\. item"),
            ("- item", "\\- item"),
            ("1) item", "1\\) item"),
            (
                "ask @alice, see #12 and GH-7",
                "ask \\@\u{2060}alice, see \\#\u{2060}12 and GH-\u{2060}7",
            ),
            ("<img src=x>", "\\<img src=x\\>"),
            ("see www.e.com", "see www\\.e.com"),
            ("5.9 % in 1 min", "5.9 % in 1 min"),
            (
                "a_b *c* `d` ~~e~~ f|g",
                "a\\_b \\*c\\* \\`d\\` \\~\\~e\\~\\~ f\\|g",
            ),
            ("&lt; &amp;", "\\&lt; \\&amp;"),
            (
                "checkout@1.8.0 on h1:9100 at 14:02:05",
                "checkout@1.8.0 on h1:9100 at 14:02:05",
            ),
            ("a@e.com :fire: up", "a\\@\u{2060}e.com :\u{2060}fire: up"),
        ] {
            assert_eq!(prose(text), want);
        }
    }

    #[test]
    fn code_is_never_left() {
        assert_eq!(code("a`b"), "``a`b``");
        assert_eq!(code("`a``"), "``` `a`` ```");
        assert_eq!(code("a|b\nc"), "`a\\|b c`");
        assert_eq!(block("x\n```\ny\n"), "````\nx\n```\ny\n````\n");
    }

    proptest! {
        #[test]
        fn every_mark_in_a_sentence_is_escaped(text in "[ -~\n]{0,60}") {
            let out = prose(&text);
            prop_assert!(!out.contains('\n'));
            let mut rest = out.chars();
            while let Some(c) = rest.next() {
                if c == '\\' {
                    prop_assert!(rest.next().is_some_and(|c| c.is_ascii_punctuation()));
                } else {
                    prop_assert!(!"<>[]`*_~|#!&\\".contains(c), "{}", out);
                }
            }
        }
    }
}
