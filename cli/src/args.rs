//! The command line, as `--help` shows it.

use clap::{Args as ClapArgs, Parser, Subcommand};
use std::path::PathBuf;
use tawi_runtime::model::Micros;

/// Serverless functions for things that measure: push source with git, run it on every reading.
#[derive(Debug, Parser)]
#[command(name = "tawi", version, arg_required_else_help = true, subcommand_required = true, disable_help_subcommand = true)]
pub struct Args {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Clone, ClapArgs)]
pub struct Global {
    /// The node to talk to, instead of the one of the last login
    #[arg(long, global = true, env = "TAWI_URL", value_name = "URL")]
    pub url: Option<String>,
    /// Print JSON instead of tables
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a node with a builder in it
    Up(Up),
    /// Make a new function: a repository with an SDK, a test and a remote to push to
    New {
        /// The app's name, and the folder's
        name: String,
        /// The folder, where it is not the name
        #[arg(long, value_name = "DIR")]
        path: Option<PathBuf>,
    },
    /// Save a token for a node (read from TAWI_TOKEN or standard input) and make it the current one
    Login {
        url: String,
        /// Log in with this user's password instead
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
    },
    /// Who the node takes you for
    Whoami,
    /// What the node is and how far it has come
    Status,
    /// What is deployed
    #[command(subcommand)]
    Apps(Apps),
    /// The releases of an app, newest first
    Releases { app: String },
    /// Make an old release the current one again
    Rollback {
        app: String,
        /// The release to go back to, instead of the one before
        #[arg(long, value_name = "N")]
        to: Option<u64>,
    },
    /// Build and release what was pushed last, again
    Redeploy { app: String },
    /// The functions of an app, how far behind they are, what waits and what died
    Functions { app: String },
    /// Let a paused function go on with the oldest event that is there
    Resume { app: String, function: String },
    /// What functions lost while they were paused, being too far behind
    Lost {
        app: String,
        function: Option<String>,
        /// You have taken note of what it lost
        #[arg(long, requires = "function")]
        forget: bool,
    },
    /// What an app's functions logged
    Logs(Logs),
    /// Watch events as they happen: `alerts.>`, `reading.fridge1.*`
    Subscribe(Subscribe),
    /// Search what has passed: `device:fridge1 AND value:>8`
    History(History),
    /// How calls went: `function:alert AND outcome:error AND duration:>100ms`
    Runs(Runs),
    /// Events that a function could not handle
    #[command(subcommand)]
    Dead(Dead),
    /// What an app remembers
    #[command(subcommand)]
    State(State),
    /// Settings that an app reads
    #[command(subcommand)]
    Config(Config),
    /// Settings that nobody reads but the app
    #[command(subcommand)]
    Secrets(Secrets),
    /// Who may do what
    #[command(subcommand)]
    Tokens(Tokens),
    /// People with passwords
    #[command(subcommand)]
    Users(Users),
    /// Devices and their current values
    #[command(subcommand)]
    Devices(Devices),
    /// Sensors that fit, whatever device they are on
    Sensors {
        /// What they have to be: `kind=Thermometer,unit=DegreeCelsius,tags=river,within=5.36:-4.01:10,seen_within=1h`
        #[arg(long, default_value = "")]
        select: String,
        #[arg(long, short = 'n', default_value_t = 1_000)]
        limit: u32,
    },
    /// What is done to readings before anybody sees them: calibration, units, and what can't be right
    #[command(subcommand)]
    Clean(Clean),
    /// Tell an actuator something, or see what a device was told and whether it heard
    #[command(name = "command")]
    Actuate {
        device: String,
        #[arg(requires = "value")]
        actuator: Option<String>,
        /// JSON, or else a text
        #[arg(allow_negative_numbers = true)]
        value: Option<String>,
    },
    /// Send one value, as a device does
    Send {
        device: String,
        sensor: String,
        /// JSON, or else a text
        #[arg(allow_negative_numbers = true)]
        value: String,
        /// When it was measured
        #[arg(long, value_name = "TIME", value_parser = crate::when::parse)]
        at: Option<Micros>,
    },
    /// Save events in a file that tests and `tawi replay` play: as they come, or with `--from` out of the history
    Record(Record),
    /// Run one event of the past again and see what would come of it, or a function over a range of it; or send recorded readings, of a trace or a CSV file
    Replay(Replay),
    /// Functions that were run over a range of the past
    #[command(subcommand)]
    Replays(Replays),
    /// Copy a running node into a file
    Backup {
        /// The file, or `-` for standard output
        file: PathBuf,
    },
    /// Make a node's folder out of such a file
    Restore {
        /// The file, or `-` for standard input
        file: PathBuf,
        /// The folder; it must not exist, or be empty
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
    },
    /// Print a script that completes commands in a shell
    Completions { shell: clap_complete::Shell },
    /// Answers git when it asks for a password
    #[command(hide = true)]
    Credential { operation: String },
}

