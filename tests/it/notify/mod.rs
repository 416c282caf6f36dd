//! The room that tells people, over real sockets: storms, broken vendors, crashes.

mod bots;
mod chaos;
mod crash;
mod size;
mod storm;

/// A count from the environment, for runs longer than CI's.
pub(crate) fn count(variable: &str, default: u32) -> u32 {
    #[expect(clippy::disallowed_methods, reason = "the tests' own knobs")]
    let value = std::env::var(variable).ok();
    value.map_or(default, |value| value.parse().expect("a whole number"))
}
