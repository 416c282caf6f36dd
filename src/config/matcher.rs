//! Reads matchers as Alertmanager writes them: `severity=~"critical|page"`, `team=shop`,
//! `{a="b", c!="d"}`.
//!
//! The escapes are those of Alertmanager's classic parser (`\"`, `\\`, `\n`; any other backslash
//! stays, so that `\d` reaches the pattern). A bare value must not hold characters that its newer
//! parser refuses, so a matcher accepted here means the same there.

use std::iter::Peekable;
use std::str::CharIndices;

use crate::domain::policy::{BadPattern, MatchOp, Matcher};

/// Text that is no matcher.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BadMatcher {
    /// The text has the wrong shape.
    #[error("`{text}` is not a matcher: {reason} (at character {at})")]
    Shape {
        /// The text as written.
        text: String,
        /// What is wrong.
        reason: String,
        /// Where, from 1.
        at: usize,
    },
    /// Its pattern can't be used.
    #[error(transparent)]
    Pattern(#[from] BadPattern),
}

/// Characters a bare name or value can't hold.
const RESERVED: &str = "{}!=~,\"'`";

/// Reads one or more matchers, separated by commas, with or without braces around them.
///
/// # Errors
/// When there is none, or one of them has the wrong shape or a pattern that can't be used.
pub fn parse_matchers(text: &str) -> Result<Vec<Matcher>, BadMatcher> {
    let mut reader = Reader {
        text,
        rest: text.char_indices().peekable(),
    };
    reader.skip_space();
    let braced = reader.take('{');
    let mut matchers = Vec::new();
    loop {
        reader.skip_space();
        if !matchers.is_empty() && (reader.rest.peek().is_none() || reader.sees('}')) {
            break;
        }
        matchers.push(reader.matcher()?);
        reader.skip_space();
        if !reader.take(',') {
            break;
        }
    }
    if braced && !reader.take('}') {
        return Err(reader.error("the closing `}` is missing"));
    }
    reader.skip_space();
    match reader.rest.peek() {
        None => Ok(matchers),
        Some((_, next)) => {
            let reason =
                format!("`{next}` is left over; a value with such characters needs double quotes");
            Err(reader.error(reason))
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    rest: Peekable<CharIndices<'a>>,
}

impl Reader<'_> {
    fn matcher(&mut self) -> Result<Matcher, BadMatcher> {
        let name = self.name()?;
        self.skip_space();
        let op = self.operator()?;
        self.skip_space();
        let value = if self.sees('"') {
            self.quoted()?
        } else {
            let value = self.bare();
            if value.is_empty() {
                return Err(self.error("the value is missing; the empty one is written `\"\"`"));
            }
            value
        };
        Ok(Matcher::new(name, op, value)?)
    }

    fn name(&mut self) -> Result<String, BadMatcher> {
        if self.sees('"') {
            let name = self.quoted()?;
            return if name.is_empty() {
                Err(self.error("the label's name is empty"))
            } else {
                Ok(name)
            };
        }
        let name = self.bare();
        let mut chars = name.chars();
        let is_name = chars
            .next()
            .is_some_and(|c| c.is_ascii_alphabetic() || c == '_' || c == ':')
            && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':');
        if is_name {
            Ok(name)
        } else if name.is_empty() {
            Err(self.error("the label's name is missing"))
        } else {
            Err(self.error(format!(
                "`{name}` is not a plain label name; put it in double quotes"
            )))
        }
    }

    fn operator(&mut self) -> Result<MatchOp, BadMatcher> {
        let op = if self.take('=') {
            if self.take('~') {
                MatchOp::Regex
            } else {
                MatchOp::Equal
            }
        } else if self.take('!') {
            if self.take('~') {
                MatchOp::NotRegex
            } else if self.take('=') {
                MatchOp::NotEqual
            } else {
                return Err(self.error("after `!` comes `=` or `~`"));
            }
        } else {
            return Err(self.error("one of `=`, `!=`, `=~`, `!~` must follow the label's name"));
        };
        Ok(op)
    }

    fn quoted(&mut self) -> Result<String, BadMatcher> {
        self.take('"');
        let mut value = String::new();
        while let Some((_, next)) = self.rest.next() {
            match next {
                '"' => return Ok(value),
                '\\' => match self.rest.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, escaped @ ('"' | '\\'))) => value.push(escaped),
                    Some((_, other)) => value.extend(['\\', other]),
                    None => break,
                },
                other => value.push(other),
            }
        }
        Err(self.error("the closing double quote is missing"))
    }

    fn bare(&mut self) -> String {
        let mut word = String::new();
        let ends = |c: char| c.is_whitespace() || RESERVED.contains(c);
        while let Some((_, next)) = self.rest.next_if(|(_, c)| !ends(*c)) {
            word.push(next);
        }
        word
    }

    fn skip_space(&mut self) {
        while self.rest.next_if(|(_, c)| c.is_whitespace()).is_some() {}
    }

    fn sees(&mut self, wanted: char) -> bool {
        self.rest.peek().is_some_and(|(_, c)| *c == wanted)
    }

    fn take(&mut self, wanted: char) -> bool {
        self.rest.next_if(|(_, c)| *c == wanted).is_some()
    }

    fn error(&mut self, reason: impl Into<String>) -> BadMatcher {
        let end = self.text.len();
        let byte = self.rest.peek().map_or(end, |(at, _)| *at);
        let before = self.text.char_indices().take_while(|(at, _)| *at < byte);
        BadMatcher::Shape {
            text: self.text.to_owned(),
            reason: reason.into(),
            at: before.count() + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::alert::Labels;

    fn one(text: &str) -> (String, MatchOp, String) {
        let mut matchers = parse_matchers(text).unwrap();
        assert_eq!(matchers.len(), 1, "{text}");
        let matcher = matchers.remove(0);
        (matcher.name, matcher.op, matcher.value)
    }

    fn refused(text: &str) -> String {
        parse_matchers(text).unwrap_err().to_string()
    }

    #[test]
    fn the_shapes_alertmanager_accepts_are_read() {
        let of = |n: &str, op, v: &str| (n.to_owned(), op, v.to_owned());
        for (text, want) in [
            ("a=b", of("a", MatchOp::Equal, "b")),
            (" a = b ", of("a", MatchOp::Equal, "b")),
            ("a!=\"b\"", of("a", MatchOp::NotEqual, "b")),
            ("a=~\"x|y\"", of("a", MatchOp::Regex, "x|y")),
            ("a=~x|y", of("a", MatchOp::Regex, "x|y")),
            ("a!~\"\\d+\"", of("a", MatchOp::NotRegex, "\\d+")),
            ("a=\"q\\\"\\\\\\n,}\"", of("a", MatchOp::Equal, "q\"\\\n,}")),
            ("a=\"\"", of("a", MatchOp::Equal, "")),
            ("{a=b,}", of("a", MatchOp::Equal, "b")),
            (
                "\"label with space\"=值",
                of("label with space", MatchOp::Equal, "值"),
            ),
        ] {
            assert_eq!(one(text), want, "{text}");
        }
        let two = parse_matchers("{ a=b, c!~\"d,e\" }").unwrap();
        assert_eq!(two.len(), 2);
        assert_eq!(two[1].value, "d,e");
    }

    #[test]
    fn a_refusal_says_what_and_where() {
        for (text, want) in [
            ("", "the label's name is missing (at character 1)"),
            ("{}", "the label's name is missing (at character 2)"),
            ("severity", "must follow the label's name (at character 9)"),
            ("a!b", "after `!` comes `=` or `~` (at character 3)"),
            (
                "a=",
                "the value is missing; the empty one is written `\"\"`",
            ),
            ("a=\"b", "the closing double quote is missing"),
            ("a=b c", "`c` is left over"),
            ("a==b", "the value is missing"),
            ("{a=b", "the closing `}` is missing"),
            ("a=b}", "`}` is left over"),
            ("1a=b", "`1a` is not a plain label name"),
            ("a=\"b\"\"", "`\"` is left over"),
            ("名=b", "`名` is not a plain label name"),
        ] {
            let got = refused(text);
            assert!(got.contains(want), "{text}: {got}");
        }
        assert!(refused("a=~\"(\"").contains("not a usable regular expression"));
    }

    proptest! {
        #[test]
        fn what_is_quoted_comes_back(name in "[a-zA-Z_][a-zA-Z0-9_]{0,8}", value in "\\PC{0,24}") {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let text = format!("{name}=\"{escaped}\"");
            prop_assert_eq!(one(&text), (name.clone(), MatchOp::Equal, value.clone()));
            let labels: Labels = [(name, value.clone())].into_iter().filter(|(_, v)| !v.is_empty()).collect();
            prop_assert!(parse_matchers(&text).unwrap()[0].matches(&labels));
        }

        #[test]
        fn no_text_makes_the_reader_fall_over(text in "[a-z{}=!~,\"'\\\\ 值|.()\\[\\]*+]{0,20}") {
            if let Ok(matchers) = parse_matchers(&text) {
                prop_assert!(!matchers.is_empty());
            }
        }
    }
}
