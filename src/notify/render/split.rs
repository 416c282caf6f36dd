//! Long text into parts that a vendor accepts.
//!
//! Counts in the vendor's unit. Cuts between paragraphs where it can, else between lines, else at
//! a space, else between characters: never inside a character, link, mention, tag or entity. A
//! span that is cut is closed in one part and opened again in the next.

use super::escape::{Dialect, escape};
use super::markup::{Kind, Piece, pieces};

/// What a vendor counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes of UTF-8 (WeCom).
    Utf8,
    /// Bytes of the JSON string's inside (DingTalk, whose limit is on the body).
    Json,
    /// UTF-16 code units (Slack; no less than its characters).
    Utf16,
}

impl Unit {
    /// The size of `text`.
    pub fn of(self, text: &str) -> usize {
        match self {
            Self::Utf8 => text.len(),
            Self::Utf16 => text.chars().map(char::len_utf16).sum(),
            Self::Json => text
                .chars()
                .map(|c| match c {
                    '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
                    '\0'..='\u{1f}' => 6,
                    c => c.len_utf8(),
                })
                .sum(),
        }
    }
}

/// Cuts `text` into parts of at most `max` units each; none of them is empty. `max` must hold the
/// markup a template nests plus one character; smaller ones are raised to 64.
pub fn split(dialect: Dialect, unit: Unit, max: usize, text: &str) -> Vec<String> {
    let mut packer = Packer {
        dialect,
        unit,
        max: max.max(64),
        parts: Vec::new(),
        part: String::new(),
        size: 0,
        open: Vec::new(),
        space: None,
    };
    for paragraph in text.split("\n\n") {
        packer.paragraph(paragraph);
    }
    packer.flush();
    packer.parts
}

#[derive(Debug)]
struct Packer<'a> {
    dialect: Dialect,
    unit: Unit,
    max: usize,
    parts: Vec<String>,
    part: String,
    size: usize,
    open: Vec<(&'a str, &'static str)>,
    /// Where the last space of `part` is that the text may be cut at.
    space: Option<usize>,
}

impl<'a> Packer<'a> {
    fn paragraph(&mut self, text: &'a str) {
        if self.fits("\n\n", text) {
            self.add("\n\n", text);
        } else if self.unit.of(text) <= self.max {
            self.flush();
            self.add("", text);
        } else {
            for (n, line) in text.split('\n').enumerate() {
                self.line(if n == 0 { "\n\n" } else { "\n" }, line);
            }
        }
    }

    fn line(&mut self, gap: &'static str, line: &'a str) {
        if self.fits(gap, line) {
            self.add(gap, line);
        } else if self.unit.of(line) <= self.max {
            self.flush();
            self.add("", line);
        } else {
            self.long_line(gap, line);
        }
    }

    fn fits(&self, gap: &str, text: &str) -> bool {
        let gap = if self.part.is_empty() { "" } else { gap };
        self.size + self.unit.of(gap) + self.unit.of(text) <= self.max
    }

    fn add(&mut self, gap: &str, text: &str) {
        if !self.part.is_empty() {
            self.put(gap);
        }
        self.put(text);
    }

    fn put(&mut self, text: &str) {
        self.part.push_str(text);
        self.size += self.unit.of(text);
    }

    /// A line that no part can hold whole.
    fn long_line(&mut self, gap: &str, line: &'a str) {
        if self.size + self.unit.of(gap) + self.max / 4 > self.max {
            self.flush();
        } else if !self.part.is_empty() {
            self.put(gap);
        }
        for piece in pieces(self.dialect, line) {
            self.piece(piece);
        }
        self.open.clear();
        self.space = None;
    }

    fn piece(&mut self, piece: Piece<'a>) {
        let whole = self.unit.of(piece.text);
        if piece.kind == Kind::Whole && whole + self.markup() > self.max {
            // Too long for any part: it goes on as text that is no markup any more.
            let plain = escape(self.dialect, piece.text);
            for c in plain.chars() {
                self.character(c.encode_utf8(&mut [0; 4]));
            }
            return;
        }
        match piece.kind {
            Kind::Char => self.character(piece.text),
            Kind::Whole => {
                self.make_room(whole + self.closing());
                self.put(piece.text);
                self.space = None;
            }
            Kind::Open { close } => {
                // Room for at least one wide character inside, or the span starts in the next.
                self.make_room(whole + self.unit.of(close) + self.closing() + 8);
                self.put(piece.text);
                self.open.push((piece.text, close));
                self.space = None;
            }
            Kind::Close => {
                self.put(piece.text);
                self.open.truncate(self.open.len().saturating_sub(1));
                self.space = None;
            }
        }
    }

    fn character(&mut self, text: &str) {
        if self.size + self.unit.of(text) + self.closing() > self.max {
            self.cut();
        }
        if text == " " {
            self.space = Some(self.part.len());
        }
        self.put(text);
    }

    fn make_room(&mut self, size: usize) {
        if self.size + size > self.max {
            // Right here: words carried over could leave too little room again.
            self.space = None;
            self.cut();
        }
    }

    fn closing(&self) -> usize {
        self.open.iter().map(|(_, close)| self.unit.of(close)).sum()
    }

    /// What the open spans cost in a part of their own.
    fn markup(&self) -> usize {
        let opening: usize = self.open.iter().map(|(open, _)| self.unit.of(open)).sum();
        opening + self.closing()
    }

