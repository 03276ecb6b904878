fn main() -> std::process::ExitCode {
    tawi_builder::hook_main()
}
