//! The interfaces of WASI 0.3, beside those of 0.2: the same context, so the same fixed clock, seeded randomness, log lines, empty
//! filesystem and gate for requests. Sockets are left out here as they are there.

use super::Call;
use wasmtime::component::Linker;

/// What a guest with a handler of WASI 0.3 can be linked with on top of [`super::add_to_linker`].
pub fn add_p3_to_linker(linker: &mut Linker<Call>) -> wasmtime::Result<()> {
    use wasmtime_wasi::p3::{cli, clocks, filesystem, random};
    cli::add_to_linker(linker)?;
    clocks::add_to_linker(linker)?;
    filesystem::add_to_linker(linker)?;
    random::add_to_linker(linker)?;
    wasmtime_wasi_http::p3::add_to_linker(linker)
}
