//! Which of the two engines runs a component: told by the names in it, before anything of it is compiled.

use crate::model::Manifest;
use wasmparser::{Parser, Payload};

/// The WASI of a component's HTTP handler. That of 0.3 waits for several things at once, which takes an engine of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wasi {
    P2,
    P3,
}

/// Of a component that exports it. A patch of 0.3 may be written in full or left out.
pub(super) const HANDLER_P3: &str = "wasi:http/handler@0.3";

impl Wasi {
    /// Of a component as it came out of its build. What is none at all is refused by the engine that compiles it.
    pub fn of(component: &[u8]) -> Wasi {
        match Names::of(component).exports.iter().any(|name| name.starts_with(HANDLER_P3)) {
            true => Wasi::P3,
            false => Wasi::P2,
        }
    }
}

/// What a component calls what it wants and what it gives, itself and not the components inside of it.
#[derive(Debug, Default)]
pub(super) struct Names<'a> {
    pub imports: Vec<&'a str>,
    pub exports: Vec<&'a str>,
}

impl<'a> Names<'a> {
    pub fn of(component: &'a [u8]) -> Names<'a> {
        let (mut names, mut depth) = (Names::default(), 0_usize);
        // What does not parse ends the list: it is looked at again, and refused, by the compiler.
        for payload in Parser::new(0).parse_all(component).map_while(Result::ok) {
            match payload {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(imports) if depth == 0 => {
                    names.imports.extend(imports.into_iter().map_while(Result::ok).map(|import| import.name.name));
                }
                Payload::ComponentExportSection(exports) if depth == 0 => {
                    names.exports.extend(exports.into_iter().map_while(Result::ok).map(|export| export.name.name));
                }
                _ => {}
            }
        }
        names
    }

    /// What a component, or its manifest, asks for that is on the other engine.
    pub fn complaints(&self, wasi: Wasi, manifest: &Manifest) -> Vec<String> {
        let late = self.imports.iter().filter(|name| wasi == Wasi::P2 && name.starts_with("wasi:") && name.contains("@0.3"));
        let late = late.map(|name| {
            format!("import `{name}` is of WASI 0.3, which only a component has that exports {HANDLER_P3}: build this one for WASI 0.2")
        });
        let reused = manifest.functions.iter().filter(|function| wasi == Wasi::P3 && function.reuse > 1);
        let reused = reused.map(|function| {
            format!("[[on]] `{}` has `reuse`, which a component that exports {HANDLER_P3} can't have: leave it out", function.name)
        });
        late.chain(reused).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_a_component_exports_itself_decides() {
        let handler = |name: &str| format!("(instance $h) (export \"{name}\" (instance $h))");
        for (wasi, component) in [
            (Wasi::P3, format!("(component {})", handler("wasi:http/handler@0.3.0"))),
            (Wasi::P3, format!("(component (component) (core module) {})", handler("wasi:http/handler@0.3.7"))),
            (Wasi::P2, format!("(component {})", handler("wasi:http/incoming-handler@0.2.6"))),
            (Wasi::P2, format!("(component (component {}))", handler("wasi:http/handler@0.3.0"))),
            (Wasi::P2, "(component (import \"wasi:http/handler@0.3.0\" (instance)))".to_owned()),
            (Wasi::P2, "(module)".to_owned()),
        ] {
            assert_eq!(Wasi::of(&wat::parse_str(&component).unwrap()), wasi, "{component}");
        }
        assert_eq!(Wasi::of(b"\0asm\x0d\0\x01\0 and then something else"), Wasi::P2);
    }
}
