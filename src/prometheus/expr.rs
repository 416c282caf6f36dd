//! Takes expressions apart just far enough: what is measured, and the line it is held against.
//!
//! No parser of MetricsQL: operators are looked for outside of brackets, strings and comments, and
//! whatever is not understood stays whole. The worst outcome is a chart of a filtered expression,
//! or evidence that is held back; nothing here decides.

mod scan;
mod selectors;

use std::fmt;

use scan::{Piece, Token};
pub use selectors::{Selector, selectors};

/// Longest text that is looked at; the metrics store itself refuses more.
const LENGTH_LIMIT: usize = 16 * 1024;

/// The operator of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
}

impl Op {
    /// As written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Equal => "==",
            Self::NotEqual => "!=",
        }
    }

    /// Whether small values are the bad ones.
    pub fn bad_is_low(self) -> bool {
        matches!(self, Self::Less | Self::LessOrEqual)
    }

    /// The operator with its sides exchanged.
    fn flipped(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
            Self::Equal | Self::NotEqual => self,
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an alert's expression measures.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// The side that is measured, an expression of its own.
    pub lhs: String,
    /// How it is compared.
    pub op: Op,
    /// The line, when it is a plain number and not another series.
    pub line: Option<f64>,
}

/// The left side, operator and number of `lhs > 0.05`; None where there is no such comparison on
/// the outside.
pub fn split_threshold(expr: &str) -> Option<(String, Op, f64)> {
    let measured = measured(expr)?;
    Some((measured.lhs, measured.op, measured.line?))
}

/// What `expr` measures: the left side of its comparison, or of the first of several that are
/// joined by `and`, `unless`, `if`. None for `or`, `default` and everything else that is not
/// understood.
pub fn measured(expr: &str) -> Option<Measured> {
    let text = readable(expr)?;
    let (with, body) = scan::with_prefix(&text)?;
    let found = measured_body(body, 0)?;
    Some(Measured {
        lhs: format!("{with}{}", found.lhs),
        ..found
    })
}

/// Words that join the operands of an expression.
const JOINTS: [&str; 6] = ["and", "or", "unless", "if", "ifnot", "default"];

/// Every comparison on the outside of `expr`, however they are joined; none where it is not
/// understood.
pub fn comparisons(expr: &str) -> Vec<Measured> {
    let mut found = Vec::new();
    if let Some(text) = readable(expr)
        && let Some((_, body)) = scan::with_prefix(&text)
    {
        collect(body, 0, &mut found);
    }
    found
}

fn collect(body: &str, depth: u32, found: &mut Vec<Measured>) -> Option<()> {
    if depth > 16 {
        return None;
    }
    let body = scan::without_matching(body)?.trim();
    if let Some(inner) = scan::unwrap_brackets(body) {
        return collect(inner, depth + 1, found);
    }
    let tokens = scan::top_level(body)?;
    let joints: Vec<&Token> = tokens.iter().filter(|one| one.is_word(&JOINTS)).collect();
    if joints.is_empty() {
        found.extend(comparison(body, depth));
        return Some(());
    }
    let starts = std::iter::once(0).chain(joints.iter().map(|one| one.end));
    let ends = joints.iter().map(|one| one.start).chain([body.len()]);
    for (start, end) in starts.zip(ends) {
        collect(body.get(start..end)?, depth + 1, found);
    }
    Some(())
}

/// What stands between the brackets of every call of `function` in `expr`.
pub fn calls(expr: &str, function: &str) -> Vec<String> {
    let text = readable(expr).unwrap_or_default();
    let found = scan::calls(&text, function);
    found.into_iter().map(str::to_owned).collect()
}

fn readable(expr: &str) -> Option<String> {
    let short = expr.len() <= LENGTH_LIMIT;
    short.then(|| scan::without_comments(expr)).flatten()
}

