//! From a checked-out crate to the bytes of a component.

use crate::{
    error::BuildError,
    limit::{BuildLimits, CACHE_BYTES_MAX, MESSAGE_BYTES_MAX, METADATA_BYTES_MAX},
    log::Log,
    options::Program,
    process::{self, Ended, Hold, Limit, Stderr, Stdout},
    repo::clear,
    toolchain::{TARGET, Toolchain},
};
use cargo_metadata::{Message, Metadata, MetadataCommand, Package, PackageId, TargetKind};
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use tokio::{process::Command, time::Instant};

/// Tables of a cargo configuration that say where crates come from. The others could run programs, or change what is built.
const REGISTRY_TABLES: [&str; 5] = ["source", "registries", "registry", "http", "net"];
/// What cargo needs of the node's environment to reach a registry; it runs no code of the app while it fetches.
const NETWORK_VARIABLES: [&str; 10] = [
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// One app's place for builds. It is `CARGO_HOME` as well: cargo looks for a workspace above the checkout up to there and no further, so
/// that a `Cargo.toml` somewhere above the node's data has no say; and what one app downloads or compiles is never used for another.
#[derive(Debug, Clone)]
pub struct Place {
    pub home: PathBuf,
}

impl Place {
    pub fn source(&self) -> PathBuf {
        self.home.join("source")
    }

    pub fn index(&self) -> PathBuf {
        self.home.join("source.index")
    }

    fn target(&self) -> PathBuf {
        self.home.join("target")
    }

    fn scratch(&self) -> PathBuf {
        self.home.join("tmp")
    }

    /// Ready for a build: the configuration is ours again whatever the last build did to it.
    pub fn prepare(&self, registry_config: Option<&Path>) -> io::Result<()> {
        fs::create_dir_all(&self.home)?;
        for stale in ["config", "credentials", "credentials.toml", "tmp", ".cargo"] {
            clear(&self.home.join(stale))?;
        }
        fs::create_dir_all(self.scratch())?;
        let config = match registry_config {
            Some(path) => registry_tables(&fs::read_to_string(path)?).map_err(io::Error::other)?,
            None => String::new(),
        };
        fs::write(self.home.join("config.toml"), config)
    }

    /// Registries that are folders of this machine.
    fn registries(&self) -> Vec<PathBuf> {
        let config = fs::read_to_string(self.home.join("config.toml")).unwrap_or_default();
        let mut open: Vec<toml::Value> = toml::from_str(&config).into_iter().map(toml::Value::Table).collect();
        let mut found = Vec::new();
        while let Some(value) = open.pop() {
            match value {
                toml::Value::Table(table) => open.extend(table.into_iter().map(|(_, value)| value)),
                toml::Value::Array(array) => open.extend(array),
                toml::Value::String(text) => found.push(PathBuf::from(text.trim_start_matches("file://"))),
                _ => {}
            }
        }
        found.retain(|path| path.is_absolute());
        found
    }

    /// Drops compiled dependencies when they have grown out of bounds. Versions that nobody uses any more are never removed otherwise.
    pub fn trim(&self) -> io::Result<()> {
        if size_bytes(&self.target(), CACHE_BYTES_MAX)? > CACHE_BYTES_MAX { clear(&self.target()) } else { Ok(()) }
    }
}

fn registry_tables(text: &str) -> Result<String, toml::de::Error> {
    let mut config: toml::Table = toml::from_str(text)?;
    config.retain(|key, _| REGISTRY_TABLES.contains(&key));
    Ok(config.to_string())
}

/// Of all files below, or a bit more than `enough`.
fn size_bytes(dir: &Path, enough: u64) -> io::Result<u64> {
    let (mut open, mut bytes) = (vec![dir.to_owned()], 0);
    while let Some(dir) = open.pop().filter(|_| bytes <= enough) {
        let entries = match fs::read_dir(&dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => open.push(entry.path()),
                Ok(meta) => bytes += meta.len(),
                Err(_) => {}
            }
        }
    }
    Ok(bytes)
}

