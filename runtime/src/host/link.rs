//! What a guest can be linked with: the interfaces of the contract, and of WASI those that the proxy world has and a few more.

use super::{
    Call,
    bindings::{tawi::app, wasi},
};
use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::WasiView;

/// Names the type of the host's data to the generated bindings.
struct Tawi;

impl HasData for Tawi {
    type Data<'a> = &'a mut Call;
}

/// Streams and polls know nothing but the call's handles.
struct Io;

impl HasData for Io {
    type Data<'a> = &'a mut ResourceTable;
}

/// Everything a guest can ever be linked with. What it was granted is checked at push (`engine::check`) and, for patterns, at each call.
pub fn add_to_linker(linker: &mut Linker<Call>) -> wasmtime::Result<()> {
    add_io(linker)?;
    add_clocks_and_random(linker)?;
    add_cli_and_filesystem(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    app::types::add_to_linker::<_, Tawi>(linker, |call| call)?;
    app::trigger::add_to_linker::<_, Tawi>(linker, |call| call)?;
    app::publish::add_to_linker::<_, Tawi>(linker, |call| call)?;
    app::command::add_to_linker::<_, Tawi>(linker, |call| call)?;
    app::state::add_to_linker::<_, Tawi>(linker, |call| call)?;
    app::history::add_to_linker::<_, Tawi>(linker, |call| call)?;
    app::secrets::add_to_linker::<_, Tawi>(linker, |call| call)?;
    wasi::config::store::add_to_linker::<_, Tawi>(linker, |call| call)?;
    wasi::logging::logging::add_to_linker::<_, Tawi>(linker, |call| call)?;
    wasi::keyvalue::store::add_to_linker::<_, Tawi>(linker, |call| call)?;
    wasi::keyvalue::atomics::add_to_linker::<_, Tawi>(linker, |call| call)?;
    wasi::keyvalue::batch::add_to_linker::<_, Tawi>(linker, |call| call)
}

/// Not by what `wasmtime-wasi` offers for all of WASI at once: that builds a whole context for whoever only writes to a stream, as
/// every HTTP handler does.
fn add_io(linker: &mut Linker<Call>) -> wasmtime::Result<()> {
    use wasmtime_wasi_io::bindings::wasi::io::{error, poll, streams};
    error::add_to_linker::<Call, Io>(linker, |call| &mut call.table)?;
    poll::add_to_linker::<Call, Io>(linker, |call| &mut call.table)?;
    streams::add_to_linker::<Call, Io>(linker, |call| &mut call.table)
}

fn add_clocks_and_random(linker: &mut Linker<Call>) -> wasmtime::Result<()> {
    use wasmtime_wasi::{
        clocks::{WasiClocks, WasiClocksView},
        p2::bindings::{clocks, random},
        random::WasiRandom,
    };
    clocks::wall_clock::add_to_linker::<Call, WasiClocks>(linker, Call::clocks)?;
    clocks::monotonic_clock::add_to_linker::<Call, WasiClocks>(linker, Call::clocks)?;
    random::random::add_to_linker::<Call, WasiRandom>(linker, |call| call.ctx().ctx.random())?;
    random::insecure::add_to_linker::<Call, WasiRandom>(linker, |call| call.ctx().ctx.random())?;
    random::insecure_seed::add_to_linker::<Call, WasiRandom>(linker, |call| call.ctx().ctx.random())
}

/// What the standard libraries of every language import: standard streams, an empty environment, an empty filesystem, an exit that
/// ends the call.
fn add_cli_and_filesystem(linker: &mut Linker<Call>) -> wasmtime::Result<()> {
    use wasmtime_wasi::{
        cli::{WasiCli, WasiCliView},
        filesystem::{WasiFilesystem, WasiFilesystemView},
        p2::bindings::{cli, filesystem},
    };
    cli::stdin::add_to_linker::<Call, WasiCli>(linker, Call::cli)?;
    cli::stdout::add_to_linker::<Call, WasiCli>(linker, Call::cli)?;
    cli::stderr::add_to_linker::<Call, WasiCli>(linker, Call::cli)?;
    cli::environment::add_to_linker::<Call, WasiCli>(linker, Call::cli)?;
    cli::exit::add_to_linker::<Call, WasiCli>(linker, Call::cli)?;
    cli::terminal_input::add_to_linker::<Call, WasiCli>(linker, Call::cli)?;
    cli::terminal_output::add_to_linker::<Call, WasiCli>(linker, Call::cli)?;
    cli::terminal_stdin::add_to_linker::<Call, WasiCli>(linker, Call::cli)?;
    cli::terminal_stdout::add_to_linker::<Call, WasiCli>(linker, Call::cli)?;
    cli::terminal_stderr::add_to_linker::<Call, WasiCli>(linker, Call::cli)?;
    filesystem::types::add_to_linker::<Call, WasiFilesystem>(linker, Call::filesystem)?;
    filesystem::preopens::add_to_linker::<Call, WasiFilesystem>(linker, Call::filesystem)
}
