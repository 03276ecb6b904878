use super::*;
use tokio::sync::mpsc;

struct Run {
    ended: Ended,
    lines: Vec<String>,
    captured: Vec<u8>,
}

async fn shell(script: &str, limits: BuildLimits) -> Run {
    let (lines, mut reader) = mpsc::channel(16);
    let log = Log::new(lines);
    let collect = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(line) = reader.recv().await {
            all.push(line);
        }
        all
    });
    let mut captured = Vec::new();
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    let deadline = Instant::now() + limits.wall;
    let out = Stdout::Capture(&mut captured, 1000);
    let ended = run(&mut command, Hold::Group, &limits, deadline, &log, out, Stderr::Log).await.unwrap();
    drop(log);
    Run { ended, lines: collect.await.unwrap(), captured }
}

fn alive(pid: &str) -> bool {
    std::path::Path::new(&format!("/proc/{}", pid.trim())).exists()
}

#[tokio::test]
async fn output_and_status_come_back() {
    let run = shell("echo out; echo err >&2; exit 3", BuildLimits::default()).await;
    assert!(matches!(run.ended, Ended::Exited(status) if status.code() == Some(3)));
    assert_eq!(run.captured, b"out\n");
    assert_eq!(run.lines, ["       err"]);
}

#[tokio::test]
async fn time_is_limited_and_nothing_is_left_running() {
    let limits = BuildLimits { wall: Duration::from_millis(300), ..BuildLimits::default() };
    let run = shell("sleep 1000 & echo $!; wait", limits).await;
    assert_eq!(run.ended, Ended::Killed(Limit::Wall));
    let pid = String::from_utf8(run.captured).unwrap();
    while alive(&pid) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_background_process_neither_delays_the_end_nor_survives_it() {
    let run = shell("sleep 1000 & echo $!", BuildLimits::default()).await;
    assert!(matches!(run.ended, Ended::Exited(status) if status.success()));
    let pid = String::from_utf8(run.captured).unwrap();
    while alive(&pid) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn who_prints_for_ever_is_stopped_with_line_ends_or_without() {
    let limits = BuildLimits { log_bytes: 100_000, ..BuildLimits::default() };
    assert_eq!(shell("yes >&2", limits.clone()).await.ended, Ended::Killed(Limit::Log));
    let limits = BuildLimits { wall: Duration::from_millis(500), ..limits };
    assert_eq!(shell("tr '\\0' x </dev/zero >&2", limits.clone()).await.ended, Ended::Killed(Limit::Wall));
    assert_eq!(shell("yes", limits).await.ended, Ended::Killed(Limit::Output));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn memory_and_processes_are_limited() {
    let limits = BuildLimits { memory_bytes: 64 << 20, processes: 8, ..BuildLimits::default() };
    let eats = "x=$(head -c 1000000 /dev/zero | tr '\\0' x); while :; do x=$x$x; done";
    assert_eq!(shell(eats, limits.clone()).await.ended, Ended::Killed(Limit::Memory));
    let forks = "for n in 1 2 3 4 5 6 7 8 9 10; do sleep 1000 & done; wait";
    assert_eq!(shell(forks, limits).await.ended, Ended::Killed(Limit::Processes));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_build_script_that_writes_for_ever_is_known_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("build-script-build");
    std::os::unix::fs::symlink("/bin/cat", &script).unwrap();
    let limits = BuildLimits { script_bytes: 1 << 20, ..BuildLimits::default() };
    let run = shell(&format!("{} /dev/zero > /dev/null", script.display()), limits).await;
    assert_eq!(run.ended, Ended::Killed(Limit::ScriptOutput));
}

#[tokio::test]
async fn dropping_the_run_kills_the_group() {
    let dir = tempfile::tempdir().unwrap();
    let pid_file = dir.path().join("pid");
    let script = format!("echo $$ > {0}.new; mv {0}.new {0}; sleep 1000; true", pid_file.display());
    let running = tokio::spawn(async move { shell(&script, BuildLimits::default()).await.ended });
    while !pid_file.exists() {
        tokio::task::yield_now().await;
    }
    let pid = std::fs::read_to_string(&pid_file).unwrap();
    running.abort();
    while alive(&pid) {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_process_may_be_called_anything() {
    let stat = "7 (a) b (c) R 1 42 7 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 1 1000 3 18446744073709551615";
    let stat = Stat::parse(stat).unwrap();
    assert_eq!((stat.pid, stat.name.as_str(), stat.parent, stat.group), (7, "a) b (c", 1, 42));
    assert_eq!(stat.resident_bytes, 3 * page_bytes());
}
