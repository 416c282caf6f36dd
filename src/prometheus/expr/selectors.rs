//! Which series an expression selects: every metric's name with its matchers.
//!
//! No parser: names that `WITH` defines are known, functions with parameters of their own are not,
//! so a name that is only a parameter counts as a metric without matchers. A linter that refuses
//! those errs on the side of care.

use std::collections::BTreeSet;

/// One selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// The metric; empty where only matchers select.
    pub metric: String,
    /// `(label, operator, value)`; values as written between their quotes.
    pub matchers: Vec<(String, String, String)>,
}

impl Selector {
    /// The value `label` must equal, when it must.
    pub fn equals(&self, label: &str) -> Option<&str> {
        let found = self
            .matchers
            .iter()
            .find(|(name, op, _)| name == label && op == "=");
        found.map(|(_, _, value)| value.as_str())
    }
}

const KEYWORDS: [&str; 13] = [
    "and",
    "or",
    "unless",
    "if",
    "ifnot",
    "default",
    "bool",
    "offset",
    "nan",
    "inf",
    "limit",
    "keep_metric_names",
    "atan2",
];
/// Words whose brackets hold labels.
const OVER_LABELS: [&str; 6] = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
];

/// Every selector of `expr`, in order; None where strings or brackets do not end.
pub fn selectors(expr: &str) -> Option<Vec<Selector>> {
    let text = super::readable(expr)?;
    let mut reader = Reader {
        rest: &text,
        defined: BTreeSet::new(),
        found: Vec::new(),
    };
    while !reader.rest.is_empty() {
        reader.step()?;
    }
    Some(reader.found)
}

struct Reader<'a> {
    rest: &'a str,
    /// Names that `WITH` gives a meaning.
    defined: BTreeSet<String>,
    found: Vec<Selector>,
}

fn starts_name(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn in_name(c: char) -> bool {
    starts_name(c) || c.is_ascii_digit() || matches!(c, ':' | '.')
}

impl Reader<'_> {
    fn step(&mut self) -> Option<()> {
        self.space();
        match self.rest.chars().next() {
            None => Some(()),
            Some('"' | '\'' | '`') => self.string().map(drop),
            Some('{') => self.selector(String::new()),
            Some(c) if starts_name(c) => self.name(),
            // Numbers and durations: `5m`, `1e9`.
            Some(c) if c.is_ascii_digit() => {
                self.take(|c| c.is_alphanumeric() || c == '.');
                Some(())
            }
            Some(c) => {
                self.skip(c.len_utf8());
                Some(())
            }
        }
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let end = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        let taken = self.rest.get(..end).unwrap_or_default().to_owned();
        self.skip(end);
        taken
    }

    /// The inside of a string, as written.
    fn string(&mut self) -> Option<String> {
        let quote = self.rest.chars().next()?;
        let inside = self.rest.get(1..)?;
        let mut escaped = false;
        for (at, c) in inside.char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' if quote != '`' => escaped = true,
                c if c == quote => {
                    let text = inside.get(..at)?.to_owned();
                    self.skip(at + 2);
                    return Some(text);
                }
                _ => {}
            }
        }
        None
    }

    fn name(&mut self) -> Option<()> {
        let name = self.take(in_name);
        self.space();
        let word = name.to_lowercase();
        let mut next = self.rest.chars();
        match (next.next(), next.next()) {
            (Some('('), _) if OVER_LABELS.contains(&word.as_str()) => {
                let end = self.rest.find(')')?;
                self.skip(end + 1);
            }
            _ if KEYWORDS.contains(&word.as_str()) || OVER_LABELS.contains(&word.as_str()) => {}
            (Some('('), _) => {}
            (Some('{'), _) => self.selector(name)?,
            (Some('='), Some(after)) if after != '=' && after != '~' => {
                self.defined.insert(name);
            }
            // `sum by (job) (…)`
            _ if self.over_labels_follow() => {}
            _ if self.defined.contains(&name) => {}
            _ => self.found.push(Selector {
                metric: name,
                matchers: Vec::new(),
            }),
        }
        Some(())
    }

    fn over_labels_follow(&self) -> bool {
        let end = self.rest.find(|c| !in_name(c)).unwrap_or(self.rest.len());
        let word = self.rest.get(..end).unwrap_or_default();
        ["by", "without"]
            .iter()
            .any(|one| word.eq_ignore_ascii_case(one))
    }

    fn selector(&mut self, metric: String) -> Option<()> {
        self.skip(1);
        let mut matchers = Vec::new();
        loop {
            self.space();
            match self.rest.chars().next()? {
                '}' => {
                    self.skip(1);
                    break;
                }
                ',' => self.skip(1),
                _ => {
                    let label = self.take(in_name);
                    self.space();
                    let op = self.take(|c| matches!(c, '=' | '!' | '~'));
                    self.space();
                    if label.is_empty() || op.is_empty() {
                        return None;
                    }
                    matchers.push((label, op, self.string()?));
                }
            }
        }
        self.found.push(Selector { metric, matchers });
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(expr: &str) -> Vec<(String, usize)> {
        let found = selectors(expr).unwrap();
        let short = |one: Selector| (one.metric, one.matchers.len());
        found.into_iter().map(short).collect()
    }

    #[test]
    fn metrics_are_told_from_functions_labels_numbers_and_definitions() {
        let expr = r#"WITH (n = sum by (le, job) (rate(x_total{job="a",code=~"5.."}[5m])), m = n + 1e9)
            n / m > on (job) group_left (le) up offset 5m and {__name__="y", b!="}"} # z{
            or label_set(0, "a", "b")"#;
        let want = [("x_total", 2), ("up", 0), ("", 2)];
        let want = want.map(|(name, count)| (name.to_owned(), count));
        assert_eq!(names(expr), want);
        assert_eq!(
            selectors(r#"x{a="1",b!="2"}"#).unwrap()[0].equals("a"),
            Some("1")
        );
    }

    #[test]
    fn a_parameter_of_a_function_of_ones_own_counts_as_a_metric() {
        let expr = r#"WITH (n(r) = sum(x{id=r})) n("a")"#;
        assert_eq!(selectors(expr), None);
        assert_eq!(
            names("WITH (f(r) = r + 1) f(2)"),
            [("r".to_owned(), 0), ("r".to_owned(), 0)]
        );
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "\\PC*") {
            drop(selectors(&text));
        }

        #[test]
        fn reading_text_of_the_language_never_panics(
            text in "(a|é|[0-9]|>|<|=|!|\\(|\\)|\\{|\\}|\\[|\"|'|`|\\\\|#|\n| and | by |WITH |,){0,24}",
        ) {
            drop(selectors(&text));
        }
    }
}
