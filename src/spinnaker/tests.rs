//! Decoding of recorded documents, and the client against answers a real Gate gave or could give.

mod answers;
mod documents;
mod places;
