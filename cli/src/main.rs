//! The `tawi` binary.

fn main() -> std::process::ExitCode {
    tawi_cli::main()
}