/// What one build runs cargo with.
pub struct Cargo<'a> {
    pub toolchain: &'a Toolchain,
    pub keeper: &'a Program,
    pub confiner: &'a Program,
    /// The node's data folder, which the place lies in.
    pub data: &'a Path,
    pub place: &'a Place,
    pub limits: &'a BuildLimits,
    pub deadline: Instant,
    pub log: &'a Log,
}

/// The package whose component is wanted.
#[derive(Debug)]
pub struct Crate {
    id: PackageId,
    pub name: String,
    pub version: String,
}

impl Cargo<'_> {
    /// cargo as for every app and every commit: outside of the checkout, with nothing of the node's environment but what it needs.
    fn command(&self, arguments: &[&str]) -> Command {
        self.prepare(process::kept(self.keeper, &self.toolchain.cargo(), self.limits), arguments)
    }

    /// The same with the rights of a build and no others: for what runs the app's code.
    fn confined(&self, arguments: &[&str]) -> Command {
        let mut command = process::kept(self.keeper, &self.confiner.program, self.limits);
        command.args(&self.confiner.arguments);
        command
            .arg(&self.place.home)
            .arg(self.data)
            .arg(&self.toolchain.sysroot)
            .args(self.place.registries())
            .arg("--")
            .arg(self.toolchain.cargo());
        self.prepare(command, arguments)
    }

    fn prepare(&self, mut command: Command, arguments: &[&str]) -> Command {
        command.args(arguments);
        command.arg("--manifest-path").arg(self.place.source().join("Cargo.toml"));
        command.env_clear().current_dir("/");
        command.env("PATH", self.toolchain.path()).env("RUSTC", self.toolchain.rustc()).env("CARGO_HOME", &self.place.home);
        command.env("CARGO_TARGET_DIR", self.place.target()).env("HOME", self.place.scratch()).env("TMPDIR", self.place.scratch());
        command.env("LC_ALL", "C.UTF-8").env("CARGO_TERM_COLOR", "never").env("CARGO_TERM_PROGRESS_WHEN", "never");
        command
    }

    async fn run(&self, command: &mut Command, out: Stdout<'_>) -> Result<bool, BuildError> {
        let ended = process::run(command, Hold::Keeper, self.limits, self.deadline, self.log, out, Stderr::Log).await;
        match ended.map_err(|e| BuildError::node("run `cargo`", e))? {
            Ended::Exited(status) => Ok(status.success()),
            Ended::Killed(limit) => Err(self.stopped(limit)),
        }
    }

    fn stopped(&self, limit: Limit) -> BuildError {
        let (mib, limits) = (|bytes: u64| bytes >> 20, self.limits);
        let (message, hint) = match limit {
            Limit::Wall => (
                format!("the build was stopped after {} s, which is all the time it has", limits.wall.as_secs_f32().round()),
                "does a build script or a macro run for ever? build somewhere else and push the component (`[build] component`) if it takes long",
            ),
            Limit::Log => (
                format!("the build was stopped: it printed more than {} KiB", limits.log_bytes >> 10),
                "a build script or a macro prints without end, or there are thousands of compiler messages: build locally first",
            ),
            Limit::Memory => (
                format!("the build was stopped: its processes used more than {} MiB of memory", mib(limits.memory_bytes)),
                "fewer dependencies need less, and so does `codegen-units = 16` in `[profile.release]`",
            ),
            Limit::Processes => (
                format!("the build was stopped: it had more than {} processes at once", limits.processes),
                "does a build script start itself again?",
            ),
            Limit::ScriptOutput => (
                format!("the build was stopped: a build script wrote more than {} MiB", mib(limits.script_bytes)),
                "does it print or write without end?",
            ),
            Limit::Output => (
                format!("the build was stopped: cargo describes the crate in more than {} MiB", mib(METADATA_BYTES_MAX as u64)),
                "fewer dependencies and packages in the workspace help",
            ),
        };
        BuildError::new(message).hint(hint)
    }

    /// Downloads what `Cargo.lock` names, for guests and for build scripts. Nothing of it is run.
    pub async fn fetch(&self) -> Result<(), BuildError> {
        let mut command = self.command(&["fetch", "--locked", "--target", TARGET, "--target", &self.toolchain.host]);
        for name in NETWORK_VARIABLES {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        let mut silent = |line: String| Some(line);
        match self.run(&mut command, Stdout::Lines(&mut silent, MESSAGE_BYTES_MAX)).await? {
            true => Ok(()),
            false => Err(BuildError::new("the dependencies could not be fetched as `Cargo.lock` names them").hint(
                "if `Cargo.lock` is behind `Cargo.toml`: `cargo update --workspace && git add -f Cargo.lock`, then commit and push again",
            )),
        }
    }

    /// The package to build, by what cargo knows of the workspace; and that no part of it is outside of the repository.
    pub async fn find_crate(&self, wanted: Option<&str>) -> Result<Crate, BuildError> {
        let mut json = Vec::new();
        let platforms = ["--filter-platform", TARGET, "--filter-platform", &self.toolchain.host];
        let arguments = [&["metadata", "--offline", "--locked", "--format-version", "1"][..], &platforms].concat();
        if !self.run(&mut self.command(&arguments), Stdout::Capture(&mut json, METADATA_BYTES_MAX)).await? {
            return Err(BuildError::new("cargo can't read the crate")
                .hint("the lines above are its own words; `cargo metadata` shows the same locally"));
        }
        let metadata = MetadataCommand::parse(String::from_utf8_lossy(&json));
        let metadata = metadata.map_err(|e| BuildError::node("understand `cargo metadata`", e))?;
        self.check_paths(&metadata)?;
        let package = choose(&metadata, wanted)?;
        Ok(Crate { id: package.id.clone(), name: package.name.to_string(), version: package.version.to_string() })
    }

    fn check_paths(&self, metadata: &Metadata) -> Result<(), BuildError> {
        let root = self.place.source().canonicalize().map_err(|e| BuildError::node("find the build directory", e))?;
        let outside = |path: &Path| path.canonicalize().map_or(true, |path| !path.starts_with(&root));
        let local = metadata.packages.iter().filter(|package| package.source.is_none());
        let paths = local.map(|package| package.manifest_path.as_std_path());
        match paths.chain([metadata.workspace_root.as_std_path()]).find(|path| outside(path)) {
            None => Ok(()),
            Some(path) => Err(BuildError::new(format!("`{}` is not in the repository, but the crate depends on it", path.display())).hint(
                "dependencies by `path` must be inside of the repository: copy the crate into it, or depend on a version from the registry",
            )),
        }
    }

    pub async fn compile(&self, target: &Crate) -> Result<Vec<u8>, BuildError> {
        let specification = format!("{}@{}", target.name, target.version);
        let mut command = self.confined(&[
            "build",
            "--release",
            "--offline",
            "--locked",
            "--target",
            TARGET,
            "--lib",
            "--package",
            &specification,
            "--message-format",
            "json-render-diagnostics",
        ]);
        let mut built = None;
        let mut messages = |line: String| match serde_json::from_str(&line) {
            Ok(Message::CompilerArtifact(artifact)) if artifact.package_id == target.id => {
                built = artifact.filenames.into_iter().find(|file| file.extension() == Some("wasm")).or(built.take());
                None
            }
            Ok(_) => None,
            // What a macro prints comes this way.
            Err(_) => Some(line),
        };
        if !self.run(&mut command, Stdout::Lines(&mut messages, MESSAGE_BYTES_MAX)).await? {
            return Err(BuildError::new("the crate does not compile").hint("the compiler's own words are above; nothing was released"));
        }
        let Some(file) = built else {
            return Err(BuildError::new(format!("cargo built `{}`, but no component came out", target.name)));
        };
        read_component(file.as_std_path(), self.limits)
    }
}

