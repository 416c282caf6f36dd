//! Walks over an expression: which characters stand outside of strings, brackets and comments.

use super::Op;

/// Something that stands outside of all brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) piece: Piece,
    pub(super) start: usize,
    pub(super) end: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// A comparison.
    Op(Op),
    /// A name or keyword, in lower case.
    Word(String),
}

impl Token {
    pub(super) fn is_word(&self, words: &[&str]) -> bool {
        matches!(&self.piece, Piece::Word(word) if words.contains(&word.as_str()))
    }
}

/// A character with its place, and whether it is inside a string.
#[derive(Debug, Clone, Copy)]
struct Place {
    at: usize,
    character: char,
    quoted: bool,
}

/// Every character with its place; None when a string does not end.
fn places(text: &str) -> Option<Vec<Place>> {
    let mut places = Vec::with_capacity(text.len());
    let mut quote: Option<char> = None;
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        let quoted = quote.is_some();
        match quote {
            None if matches!(character, '"' | '\'' | '`') => quote = Some(character),
            Some(_) if escaped => escaped = false,
            Some('"' | '\'') if character == '\\' => escaped = true,
            Some(open) if open == character => quote = None,
            None | Some(_) => {}
        }
        places.push(Place {
            at,
            character,
            // Both quotes count as inside.
            quoted: quoted || quote.is_some(),
        });
    }
    quote.is_none().then_some(places)
}

/// `text` without `#` comments, trimmed; None when a string does not end.
pub(super) fn without_comments(text: &str) -> Option<String> {
    // A quote inside a comment is none, so strings and comments must be walked together.
    let mut out = String::with_capacity(text.len());
    let mut quote: Option<char> = None;
    let (mut escaped, mut comment) = (false, false);
    for character in text.chars() {
        if comment {
            if character != '\n' {
                continue;
            }
            comment = false;
        }
        match quote {
            None if character == '#' => {
                comment = true;
                continue;
            }
            None if matches!(character, '"' | '\'' | '`') => quote = Some(character),
            Some(_) if escaped => escaped = false,
            Some('"' | '\'') if character == '\\' => escaped = true,
            Some(open) if open == character => quote = None,
            None | Some(_) => {}
        }
        out.push(character);
    }
    quote.is_none().then(|| out.trim().to_owned())
}

/// The depth of brackets changes by this character.
fn bracket(character: char) -> i32 {
    match character {
        '(' | '[' | '{' => 1,
        ')' | ']' | '}' => -1,
        _ => 0,
    }
}

fn is_name(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | ':' | '.')
}

/// Comparisons and words outside of all brackets and strings; None where brackets don't fit.
pub(super) fn top_level(text: &str) -> Option<Vec<Token>> {
    let places = places(text)?;
    let mut tokens = Vec::new();
    let mut depth = 0_i32;
    let mut index = 0;
    while let Some(place) = places.get(index) {
        if place.quoted {
            index += 1;
            continue;
        }
        depth += bracket(place.character);
        if depth < 0 {
            return None;
        }
        let token = match depth {
            0 => comparison_at(&places, index).or_else(|| word_at(text, &places, index)),
            _ => None,
        };
        match token {
            Some((token, length)) => {
                tokens.push(token);
                index += length;
            }
            None => index += 1,
        }
    }
    (depth == 0).then_some(tokens)
}

fn comparison_at(places: &[Place], index: usize) -> Option<(Token, usize)> {
    let first = places.get(index)?;
    let next = places.get(index + 1).map(|place| place.character);
    let (op, length) = match (first.character, next) {
        ('<', Some('=')) => (Op::LessOrEqual, 2),
        ('>', Some('=')) => (Op::GreaterOrEqual, 2),
        ('=', Some('=')) => (Op::Equal, 2),
        ('!', Some('=')) => (Op::NotEqual, 2),
        ('<', _) => (Op::Less, 1),
        ('>', _) => (Op::Greater, 1),
        _ => return None,
    };
    let token = Token {
        piece: Piece::Op(op),
        start: first.at,
        end: first.at + length,
    };
    Some((token, length))
}

fn word_at(text: &str, places: &[Place], index: usize) -> Option<(Token, usize)> {
    let first = places.get(index)?;
    if !is_name(first.character) {
        return None;
    }
    let rest = places.get(index..)?;
    let length = rest
        .iter()
        .take_while(|place| is_name(place.character) && !place.quoted)
        .count();
    let end = rest.get(length).map_or(text.len(), |place| place.at);
    let word = text.get(first.at..end)?.to_lowercase();
    let token = Token {
        piece: Piece::Word(word),
        start: first.at,
        end,
    };
    Some((token, length))
}

