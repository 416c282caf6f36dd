//! Routes, authentication, pages: the gateway's face.
