//! Long-running tasks: each has a name, an owner and an end.

use std::time::Duration;
use tokio::task::JoinHandle;

/// Tasks of one phase. They are told to end by whatever token they were given; this waits for it.
#[derive(Default)]
pub struct Tasks(Vec<(&'static str, JoinHandle<()>)>);

impl Tasks {
    pub fn start(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.0.push((name, tokio::spawn(task)));
    }

    /// Waits for all, `limit` each; who is late is named and cut off.
    pub async fn join(self, limit: Duration) {
        for (name, mut task) in self.0 {
            match tokio::time::timeout(limit, &mut task).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(name, %error, "a task panicked"),
                Err(_) => {
                    tracing::error!(name, "a task did not end within {limit:?} and is cut off");
                    task.abort();
                }
            }
        }
    }
}
