//! What a builder is told and what it asks.

use crate::{BuildError, Toolchain, limit::BuildLimits};
use futures::future::BoxFuture;
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};
use tawi_runtime::model::{AppId, Digest, Manifest, Tenant, id::default_tenant};

/// A program of ours that runs as a process of its own, and the arguments before those that it is given for its work.
#[derive(Debug, Clone)]
pub struct Program {
    pub program: PathBuf,
    /// Without spaces.
    pub arguments: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct BuilderOptions {
    /// The node's data directory: `git/` and `build/` below it are the builder's.
    pub data: PathBuf,
    pub tenant: Tenant,
    /// What the URLs begin with that a push prints.
    pub base_url: String,
    /// None: looked for when the first crate is built.
    pub toolchain: Option<Toolchain>,
    pub limits: BuildLimits,
    /// A cargo configuration whose registries (a mirror, say) are used; the rest of it is not.
    pub registry_config: Option<PathBuf>,
    /// What git runs as its hooks: calls [`crate::hook_main`], gets the name of the hook.
    pub hook: Program,
    /// What holds the processes of a build: calls [`crate::keep_main`] with its further arguments.
    pub keeper: Program,
    /// What takes away the rights of a program that runs an app's code: calls [`crate::confine_main`] with its further arguments.
    pub confiner: Program,
}

impl BuilderOptions {
    /// Hook, keeper and confiner are this program, called with `__hook`, `__keep` and `__confine`; registries are as this user has configured them for cargo.
    pub fn new(data: &Path) -> io::Result<BuilderOptions> {
        let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let cargo_home = cargo_home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
        let program = std::env::current_exe()?;
        let this = |word: &str| Program { program: program.clone(), arguments: vec![word.to_owned()] };
        Ok(BuilderOptions {
            data: std::path::absolute(data)?,
            tenant: default_tenant(),
            base_url: String::new(),
            toolchain: None,
            limits: BuildLimits::default(),
            registry_config: cargo_home.map(|home| home.join("config.toml")).filter(|config| config.is_file()),
            hook: this("__hook"),
            keeper: this("__keep"),
            confiner: this("__confine"),
        })
    }
}

pub type Verify = dyn Fn(&[u8], &Manifest) -> Result<(), String> + Send + Sync;
pub type Prepare = dyn Fn(&[u8], &Digest, &Manifest) -> Result<(), String> + Send + Sync;
pub type Live = dyn Fn(AppId, u64) -> BoxFuture<'static, Result<(), String>> + Send + Sync;

/// What the builder asks the rest of the node. `verify` and `prepare` may take their time: they are called where blocking is fine. Their
/// errors are shown to the author as they are; what follows a line `hint: ` is the hint.
#[derive(Clone)]
pub struct Checks {
    /// Whether the component exports what the manifest handles and imports no more than it is granted.
    pub verify: Arc<Verify>,
    /// Compiles the stored component for this node and makes an instance of it, within the limits of the manifest and some seconds.
    pub prepare: Arc<Prepare>,
    /// Done when the release of this number serves, so that a push ends when its functions are there.
    pub live: Arc<Live>,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("could not {tried} `{}`", path.display())]
    Io {
        tried: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("could not make the releases of `{app}` agree with its repository")]
    Settle {
        app: AppId,
        #[source]
        source: BuildError,
    },
}
