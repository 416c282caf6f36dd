//! The `backstop` binary: hands over to [`backstop::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    backstop::cli::main()
}
