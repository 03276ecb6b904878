fn main() -> std::process::ExitCode {
    match std::env::args_os().nth(1) {
        Some(word) if word == "keep" => tawi_builder::keep_main(std::env::args_os().skip(2)),
        Some(word) if word == "confine" => tawi_builder::confine_main(std::env::args_os().skip(2)),
        _ => tawi_builder::hook_main(),
    }
}
