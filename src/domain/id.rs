//! Names that become object keys, query parts and links.
//!
//! Every id matches `^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$`; text that does not is refused at the
//! edge, so no label can steer a key or a query. A clone shares the text: a million of them are kept.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest id, in bytes; all of them ASCII.
pub const MAX_LEN: usize = 128;

/// Text that is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not an id: it must match [A-Za-z0-9][A-Za-z0-9._@+-]{{0,127}}", shorten(.0))]
pub struct InvalidId(pub String);

fn shorten(text: &str) -> String {
    text.escape_default().take(64).collect()
}

/// Whether `text` may be used as an id.
pub fn is_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= MAX_LEN
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"._@+-".contains(b))
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` and takes it as an id.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidId> {
                let text = text.into();
                if is_id(&text) { Ok(Self(text.into())) } else { Err(InvalidId(text)) }
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

id!(
    /// A service: what a team deploys under one name.
    Service
);
id!(
    /// Where it runs: `prod`, `stage`, …
    Env
);
id!(
    /// `<service>@<version>`; see [`ReleaseId::of`].
    ReleaseId
);
id!(
    /// The Spinnaker execution id of a deployment.
    DeploymentId
);
id!(
    /// A host or pod, without a port.
    Host
);
id!(
    /// A channel's `name` in the configuration.
    ChannelName
);
id!(
    /// A Spinnaker pipeline execution (a ULID).
    ExecutionId
);
id!(
    /// Where deployments and rollbacks of a service collide; see [`LaneName::of`].
    LaneName
);
id!(
    /// One decided action: its lane and the sequence number that opened it.
    IncidentId
);
id!(
    /// One question to people: its lane and the sequence number that asked it.
    ApprovalId
);
id!(
    /// One running gateway process.
    ReplicaId
);

impl ReleaseId {
    /// `<service>@<version>`.
    ///
    /// # Errors
    /// When the two together are longer than an id may be.
    pub fn of(service: &Service, version: &str) -> Result<Self, InvalidId> {
        Self::new(format!("{service}@{version}"))
    }

    /// The part after the first `@`; the whole id when there is none.
    pub fn version(&self) -> &str {
        self.0
            .split_once('@')
            .map_or(&self.0, |(_, version)| version)
    }

    /// The part before the first `@`, when it is a service's name.
    pub fn service(&self) -> Option<Service> {
        let (service, _) = self.0.split_once('@')?;
        Service::new(service).ok()
    }
}

impl LaneName {
    /// An injective name for (service, env): both joined by one `@`, every `@` inside doubled.
    ///
    /// An id never starts with `@`, so exactly one run of `@` in the name has odd length, and its
    /// last `@` is the join.
    ///
    /// # Errors
    /// When the name is too long to carry an incident's sequence number as well.
    pub fn of(service: &Service, env: &Env) -> Result<Self, InvalidId> {
        let name = format!(
            "{}@{}",
            service.as_str().replace('@', "@@"),
            env.as_str().replace('@', "@@")
        );
        // `-` and up to ten digits follow in an incident's id.
        if name.len() > MAX_LEN - 11 {
            return Err(InvalidId(name));
        }
        Self::new(name)
    }
}

impl IncidentId {
    /// `<lane>-<seq>`.
    ///
    /// # Errors
    /// Never for a lane from [`LaneName::of`] and a sequence number below 10¹⁰.
    pub fn of(lane: &LaneName, seq: u64) -> Result<Self, InvalidId> {
        Self::new(format!("{lane}-{seq}"))
    }

    /// The lane and the opening sequence number.
    pub fn parts(&self) -> Option<(LaneName, u64)> {
        let (lane, seq) = self.0.rsplit_once('-')?;
        Some((LaneName::new(lane).ok()?, seq.parse().ok()?))
    }
}

impl ApprovalId {
    /// `<lane>-<seq>`.
    ///
    /// # Errors
    /// Never for a lane from [`LaneName::of`] and a sequence number below 10¹⁰.
    pub fn of(lane: &LaneName, seq: u64) -> Result<Self, InvalidId> {
        Self::new(format!("{lane}-{seq}"))
    }

    /// The lane it was asked in.
    pub fn lane(&self) -> Option<LaneName> {
        let (lane, seq) = self.0.rsplit_once('-')?;
        seq.parse::<u64>().ok()?;
        LaneName::new(lane).ok()
    }
}

impl ReplicaId {
    /// A fresh one for this process.
    pub fn random() -> Self {
        Self(uuid::Uuid::now_v7().simple().to_string().into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_that_could_leave_its_place_is_no_id() {
        for text in [
            "",
            "../x",
            ".hidden",
            "a/b",
            "a b",
            "ä",
            "a\0",
            "%2e%2e",
            "a\n",
            "\u{202e}a",
            "-x",
            "@x",
        ] {
            assert!(Service::new(text).is_err(), "{text:?}");
        }
        assert!(Service::new("a".repeat(128)).is_ok());
        assert!(Service::new("a".repeat(129)).is_err());
    }

    #[test]
    fn a_release_id_tells_service_and_version() {
        let id = ReleaseId::of(&Service::new("checkout").unwrap(), "1.8.0+b@2").unwrap();
        assert_eq!(id.as_str(), "checkout@1.8.0+b@2");
        assert_eq!(id.version(), "1.8.0+b@2");
        assert_eq!(id.service().unwrap().as_str(), "checkout");
    }

    #[test]
    fn an_incident_id_tells_its_lane() {
        let lane =
            LaneName::of(&Service::new("a-1").unwrap(), &Env::new("prod-eu").unwrap()).unwrap();
        let id = IncidentId::of(&lane, 17).unwrap();
        assert_eq!(id.as_str(), "a-1@prod-eu-17");
        assert_eq!(id.parts(), Some((lane, 17)));
    }

    proptest! {
        #[test]
        fn two_lanes_never_share_a_name(
            a in "[a-z0-9][a-z@+-]{0,6}", b in "[a-z0-9][a-z@+-]{0,6}",
            c in "[a-z0-9][a-z@+-]{0,6}", d in "[a-z0-9][a-z@+-]{0,6}",
        ) {
            let lane = |s: &str, e: &str| LaneName::of(&Service::new(s).unwrap(), &Env::new(e).unwrap()).unwrap();
            prop_assert_eq!((&a, &b) == (&c, &d), lane(&a, &b) == lane(&c, &d));
        }

        #[test]
        fn any_text_is_an_id_or_refused(text in "\\PC*") {
            let ok = regex::Regex::new("^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$").unwrap().is_match(&text);
            prop_assert_eq!(Host::new(text).is_ok(), ok);
        }
    }
}