#[derive(Debug, ClapArgs)]
pub struct Up {
    /// The folder with everything the node knows [default: tawi in the user's data folder]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Where to listen; port 0 takes any free one [default: 127.0.0.1:8294]
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<String>,
    /// Where to listen for MQTT; port 0 takes any free one [default: 127.0.0.1:1883, or not at all where a broker runs there]
    #[arg(long, value_name = "ADDR:PORT")]
    pub mqtt: Option<String>,
    /// Don't listen for MQTT
    #[arg(long, conflicts_with = "mqtt")]
    pub no_mqtt: bool,
    /// `embedded`, or the URL of a nats-server with JetStream
    #[arg(long, value_name = "LEDGER")]
    pub ledger: Option<String>,
    /// Refuse readings of devices that nobody registered
    #[arg(long)]
    pub no_auto_register: bool,
    /// Refuse who says no name
    #[arg(long)]
    pub no_guests: bool,
    /// A TOML file; flags go before it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How others reach this node
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// Make one more admin token, for who lost the first
    #[arg(long)]
    pub new_admin_token: bool,
    /// Log as JSON
    #[arg(long)]
    pub log_json: bool,
    /// Write {"url", "token"} to this file once the node serves
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Apps {
    /// All apps with their current release
    List,
    /// Give an app to a user: its functions see and do what the user may
    Owner {
        app: String,
        #[arg(required_unless_present = "none", conflicts_with = "none")]
        user: Option<String>,
        /// Back to the node: they see all
        #[arg(long)]
        none: bool,
    },
    /// Delete an app with its releases, state, config, secrets and dead letters
    Delete {
        app: String,
        /// Don't ask
        #[arg(long, short)]
        yes: bool,
    },
}

#[derive(Debug, ClapArgs)]
pub struct Logs {
    pub app: String,
    /// Go on with what comes
    #[arg(long, short)]
    pub follow: bool,
    /// Only this function
    #[arg(long, value_name = "NAME")]
    pub function: Option<String>,
    /// Only this call, by the id that an error names
    #[arg(long, value_name = "ID")]
    pub call: Option<String>,
    /// At most this many old lines
    #[arg(long, short = 'n', default_value_t = 100)]
    pub limit: u32,
}

#[derive(Debug, ClapArgs)]
pub struct Subscribe {
    /// A subject with wildcards: `*` for one token, `>` for the rest
    pub pattern: String,
    /// Begin after this sequence instead of now
    #[arg(long, value_name = "SEQUENCE")]
    pub after: Option<u64>,
    /// End after this many events
    #[arg(long, short = 'n')]
    pub count: Option<u64>,
}

#[derive(Debug, ClapArgs)]
pub struct History {
    /// The query; everything without one
    #[arg(default_value = "")]
    pub query: String,
    /// Measured at this time or later
    #[arg(long, value_name = "TIME", value_parser = crate::when::parse)]
    pub from: Option<Micros>,
    /// Measured before this time
    #[arg(long, value_name = "TIME", value_parser = crate::when::parse)]
    pub to: Option<Micros>,
    #[arg(long, short = 'n', default_value_t = 20)]
    pub limit: u32,
    #[arg(long, default_value_t = 0)]
    pub offset: u32,
    /// Only how many there are
    #[arg(long)]
    pub count: bool,
}

#[derive(Debug, ClapArgs)]
pub struct Runs {
    /// The query; all without one
    #[arg(default_value = "")]
    pub query: String,
    /// Begun at this time or later
    #[arg(long, value_name = "TIME", value_parser = crate::when::parse)]
    pub from: Option<Micros>,
    /// Begun before this time
    #[arg(long, value_name = "TIME", value_parser = crate::when::parse)]
    pub to: Option<Micros>,
    #[arg(long, short = 'n', default_value_t = 20)]
    pub limit: u32,
    #[arg(long, default_value_t = 0)]
    pub offset: u32,
    /// Only how many there are
    #[arg(long, conflicts_with = "follow")]
    pub count: bool,
    /// Go on with what comes, oldest first
    #[arg(long, short)]
    pub follow: bool,
}

#[derive(Debug, Subcommand)]
pub enum Dead {
    /// Dead letters, of one app or of all
    List {
        app: Option<String>,
        #[arg(long, short = 'n', default_value_t = 100)]
        limit: u32,
        /// Those after this one, for the next page
        #[arg(long, value_name = "APP/FUNCTION/SEQUENCE")]
        after: Option<String>,
    },
    /// One dead letter with its event, error and last log lines
    Show(Letter),
    /// Try again, out of order
    Replay(Letter),
    /// Forget
    Drop(Letter),
}

#[derive(Debug, ClapArgs)]
pub struct Letter {
    /// APP/FUNCTION, as the list shows it
    pub function: String,
    /// The event's sequence
    pub sequence: u64,
}

#[derive(Debug, Subcommand)]
pub enum State {
    /// One value
    Get { app: String, key: String },
    /// Keys and values
    List {
        app: String,
        #[arg(long, default_value = "")]
        prefix: String,
        /// Begin after this key
        #[arg(long, value_name = "KEY")]
        after: Option<String>,
        #[arg(long, short = 'n', default_value_t = 100)]
        limit: u32,
    },
}

#[derive(Debug, Subcommand)]
pub enum Config {
    /// One value
    Get { app: String, key: String },
    /// All values, the manifest's defaults included
    List { app: String },
    /// Set values; they take effect at once
    Set {
        app: String,
        #[arg(required = true, value_name = "KEY=VALUE", value_parser = setting)]
        settings: Vec<(String, String)>,
    },
    /// Go back to the manifest's default
    Unset { app: String, key: String },
}

#[derive(Debug, Subcommand)]
pub enum Clean {
    /// All rules, or one as it was set
    List { name: Option<String> },
    /// Set a rule from a TOML file; it is for the next reading
    Set { file: PathBuf },
    /// Remove a rule; readings pass as they are sent
    Remove { name: String },
}

#[derive(Debug, Subcommand)]
pub enum Secrets {
    /// Names only
    List { app: String },
    /// Set a secret, read from standard input unless it is given
    Set { app: String, key: String, value: Option<String> },
    /// Take a secret away
    Unset { app: String, key: String },
}

#[derive(Debug, Subcommand)]
pub enum Tokens {
    /// All tokens, without their secrets
    List,
    /// Make a token and print its secret, once
    Create {
        /// What it is for
        name: String,
        #[command(flatten)]
        role: Role,
    },
    /// Print the token that this command uses, for other programs: export TAWI_TOKEN=$(tawi tokens show)
    Show,
    /// Make a token worthless
    Revoke {
        /// The id, as the list shows it
        id: String,
    },
}

/// Passwords are asked for, or read from standard input where that is no terminal.
#[derive(Debug, Subcommand)]
pub enum Users {
    /// All users
    List {
        /// Only those whose name contains this
        #[arg(default_value = "")]
        name: String,
        #[arg(long, short = 'n', default_value_t = 100)]
        limit: u32,
        #[arg(long, default_value_t = 0)]
        offset: u32,
    },
    /// Make a user
    Add {
        name: String,
        /// May do everything
        #[arg(long)]
        admin: bool,
        #[arg(long, value_name = "ADDRESS")]
        email: Option<String>,
        /// With its international code
        #[arg(long, value_name = "NUMBER")]
        phone: Option<String>,
    },
    /// Delete a user; what the user owns stays as it is
    Remove {
        name: String,
        /// Don't ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Say where a user gets mail: what a user says of herself when she registers is not enough
    Email { name: String, address: String },
    /// Set a password; the user's sessions end
    Passwd { name: String },
}

/// Exactly one of these.
#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = false)]
pub struct Role {
    /// May do everything
    #[arg(long)]
    pub admin: bool,
    /// May push to one app and look after it
    #[arg(long, value_name = "APP")]
    pub deploy: Option<String>,
    /// May look at everything and change nothing
    #[arg(long)]
    pub read: bool,
    /// May send readings
    #[arg(long)]
    pub send: bool,
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("it is not KEY=VALUE".to_owned()),
    }
}

#[derive(Debug, Subcommand)]
pub enum Devices {
    /// All devices
    List {
        #[arg(long, short = 'n', default_value_t = 100)]
        limit: u32,
        #[arg(long, default_value_t = 0)]
        offset: u32,
    },
    /// One device with its current values
    Show { device: String },
    /// Register a device
    Add(AddDevice),
    /// Register the devices of a file, CSV or JSON, with their sensors and actuators
    Import(ImportDevices),
    /// Make a device yours by its claim code; log in as a user first
    Claim {
        /// As `tawi devices add --claim` printed it; read from standard input where it is missing
        code: Option<String>,
    },
    /// Forget a device and its current values; what it sent stays in the history
    Remove { device: String },
}

#[derive(Debug, ClapArgs)]
pub struct AddDevice {
    pub device: String,
    #[arg(long)]
    pub name: Option<String>,
    /// `ID:KIND:QUANTITY:UNIT`, as in `t:Thermometer:AirTemperature:DegreeCelsius`; what is not known is left out
    #[arg(long = "sensor", value_name = "SENSOR")]
    pub sensors: Vec<String>,
    #[arg(long = "actuator", value_name = "ID")]
    pub actuators: Vec<String>,
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// `LATITUDE,LONGITUDE`, in degrees
    #[arg(long, allow_hyphen_values = true)]
    pub location: Option<String>,
    /// Nobody but its owner and administrators sees it
    #[arg(long)]
    pub private: bool,
    /// Make a code by which a user makes the device hers; of a device that is there already, only the code
    #[arg(long)]
    pub claim: bool,
}

#[derive(Debug, ClapArgs)]
pub struct ImportDevices {
    /// CSV with a header, or JSON: a list of devices as `tawi devices list --json` prints it. `-` is standard input
    pub file: PathBuf,
    /// Also change devices that are there already into what the file says of them
    #[arg(long)]
    pub update: bool,
    /// Only check the file
    #[arg(long, conflicts_with = "update")]
    pub check: bool,
}

#[derive(Debug, ClapArgs)]
pub struct Record {
    /// Only of this device; may be given several times
    #[arg(long = "device", value_name = "DEVICE")]
    pub devices: Vec<String>,
    /// Events on these subjects: `*` for one token, `>` for the rest
    #[arg(long, value_name = "PATTERN", default_value = "reading.>")]
    pub subject: String,
    /// Out of the history: measured at this time or later
    #[arg(long, value_name = "TIME", value_parser = crate::when::parse)]
    pub from: Option<Micros>,
    /// And before this time
    #[arg(long, value_name = "TIME", value_parser = crate::when::parse, requires = "from")]
    pub to: Option<Micros>,
    /// End after this time: `10m`
    #[arg(long = "for", value_name = "DURATION", value_parser = crate::when::duration, conflicts_with = "from")]
    pub lasts: Option<std::time::Duration>,
    /// End after this many events
    #[arg(long, short = 'n', conflicts_with = "from")]
    pub count: Option<u64>,
    /// The file; it is there when the recording has ended
    #[arg(long, value_name = "FILE")]
    pub into: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub struct Replay {
    /// A trace of `tawi record`, or a CSV file with the columns `timestamp` and `value`; `-` for standard input
    #[arg(required_unless_present_any = ["event", "function"])]
    pub file: Option<PathBuf>,
    /// Whose readings those of a CSV file are
    #[arg(long, requires_all = ["file", "sensor"])]
    pub device: Option<String>,
    #[arg(long, requires_all = ["file", "device"])]
    pub sensor: Option<String>,
    /// How fast a trace is sent: `10x` as fast as it came, or `max` [default: max]
    #[arg(long, value_name = "SPEED", requires = "file", conflicts_with = "device")]
    pub speed: Option<crate::pace::Speed>,
    /// Move a trace's times so that it ends now
    #[arg(long, requires = "file", conflicts_with_all = ["device", "once"])]
    pub now: bool,
    /// Send each reading once even if the command is repeated (within the node's dedup window)
    #[arg(long, requires = "file")]
    pub once: bool,
    /// Readings per request
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub batch: u32,
    /// The event to run again: its sequence, or the id that a function knows it by
    #[arg(long, value_name = "ID", conflicts_with = "file")]
    pub event: Option<String>,
    /// The app; not needed where only one can be meant
    #[arg(long, conflicts_with = "file")]
    pub app: Option<String>,
    /// The function to run over a range of the past, of a release or of the current one; with `--event`, the one that is meant
    #[arg(long, value_name = "F[@R]", conflicts_with = "file")]
    pub function: Option<String>,
    /// The release to run it with, instead of the current one
    #[arg(long, value_name = "N", requires = "event")]
    pub release: Option<u64>,
    /// Do what the call asks for, out of order; without it nothing is done
    #[arg(long, requires = "event")]
    pub apply: bool,
    /// What was measured at this time or later
    #[arg(long, value_name = "TIME", value_parser = crate::when::parse, conflicts_with_all = ["file", "event"])]
    pub from: Option<Micros>,
    /// What was measured before this time
    #[arg(long, value_name = "TIME", value_parser = crate::when::parse, conflicts_with_all = ["file", "event"])]
    pub to: Option<Micros>,
    /// As if each reading had been received when it was measured: for what was imported
    #[arg(long, conflicts_with_all = ["file", "event"])]
    pub by_measured: bool,
    /// Write what comes of it into this file; without it, to standard output
    #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "event"])]
    pub into: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Replays {
    /// Those that are kept, oldest first
    List { app: String },
    /// What came of one, from the beginning; waits until it is over
    Output {
        app: String,
        replay: u64,
        /// Write it into this file; without it, to standard output
        #[arg(long, value_name = "FILE")]
        into: Option<PathBuf>,
    },
    /// Stop one where it runs, and forget it
    Forget { app: String, replay: u64 },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }
}
