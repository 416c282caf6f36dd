//! Text with `{path.to.value}` in it: pipeline parameters and where facts of a stage are read.

use serde_json::Value;

/// One piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(String),
}

/// Text with `{path.to.value}` in it. `{{` and `}}` stand for braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

/// Text that is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no template: each {{ needs a name and a }}")]
pub struct BadTemplate(String);

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// When a brace is left open or a name is empty or no path.
    pub fn parse(text: &str) -> Result<Self, BadTemplate> {
        let wrong = || BadTemplate(text.to_owned());
        let (mut pieces, mut plain) = (Vec::new(), String::new());
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '{' if chars.peek() == Some(&'{') => plain.extend(chars.next()),
                '}' if chars.peek() == Some(&'}') => plain.extend(chars.next()),
                '}' => return Err(wrong()),
                '{' => {
                    let mut name = String::new();
                    loop {
                        match chars.next().ok_or_else(wrong)? {
                            '}' => break,
                            c if c.is_ascii_alphanumeric() || "._-".contains(c) => name.push(c),
                            _ => return Err(wrong()),
                        }
                    }
                    if name.is_empty() || name.split('.').any(str::is_empty) {
                        return Err(wrong());
                    }
                    if !plain.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut plain)));
                    }
                    pieces.push(Piece::Field(name));
                }
                c => plain.push(c),
            }
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self { pieces })
    }

    /// The names in it, in order.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Field(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// Whether `field` is among its names.
    pub fn names(&self, field: &str) -> bool {
        self.fields().any(|name| name == field)
    }

    /// The text with each name replaced; None when `value` does not know one.
    pub fn fill(&self, value: impl Fn(&str) -> Option<String>) -> Option<String> {
        self.pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => Some(text.clone()),
                Piece::Field(name) => value(name),
            })
            .collect()
    }

    /// The JSON value its only name points at, for lists; None when it is more than one name.
    pub fn only_field(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [Piece::Field(name)] => Some(name),
            _ => None,
        }
    }
}

/// The value at a dotted path below `root`; keys may themselves hold dots (`deploy.server.groups`).
pub fn lookup<'a>(root: &'a Value, path: &str) -> Option<&'a Value> {
    if path.is_empty() {
        return Some(root);
    }
    let object = root.as_object()?;
    if let Some(found) = object.get(path) {
        return Some(found);
    }
    path.match_indices('.').find_map(|(dot, _)| {
        let (head, tail) = path.split_at(dot);
        lookup(object.get(head)?, tail.strip_prefix('.')?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_filled_and_braces_doubled() {
        let template = Template::parse("{{x}} {a.b}-{c}").unwrap();
        assert_eq!(template.fields().collect::<Vec<_>>(), ["a.b", "c"]);
        let value = |name: &str| (name != "z").then(|| name.to_uppercase());
        assert_eq!(template.fill(value).as_deref(), Some("{x} A.B-C"));
        assert_eq!(Template::parse("{z}").unwrap().fill(value), None);
        assert_eq!(Template::parse("{a}").unwrap().only_field(), Some("a"));
    }

    #[test]
    fn open_braces_are_refused() {
        for text in ["{", "{}", "{a", "a}", "{a b}", "{a..b}", "{${x}}"] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_path_finds_keys_with_dots() {
        let value =
            serde_json::json!({"stage": {"context": {"deploy.groups": {"eu": [1]}, "batch": 2}}});
        assert_eq!(
            lookup(&value, "stage.context.batch"),
            Some(&serde_json::json!(2))
        );
        assert_eq!(
            lookup(&value, "stage.context.deploy.groups.eu"),
            Some(&serde_json::json!([1]))
        );
        assert_eq!(lookup(&value, "stage.none"), None);
    }
}