/// The inside of `( … )` when the two brackets belong together and enclose everything.
pub(super) fn unwrap_brackets(text: &str) -> Option<&str> {
    let text = text.trim();
    let inner = text.strip_prefix('(')?.strip_suffix(')')?;
    // `(a) + (b)` starts and ends with brackets, too: then the inside does not fit.
    top_level(inner).map(|_| inner.trim())
}

/// Cuts `WITH ( … )` off the front; it stays valid in front of any part of the rest.
pub(super) fn with_prefix(text: &str) -> Option<(String, &str)> {
    let tail = match text.get(..4) {
        Some(word) if word.eq_ignore_ascii_case("with") => text.get(4..)?.trim_start(),
        _ => return Some((String::new(), text)),
    };
    if !tail.starts_with('(') {
        return Some((String::new(), text));
    }
    let end = closing(tail)?;
    let (templates, body) = (tail.get(..end)?, tail.get(end..)?);
    Some((format!("WITH {templates} "), body.trim()))
}

/// Where the bracket that opens `text` is closed again.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_i32;
    for place in places(text)? {
        if !place.quoted {
            depth += bracket(place.character);
            if depth == 0 {
                return Some(place.at + place.character.len_utf8());
            }
        }
    }
    None
}

/// What stands between the brackets of every call of `function`.
pub(super) fn calls<'a>(text: &'a str, function: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    let mut before = ' ';
    for place in places(text).unwrap_or_default() {
        let starts = !place.quoted && !is_name(before);
        before = place.character;
        let rest = text.get(place.at..).filter(|_| starts);
        let rest = rest.and_then(|rest| rest.strip_prefix(function));
        let Some(tail) = rest
            .map(str::trim_start)
            .filter(|tail| tail.starts_with('('))
        else {
            continue;
        };
        let end = closing(tail).unwrap_or_default();
        found.extend(tail.get(1..end.saturating_sub(1)));
    }
    found
}

/// An operand without the modifiers of its operator: `bool`, `on (…)`, `group_left (…)` and so on.
pub(super) fn without_matching(operand: &str) -> Option<&str> {
    let mut rest = operand.trim();
    loop {
        let word = top_level(rest)?.into_iter().next();
        let Some(word) = word.filter(|word| word.start == 0) else {
            return Some(rest);
        };
        let tail = rest.get(word.end..)?.trim_start();
        if word.is_word(&["bool"]) {
            rest = tail;
        } else if word.is_word(&["on", "ignoring", "group_left", "group_right"]) {
            rest = if tail.starts_with('(') {
                tail.get(closing(tail)?..)?.trim_start()
            } else {
                tail
            };
        } else {
            return Some(rest);
        }
    }
}

/// `label="value"` somewhere in an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Equality<'a> {
    pub(super) label: &'a str,
    pub(super) value: String,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Every `label="value"` inside braces. Values with escapes are left out: ids have none.
pub(super) fn equality_matchers(text: &str) -> Vec<Equality<'_>> {
    let Some(places) = places(text) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut braces = 0_i32;
    for (index, place) in places.iter().enumerate() {
        if place.quoted {
            continue;
        }
        match place.character {
            '{' => braces += 1,
            '}' => braces -= 1,
            '=' if braces > 0 => found.extend(equality_at(text, &places, index)),
            _ => {}
        }
    }
    found
}

fn equality_at<'a>(text: &'a str, places: &[Place], index: usize) -> Option<Equality<'a>> {
    let at = places.get(index)?.at;
    let before = text.get(..at)?.trim_end();
    let name = before
        .char_indices()
        .rev()
        .take_while(|(_, character)| is_name(*character))
        .last()
        .map(|(start, _)| start)?;
    let behind = text.get(at + 1..)?;
    let space = behind.len() - behind.trim_start().len();
    let open = behind.trim_start().chars().next()?;
    if !matches!(open, '"' | '\'' | '`') {
        return None;
    }
    let value_start = at + 1 + space + 1;
    let value = text.get(value_start..)?.split(open).next()?;
    if value.contains('\\') {
        return None;
    }
    Some(Equality {
        label: before.get(name..)?,
        value: value.to_owned(),
        start: name,
        end: value_start + value.len() + 1,
    })
}
