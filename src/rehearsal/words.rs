//! What a test writes as one word, or as a short text of its own.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

use super::offset::Offset;
use crate::domain::decision::Scope;

/// `full`, `batch 1` or `batch 1+2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RawScope(pub Scope);

/// What all asking would come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Word {
    /// The condition holds, for the accused alone, and began after its batch.
    Holds,
    /// The metrics store says no.
    No,
    /// It holds for somebody else.
    HoldsForOthers,
    /// There is no sample.
    NoData,
    /// The metrics store can't be asked.
    SourceDown,
    /// No trusted expression is known.
    NoExpression,
    /// It holds, and began before the batch.
    BeganBefore,
    /// It holds, and others are as bad.
    OthersAreBad,
    /// It holds, and the accused runs something else by now.
    Gone,
}

/// One word for all the time, or words by time.
#[derive(Debug, Clone, Default)]
pub(super) struct RawEvidence(pub Vec<RawWord>);

/// A word from a moment on.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWord {
    /// Since when.
    pub from: Offset,
    /// What it comes to.
    pub is: Word,
}

fn parse_scope(text: &str) -> Option<Scope> {
    if text == "full" {
        return Some(Scope::Full);
    }
    let numbers = text.strip_prefix("batch ")?.split('+');
    let numbers: Option<BTreeSet<u32>> = numbers.map(|n| n.trim().parse().ok()).collect();
    numbers.map(Scope::Batch)
}

impl<'de> Deserialize<'de> for RawScope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let scope = parse_scope(&text)
            .ok_or_else(|| format!("`{text}` is not a scope: `full`, `batch 1` or `batch 1+2`"));
        scope.map(Self).map_err(Error::custom)
    }
}

impl<'de> Deserialize<'de> for RawEvidence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;

        impl<'de> Visitor<'de> for Words {
            type Value = RawEvidence;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a word such as `holds`, or a list of `{from: 0s, is: holds}`")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<RawEvidence, E> {
                let word = serde::de::value::StrDeserializer::<E>::new(text);
                let is = Word::deserialize(word)?;
                let from = Offset::hours_before(24 * 365);
                Ok(RawEvidence(vec![RawWord { from, is }]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<RawEvidence, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = list.next_element()? {
                    words.push(word);
                }
                Ok(RawEvidence(words))
            }
        }

        deserializer.deserialize_any(Words)
    }
}

impl JsonSchema for RawEvidence {
    fn schema_name() -> Cow<'static, str> {
        "Evidence".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let word = generator.subschema_for::<Word>();
        let words = generator.subschema_for::<Vec<RawWord>>();
        json_schema!({"anyOf": [word, words]})
    }
}

impl JsonSchema for RawScope {
    fn schema_name() -> Cow<'static, str> {
        "Scope".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^(full|batch [0-9]+(\\+[0-9]+)*)$"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_written_as_they_are_shown() {
        for text in ["full", "batch 1", "batch 1+2"] {
            assert_eq!(parse_scope(text).unwrap().to_string(), text);
        }
        for text in ["", "batch", "batch one", "batch 1+", "Full"] {
            assert_eq!(parse_scope(text), None, "{text}");
        }
    }
}
