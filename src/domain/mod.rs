//! The vocabulary: types and pure functions every room speaks in.
//!
//! No I/O, no async, no foreign wire formats. What is serialised here is a document in the store
//! or a body of the read API, so a field's name and meaning is a promise to operators.

pub mod agent;
pub mod alert;
pub mod clock;
pub mod context;
pub mod decision;
pub mod deployment;
pub mod duration;
pub mod evidence;
pub mod freeze;
pub mod id;
pub mod lane;
pub mod moment;
pub mod notice;
pub mod policy;
pub mod record;
pub mod release;
pub mod secret;
pub mod source;

/// Lower-case hex digits of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String can't fail.
            let _infallible = write!(text, "{byte:02x}");
            text
        })
}
