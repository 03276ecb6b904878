//! A wasmtime engine and what every component is linked with.

use super::{Wasi, pool};
use crate::host::{self, Call};
use wasmtime::{Engine, Result, component::Linker};

pub(super) struct Core {
    pub wasm: Engine,
    pub linker: Linker<Call>,
    /// Slots keep pages from one call to the next, and trust the kernel to tell which of them are dirty.
    pub keeps_pages: bool,
}

impl Core {
    pub fn open(wasi: Wasi, instances_max: u32, keeps_pages: bool) -> Result<Core> {
        let wasm = pool::engine(wasi, instances_max, keeps_pages)?;
        let mut linker = Linker::new(&wasm);
        host::add_to_linker(&mut linker)?;
        if wasi == Wasi::P3 {
            host::add_p3_to_linker(&mut linker)?;
        }
        Ok(Core { wasm, linker, keeps_pages })
    }
}
