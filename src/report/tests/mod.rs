//! A realistic incident, told from its lane.
#![expect(
    clippy::string_slice,
    clippy::unnecessary_wraps,
    clippy::needless_pass_by_value,
    clippy::float_cmp,
    clippy::too_many_lines,
    reason = "test code"
)]

mod injection;
mod keeping;
mod scene;
mod stories;
