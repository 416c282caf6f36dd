//! What agents ask, and what they are answered beside the words of [`crate::domain::agent`].

use std::fmt;

use bytes::Bytes;
use futures::stream::BoxStream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::id::{Env, Host, Service};

/// An agent: of which host, for which service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentAsk {
    /// The host its token names.
    pub host: Host,
    /// The service it looks after.
    pub service: Service,
    /// Where.
    pub env: Env,
}

/// How many records are kept now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Recorded {
    /// Of those that were sent: all of them.
    pub accepted: usize,
}

/// A file on its way.
pub struct ArtifactStream {
    /// Its bytes, in number.
    pub size: u64,
    /// Its bytes.
    pub pieces: BoxStream<'static, std::io::Result<Bytes>>,
}

impl fmt::Debug for ArtifactStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArtifactStream")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}
