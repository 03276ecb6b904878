//! What generated bindings need at run time; the crate `wit-bindgen` would bring the same and a build script with it.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// Generated code calls this so that `cabi_realloc` is linked. On wasm32-wasip2 the standard library links it always.
pub fn maybe_link_cabi_realloc() {}

/// Runs the C constructors before the first export is entered, once.
pub fn run_ctors_once() {
    use std::sync::atomic::{AtomicBool, Ordering};
    static RUN: AtomicBool = AtomicBool::new(false);
    unsafe extern "C" {
        fn __wasm_call_ctors();
    }
    if !RUN.swap(true, Ordering::Relaxed) {
        // SAFETY: the linker makes this function, and it is called once, before anything of this module ran.
        unsafe { __wasm_call_ctors() }
    }
}

/// Memory for the arguments of one call of the host.
pub struct Cleanup {
    ptr: NonNull<u8>,
    layout: Layout,
}

impl Cleanup {
    /// Room for `layout`, and who frees it; none for an empty one.
    pub fn new(layout: Layout) -> (*mut u8, Option<Cleanup>) {
        if layout.size() == 0 {
            return (std::ptr::null_mut(), None);
        }
        // SAFETY: the size is not zero.
        let ptr = unsafe { alloc(layout) };
        match NonNull::new(ptr) {
            Some(ptr) => (ptr.as_ptr(), Some(Cleanup { ptr, layout })),
            None => handle_alloc_error(layout),
        }
    }

    /// Leaves the memory to whoever got the pointer.
    pub fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        // SAFETY: allocated with the same layout in `new`.
        unsafe { dealloc(self.ptr.as_ptr(), self.layout) }
    }
}