    /// Ends the part inside a line: closes what is open, and opens it again in the next one.
    fn cut(&mut self) {
        let late_enough = |at: &usize| *at * 2 > self.part.len();
        let tail = match self.space.filter(late_enough) {
            Some(at) => self.part.split_off(at),
            None => String::new(),
        };
        for (_, close) in self.open.iter().rev() {
            self.part.push_str(close);
        }
        self.flush();
        let open = std::mem::take(&mut self.open);
        for (opening, _) in &open {
            self.put(opening);
        }
        self.open = open;
        self.put(tail.trim_start());
    }

    fn flush(&mut self) {
        let part = std::mem::take(&mut self.part);
        let part = part.trim_end().trim_start_matches('\n');
        if !part.is_empty() {
            self.parts.push(part.to_owned());
        }
        self.size = 0;
        self.space = None;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::notify::render::markup::stripped;

    const WECOM: (Dialect, Unit) = (Dialect::WeCom, Unit::Utf8);

    fn parts(kind: (Dialect, Unit), max: usize, text: &str) -> Vec<String> {
        split(kind.0, kind.1, max, text)
    }

    #[test]
    fn short_text_stays_whole() {
        assert_eq!(parts(WECOM, 100, "a\n\nb"), ["a\n\nb"]);
        assert!(parts(WECOM, 100, " \n").is_empty());
    }

    #[test]
    fn paragraphs_then_lines_are_kept_together() {
        let a = "a".repeat(40);
        let b = format!("{}\n{}", "b".repeat(25), "c".repeat(25));
        assert_eq!(
            parts(WECOM, 64, &format!("{a}\n\n{b}")),
            [a.clone(), b.clone()]
        );
        let long = format!("{a}\n{b}");
        assert_eq!(
            parts(WECOM, 70, &long),
            [format!("{a}\n{}", "b".repeat(25)), "c".repeat(25)]
        );
    }

    #[test]
    fn a_cut_span_is_closed_and_opened_again() {
        let text = format!("<font color=\"info\">{}</font>", "x".repeat(60));
        let out = parts(WECOM, 64, &text);
        assert_eq!(out.len(), 2);
        for part in &out {
            assert!(part.starts_with("<font color=\"info\">") && part.ends_with("</font>"));
            assert!(part.len() <= 64);
        }
    }

    #[test]
    fn a_link_is_never_cut_and_an_endless_one_becomes_text() {
        let text = format!("{} [words](https://example.com/path) tail", "x".repeat(50));
        let out = parts(WECOM, 64, &text);
        assert!(
            out.iter()
                .any(|part| part.contains("[words](https://example.com/path)"))
        );
        let endless = format!("[w](https://example.com/{})", "y".repeat(200));
        let out = parts(WECOM, 64, &endless);
        assert!(out.len() > 3 && out.iter().all(|part| part.len() <= 64));
        assert!(!out.concat().contains("]("));
    }

    #[test]
    fn wide_characters_are_counted_as_the_vendor_counts_them() {
        let text = "\u{20BB7}".repeat(100);
        for part in parts(WECOM, 64, &text) {
            assert!(part.len() <= 64 && part.len() % 4 == 0);
        }
        assert_eq!(Unit::Json.of("a\"\n\u{1}中"), 1 + 2 + 2 + 6 + 3);
        assert_eq!(Unit::Utf16.of("\u{20BB7}"), 2);
    }

    fn marked_up() -> impl Strategy<Value = String> {
        let chunk = prop_oneof![
            "[a-z 中\u{20BB7}]{1,90}",
            "\\*\\*[a-z ]{1,60}\\*\\*",
            "`[a-z ]{1,60}`",
            "<font color=\"info\">[a-z 文]{1,60}</font>",
            "\\[[a-z]{1,8}\\]\\(https://e\\.com/[a-z]{1,30}\\)",
            "\n",
            "\n\n",
            "\n> ",
        ];
        proptest::collection::vec(chunk, 0..40).prop_map(|chunks| chunks.concat())
    }

    fn dense(text: &str) -> String {
        text.chars()
            .filter(|c| !c.is_whitespace() && *c != '>')
            .collect()
    }

    proptest! {
        #[test]
        fn every_part_fits_is_balanced_and_nothing_is_lost(text in marked_up(), max in 80_usize..400) {
            let out = parts(WECOM, max, &text);
            let mut seen = String::new();
            for part in &out {
                prop_assert!(!part.is_empty() && part.len() <= max, "{} > {max}", part.len());
                prop_assert_eq!(part.matches("<font ").count(), part.matches("</font>").count());
                prop_assert_eq!(part.matches("**").count() % 2, 0);
                prop_assert_eq!(part.matches("](https://e.com/").count(), part.matches(')').count());
                seen.push_str(&stripped(Dialect::WeCom, part));
            }
            prop_assert_eq!(dense(&seen), dense(&stripped(Dialect::WeCom, &text)));
        }

        #[test]
        fn any_text_at_all_fits_in_every_unit(text in "\\PC{0,600}", max in 64_usize..200) {
            for (dialect, unit) in [
                (Dialect::WeCom, Unit::Utf8), (Dialect::DingTalk, Unit::Json), (Dialect::Slack, Unit::Utf16),
            ] {
                for part in split(dialect, unit, max, &text) {
                    prop_assert!(unit.of(&part) <= max);
                }
            }
        }
    }
}
