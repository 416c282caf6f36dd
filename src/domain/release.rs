//! Releases and what people or the gateway think of them.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id::{IncidentId, ReleaseId, Service};

/// A file in the artifact store, named by its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Artifact {
    /// Where it can be fetched from.
    pub url: String,
    /// Lower-case hex SHA-256 of its bytes.
    pub checksum: String,
}

/// What `release publish` writes: an immutable document at `releases/<service>/<version>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Release {
    /// `<service>@<version>`.
    pub id: ReleaseId,
    /// Whose it is.
    pub service: Service,
    /// The git tag.
    pub tag: String,
    /// The tag without its configured prefix.
    pub version: String,
    /// Where the binary is.
    pub artifact_url: String,
    /// Lower-case hex SHA-256 of the binary.
    pub checksum: String,
    /// The configuration that goes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Artifact>,
    /// The commit the tag pointed at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// False when going back over it would break data (a migration). Default true.
    #[serde(default = "yes")]
    pub reversible: bool,
    /// When it was published.
    #[schemars(with = "String")]
    pub created_at: Timestamp,
    /// Who or what published it.
    pub created_by: String,
}

fn yes() -> bool {
    true
}

/// How a release is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MarkKind {
    /// A person vouches for it.
    Stable,
    /// It was rolled back, or a person refused it: never a target.
    Bad,
    /// Takes earlier marks back.
    Clear,
}

/// One entry of a release's chain of marks; the newest counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mark {
    /// The release.
    pub release_id: ReleaseId,
    /// Stable, bad or cleared.
    pub kind: MarkKind,
    /// Why, in words.
    pub reason: String,
    /// Who: a token's name, or `backstop`.
    pub by: String,
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// The incident that made the mark, when one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentId>,
}
