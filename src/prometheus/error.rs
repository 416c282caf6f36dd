//! How a question to the metrics store fails, told apart by what a caller may conclude.

use crate::http::{CallError, CallErrorKind};

/// Longest message of the other side that is kept, in characters.
const MESSAGE_CHARS: usize = 400;

/// A question without a usable answer. None of these says that the condition does not hold.
#[derive(Debug, thiserror::Error)]
pub enum PromError {
    /// No answer, an overloaded source, or a login that is not accepted.
    #[error("{0}")]
    Call(#[from] CallError),
    /// The source answers that it can't evaluate the question.
    #[error("the query was refused ({kind}): {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// `errorType`; `VictoriaMetrics` puts the HTTP status there.
        kind: String,
        /// Its own words, shortened.
        message: String,
    },
    /// Some storage nodes did not answer (`isPartial`): what is missing may be what matters.
    #[error("the answer is incomplete: not all storage nodes were reached")]
    Incomplete,
    /// More than we are willing to read.
    #[error("the answer has more than {limit} {what}")]
    TooMuch {
        /// Series or points.
        what: &'static str,
        /// How many are read.
        limit: usize,
    },
    /// An answer of an unknown shape.
    #[error("the answer can't be understood: {0}")]
    BadAnswer(String),
}

impl PromError {
    pub(super) fn refused(status: u16, kind: String, message: &str) -> Self {
        Self::Refused {
            status,
            kind,
            message: message.chars().take(MESSAGE_CHARS).collect(),
        }
    }

    /// The metric label.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Call(error) => error.kind.as_str(),
            Self::Refused { .. } => CallErrorKind::Client.as_str(),
            Self::Incomplete => "incomplete",
            Self::TooMuch { .. } => "too_much",
            Self::BadAnswer(_) => CallErrorKind::Decode.as_str(),
        }
    }
}
