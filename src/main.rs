//! The `backstop` binary: hands over to [`backstop::cli`].

fn main() {}
