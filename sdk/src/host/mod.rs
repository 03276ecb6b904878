//! Who answers a function's calls: on wasm the node, elsewhere the fake of `testing`. Both have the functions listed here.
//! In: arguments as the SDK's modules have them. Out: answers, or `Error` with its kind. Never: serde.

#[cfg(not(target_arch = "wasm32"))]
mod fake;
#[cfg(target_arch = "wasm32")]
mod node;

#[cfg(not(target_arch = "wasm32"))]
pub use fake::*;
#[cfg(target_arch = "wasm32")]
pub use node::*;