fn measured_body(body: &str, depth: u32) -> Option<Measured> {
    // Nobody writes more brackets around a rule than this.
    if depth > 16 {
        return None;
    }
    if let Some(inner) = scan::unwrap_brackets(body) {
        return measured_body(inner, depth + 1);
    }
    let tokens = scan::top_level(body)?;
    if tokens.iter().any(|token| token.is_word(&["or", "default"])) {
        return None;
    }
    let joints: Vec<&Token> = tokens
        .iter()
        .filter(|token| token.is_word(&["and", "unless", "if", "ifnot"]))
        .collect();
    let mut start = 0;
    let ends = joints.iter().map(|token| token.start);
    for (index, end) in ends.chain([body.len()]).enumerate() {
        let operand = body.get(start..end)?;
        let operand = scan::without_matching(operand)?;
        if let Some(found) = comparison(operand, depth) {
            return Some(found);
        }
        let joint = joints.get(index)?;
        // What comes behind `unless` speaks about when it does not hold.
        if !joint.is_word(&["and", "if"]) {
            return None;
        }
        start = joint.end;
    }
    None
}

fn comparison(operand: &str, depth: u32) -> Option<Measured> {
    let operand = operand.trim();
    if let Some(inner) = scan::unwrap_brackets(operand) {
        return measured_body(inner, depth + 1);
    }
    let tokens = scan::top_level(operand)?;
    let mut ops = tokens.iter().filter_map(|token| match token.piece {
        Piece::Op(op) => Some((op, token)),
        Piece::Word(_) => None,
    });
    // `a < b < c` filters twice: the outermost, last comparison is the one that counts.
    let (op, token) = ops.next_back()?;
    let lhs = operand.get(..token.start)?.trim();
    let rhs = scan::without_matching(operand.get(token.end..)?)?;
    if lhs.is_empty() || rhs.is_empty() {
        return None;
    }
    if number(lhs).is_some() {
        return Some(Measured {
            lhs: rhs.to_owned(),
            op: op.flipped(),
            line: number(lhs),
        });
    }
    Some(Measured {
        lhs: lhs.to_owned(),
        op,
        line: number(rhs),
    })
}

/// A plain number, with the suffixes of MetricsQL (`1Ki`, `2M`).
fn number(text: &str) -> Option<f64> {
    const SUFFIXES: [(&str, f64); 8] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("K", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
    ];
    let text = scan::unwrap_brackets(text).unwrap_or(text).trim();
    let plain = |text: &str| {
        let digits = text.trim_start_matches(['-', '+']);
        let starts = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
        starts.then(|| text.parse::<f64>().ok()).flatten()
    };
    plain(text).or_else(|| {
        SUFFIXES
            .iter()
            .find_map(|(suffix, factor)| Some(plain(text.strip_suffix(suffix)?)? * factor))
    })
}

/// `expr` about everybody else: each `label="value"` turned into `label!="value"`, and each
/// `free="…"` into "whatever". None when it does not select by that label and value.
///
/// A rule armed for one release measures that release alone; this asks the same of the others.
pub fn about_others(expr: &str, label: &str, value: &str, free: &[&str]) -> Option<String> {
    let text = readable(expr)?;
    let mut out = String::with_capacity(text.len() + 16);
    let mut copied = 0;
    let mut found = false;
    for matcher in scan::equality_matchers(&text) {
        let ours = matcher.label == label && matcher.value == value;
        let replaced = if ours {
            found = true;
            format!("{label}!=\"{}\"", matcher_value(value))
        } else if free.contains(&matcher.label) {
            format!("{}=~\".*\"", matcher.label)
        } else {
            continue;
        };
        out.push_str(text.get(copied..matcher.start)?);
        out.push_str(&replaced);
        copied = matcher.end;
    }
    out.push_str(text.get(copied..)?);
    found.then_some(out)
}

/// `text` as it must be written between the quotes of a matcher, so that it stays a value.
pub fn matcher_value(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 2);
    for character in text.chars() {
        match character {
            '\\' => escaped.push_str("\\\\"),
            '"' => escaped.push_str("\\\""),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            // The languages know \uXXXX and \UXXXXXXXX for all else that is not printed.
            other if other.is_control() => {
                use std::fmt::Write as _;
                // Writing to a String can't fail.
                let _infallible = write!(escaped, "\\u{:04x}", u32::from(other));
            }
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
