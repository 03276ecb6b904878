use super::{
    Call, Collected,
    bindings::wasi::logging::logging::{Host, Level},
};
use crate::model::{
    LogLevel, LogLine, Micros,
    limit::{LOG_LINE_BYTES_MAX, LOG_LINES_MAX},
};

impl Host for Call {
    fn log(&mut self, level: Level, context: String, message: String) {
        let level = match level {
            Level::Trace => LogLevel::Trace,
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
            Level::Critical => LogLevel::Critical,
        };
        self.collected.lock().log(self.now, level, cut(context, 128), message);
    }
}

impl Collected {
    /// Adds a line, or counts it as dropped when the call has said enough.
    pub fn log(&mut self, time: Micros, level: LogLevel, context: String, message: String) {
        let message = cut(message, LOG_LINE_BYTES_MAX);
        let size = context.len() + message.len();
        if self.logs.len() >= LOG_LINES_MAX || self.log_bytes + size > self.most.log_bytes {
            self.logs_dropped += 1;
            return;
        }
        self.log_bytes += size;
        self.logs.push(LogLine { time, level, context, message });
    }
}

/// At most `bytes_max` bytes, whole characters, with a mark where something was cut.
pub(crate) fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        let end = (0..=bytes_max.saturating_sub('…'.len_utf8())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}
