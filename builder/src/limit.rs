//! Every limit of the builder, with its unit and its reason. `docs/LIMITS.md` lists them with their tests.

use std::time::Duration;

/// The name of the branch that is deployed.
pub const MAIN: &str = "refs/heads/main";

/// What one pack may weigh: the source of a function with its history, not a data set.
pub const PUSH_BYTES_MAX: u64 = 256 << 20;
/// Files in a commit that is built.
pub const FILES_MAX: usize = 20_000;
/// Bytes of all files in a commit that is built.
pub const SOURCE_BYTES_MAX: u64 = 512 << 20;
/// What git says about a commit (its list of files, above all) is read up to here.
pub const GIT_OUTPUT_BYTES_MAX: usize = 16 << 20;
/// `cargo metadata` of a workspace with hundreds of dependencies has some megabytes.
pub const METADATA_BYTES_MAX: usize = 64 << 20;
/// A line of a log is cut here: nobody reads on, and a build that prints no line end must not fill the memory.
pub const LOG_LINE_BYTES_MAX: usize = 4 * 1024;
/// A line of cargo's machine-readable output.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Logs kept per app.
pub const LOGS_KEPT_MAX: usize = 20;
/// Builds at once on one node: a compiler alone keeps two cores busy.
pub const BUILDS_MAX: usize = 2;
/// git processes at once on behalf of clients.
pub const GIT_PROCESSES_MAX: usize = 32;
/// A client that sends nothing for so long in the middle of a push is gone.
pub const UPLOAD_SILENCE_MAX: Duration = Duration::from_secs(60);
/// The head of git's answer.
pub const CGI_HEAD_BYTES_MAX: usize = 16 * 1024;
/// What a hook says to the node: a line for each ref that is pushed.
pub const HOOK_REQUEST_BYTES_MAX: u64 = 1 << 20;
/// Log lines on their way to the pusher; then the build waits for a slow client, until its time is over.
pub const LOG_LINES_QUEUED_MAX: usize = 256;
/// How long a push waits for the new release to serve before it says that it does not.
pub const LIVE_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long the git process of a push may take to end after its build has.
pub const GIT_END_MAX: Duration = Duration::from_secs(60);
/// How long a keeper may take to end the processes of a build. A killed process ends at once, unless the system itself hangs in it.
pub const KEEPER_END_MAX: Duration = Duration::from_secs(10);
/// Compiled dependencies kept per app between builds; beyond, the next build starts afresh.
pub const CACHE_BYTES_MAX: u64 = 4 << 30;

/// What one build may use. The defaults are meant for a small server.
#[derive(Debug, Clone)]
pub struct BuildLimits {
    /// Wall clock of fetch and compile together. Most builds take seconds; the first with many dependencies some minutes.
    pub wall: Duration,
    /// What a build may print; a compiler's errors for a whole program fit.
    pub log_bytes: usize,
    /// Memory of all processes of a build together.
    pub memory_bytes: u64,
    /// Processes of a build at the same time.
    pub processes: usize,
    /// One file that a build writes.
    pub file_bytes: u64,
    /// What one build script may write. cargo keeps its output in memory, so it can't be left to the memory limit alone.
    pub script_bytes: u64,
    /// The component that comes out.
    pub component_bytes: u64,
}

impl Default for BuildLimits {
    fn default() -> BuildLimits {
        BuildLimits {
            wall: Duration::from_secs(600),
            log_bytes: 1 << 20,
            memory_bytes: 4 << 30,
            processes: 512,
            file_bytes: 2 << 30,
            script_bytes: 256 << 20,
            component_bytes: 32 << 20,
        }
    }
}
