//! The four channels in their own wire protocols.