pub fn read_component(path: &Path, limits: &BuildLimits) -> Result<Vec<u8>, BuildError> {
    let size = fs::metadata(path).map_err(|e| BuildError::node("read the component", e))?.len();
    if size > limits.component_bytes {
        let (size, max) = (size >> 10, limits.component_bytes >> 10);
        return Err(BuildError::new(format!("the component has {size} KiB, {max} KiB are allowed"))
            .hint("`opt-level = \"s\"`, `lto = true` and `strip = true` in `[profile.release]` make it smaller"));
    }
    fs::read(path).map_err(|e| BuildError::node("read the component", e))
}

fn choose<'m>(metadata: &'m Metadata, wanted: Option<&str>) -> Result<&'m Package, BuildError> {
    let members = metadata.workspace_packages();
    let is_component = |package: &&&Package| package.targets.iter().any(|target| target.kind.contains(&TargetKind::CDyLib));
    let named = |packages: &[&Package]| packages.iter().map(|package| format!("`{}`", package.name)).collect::<Vec<_>>().join(", ");
    let cdylib_hint = "a component is a library of its own kind: add `[lib]` with `crate-type = [\"cdylib\"]` to `Cargo.toml`";
    if let Some(wanted) = wanted {
        let Some(package) = members.iter().find(|package| package.name.as_str() == wanted) else {
            return Err(BuildError::new(format!("there is no package `{wanted}`, which `tawi.toml` names"))
                .hint(format!("there are {}", named(&members))));
        };
        return match is_component(&package) {
            true => Ok(package),
            false => Err(BuildError::new(format!("package `{wanted}` is not a component")).hint(cdylib_hint)),
        };
    }
    let candidates: Vec<&Package> = members.iter().filter(|package| is_component(package)).copied().collect();
    match candidates[..] {
        [package] => Ok(package),
        [] if members.len() == 1 => Err(BuildError::new(format!("package `{}` is not a component", members[0].name)).hint(cdylib_hint)),
        [] => Err(BuildError::new(format!("none of the packages {} is a component", named(&members))).hint(cdylib_hint)),
        _ => match metadata.root_package().filter(|root| candidates.iter().any(|package| package.id == root.id)) {
            Some(root) => Ok(root),
            None => Err(BuildError::new(format!("several packages could be the app: {}", named(&candidates)))
                .hint("say which in `tawi.toml`: `[build]` with `package = \"...\"`")),
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn of_a_configuration_only_the_registries_are_used() {
        let text = "[source.crates-io]\nreplace-with = 'mirror'\n[build]\nrustc-wrapper = '/tmp/evil'\n[net]\nretry = 3\n";
        let kept: toml::Table = toml::from_str(&registry_tables(text).unwrap()).unwrap();
        assert_eq!(kept.keys().collect::<Vec<_>>(), ["source", "net"]);
    }

    #[test]
    fn registries_that_are_folders_are_known() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place { home: dir.path().join("home") };
        let config = dir.path().join("config.toml");
        let text = "[source.crates-io]\nreplace-with = 'here'\n[source.here]\ndirectory = '/srv/vendored'\n[registries.ours]\nindex = 'file:///srv/index'\n";
        fs::write(&config, text).unwrap();
        place.prepare(Some(&config)).unwrap();
        let mut found = place.registries();
        found.sort();
        assert_eq!(found, [PathBuf::from("/srv/index"), PathBuf::from("/srv/vendored")]);
    }

    #[test]
    fn what_a_build_left_in_its_home_does_not_reach_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place { home: dir.path().join("home") };
        place.prepare(None).unwrap();
        fs::write(place.home.join("config.toml"), "[build]\nrustc-wrapper = '/tmp/evil'\n").unwrap();
        fs::write(place.home.join("config"), "[build]\nrustc-wrapper = '/tmp/evil'\n").unwrap();
        fs::write(place.scratch().join("left"), "").unwrap();
        place.prepare(None).unwrap();
        assert_eq!(fs::read_to_string(place.home.join("config.toml")).unwrap(), "");
        assert!(!place.home.join("config").exists() && !place.scratch().join("left").exists());
    }
}
