//! The part of Spring's expression language that pipelines here use inside `${..}`: property
//! paths, `split` and `replace` of texts, `#stage('Name')`, literals, `==`, `!=`, `&&`, `||`, `!`, `?:` and parentheses.
//!
//! As in Orca, an expression that cannot be evaluated stays in the text as it was written.

use serde_json::{Map, Value};

/// What expressions see.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    /// Bare names.
    pub(super) root: Map<String, Value>,
    /// What `#stage('Name')` finds.
    pub(super) stages: Vec<Value>,
}

impl Scope {
    /// Evaluates every text inside a value.
    pub(super) fn evaluate(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.text(text),
            Value::Array(items) => items.iter().map(|item| self.evaluate(item)).collect(),
            Value::Object(map) => map
                .iter()
                .map(|(key, value)| (key.clone(), self.evaluate(value)))
                .collect(),
            other => other.clone(),
        }
    }

    /// The value of an expression without its `${}`; `None` when it cannot be evaluated.
    pub(super) fn expression(&self, expression: &str) -> Option<Value> {
        let mut parser = Parser {
            scope: self,
            rest: expression,
        };
        let value = parser.choice()?;
        parser.rest.trim().is_empty().then_some(value)
    }

    /// A text that is one expression takes its type; else values are put into the text.
    fn text(&self, text: &str) -> Value {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let Some((inside, tail)) = split_at_brace(after) else {
                break;
            };
            let value = self.expression(inside);
            if let (true, true, Some(value)) =
                (out.is_empty() && before.is_empty(), tail.is_empty(), &value)
            {
                return value.clone();
            }
            out.push_str(before);
            match value {
                Some(Value::String(text)) => out.push_str(&text),
                Some(value) => out.push_str(&value.to_string()),
                None => out.extend(["${", inside, "}"]),
            }
            rest = tail;
        }
        Value::String(out + rest)
    }
}

/// Splits behind the brace that closes an expression, past braces in quotes.
fn split_at_brace(text: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '}') => {
                let (inside, tail) = text.split_at(at);
                return Some((inside, tail.strip_prefix('}')?));
            }
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    None
}

struct Parser<'a> {
    scope: &'a Scope,
    rest: &'a str,
}

impl Parser<'_> {
    fn take(&mut self, token: &str) -> bool {
        let rest = self.rest.trim_start();
        match rest.strip_prefix(token) {
            Some(after) => {
                self.rest = after;
                true
            }
            None => false,
        }
    }

    /// `a ?: b`: b when a is null, empty or unknown.
    fn choice(&mut self) -> Option<Value> {
        let start = self.rest;
        let value = self.either();
        if value.is_none() {
            // Unknown properties are null on the left of `?:`.
            self.rest = start.find("?:").map_or("", |at| start.split_at(at).1);
        }
        if self.take("?:") {
            let other = self.choice()?;
            let missing = value.as_ref().is_none_or(|v| v.is_null() || v == "");
            return if missing { Some(other) } else { value };
        }
        value
    }

    fn either(&mut self) -> Option<Value> {
        let mut value = self.both()?;
        while self.take("||") {
            let other = self.both()?;
            value = Value::Bool(value.as_bool()? || other.as_bool()?);
        }
        Some(value)
    }

    fn both(&mut self) -> Option<Value> {
        let mut value = self.comparison()?;
        while self.take("&&") {
            let other = self.comparison()?;
            value = Value::Bool(value.as_bool()? && other.as_bool()?);
        }
        Some(value)
    }

    fn comparison(&mut self) -> Option<Value> {
        let value = self.operand()?;
        if self.take("==") {
            return Some(Value::Bool(value == self.operand()?));
        }
        if self.take("!=") {
            return Some(Value::Bool(value != self.operand()?));
        }
        Some(value)
    }

    fn operand(&mut self) -> Option<Value> {
        if self.take("!") {
            return Some(Value::Bool(!self.operand()?.as_bool()?));
        }
        let value = if self.take("(") {
            let value = self.choice()?;
            self.take(")").then_some(value)?
        } else if self.take("#stage(") {
            let name = self.quoted()?;
            let stage = self
                .scope
                .stages
                .iter()
                .find(|stage| stage["name"] == name.as_str())?;
            self.take(")").then(|| stage.clone())?
        } else if self.rest.trim_start().starts_with(['\'', '"']) {
            Value::String(self.quoted()?)
        } else {
            self.name_or_number()?
        };
        self.properties(value)
    }

    fn name_or_number(&mut self) -> Option<Value> {
        let word = self.word()?;
        match word.as_str() {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            "null" => Some(Value::Null),
            _ => match word.parse::<i64>() {
                Ok(number) => Some(number.into()),
                Err(_) => self.scope.root.get(&word).cloned(),
            },
        }
    }

    /// `.name`, `?.name`, `['name']`, `[0]`, `.toString()`, and the methods below.
    fn properties(&mut self, mut value: Value) -> Option<Value> {
        loop {
            if self.take("?.") || self.take(".") {
                let name = self.word()?;
                if let ("split" | "replace", true) = (name.as_str(), self.take("(")) {
                    value = self.text_method(&name, value.as_str()?)?;
                    continue;
                }
                value = match (name.as_str(), self.take("()")) {
                    ("toString", true) => match value {
                        Value::String(text) => Value::String(text),
                        other => Value::String(other.to_string()),
                    },
                    (_, true) => return None,
                    (name, false) => value.get(name)?.clone(),
                };
            } else if self.take("[") {
                value = if self.rest.trim_start().starts_with(['\'', '"']) {
                    value.get(self.quoted()?)?.clone()
                } else {
                    value.get(self.word()?.parse::<usize>().ok()?)?.clone()
                };
                self.take("]").then_some(())?;
            } else {
                return Some(value);
            }
        }
    }

    /// Of a Java `String`, with plain texts: `.split('a')`, `.replace('a', 'b')`, from inside the
    /// parenthesis on.
    fn text_method(&mut self, name: &str, text: &str) -> Option<Value> {
        let first = self.quoted()?;
        let value = if name == "split" {
            text.split(first.as_str()).collect::<Value>()
        } else {
            self.take(",").then_some(())?;
            Value::String(text.replace(&first, &self.quoted()?))
        };
        self.take(")").then_some(value)
    }

    fn word(&mut self) -> Option<String> {
        let rest = self.rest.trim_start();
        let end = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        self.rest = after;
        (!word.is_empty()).then(|| word.to_owned())
    }

    fn quoted(&mut self) -> Option<String> {
        let rest = self.rest.trim_start();
        let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let (text, after) = rest.strip_prefix(quote)?.split_once(quote)?;
        self.rest = after;
        Some(text.to_owned())
    }
}
