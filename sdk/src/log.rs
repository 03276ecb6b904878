//! Log lines: `tawi logs APP`, and searchable in the history. Always granted. Lines of failed attempts are kept too.
//!
//! ```
//! use tawi::log;
//!
//! let host = tawi::testing::Host::new();
//! log::info!("{} readings", 3);
//! log::warn!("the clock of `{}` is ahead", "fridge1");
//! assert_eq!(host.logs()[0].message, "3 readings");
//! ```
//!
//! With the feature `log`, lines of the crate `log` come here as well. What is printed to stdout and stderr is kept too.

use crate::host;
use std::fmt::Arguments;

#[doc(inline)]
pub use crate::{__debug as debug, __error as error, __info as info, __trace as trace, __warn as warn};

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What only its author wants to see.
    Trace,
    /// What helps to find a mistake.
    Debug,
    /// What an operator may want to know.
    Info,
    /// What may be wrong.
    Warn,
    /// What is wrong.
    Error,
}

/// Writes one line. `context` says where it is from; the macros name the module.
pub fn write(level: Level, context: &str, message: Arguments<'_>) {
    match message.as_str() {
        Some(text) => host::log(level, context, text),
        None => host::log(level, context, &message.to_string()),
    }
}

/// Writes a line that only its author wants to see, in the words of `format!`.
#[macro_export]
#[doc(hidden)]
macro_rules! __trace {
    ($($argument:tt)+) => {
        $crate::__log!(Trace, $($argument)+)
    };
}

/// Writes a line that helps to find a mistake, in the words of `format!`.
#[macro_export]
#[doc(hidden)]
macro_rules! __debug {
    ($($argument:tt)+) => {
        $crate::__log!(Debug, $($argument)+)
    };
}

/// Writes a line that an operator may want to know, in the words of `format!`.
#[macro_export]
#[doc(hidden)]
macro_rules! __info {
    ($($argument:tt)+) => {
        $crate::__log!(Info, $($argument)+)
    };
}

/// Writes a line about what may be wrong, in the words of `format!`.
#[macro_export]
#[doc(hidden)]
macro_rules! __warn {
    ($($argument:tt)+) => {
        $crate::__log!(Warn, $($argument)+)
    };
}

/// Writes a line about what is wrong, in the words of `format!`.
#[macro_export]
#[doc(hidden)]
macro_rules! __error {
    ($($argument:tt)+) => {
        $crate::__log!(Error, $($argument)+)
    };
}

#[macro_export]
#[doc(hidden)]
macro_rules! __log {
    ($level:ident, $($argument:tt)+) => {
        $crate::log::write($crate::log::Level::$level, ::core::module_path!(), ::core::format_args!($($argument)+))
    };
}

/// Before each call of a handler: makes the crate `log` write here, where the feature asks for it.
pub(crate) fn start() {
    #[cfg(feature = "log")]
    facade::start();
}

#[cfg(feature = "log")]
mod facade {
    use super::Level;

    struct Facade;

    impl log::Log for Facade {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            let level = match record.level() {
                log::Level::Error => Level::Error,
                log::Level::Warn => Level::Warn,
                log::Level::Info => Level::Info,
                log::Level::Debug => Level::Debug,
                log::Level::Trace => Level::Trace,
            };
            super::write(level, record.target(), *record.args());
        }
        fn flush(&self) {}
    }

    pub fn start() {
        // The second time, or with a logger of the function's own, it is set already, and that is fine.
        if log::set_logger(&Facade).is_ok() {
            log::set_max_level(log::LevelFilter::Trace);
        }
    }
}
